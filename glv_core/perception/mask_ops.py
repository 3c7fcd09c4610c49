"""What is done to a mask after it is found: grow, shrink, feather, smooth over time, invert."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

WHEN_EMPTY = ("empty", "hold last", "error")
_WORD = 64  # bits


def grow(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grow a mask ``h w`` bool by a disc of so many pixels; a negative number shrinks it.

    The image's edge counts as more of the same: an object that is cut off there does not shrink away from it.
    """
    if pixels < 0:
        return ~grow(~mask, -pixels)
    if not pixels or not mask.any():
        return mask
    height, width = mask.shape
    near, reach = _packed(mask), 0
    grown = np.zeros_like(near)
    # A disc is a stack of rows, each of which reaches as far as the one above it or farther, down to its middle.
    for offset in range(min(pixels, height - 1), -1, -1):
        wanted = math.isqrt(pixels * pixels - offset * offset)
        while reach < wanted:
            step = min(wanted - reach, reach + 1, _WORD - 1)  # no farther than what is reached, or gaps are left
            near = near | _moved(near, step)
            reach += step
        grown[offset:] |= near[: height - offset]
        grown[: height - offset] |= near[offset:]
    bits = np.unpackbits(grown.view(np.uint8), axis=1, count=width, bitorder="little")
    return torch.from_numpy(bits.view(np.bool_)).to(mask.device)


def _packed(mask: torch.Tensor) -> np.ndarray:
    """A mask ``h w`` as one bit a pixel, ``h (w / 64)`` uint64, the leftmost the lowest."""
    height, width = mask.shape
    bits = np.zeros((height, -(-width // _WORD) * _WORD // 8), np.uint8)
    bits[:, : -(-width // 8)] = np.packbits(mask.cpu().numpy(), axis=1, bitorder="little")
    return bits.view("<u8")


def _moved(words: np.ndarray, step: int) -> np.ndarray:
    """Where there is a pixel so many to the left, or to the right; under 64."""
    left, right = words << step, words >> step
    left[:, 1:] |= words[:, :-1] >> (_WORD - step)
    right[:, :-1] |= words[:, 1:] << (_WORD - step)
    return left | right


def feather(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """A mask ``h w`` with a soft edge about ``pixels`` wide to either side: float in 0..1."""
    soft = mask.float()
    if not pixels:
        return soft
    at = torch.arange(-pixels, pixels + 1, device=soft.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / (pixels / 2)) ** 2)
    kernel = kernel / kernel.sum()
    soft = soft[None, None]
    for shape, padding in (((1, 1, 1, -1), (pixels, pixels, 0, 0)), ((1, 1, -1, 1), (0, 0, pixels, pixels))):
        soft = F.conv2d(F.pad(soft, padding, mode="replicate"), kernel.view(shape))
    return soft[0, 0].clamp(0, 1)


class Majority:
    """Smooths masks over time: a pixel is what it is in most of the frames around, ``radius`` to either side.

    ``push`` takes one mask ``h w`` bool after the other; masks come out ``radius`` frames later, the rest by ``flush``.
    Where half the frames say so and half not, the frame's own pixel stays.
    """

    def __init__(self, radius: int) -> None:
        self._radius = radius
        self._masks: deque[torch.Tensor] = deque()  # from radius frames before the next one out
        self._at = 0  # the next one out

    def push(self, mask: torch.Tensor) -> Iterator[torch.Tensor]:
        self._masks.append(mask)
        if len(self._masks) > self._at + self._radius:
            yield self._next()

    def flush(self) -> Iterator[torch.Tensor]:
        while self._at < len(self._masks):
            yield self._next()
        self._masks.clear()
        self._at = 0

    def _next(self) -> torch.Tensor:
        around = list(self._masks)[: self._at + self._radius + 1]
        votes = torch.stack(around).sum(0) * 2
        smooth = (votes > len(around)) | ((votes == len(around)) & self._masks[self._at])
        if self._at == self._radius:
            self._masks.popleft()
        else:
            self._at += 1
        return smooth


@dataclass(frozen=True)
class Finish:
    """How masks are finished, see ``Finisher``; lengths in pixels and frames."""

    grow: int = 0  #: negative shrinks
    feather: int = 0
    smooth: int = 0  #: frames to either side
    invert: bool = False
    when_empty: Literal["empty", "hold last", "error"] = "empty"


class Finisher:
    """Finishes masks one after the other: frames without any, smoothing over time, growing, feathering, inverting.

    ``push`` takes ``h w`` bool and gives finished masks ``h w`` float in 0..1, in order, ``smooth`` frames later; the
    rest come by ``flush``.

    Raises:
        ValueError: from ``push``, a frame's mask is empty and that is an error.
    """

    def __init__(self, finish: Finish) -> None:
        self._finish = finish
        self._majority = Majority(finish.smooth)
        self._last: torch.Tensor | None = None
        self._count = 0

    def push(self, mask: torch.Tensor) -> Iterator[torch.Tensor]:
        if mask.any():
            self._last = mask
        elif self._finish.when_empty == "error":
            raise ValueError(
                f"Nothing is found in frame {self._count}. Lower the thresholds, name it otherwise, or set when_empty "
                "to 'empty' or 'hold last'."
            )
        elif self._finish.when_empty == "hold last" and self._last is not None:
            mask = self._last
        self._count += 1
        yield from map(self._finished, self._majority.push(mask))

    def flush(self) -> Iterator[torch.Tensor]:
        yield from map(self._finished, self._majority.flush())

    def _finished(self, mask: torch.Tensor) -> torch.Tensor:
        soft = feather(grow(mask, self._finish.grow), self._finish.feather)
        return 1 - soft if self._finish.invert else soft
