"""Masks of a long clip, packed: drawn ones take a few hundred bytes a frame."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch


class PackedMasks:
    """Masks ``height width`` of a clip, one for every frame or one for all."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._packed: list[bytes] = []
        self._covered: list[int] = []

    def __len__(self) -> int:
        return len(self._packed)

    def __bool__(self) -> bool:
        """Whether one of them covers anything."""
        return any(self._covered)

    def share(self, count: int) -> float:
        """The part of ``count`` frames that they cover, 0..1."""
        covered = sum(self._covered[:count]) * (count if len(self) == 1 else 1)
        return covered / (count * self._size[0] * self._size[1])

    def add(self, masks: torch.Tensor) -> None:
        """Append masks ``t height width`` bool.

        Raises:
            ValueError: another shape or type.
        """
        if masks.dtype != torch.bool or tuple(masks.shape[1:]) != self._size:
            raise ValueError(f"masks are {tuple(masks.shape)} {masks.dtype}; expected bool of {self._size}.")
        for mask in masks.cpu().numpy():
            self._covered.append(int(mask.sum()))
            self._packed.append(zlib.compress(np.packbits(mask).tobytes(), 1))

    def frames(self, count: int, batch: int = 16) -> Iterator[torch.Tensor]:
        """The first ``count`` masks in pieces ``t height width`` bool of at most ``batch``; a single one is repeated.

        Raises:
            ValueError: there are fewer.
        """
        if len(self) not in (1, *range(count, len(self) + 1)):
            raise ValueError(f"There are {len(self)} masks for {count} frames.")
        for start in range(0, count, batch):
            numbers = range(start, min(start + batch, count))
            yield torch.from_numpy(np.stack([self._mask(number if len(self) > 1 else 0) for number in numbers]))

    def _mask(self, number: int) -> np.ndarray:
        height, width = self._size
        bits = np.frombuffer(zlib.decompress(self._packed[number]), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)
