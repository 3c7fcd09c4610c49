"""What ComfyUI's latent formats and VAEs say of latents themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import torch
from comfy.nested_tensor import NestedTensor

from ....timeline import Compression, Timebase
from ....video_models import LTX_2, MINIMAX_H3
from .sound import checked_sound_vae, minimax_sound_shape, sound_vae_of


def time_dim_of(latent_format: Any) -> int:
    """The axis of time in a model's latents: 2 in ``b c t h w``, or 0 where the frames are the batch ``t c h w``.

    Raises:
        ValueError: the model's latents have no frames (audio, 3D shapes).
    """
    dimensions = latent_format.latent_dimensions
    if dimensions == 1:
        raise ValueError(
            f"Co-denoising needs a video or image model; this model's latents ({type(latent_format).__name__}) have no "
            "frames. Connect a video model."
        )
    return 2 if dimensions == 3 else 0


def streams_of(samples: Any) -> list[torch.Tensor]:
    """The streams of a LATENT's samples or mask, nested or not, the video first."""
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


def nested(streams: Sequence[torch.Tensor]) -> Any:
    """A LATENT's samples, or its mask, of streams."""
    return streams[0] if len(streams) == 1 else NestedTensor(streams)


def map_streams(samples: Any, change: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]]) -> Any:
    """A LATENT's samples, nested or not, with their streams changed."""
    return nested(change(streams_of(samples)))


def compression_of_vae(vae: Any) -> Compression:
    """How the latent frames of a ComfyUI VAE hold frames, as it says itself.

    Raises:
        ValueError: the VAE has no frames (audio, 3D shapes).
    """
    if sound_vae_of(vae) is not None:
        raise ValueError("vae is an audio VAE. Connect the VAE of your video model, and the audio VAE as audio_vae.")
    if vae.latent_dim not in (2, 3):
        raise ValueError("The VAE is not one for images or video. Connect the VAE of your video model.")
    ratio = (vae.temporal_compression_decode() or 1) if vae.latent_dim == 3 else 1
    h3 = MINIMAX_H3.compression
    if ratio > 1 and all(vae.upscale_ratio[0](count) == h3.num_frames(count) for count in (2, 7, 12)):
        return h3
    is_causal = ratio == 1 or vae.upscale_ratio[0](1) == 1
    return Compression.causal(ratio) if is_causal else Compression((ratio,))


def vae_timebase(vae: Any, num_frames: int, fps: float) -> Timebase:
    """The timebase of the shortest video of at least ``num_frames`` that a ComfyUI VAE can make.

    Raises:
        ValueError: the VAE has no frames (audio, 3D shapes), or the numbers are out of range.
    """
    compression = compression_of_vae(vae)
    return Timebase.of_latent(_num_latent_frames(compression, num_frames), fps, compression)


def _num_latent_frames(compression: Compression, num_frames: int) -> int:
    """Latent frames of the shortest video of at least so many frames."""
    return compression.whole_clip(compression.num_latent_frames(num_frames))


def num_frames_decoded(vae: Any, samples: torch.Tensor) -> int:
    """Frames that a LATENT's samples, ``b c t h w`` or ``t c h w``, decode to."""
    return compression_of_vae(vae).num_frames(samples.shape[2] if samples.ndim == 5 else samples.shape[0])


def num_frames_encoded(vae: Any, num_frames: int) -> int:
    """How many of so many frames a VAE can hold: a causal one leaves out those that do not fill a latent frame."""
    return compression_of_vae(vae).num_frames_of_clip(num_frames)


def num_frames_covering(vae: Any, num_frames: int) -> int:
    """How many frames the shortest latent has that holds all of so many."""
    compression = compression_of_vae(vae)
    return compression.num_frames(_num_latent_frames(compression, num_frames))


def empty_latent(
    vae: Any, shape: Sequence[int], timebase: Timebase, sound_shape: Sequence[int] | None = None
) -> dict[str, Any]:
    """An empty LATENT, as the host's own nodes make it: it says which VAE it is meant for.

    With ``sound_shape`` video and sound are combined in it.
    """
    dtype = getattr(comfy.model_management, "intermediate_dtype", lambda: torch.float32)()
    device = comfy.model_management.intermediate_device()
    samples = torch.zeros(tuple(shape), device=device, dtype=dtype)
    if sound_shape is not None:
        samples = nested([samples, torch.zeros(tuple(sound_shape), device=device, dtype=dtype)])
    return {
        "samples": samples,
        "downscale_ratio_spacial": int(vae.spacial_compression_encode()),
        "downscale_ratio_temporal": max(timebase.compression.pattern),  # the host's count, of a full latent frame
    }


def sound_latent_shape(vae: Any, audio_vae: Any, timebase: Timebase, batch_size: int = 1) -> list[int] | None:
    """The shape of the sound beside a video of ``vae``; None where there is none.

    MiniMax H3's videos always have sound; others where ``audio_vae``, LTX-2's, is given.

    Raises:
        ValueError: one VAE is not of the kind or the model of the other, or the frame rate is not MiniMax H3's.
    """
    is_minimax = timebase.compression == MINIMAX_H3.compression
    if is_minimax and timebase.fps != MINIMAX_H3.fps:
        raise ValueError(
            f"fps is {timebase.fps:g}; {MINIMAX_H3.name} makes {MINIMAX_H3.fps} frames a second, and sound that long. "
            f"Set fps to {MINIMAX_H3.fps}."
        )
    if audio_vae is None:
        return minimax_sound_shape(timebase.num_frames, batch_size) if is_minimax else None
    sound = checked_sound_vae(audio_vae)
    is_ltx = timebase.compression == LTX_2.compression and vae.latent_dim == 3 and vae.latent_channels == 128
    if sound.model != (MINIMAX_H3 if is_minimax else LTX_2 if is_ltx else None):
        raise ValueError(
            f"audio_vae is that of {sound.model.name}, and vae is not. Connect {sound.model.name}'s own VAE as vae, or "
            "leave audio_vae out."
        )
    return sound.latent_shape(timebase.num_frames, timebase.fps, batch_size)


def latent_shape(vae: Any, timebase: Timebase, width: int, height: int, batch_size: int = 1) -> list[int]:
    """Shape of a latent for ``vae``: ``b c t h w`` for video VAEs, ``t c h w`` (frames as batch) for image VAEs.

    Raises:
        ValueError: width or height is not a multiple of the VAE's spatial compression, or several videos are asked of
            a VAE whose batch is time.
    """
    spatial = int(vae.spacial_compression_encode())
    for name, value in (("width", width), ("height", height)):
        if value < spatial or value % spatial:
            nearest = max(spatial, round(value / spatial) * spatial)
            raise ValueError(
                f"{name} is {value}; this VAE needs a multiple of {spatial}. Use {nearest}, which is nearest."
            )
    space = [height // spatial, width // spatial]
    if vae.latent_dim == 3:
        return [batch_size, vae.latent_channels, timebase.num_latent_frames, *space]
    if batch_size != 1:
        raise ValueError(
            f"batch_size is {batch_size}; with an image VAE the batch holds the frames of one video. Use 1."
        )
    return [timebase.num_latent_frames, vae.latent_channels, *space]
