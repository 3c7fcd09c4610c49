"""Straight lines from the maps of an M-LSD network."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

MOST_LINES = 200
SCORE = 0.1
LENGTH = 0.1  #: pixels of the network's map


def decode_lines(
    maps: torch.Tensor, score: float = SCORE, length: float = LENGTH, most: int = MOST_LINES
) -> list[np.ndarray]:  # fmt: skip
    """Lines of each frame from M-LSD's maps (Gu et al., 2022, arXiv 2106.00186).

    Of the centres' scores only maxima among 3 x 3 count, and of these the best ``most``; start and end lie at the
    displacements of the centre.

    Args:
        maps: ``t c h w`` at half the frames' size: score before the sigmoid, then x and y to the start and to the end.
        score: a centre's probability must be above it.
        length: the line must be longer, in pixels of the map.

    Returns:
        For each frame ``n 4`` float32: x and y of start and end in pixels of the frame, best first.
    """
    heat = torch.sigmoid(maps[:, 0].float())
    heat = heat * (functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0] == heat)
    height, width = heat.shape[1:]
    values, places = heat.flatten(1).topk(min(most, height * width), dim=1)
    shifts = maps[:, 1:5].float().flatten(2).gather(2, places[:, None].expand(-1, 4, -1)).transpose(1, 2)
    centres = torch.stack([places % width, places // width], -1)
    long = (shifts[..., :2] - shifts[..., 2:]).norm(dim=-1) > length
    lines = 2 * (centres.repeat(1, 1, 2) + shifts)
    return [
        each[keep].cpu().numpy() for each, keep in zip(lines, (values > score) & long, strict=True)
    ]  # fmt: skip
