"""Conditions that run along the video, cut for one chunk."""

from __future__ import annotations

from typing import Any

import torch

from ....timeline import Place

#: Keys of a CONDITIONING entry that hold latents along the video, or lists of them: their axis of time.
_ALONG = {"concat_latent_image": 2, "concat_mask": 2, "vace_frames": 2, "vace_mask": 2}
#: Those that an image-to-video model's chunks replace by their own after the first.
_START_IMAGE = ("concat_latent_image", "concat_mask")


def check_conditions(entries: list, length: int, chunk: int, num_chunks: int, has_start_image: bool) -> None:
    """Check before sampling that everything that runs along the video can be cut for its chunks.

    Args:
        entries: a CONDITIONING.
        length: latent frames of the video.
        chunk: latent frames of a chunk.
        num_chunks: how many there are.
        has_start_image: whether the model's chunks bring an image condition of their own.

    Raises:
        ValueError: something has another length than the video.
    """
    for _, extras in entries:
        for key, axis in _ALONG.items():
            if has_start_image and key in _START_IMAGE:
                continue
            for tensor in _tensors(extras.get(key)):
                frames = tensor.shape[axis] if tensor.ndim == 5 else 1
                if frames not in (1, length) and not (frames == chunk and num_chunks <= 1):
                    raise ValueError(
                        f"The conditioning '{key}' is {frames} latent frames long, the video {length}. Make it for the "
                        "whole video: each chunk takes its part."
                    )
        control = extras.get("control")
        while control is not None:
            hint = getattr(control, "cond_hint_original", None)
            if hint is not None and hint.shape[0] > 1 and num_chunks > 1:
                raise ValueError(
                    f"A ControlNet with a hint of {hint.shape[0]} pictures cannot be streamed yet: every chunk would "
                    "see the first ones. Use a single picture, or co-denoise with a control model such as Wan VACE."
                )
            control = getattr(control, "previous_controlnet", None)


def conditions_of(entries: list, place: Place, length: int) -> list:
    """A CONDITIONING for a chunk of ``length`` latent frames at a place of the video."""
    frames = place.frames(length)
    cut = []
    for tensor, extras in entries:
        changed = {}
        for key, axis in _ALONG.items():
            value = extras.get(key)
            if isinstance(value, (list, tuple)):
                changed[key] = [_cut(each, axis, frames) for each in value]
            elif isinstance(value, torch.Tensor):
                changed[key] = _cut(value, axis, frames)
        cut.append([tensor, {**extras, **changed}])
    return cut


def _cut(tensor: torch.Tensor, axis: int, frames: list[int]) -> torch.Tensor:
    if tensor.ndim != 5 or tensor.shape[axis] == 1:
        return tensor
    last = tensor.shape[axis] - 1
    return tensor.index_select(axis, torch.tensor([min(frame, last) for frame in frames], device=tensor.device))


def _tensors(value: Any) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, torch.Tensor)]
