"""What a function that makes control images is given: pieces of a clip, and its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

# Bytes for each pixel of a piece of frames beside the weights, about what the largest layers take.
_BYTES = {"plain": 200, "hed": 1000, "mlsd": 600, "openpose": 300, "transformers": 2000}
_SOURCE_BYTES = 50  # for each pixel of a frame before it is resized

Pieces = Iterator[torch.Tensor]


@dataclass(frozen=True)
class ClipSize:
    """The control images to make: how many, how large, how many at a time, and the pixels of a frame before it is
    resized on the device."""

    num_frames: int
    height: int
    width: int
    piece: int
    source_pixels: int = 0

    def memory(self, kind: str) -> int:
        """Bytes on the device that work on one piece may take."""
        return self.piece * (self.height * self.width * _BYTES[kind] + self.source_pixels * _SOURCE_BYTES)


# Frames t h w 3 uint8 on the device to control images, t h w or t h w 3 uint8.
Control = Callable[[Pieces, ClipSize], Pieces]
