"""Depth that ComfyUI's own Depth Anything 3 has found for a clip, DA3_GEOMETRY, as inverse depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

NAME = "da3_geometry"  #: the input, for errors
TRIMMED = 0.01  #: of the pixels are nearer than the nearest that counts, and so many farther than the farthest
_SKY = 0.5  # probability
_SAMPLES = 100_000  # pixels that a range is found of, for each frame


class GeometryDepth:
    """Inverse depth of a clip, near large; 0 for the sky and where there is no depth.

    Args:
        geometry: with ``depth`` ``t h w``, and ``sky`` ``t h w`` of models that tell it.
        num_frames: of the clip.

    Raises:
        ValueError: it is something else, or of another number of frames.
    """

    def __init__(self, geometry: Any, num_frames: int) -> None:
        depth = geometry.get("depth") if isinstance(geometry, dict) else None
        if not isinstance(depth, torch.Tensor) or depth.ndim != 3:
            raise ValueError(
                f"{NAME} is {type(geometry).__name__} without a depth 't h w'. Connect what Run Depth Anything 3 gives."
            )
        if len(depth) != num_frames:
            raise ValueError(
                f"{NAME} has {len(depth)} frames, the clip {num_frames}. Run Depth Anything 3 on the clip that is "
                "connected to images."
            )
        self._depth, self._sky = depth, geometry.get("sky")

    def inverse_depth(self, height: int, width: int, piece: int) -> Iterator[torch.Tensor]:
        """``t h w`` float32 in another size, a piece of the frames at a time."""
        for first in range(0, len(self._depth), piece):
            yield F.interpolate(self._inverse(first, first + piece)[:, None], (height, width), mode="area")[:, 0]

    def ranges(self) -> torch.Tensor:
        """Farthest and nearest inverse depth of each frame, ``t 2``, without the outermost pixels."""
        return torch.stack([self._range(self._inverse(number, number + 1)) for number in range(len(self._depth))])

    def _inverse(self, first: int, last: int) -> torch.Tensor:
        depth = self._depth[first:last].float()
        there = depth.isfinite() & (depth > 0)
        if self._sky is not None:
            there &= self._sky[first:last] < _SKY
        return torch.where(there, 1 / torch.where(there, depth, 1), 0)

    @staticmethod
    def _range(inverse: torch.Tensor) -> torch.Tensor:
        seen = inverse[inverse > 0]
        if not len(seen):
            return torch.zeros(2)
        sample = seen[:: -(-len(seen) // _SAMPLES)]
        return torch.quantile(sample, torch.tensor([TRIMMED, 1 - TRIMMED]))
