"""A VIDEO of any length as a LATENT, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import comfy.utils
import torch

from ....video_io import tell
from ....video_models import MINIMAX_H3
from ..families import checked_sound_vae, nested, num_frames_decoded, sound_latent_shape, vae_timebase
from .long_video import clip_of, rate_of, sdr_frames_of, sound_of
from .sound_pieces import encode_in_pieces
from .vae_pieces import encode_pieces


def encode_video(vae: Any, video: Any, width: int = 0, height: int = 0) -> torch.Tensor:
    """The latent of a VIDEO, see ``encode_pieces``.

    Args:
        vae: a ComfyUI VAE.
        video: a VIDEO; HDR is tone mapped.
        width, height: the size of the frames to encode, in pixels, of other proportions their middle; 0 is theirs, as
            far as latent pixels can hold it. They are scaled to that, never cut on both axes, so that an edit of a
            video fits back onto it (``CompositeEdit``).
    """
    scale = int(vae.spacial_compression_encode())

    def whole(asked: int, own: int) -> int:
        return asked or max(scale, own // scale * scale)

    def resized() -> Iterator[torch.Tensor]:
        for frames in sdr_frames_of(video):
            size = (whole(width, frames.shape[2]), whole(height, frames.shape[1]))
            if size != (frames.shape[2], frames.shape[1]):
                frames = comfy.utils.common_upscale(frames.movedim(-1, 1), *size, "lanczos", "center").movedim(1, -1)
            yield frames

    clip = clip_of(video)
    tell(*(() if clip is None else clip.notes))
    return encode_frames(vae, resized(), video.get_frame_count() if clip is None else clip.num_frames)


def encode_with_sound(vae: Any, audio_vae: Any, video: Any, width: int = 0, height: int = 0) -> Any:
    """A LATENT's samples of a VIDEO and its sound, the latter as long as the frames that ``vae`` can hold.

    A video without sound, or whose sound ends before it, has silence there.

    Raises:
        ValueError: ``audio_vae`` is no audio VAE, is not that of the model of ``vae``, or makes sound for videos of
            another frame rate.
    """
    sound, fps = checked_sound_vae(audio_vae), rate_of(video)
    if sound.model == MINIMAX_H3 and fps != MINIMAX_H3.fps:
        raise ValueError(
            f"video has {fps:g} frames a second; {sound.model.name} makes {MINIMAX_H3.fps}, and sound that long. Set "
            f"fps of Load Long Video to {MINIMAX_H3.fps}."
        )
    sound_latent_shape(vae, audio_vae, vae_timebase(vae, 1, fps))  # refuses VAEs of different models
    samples = encode_video(vae, video, width, height)
    shape = sound_latent_shape(vae, audio_vae, vae_timebase(vae, num_frames_decoded(vae, samples), fps))
    return nested([samples, encode_in_pieces(sound, sound_of(video), shape)])


def encode_frames(vae: Any, frames: Iterable[torch.Tensor], num_frames: int) -> torch.Tensor:
    """The latent of frames ``t h w 3`` in 0..1, in pieces, with the host's progress bar; see ``encode_pieces``."""
    bar = comfy.utils.ProgressBar(max(1, num_frames))
    return encode_pieces(vae, frames, lambda done, _: bar.update_absolute(done))
