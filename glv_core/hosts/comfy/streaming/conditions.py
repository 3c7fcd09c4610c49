"""Conditions that run along the video, sliced for one chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ....timeline import Place
from ..co_denoise.controls import check_control, control_for, hint_images
from ..families import Along, ByChunk, Family

_REMEDY = "Remove it, or make the video in one chunk."


def check_conditions(
    entries: list, family: Family, length: int, chunk: int, num_chunks: int, replaced: bool, time_dim: int
) -> None:
    """Check before sampling that everything that runs along the video can be sliced for its chunks.

    Args:
        entries: a CONDITIONING.
        family: of the model.
        length: latent frames of the video.
        chunk: latent frames of a chunk.
        num_chunks: how many there are.
        replaced: whether chunks bring a start image of their own.
        time_dim: the latents' axis of time.

    Raises:
        ValueError: something has another length than the video, or is not known to be the same for all chunks.
    """
    for _, extras in entries:
        for key, along in family.chunk_along.items():
            if replaced and key in family.start_image:
                continue
            for tensor in _tensors(extras.get(key)):
                size = tensor.shape[along.axis] if along.scale != 1 or tensor.ndim == 5 else 1
                if not _fits(size, along, length) and not (num_chunks <= 1 and _fits(size, along, chunk)):
                    raise ValueError(
                        f"The conditioning '{key}' is {size // max(1, along.scale)} latent frames long, the video "
                        f"{length}. Make it for the whole video: each chunk takes its part."
                    )
        if num_chunks > 1:
            _check_the_rest(extras, family, time_dim)
            check_control(extras.get("control"), length, time_dim)


def _fits(size: int, along: Along, length: int) -> bool:
    if along.scale == 1:
        return size in (1, length)
    return size >= along.scale * length


def _check_the_rest(extras: Mapping[str, Any], family: Family, time_dim: int) -> None:
    for key, value in extras.items():
        if key in family.chunk_refused and value is not None:
            raise ValueError(
                f"Streaming does not support {family.chunk_refused[key]} yet: every chunk would see the wrong part of "
                f"it. {_REMEDY}"
            )
        if key in family.chunk_along or key in family.shared or time_dim == 0:
            continue
        for tensor in _tensors(value):
            if tensor.ndim == 5 and tensor.shape[2] > 1:
                raise ValueError(
                    f"Streaming does not know how the conditioning '{key}' runs along the video: it holds "
                    f"{tensor.shape[2]} latent frames, and every chunk would see the first of them. {_REMEDY}"
                )


def conditions_of(
    entries: list,
    along: Mapping[str, Along],
    place: Place,
    length: int,
    time_dim: int,
    by_chunk: Mapping[str, ByChunk] = {},
) -> list:
    """A CONDITIONING for a chunk of ``length`` latent frames at a place of the video; ``along``, ``by_chunk``: see
    ``Family``.
    """
    indices = place.indices(length)
    sliced = []
    for tensor, extras in entries:
        changed = {key: make(extras[key], place, length) for key, make in by_chunk.items() if extras.get(key)}
        for key, how in along.items():
            value = extras.get(key)
            if isinstance(value, (list, tuple)):
                changed[key] = [_select(each, how, indices, place) for each in value]
            elif isinstance(value, torch.Tensor):
                changed[key] = _select(value, how, indices, place)
        if time_dim == 0 and hint_images(extras.get("control")) > 1:
            changed["control"] = control_for(extras["control"], indices, place.num_latent_frames)
        sliced.append([tensor, {**extras, **changed}])
    return sliced


def _select(tensor: torch.Tensor, along: Along, indices: list[int], place: Place) -> torch.Tensor:
    if along.scale == 1 and (tensor.ndim != 5 or tensor.shape[along.axis] == 1):
        return tensor
    size = tensor.shape[along.axis]
    rows = [min(row, size - 1) for row in along.indices(indices, place.num_latent_frames, size)]
    return tensor.index_select(along.axis, torch.tensor(rows, device=tensor.device))


def _tensors(value: Any) -> list[torch.Tensor]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, torch.Tensor)]
