"""Connected regions of a mask, with numpy alone, and filling its holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Runs:
    """The True pixels of a mask as horizontal runs: pixels ``start`` up to ``stop`` of ``row``, in reading order.

    ``region``: the region's number, which is the number of its first run; ``area``: pixels of that region.
    """

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    region: np.ndarray
    area: np.ndarray


def regions(mask: np.ndarray) -> Runs:
    """The regions of a mask ``h w`` whose pixels touch at a side or a corner (8-connected)."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    row, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    # Numbers that rise in reading order, with a gap between rows: neighbours in the row above by binary search.
    stride = width + 2
    above = (row - 1) * stride
    first = np.searchsorted(row * stride + stop, above + start, "left")
    last = np.searchsorted(row * stride + start, above + stop, "right")
    count = np.maximum(last - first, 0)
    region = _joined(len(row), np.repeat(np.arange(len(row)), count), _spread(first, count))
    area = np.bincount(region, weights=stop - start, minlength=len(row)).astype(np.int64)[region]
    return Runs(row, start, stop, region, area)


def _joined(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each of ``count`` nodes the smallest that it is joined with by the edges ``a``-``b``."""
    root = np.arange(count)
    while True:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        if (low == high).all():
            return root
        np.minimum.at(root, high, low)
        while not np.array_equal(jumped := root[root], root):
            root = jumped


def fill_holes(masks: torch.Tensor, below: int) -> torch.Tensor:
    """Fill the regions of background that have fewer than ``below`` pixels, as SAM's clean-up of small regions does.

    Args:
        masks: ``... h w`` bool.
        below: pixels; 0 leaves the masks as they are.
    """
    if below <= 0:
        return masks
    flat = masks.reshape(-1, *masks.shape[-2:]).cpu().numpy()
    filled = [_filled(mask, below) if mask.any() and not mask.all() else mask for mask in flat]
    return torch.from_numpy(np.stack(filled)).to(masks.device).view(masks.shape) if filled else masks


def _filled(mask: np.ndarray, below: int) -> np.ndarray:
    runs = regions(~mask)
    small = runs.area < below
    filled = mask.copy()
    filled.reshape(-1)[
        _spread(runs.row[small] * mask.shape[1] + runs.start[small], (runs.stop - runs.start)[small])
    ] = 1
    return filled


def _spread(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``first[i]`` and the ``count[i] - 1`` whole numbers after it, for all ``i``."""
    return np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
