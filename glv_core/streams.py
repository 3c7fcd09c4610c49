"""Streams: what else a latent holds beside its video, such as sound, on the video's timeline.

A window is a span of time: every stream takes its part of it. A stream has *elements* along its axis of time, as the
video has latent frames.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from .windows import View, Window

#: How much louder a cross-fade may become: as two sounds that have nothing in common and count the same.
LOUDEST = 2**0.5


@dataclass(frozen=True)
class Part:
    """Some elements of a stream, in the order in which the model sees them."""

    indices: Sequence[int]

    @property
    def start(self) -> int:
        """The first of them."""
        return self.indices[0]

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self.indices)

    @cached_property
    def is_slice(self) -> bool:
        """Whether they are neighbours in memory."""
        return all(index == self.start + place for place, index in enumerate(self.indices))


@dataclass(frozen=True)
class Stream:
    """A stream on the timeline of a video.

    Args:
        edges: where each latent frame of the video begins in the stream, in elements, and where the last one ends; one
            more than the video has latent frames, rising from 0 to the number of elements.
        time_dim: its axis of time.
        steady: windows of one length have equally many elements, wherever they lie; their ends are then up to an
            element from those of the video, but for the last one's. Otherwise each latent frame has its own, and
            windows that touch in the video touch in the stream.
        keeps_power: where windows are averaged, the sum is as loud as they are; see ``louder``.

    Raises:
        ValueError: the edges do not rise, or do not begin at 0.
    """

    edges: tuple[float, ...]
    time_dim: int
    steady: bool = False
    keeps_power: bool = False

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or self.edges[0] != 0 or sorted(self.edges) != list(self.edges):
            raise ValueError(f"A stream's edges must rise from 0; these are {self.edges}.")

    @classmethod
    def proportional(cls, length: int, num_latent_frames: int, time_dim: int, keeps_power: bool = False) -> Stream:
        """A stream of ``length`` elements, of which every latent frame of the video has as many."""
        edges = tuple(index * length / num_latent_frames for index in range(num_latent_frames + 1))
        return cls(edges, time_dim, keeps_power=keeps_power)

    @property
    def length(self) -> int:
        """Its elements."""
        return round(self.edges[-1])

    def part(self, window: Window | View) -> Part:
        """What belongs to a window."""
        if isinstance(window, View):
            own = self.part(window.window)
            lead = self._of(window.video[: window.lead])
            return Part((*lead, *(index for index in own.indices if index not in lead))) if lead else own
        if self.steady and window.is_slice:
            first, last = self.edges[window.start], self.edges[window.start + window.length]
            length = min(max(1, round(last - first)), self.length)
            ends = window.start + window.length == len(self.edges) - 1
            start = self.length - length if ends else min(round(first), self.length - length)
            return Part(range(start, start + length))
        return Part(self._of(window.indices))

    def lead(self, view: View) -> int:
        """How many elements of a view's part stand before those of its window."""
        return self.part(view).length - self.part(view.window).length

    def _of(self, latent_frames: Sequence[int]) -> tuple[int, ...]:
        """The elements of latent frames, none twice; each has one at least."""
        found: dict[int, None] = {}
        for index in latent_frames:
            start = min(round(self.edges[index]), self.length - 1)
            stop = min(max(round(self.edges[index + 1]), start + 1), self.length)
            found.update(dict.fromkeys(range(start, stop)))
        return tuple(found)

    def in_part(self, window: Window | View, values: torch.Tensor, part: Part, smooth: bool = True) -> torch.Tensor:
        """Values of a window's latent frames, ``... [latent frame]``, at the elements of its part, ``... [element]``;
        those of guides are left out.

        ``smooth``: between the middles of latent frames the values lie on straight lines; otherwise, and where a window
        has gaps, an element has that of its latent frame.
        """
        if smooth and window.is_slice:
            frames = range(window.start, window.start + window.length)
            middles = torch.tensor([(self.edges[index] + self.edges[index + 1]) / 2 for index in frames])
            places = torch.tensor([index + 0.5 for index in part.indices])
            right = torch.searchsorted(middles, places).clamp(1, max(1, len(middles) - 1))
            if len(middles) == 1:
                return values.expand(*values.shape[:-1], part.length)
            left = right - 1
            share = ((places - middles[left]) / (middles[right] - middles[left])).clamp(0, 1).to(values)
            return values[..., left] * (1 - share) + values[..., right] * share
        frames = window.video if isinstance(window, View) else window.indices
        place_of = {index: place for place, index in enumerate(frames)}
        near = [self._nearest(element, place_of) for element in part.indices]
        return values[..., near]

    def _nearest(self, element: int, place_of: dict[int, int]) -> int:
        """The place in a window of the latent frame that an element belongs to, or is nearest to."""
        frame = bisect.bisect_right(self.edges, element + 0.5) - 1
        if frame in place_of:
            return place_of[frame]
        return place_of[min(place_of, key=lambda index: (abs(index - frame), index))]

    def weights(self, windows: Sequence[Window], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Merge weights of the windows' parts, a partition of unity over the stream, from those of the video.

        Args:
            windows: of one step.
            weights: one tensor ``[window length]`` a window, as ``merge_weights`` makes them.

        Raises:
            ValueError: no window holds some element.
        """
        smooth = not all(((row == 0) | (row == 1)).all() for row in weights)
        parts = [self.part(window) for window in windows]
        raw = [
            self.in_part(window, row.double(), part, smooth).clamp(min=0)
            for window, row, part in zip(windows, weights, parts, strict=True)
        ]
        total = self._total(parts, raw)
        silent = total == 0
        if silent.any():  # beside a cut between two elements: what nobody speaks for, all that hold it do
            for part, row in zip(parts, raw, strict=True):
                row[silent[list(part.indices)]] = 1.0
            total = self._total(parts, raw)
        if (total == 0).any():
            raise ValueError(f"No window covers elements {(total == 0).nonzero().flatten().tolist()} of a stream.")
        return [(row / total[list(part.indices)]).float() for part, row in zip(parts, raw, strict=True)]

    def _total(self, parts: Sequence[Part], raw: Sequence[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros(self.length, dtype=torch.float64)
        for part, row in zip(parts, raw, strict=True):
            total[list(part.indices)] += row
        return total


def louder(total: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """A sum of window predictions, made as loud as they are on average.

    An average of two sounds that differ is softer than both; in a cross-fade that is heard as a dip. Where they are
    alike nothing changes.

    Args:
        total: the weighted sum.
        power: the weighted sum of their squares, of the same shape but with one channel.

    Returns:
        ``total``, at most ``LOUDEST`` times as large.
    """
    mean = total.square().mean(dim=1, keepdim=True)
    return total * (power / mean.clamp(min=1e-12)).sqrt().clamp(1, LOUDEST)
