"""Tiles in space: a frame too large for the model is predicted in overlapping parts, which are blended.

The windows and weights of time serve for height and width too (MultiDiffusion, arXiv 2302.08113, with weights that fall
towards a tile's border in place of a flat average).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .fusion import merge_weights
from .window_schedules import windows_for
from .windows import Tile

#: Tiles that move from step to step, as windows do, are up to half as many again along a side, and showed no less of
#: their borders in the one video that was measured (``benchmarks/tiles.py``).
SCHEDULE, MERGE = "static_balanced", "pyramid"
PATCH = 2  #: latent pixels; a tile's sides are whole patches of every model


@dataclass(frozen=True)
class Tiling:
    """How frames are cut: height and width of a tile, 0 for the whole side, and what neighbours share at least.

    In latent pixels.

    Raises:
        ValueError: a side that is no multiple of ``PATCH``, or an overlap that is not below both.
    """

    height: int = 0
    width: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if side < 0 or side % PATCH:
                raise ValueError(f"The tile's {name} is {side} latent pixels; it must be a multiple of {PATCH}, or 0.")
            if side and not 0 <= self.overlap < side:
                raise ValueError(
                    f"The tiles' overlap is {self.overlap} latent pixels and their {name} {side}; it must be below. "
                    "Lower the overlap."
                )

    def tiles(self, frame: tuple[int, int], step: int = 0) -> tuple[Tile, ...]:
        """The tiles of a frame of so many rows and columns at a sampling step, row by row.

        A side that is as long as the frame's, or longer, is not cut.
        """
        rows, columns = (
            _spans(whole, min(side or whole, whole), self.overlap, step)
            for whole, side in zip(frame, (self.height, self.width), strict=True)
        )
        return tuple(
            Tile(top, left, len(down), len(across), frame, down[:, None] * across[None])
            for top, down in rows
            for left, across in columns
        )


def _spans(length: int, tile: int, overlap: int, step: int) -> list[tuple[int, torch.Tensor]]:
    """Starts and weights of the tiles along one side."""
    grain = PATCH if (length - tile) % PATCH == 0 else 1
    windows = windows_for(SCHEDULE, length, tile, min(overlap, tile - 1), step, grain=grain)
    weights = merge_weights(MERGE, windows, length, step)
    return sorted(
        ((window.start, each) for window, each in zip(windows, weights, strict=True)), key=lambda each: each[0]
    )


class TileSum:
    """A prediction of frames ``... h w`` that is put together of its tiles', as they come.

    Args:
        tiles: all of a frame.
    """

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._waiting = set(range(len(tiles)))
        self._tiles = tiles
        self._total: list[list[torch.Tensor]] | None = None

    def add(self, number: int, predictions: Sequence[Sequence[torch.Tensor]]) -> bool:
        """Add a tile's predictions ``[output][stream]``; returns whether it was the last one.

        The first stream is the tile's part of the video. What lies beside it, such as sound, every tile says whole: its
        mean, by the tiles' shares.
        """
        tile = self._tiles[number]
        self._waiting.remove(number)
        if self._total is None:
            self._total = [
                [video.new_zeros(*video.shape[:-2], *tile.frame), *map(torch.zeros_like, beside)]
                for video, *beside in predictions
            ]
        for total, (video, *beside) in zip(self._total, predictions, strict=True):
            tile.of(total[0]).add_(video * tile.weights.to(video))
            for whole, said in zip(total[1:], beside, strict=True):
                whole.add_(said, alpha=tile.share)
        return not self._waiting

    @property
    def whole(self) -> list[list[torch.Tensor]]:
        """The predictions of the whole frame, ``[output][stream]``."""
        return self._total or []
