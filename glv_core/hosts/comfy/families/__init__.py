"""What differs between families of models: one file a family, which every other room may ask. Adding one is a file."""

from .continuation import Continuation, ContinuationInputs, SamplingInputs
from .family import SHARED, Along, ByChunk, Family, JointRow, JointText
from .image import FRAMES_OF_A_WINDOW, IMAGE, LAYERS_OVER_TIME, clips_in, with_frames
from .latents import (
    compression_of_vae,
    empty_latent,
    latent_shape,
    map_streams,
    nested,
    num_frames_covering,
    num_frames_decoded,
    num_frames_encoded,
    sound_latent_shape,
    streams_of,
    time_dim_of,
    vae_timebase,
)
from .per_frame_timesteps import give_per_frame_timesteps
from .registry import FAMILIES, family_of, family_of_vae
from .shown import CLIP_IDENTIFIERS, asks_for_windows, windows_in, with_windows
from .sound import SoundVAE, checked_sound_vae, encode_sound, sound_rate_of, sound_vae_of

__all__ = [
    "CLIP_IDENTIFIERS",
    "FAMILIES",
    "FRAMES_OF_A_WINDOW",
    "IMAGE",
    "LAYERS_OVER_TIME",
    "SHARED",
    "Along",
    "ByChunk",
    "Continuation",
    "ContinuationInputs",
    "Family",
    "JointRow",
    "JointText",
    "SamplingInputs",
    "SoundVAE",
    "asks_for_windows",
    "checked_sound_vae",
    "clips_in",
    "compression_of_vae",
    "empty_latent",
    "encode_sound",
    "family_of",
    "family_of_vae",
    "give_per_frame_timesteps",
    "latent_shape",
    "map_streams",
    "nested",
    "num_frames_covering",
    "num_frames_decoded",
    "num_frames_encoded",
    "sound_latent_shape",
    "sound_rate_of",
    "sound_vae_of",
    "streams_of",
    "time_dim_of",
    "vae_timebase",
    "windows_in",
    "with_frames",
    "with_windows",
]
