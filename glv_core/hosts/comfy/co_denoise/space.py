"""What a tile sees of a cond entry, and what cannot be cut in space.

A tile is a frame of its own to the model, whose places are counted from its corner. Whatever has the size of the
latent's frames is cut with them; what a family names it knows better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ....windows import Tile
from ..families import SHARED, Family
from .attention_maps import map_keeper
from .controls import can_share_a_forward
from .driven import drives
from .model_patches import check_no_images

Entry = dict[str, Any]
_REMEDY = "Remove it, or set tile_width and tile_height to 0."


def check_tiles(entries: Sequence[Entry], family: Family, model_options: Mapping[str, Any]) -> None:
    """Check that everything of the frame's size can be cut.

    Raises:
        ValueError: something cannot, or nobody knows.
    """
    options = model_options.get("transformer_options", {})
    found = {
        "GLIGEN's boxes": any("gligen" in entry for entry in entries),
        "a ControlNet of another pack": any(
            entry.get("control") is not None and not can_share_a_forward(entry["control"]) for entry in entries
        ),
        "InfiniteTalk and Uni3C": drives(options),
        "Self-Attention Guidance": map_keeper(dict(model_options)) is not None,
        **{words: any(key in entry["model_conds"] for entry in entries) for key, words in family.tile_refused.items()},
    }
    for what, is_there in found.items():
        if is_there:
            raise ValueError(f"Tiles do not support {what}: every tile would see the wrong part of it. {_REMEDY}")
    check_no_images(model_options, _REMEDY)


def cut_entry(entry: Entry, tile: Tile, family: Family, mask_axes: int) -> Entry | None:
    """A cond entry of a window for a tile; None if its mask or area has no part in it.

    An area becomes a mask, of ``mask_axes`` axes: the model is shown the whole tile, and counts inside the area alone.
    """
    cut = {**entry, "model_conds": {key: _cut(key, cond, tile, family) for key, cond in entry["model_conds"].items()}}
    mask, area = cut.get("mask"), cut.pop("area", None)
    if area is not None:
        size, first = area[: len(area) // 2], area[len(area) // 2 :]
        inside = torch.zeros(tile.frame) if mask is None else torch.zeros(tile.frame).to(mask)
        inside[first[-2] : first[-2] + size[-2], first[-1] : first[-1] + size[-1]] = 1
        mask = inside.reshape(*[1] * (mask_axes - 2), *tile.frame) if mask is None else mask * inside
        if len(size) == 3:  # in time as well
            cut["area"] = (size[0], tile.height, tile.width, first[0], 0, 0)
    if mask is not None:
        part = cut["mask"] = _of_frame(mask, tile, mask_axes)
        if part is not mask and not part.any():
            return None
    return cut


def _cut(key: str, cond: Any, tile: Tile, family: Family) -> Any:
    value = getattr(cond, "cond", None)
    if key in family.undivided or key in SHARED:
        return cond
    if isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
        # Of several videos those with one latent frame are references.
        return cond._copy_with([each if each.shape[2] == 1 else _of_frame(each, tile, 4) for each in value])
    if not isinstance(value, torch.Tensor):
        return cond
    if key in family.resized:
        return cond._copy_with(_resized(value, tile))
    part = tile.of(value) if key in family.scaled else _of_frame(value, tile, 4)
    return cond if part is value else cond._copy_with(part)


def _of_frame(value: torch.Tensor, tile: Tile, axes: int) -> torch.Tensor:
    """The tile's part of a tensor of so many axes or more, of which the last are the latent's rows and columns.

    Others as they are.
    """
    return tile.of(value) if value.ndim >= axes and tuple(value.shape[-2:]) == tile.frame else value


def _resized(value: torch.Tensor, tile: Tile) -> torch.Tensor:
    """All of a picture ``... h w`` in the size of the tile."""
    rows = value.reshape(-1, 1, *value.shape[-2:]).float()
    size = (tile.height, tile.width)
    small = torch.nn.functional.interpolate(rows, size, mode="bilinear", antialias=True)
    return small.reshape(*value.shape[:-2], *size).to(value)
