"""Merge weights: how much each window says about each of its latent frames, and the sum over windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .windows import Window


def flat_weights(window: int) -> list[float]:
    """Every frame of a window counts the same (Gen-L-Video's code)."""
    return [1.0] * window


def pyramid_weights(window: int) -> list[float]:
    """Weights rise in a straight line to the middle of the window and fall again: 1 2 3 3 2 1."""
    return [float(min(k + 1, window - k)) for k in range(window)]


def hann_weights(window: int) -> list[float]:
    """A raised cosine that is above 0 at both ends."""
    return [math.sin(math.pi * (k + 0.5) / window) ** 2 for k in range(window)]


MERGES: dict[str, Callable[[int], list[float]]] = {
    "pyramid": pyramid_weights,
    "hann": hann_weights,
    "flat": flat_weights,
}


def merge_weights(merge: str, windows: Sequence[Window], length: int) -> list[torch.Tensor]:
    """Weights of every window's latent frames, a partition of unity over the whole length.

    Args:
        merge: a name in ``MERGES``.
        windows: windows of one step, which cover ``0 ... length - 1``.
        length: latent frames of the long latent.

    Returns:
        One float32 tensor ``[window length]`` a window, all above 0; for each latent frame the weights of the windows
        that hold it sum to 1.

    Raises:
        ValueError: unknown merge, or a latent frame that no window covers.
    """
    if merge not in MERGES:
        raise ValueError(f"Unknown merge {merge!r}. Known: {', '.join(MERGES)}.")
    total = torch.zeros(length, dtype=torch.float64)
    raw = []
    for window in windows:
        weights = torch.tensor(MERGES[merge](window.length), dtype=torch.float64)
        total[window.start : window.stop] += weights
        raw.append(weights)
    uncovered = (total <= 0).nonzero().flatten().tolist()
    if uncovered:
        raise ValueError(f"No window covers latent frames {uncovered}.")
    return [
        (weights / total[window.start : window.stop]).float() for window, weights in zip(windows, raw, strict=True)
    ]


class Accumulator:
    """The weighted sum of window predictions over a long latent.

    Args:
        like: a tensor of the long latent's shape, dtype and device; it is not changed.
        time_dim: which axis is time.
    """

    def __init__(self, like: torch.Tensor, time_dim: int) -> None:
        self.total = torch.zeros_like(like)
        self.time_dim = time_dim

    def add(self, window: Window, prediction: torch.Tensor, weights: torch.Tensor) -> None:
        """Add ``prediction`` (the window's part of the long shape) times ``weights`` (``[window length]``)."""
        shape = [1] * prediction.ndim
        shape[self.time_dim] = window.length
        weights = weights.to(device=self.total.device, dtype=self.total.dtype).reshape(shape)
        part = self.total.narrow(self.time_dim, window.start, window.length)
        part += prediction.to(device=self.total.device, dtype=self.total.dtype) * weights
