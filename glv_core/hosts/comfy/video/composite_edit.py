"""An edited video put back into the one that it was made of, a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import InputImpl, Types

from ....editing.composite import composite_frames
from ....editing.composite_clip import composite_clip
from ..families import num_frames_decoded, streams_of
from .frame_source import frame_source
from .long_video import LongVideo, clip_of, color_space_of, frames_of
from .memory_mapped import memory_mapped_zeros
from .vae_pieces import decode_pieces


@dataclass(frozen=True)
class _Edit:
    """``num_frames`` frames; ``frames(deep)`` reads them, again each time, as ``frames_of`` does."""

    num_frames: int
    frames: Callable[[bool], Iterator[torch.Tensor]]


def composite_edit(
    original: Any, edited: Any, mask: torch.Tensor, vae: Any = None, grow: int = 0, feather: int = 0
) -> Any:
    """The edit inside a mask and the original outside, see ``glv_core.editing.composite``.

    Args:
        original: a VIDEO, or an IMAGE ``t h w c``.
        edited: a VIDEO, an IMAGE, or a LATENT, which is decoded as it is needed.
        mask: ``t h w`` in 0..1, for every frame that both have, or one for all.
        vae: of the LATENT.
        grow, feather: in pixels of the original.

    Returns:
        Of an IMAGE an IMAGE, in the computer's memory or, if it is large, in a file. Of a VIDEO a VIDEO: in a file its
        frames are composed when they are read; one in memory is in memory again.

    Raises:
        ValueError: an input has no frames or no colours, the mask too few frames, a LATENT no VAE, or the two videos
            have other colour spaces.
    """
    source = frame_source(original, "original")
    edit = _edit(edited, vae)
    mask = _mask(mask, min(source.num_frames, edit.num_frames))
    if feather < 0:
        raise ValueError(f"feather is {feather} pixels; it must be 0 or more.")
    if isinstance(original, torch.Tensor):
        return _composed(original, edit, mask, grow, feather)
    # Of frames nobody knows; what a model made is SDR.
    theirs = "" if isinstance(edited, torch.Tensor) else "sRGB" if isinstance(edited, dict) else color_space_of(edited)
    if theirs and color_space_of(original) != theirs:
        raise ValueError(
            f"original is {color_space_of(original)} and edited {theirs}, so that the same numbers are other colours. "
            "Set hdr of Load Long Video to 'tone map'."
        )
    clip = clip_of(original)
    if clip is not None:
        return LongVideo(composite_clip(clip, edit.frames, mask, grow, feather))
    components = original.get_components()
    images = _composed(components.images, edit, mask, grow, feather)
    return InputImpl.VideoFromComponents(
        Types.VideoComponents(images=images, audio=components.audio, frame_rate=components.frame_rate)
    )


def _edit(edited: Any, vae: Any) -> _Edit:
    if isinstance(edited, dict):
        if vae is None:
            raise ValueError("edited is a LATENT, but no vae is connected. Connect the VAE of the model.")
        samples = edited["samples"]
        samples = streams_of(samples)[0]
        if samples.ndim == 5 and len(samples) > 1:
            raise ValueError(f"edited holds {len(samples)} videos; composite them one by one (LatentFromBatch).")
        return _Edit(num_frames_decoded(vae, samples), lambda deep: decode_pieces(vae, samples))
    source = frame_source(edited, "edited")

    def frames(deep: bool) -> Iterator[torch.Tensor]:
        pieces = source.images() if isinstance(edited, torch.Tensor) else frames_of(edited, deep)
        for part in pieces:
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield part

    return _Edit(source.num_frames, frames)


def _mask(mask: torch.Tensor, num_frames: int) -> torch.Tensor:
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or not mask.numel():
        raise ValueError(f"mask has the shape {tuple(mask.shape)}; it must be masks 't h w'.")
    if 1 != len(mask) < num_frames:
        raise ValueError(
            f"mask has {len(mask)} frames, and {num_frames} frames are edited. Connect a mask for each of them, or one "
            "for all."
        )
    return mask


def _composed(images: torch.Tensor, edit: _Edit, mask: torch.Tensor, grow: int, feather: int) -> torch.Tensor:
    result = memory_mapped_zeros(images.shape, images.dtype)
    at = 0
    for part in composite_frames(images.split(16), edit.frames(True), mask, grow, feather):
        comfy.model_management.throw_exception_if_processing_interrupted()
        result[at : at + len(part)] = part
        at += len(part)
    return result
