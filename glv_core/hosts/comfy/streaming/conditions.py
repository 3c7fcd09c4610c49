"""Conditions that run along the video, sliced for one chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ....timeline import Place
from ..co_denoise.conditioning import check_control
from ..families import Family


def check_conditions(entries: list, family: Family, length: int, chunk: int, num_chunks: int, replaced: bool) -> None:
    """Check before sampling that everything that runs along the video can be sliced for its chunks.

    Args:
        entries: a CONDITIONING.
        family: of the model.
        length: latent frames of the video.
        chunk: latent frames of a chunk.
        num_chunks: how many there are.
        replaced: whether chunks bring a start image of their own.

    Raises:
        ValueError: something has another length than the video.
    """
    for _, extras in entries:
        for key, axis in family.chunk_axes.items():
            if replaced and key in family.start_image:
                continue
            for tensor in _tensors(extras.get(key)):
                size = tensor.shape[axis] if tensor.ndim == 5 else 1
                if size not in (1, length) and not (size == chunk and num_chunks <= 1):
                    raise ValueError(
                        f"The conditioning '{key}' is {size} latent frames long, the video {length}. Make it for the "
                        "whole video: each chunk takes its part."
                    )
        if num_chunks > 1:
            check_control(extras.get("control"))


def conditions_of(entries: list, axes: Mapping[str, int], place: Place, length: int) -> list:
    """A CONDITIONING for a chunk of ``length`` latent frames at a place of the video; ``axes``: see ``Family``."""
    indices = place.indices(length)
    sliced = []
    for tensor, extras in entries:
        changed = {}
        for key, axis in axes.items():
            value = extras.get(key)
            if isinstance(value, (list, tuple)):
                changed[key] = [_select(each, axis, indices) for each in value]
            elif isinstance(value, torch.Tensor):
                changed[key] = _select(value, axis, indices)
        sliced.append([tensor, {**extras, **changed}])
    return sliced


def _select(tensor: torch.Tensor, axis: int, indices: list[int]) -> torch.Tensor:
    if tensor.ndim != 5 or tensor.shape[axis] == 1:
        return tensor
    last = tensor.shape[axis] - 1
    return tensor.index_select(axis, torch.tensor([min(index, last) for index in indices], device=tensor.device))


def _tensors(value: Any) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, torch.Tensor)]
