"""People with known keypoints, the maps that OpenPose's body network would make of them, and counting work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# A standing person around the middle of the hips, in units of a quarter of the body.
STANDING = np.array([
    [0, -3], [0, -2], [-1, -2], [-1.5, -1], [-1.5, 0], [1, -2], [1.5, -1], [1.5, 0], [-0.6, 0], [-0.6, 1.5], [-0.6, 3],
    [0.6, 0], [0.6, 1.5], [0.6, 3], [-0.3, -3.3], [0.3, -3.3], [-0.6, -3.1], [0.6, -3.1],
])  # fmt: skip
# Limbs with the channels of their affinity fields, from OpenPose's description of its COCO model.
FIELDS = {
    (1, 2): 12, (1, 5): 20, (2, 3): 14, (3, 4): 16, (5, 6): 22, (6, 7): 24, (1, 8): 0, (8, 9): 2, (9, 10): 4,
    (1, 11): 6, (11, 12): 8, (12, 13): 10, (1, 0): 28, (0, 14): 30, (14, 16): 34, (0, 15): 32, (15, 17): 36,
    (2, 16): 18, (5, 17): 26,
}  # fmt: skip


def standing(x: float, y: float, unit: float, score: float = 0.9) -> np.ndarray:
    """Keypoints ``18 3``."""
    return np.concatenate([STANDING * unit + (x, y), np.full((18, 1), score)], 1)


def maps_of(people: list[np.ndarray], height: int, width: int, sigma: float = 1.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Heat maps ``19 h w`` and affinity fields ``38 h w`` of people in pixels of these maps."""
    heat, fields = np.zeros((19, height, width), np.float32), np.zeros((38, height, width), np.float32)
    y, x = np.mgrid[:height, :width]
    for person in people:
        for number, (px, py, score) in enumerate(person):
            heat[number] = np.maximum(heat[number], score * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / sigma**2))
        for (a, b), channel in FIELDS.items():
            if person[a, 2] > 0 and person[b, 2] > 0:
                way = person[b, :2] - person[a, :2]
                length = np.linalg.norm(way)
                way = way / length
                along = (x - person[a, 0]) * way[0] + (y - person[a, 1]) * way[1]
                away = np.abs((x - person[a, 0]) * way[1] - (y - person[a, 1]) * way[0])
                on = (along > -1) & (along < length + 1) & (away < 1.2)
                fields[channel][on], fields[channel + 1][on] = way
    return torch.from_numpy(heat), torch.from_numpy(fields)


def calls_of(function: Callable[..., Any], *given: Any) -> int:
    """How many functions of Python and C one call makes."""
    calls = 0

    def count(_frame: Any, event: str, _what: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    function(*given)  # imports and caches
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*given)
    finally:
        sys.setprofile(before)
    return calls
