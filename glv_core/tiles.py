"""Tiles in space: a frame too large for the model is predicted in overlapping parts, which are blended.

The windows and weights of time serve for height and width too (MultiDiffusion, arXiv 2302.08113, with ramps over what
tiles share in place of a flat average).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .fusion import merge_weights
from .windows import windows_for


@dataclass(frozen=True)
class Tile:
    """A part of a frame, in latent pixels.

    ``top``, ``left``, ``height``, ``width``: where it lies. ``weights``: how much it counts in each of its pixels,
    ``h w``; those of all tiles of a frame sum to 1 in every pixel.
    """

    top: int
    left: int
    height: int
    width: int
    weights: torch.Tensor

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """This part of a tensor ``... h w``; a view."""
        return tensor[..., self.top : self.top + self.height, self.left : self.left + self.width]


def tiles_of(height: int, width: int, tile: tuple[int, int], overlap: int, multiple: int = 1) -> list[Tile]:
    """The tiles of a frame, row by row, evenly spaced.

    Args:
        height, width: of the frame, in latent pixels.
        tile: height and width of a tile; a side that is as long as the frame's, or longer, is not cut.
        overlap: what neighbours share at least. 0 to less than the tile's sides.
        multiple: tiles begin at multiples of it, as wide as the model's patches.

    Raises:
        ValueError: the sizes do not go together.
    """
    sides = {"height": tile[0], "width": tile[1]}
    for name, side in sides.items():
        if side < 1 or side % multiple:
            raise ValueError(f"tile {name} is {side}; it must be a multiple of {multiple} above 0.")
        if not 0 <= overlap < side:
            raise ValueError(f"tile overlap is {overlap} and tile {name} {side}; it must be below. Lower the overlap.")
    rows, columns = (_spans(*each, overlap, multiple) for each in ((height, tile[0]), (width, tile[1])))
    return [
        Tile(top, left, len(down), len(across), down[:, None] * across[None])
        for top, down in rows
        for left, across in columns
    ]


def _spans(length: int, tile: int, overlap: int, grain: int) -> list[tuple[int, torch.Tensor]]:
    """Starts and weights of the tiles along one side."""
    windows = windows_for("static_balanced", length, min(tile, length), min(overlap, length - 1), 0, grain=grain)
    weights = merge_weights("linear_in_overlap", windows, length)
    return sorted(
        ((window.start, each) for window, each in zip(windows, weights, strict=True)), key=lambda each: each[0]
    )


def over_tiles(x: torch.Tensor, tiles: list[Tile], predict: Callable[[Tile], torch.Tensor]) -> torch.Tensor:
    """Predictions of tiles, blended into one of the shape of ``x``.

    Args:
        x: what is predicted for, ``... h w``.
        tiles: of its frame.
        predict: a tile -> its prediction ``... h w``, called tile by tile.
    """
    if len(tiles) == 1:
        return predict(tiles[0])
    total = None
    for tile in tiles:
        part = predict(tile)
        if total is None:
            total = torch.zeros(x.shape, dtype=part.dtype, device=part.device)
        tile.of(total).add_(part * tile.weights.to(part))
    return total
