"""Merge weights: how much each window says about each of its latent frames, and the sum over windows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from .streams import Part, Stream, louder
from .windows import View, Window

#: Raw weights of the windows of a step, one list a window: from the windows, the step and the seed.
Merge = Callable[[Sequence[Window], int, int], list[list[float]]]


def flat_weights(window: int) -> list[float]:
    """Every latent frame of a window counts the same (Gen-L-Video's code)."""
    return [1.0] * window


def pyramid_weights(window: int) -> list[float]:
    """Weights rise in a straight line to the middle of the window and fall again: 1 2 3 3 2 1."""
    return [float(min(k + 1, window - k)) for k in range(window)]


def squared_weights(window: int) -> list[float]:
    """The pyramid squared: the least-squares merge under it, W^2 / sum of W^2 (Gen-L-Video's paper)."""
    return [weight * weight for weight in pyramid_weights(window)]


def hann_weights(window: int) -> list[float]:
    """A raised cosine that is above 0 at both ends."""
    return [math.sin(math.pi * (k + 0.5) / window) ** 2 for k in range(window)]


def gaussian_weights(window: int) -> list[float]:
    """A bell three standard deviations wide on each side of the middle."""
    middle = (window - 1) / 2
    return [math.exp(-0.5 * ((k - middle) / (window / 6)) ** 2) for k in range(window)]


def relative_weights(window: int) -> list[float]:
    """Falls in a straight line with the distance from the centre, to nearly nothing at both ends (AnimateDiff-Evolved's
    relative merge, by place in the window rather than in the video, so that it holds at a loop point too).
    """
    middle = (window - 1) / 2
    return [max(0.01, 1 - abs(k - middle) / (middle + 0.005)) for k in range(window)]


def _by_place(weights: Callable[[int], list[float]]) -> Merge:
    return lambda windows, step, seed: [weights(window.length) for window in windows]


def linear_in_overlap(windows: Sequence[Window], step: int = 0, seed: int = 0) -> list[list[float]]:
    """1 where a window is alone, and a straight ramp over what it shares with the neighbours that it really has."""
    raw = []
    for window, (before, after) in zip(windows, _overlaps(windows), strict=True):
        rise = [min(1.0, (k + 1) / (before + 1)) for k in range(window.length)]
        fall = [min(1.0, (window.length - k) / (after + 1)) for k in range(window.length)]
        raw.append([min(pair) for pair in zip(rise, fall, strict=True)])
    return raw


def earliest(windows: Sequence[Window], step: int = 0, seed: int = 0) -> list[list[float]]:
    """No average: every latent frame is that of the window that begins first, so that no window changes another."""

    def begins(member: int) -> tuple[int, int, int]:
        return windows[member].place, windows[member].stride, windows[member].start

    heard: dict[int, int] = {}
    for member in sorted(range(len(windows)), key=begins):
        for index in windows[member].indices:
            heard.setdefault(index, member)
    return [[float(heard[index] == member) for index in window.indices] for member, window in enumerate(windows)]


def random_cut(windows: Sequence[Window], step: int = 0, seed: int = 0) -> list[list[float]]:
    """No average: in every overlap the left window up to a random latent frame, then the right one
    (StreamingT2V's code).

    The cut is drawn for every boundary and step, evenly over as many places as the overlap is long; the last
    latent frame of an overlap is always the right window's.
    """
    return _cut(windows, step, seed, 0)


def random_cut_paper(windows: Sequence[Window], step: int = 0, seed: int = 0) -> list[list[float]]:
    """Like ``random_cut`` with one more place for the cut, so that all of an overlap may be the left window's
    (arXiv 2403.14773, where code and paper differ).
    """
    return _cut(windows, step, seed, 1)


def _cut(windows: Sequence[Window], step: int, seed: int, extra: int) -> list[list[float]]:
    raw = [[0.0] * window.length for window in windows]
    overlaps = _overlaps(windows)
    for lane, members in enumerate(_lanes(windows)):
        draw = random.Random(f"{seed}/{step}/{lane}")
        # Every window speaks from its cut on; of those that speak, the one that began last is heard.
        heard: dict[int, tuple[int, int]] = {}
        for member in members:
            overlap = overlaps[member][0]
            cut = draw.randrange(overlap + extra) if overlap else 0
            for place, index in list(enumerate(windows[member].indices))[cut:]:
                heard[index] = min(heard.get(index, (place, member)), (place, member))
        for place, member in heard.values():
            raw[member][place] = 1.0
    return raw


def _lanes(windows: Sequence[Window]) -> list[list[int]]:
    """Indices of the windows, lane by lane and in order along each."""
    lanes: dict[tuple[int, int], list[int]] = {}
    for index, window in enumerate(windows):
        lanes.setdefault((window.stride, window.lane), []).append(index)
    return [sorted(lanes[key], key=lambda index: windows[index].place) for key in sorted(lanes)]


def _overlaps(windows: Sequence[Window]) -> list[tuple[int, int]]:
    """How many latent frames at its start and at its end each window shares with a neighbour in its lane."""
    before, after = [0] * len(windows), [0] * len(windows)
    for lane in _lanes(windows):
        pairs = list(pairwise(lane))
        if windows[lane[0]].loop and len(lane) > 1:
            pairs.append((lane[-1], lane[0]))
        for left, right in pairs:
            distance = windows[right].place - windows[left].place
            distance = distance % windows[left].cells if windows[left].loop else distance
            shared = max(0, windows[left].length - distance)
            after[left] = before[right] = shared
    return list(zip(before, after, strict=True))


MERGES: dict[str, Merge] = {
    "pyramid": _by_place(pyramid_weights),
    "hann": _by_place(hann_weights),
    "flat": _by_place(flat_weights),
    "gaussian": _by_place(gaussian_weights),
    "linear_in_overlap": linear_in_overlap,
    "relative": _by_place(relative_weights),
    "squared": _by_place(squared_weights),
    "earliest": earliest,
    "random_cut": random_cut,
    "random_cut_paper": random_cut_paper,
}


def merge_weights(
    merge: str, windows: Sequence[Window], length: int, step: int = 0, seed: int = 0
) -> list[torch.Tensor]:
    """Weights of every window's latent frames, a partition of unity over the whole length.

    Args:
        merge: a name in ``MERGES``.
        windows: windows of one step, which cover ``0 ... length - 1``.
        length: latent frames of the long latent.
        step, seed: for merges that draw.

    Returns:
        One float32 tensor ``[window length]`` a window; for each latent frame the weights of the windows that hold it
        sum to 1. All are above 0, but for ``earliest`` and the random cuts, which have 0 and what is the same for
        all others.

    Raises:
        ValueError: unknown merge, or a latent frame that no window covers.
    """
    if merge not in MERGES:
        raise ValueError(f"Unknown merge {merge!r}. Known: {', '.join(MERGES)}.")
    covered = set().union(*(window.indices for window in windows))
    if uncovered := [index for index in range(length) if index not in covered]:
        raise ValueError(f"No window covers latent frames {uncovered}.")
    total = torch.zeros(length, dtype=torch.float64)
    indices = [torch.tensor(window.indices) for window in windows]
    raw = [torch.tensor(weights, dtype=torch.float64) for weights in MERGES[merge](windows, step, seed)]
    for index, weights in zip(indices, raw, strict=True):
        total[index] += weights
    return [(weights / total[index]).float() for index, weights in zip(indices, raw, strict=True)]


def select_window(tensor: torch.Tensor, window: Window | View | Part, dim: int) -> torch.Tensor:
    """The window's part of a tensor whose axis ``dim`` is the long latent's time; a view where that is possible."""
    if window.is_slice:
        return tensor.narrow(dim, window.start, window.length)
    return tensor.index_select(dim, torch.tensor(window.indices, device=tensor.device))


class Accumulator:
    """The weighted sum of window predictions over a long latent.

    Args:
        like: a tensor of the long latent's shape, dtype and device; it is not changed.
        time_dim: which axis is time.
        stream: how it lies on the video's timeline, where it is not the video itself.
    """

    def __init__(self, like: torch.Tensor, time_dim: int, stream: Stream | None = None) -> None:
        self.total = torch.zeros_like(like)
        self.time_dim = time_dim
        self.stream = stream
        self.count: torch.Tensor | None = None
        if stream is not None and stream.keeps_power:
            self.power = torch.zeros_like(like[:, :1])
            self.count = torch.zeros(like.shape[time_dim], dtype=torch.int64, device=like.device)

    def add(self, window: Window, prediction: torch.Tensor, weights: torch.Tensor) -> None:
        """Add ``prediction`` (the window's part of the long shape) times ``weights`` (``[window length]``)."""
        part = window if self.stream is None else self.stream.part(window)
        shape = [1] * prediction.ndim
        shape[self.time_dim] = part.length
        weights = weights.to(device=self.total.device, dtype=self.total.dtype).reshape(shape)
        prediction = prediction.to(device=self.total.device, dtype=self.total.dtype)
        self._add(self.total, part, prediction * weights, self.time_dim)
        if self.count is not None:
            self._add(self.power, part, prediction.square().mean(dim=1, keepdim=True) * weights, self.time_dim)
            self._add(self.count, part, torch.ones_like(self.count[: part.length]), 0)

    def merged(self) -> torch.Tensor:
        """The sum; of a stream that keeps its power as loud as the windows are, where several were averaged."""
        if self.count is None:
            return self.total
        shape = [1] * self.total.ndim
        shape[self.time_dim] = -1
        return torch.where((self.count > 1).reshape(shape), louder(self.total, self.power), self.total)

    @staticmethod
    def _add(total: torch.Tensor, part: Window | Part, values: torch.Tensor, dim: int) -> None:
        if part.is_slice:
            total.narrow(dim, part.start, part.length).add_(values)
        else:
            total.index_add_(dim, torch.tensor(part.indices, device=total.device), values)
