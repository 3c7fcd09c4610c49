"""What an object looks like, so that it is known again: the histogram of its colors."""

from __future__ import annotations

import torch

_LEVELS = 6


def color_histogram(frame: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The parts of an object's pixels that have each of 216 colors; they add up to 1, or are 0 for an empty mask.

    Args:
        frame: ``h w 3`` uint8.
        mask: ``h w`` bool.
    """
    pixels = frame[mask.to(frame.device)]
    levels = (pixels.float() / 255 * _LEVELS).long().clamp(0, _LEVELS - 1)
    bins = (levels[:, 0] * _LEVELS + levels[:, 1]) * _LEVELS + levels[:, 2]
    count = torch.bincount(bins, minlength=_LEVELS**3).float().cpu()
    return count / max(len(pixels), 1)


def similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    """How similar two histograms are: 1 for the same, 0 without a common color (Bhattacharyya coefficient)."""
    return float((a * b).sqrt().sum())
