"""Reads from pixels alone whether a frame shows a star; knows nothing of how stars are drawn here.

The outline of an object is its distance from the middle at each angle. As a sum of waves around it, a star of five
points has its strongest wave five times around; a square has four, a triangle three, a circle none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .detector import Array, centred, find_covers

POINTS = 5
_ANGLES = 180
_LEAST_WAVE = 0.06  # of the mean distance
_LEAST_COVER = 60.0  # pixels
_WAVES = range(2, 9)


def waves(cover: Array) -> dict[int, float]:
    """The waves of an object's outline: times around -> amplitude over the mean distance from its middle.

    Args:
        cover: how much of each pixel the object covers, 0..1, ``h w`` on a torus.
    """
    moved, _ = centred(cover)
    rows, columns = np.mgrid[: moved.shape[0], : moved.shape[1]]
    total = moved.sum()
    middle = (moved * rows).sum() / total, (moved * columns).sum() / total
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    steps = np.arange(0, min(moved.shape) / 2, 0.25)[:, None]
    along = _between(moved, middle[0] - steps * np.cos(angles), middle[1] + steps * np.sin(angles)).sum(0) * 0.25
    spectrum = np.abs(np.fft.rfft(along)) / _ANGLES
    return {times: float(2 * spectrum[times] / spectrum[0]) for times in _WAVES}


def shows_star(cover: Array) -> bool:
    """Whether an object, see ``waves``, is a star of five points."""
    if cover.sum() < _LEAST_COVER:
        return False
    found = waves(cover)
    return max(found, key=found.__getitem__) == POINTS and found[POINTS] > _LEAST_WAVE


def stars(frames: torch.Tensor | Array) -> Sequence[bool]:
    """For each frame of ``t 3 h w`` or ``t h w 3``, values 0..1: whether its object is a star."""
    return [shows_star(cover) for cover in find_covers(frames)]


def _between(image: Array, rows: Array, columns: Array) -> Array:
    """Values between pixels, by straight lines."""
    rows, columns = np.clip(rows, 0, image.shape[0] - 1.001), np.clip(columns, 0, image.shape[1] - 1.001)
    top, left = rows.astype(int), columns.astype(int)
    down, right = rows - top, columns - left
    above = image[top, left] * (1 - right) + image[top, left + 1] * right
    below = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return above * (1 - down) + below * down
