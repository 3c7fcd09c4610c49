"""A step cache for windows: where a prediction hardly changes between sampling steps, the one before is used again.

EasyCache (arXiv 2507.02860) leaves out forward passes of a whole video while its estimate of how far the prediction has
changed stays below a threshold. Here the cache is as long as the video, and each window decides by what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from .fusion import select_window
from .streams import Part, Stream
from .windows import Window

_MOVED = 1e-3  #: a prediction whose place moved by less, in steps, says nothing of how fast predictions change


@dataclass(frozen=True)
class StepCacheSettings:
    """When a prediction is used again.

    Args:
        threshold: the largest change of a prediction, as a share of the noise that is left, which is not computed; 0
            computes all.
        start, end: shares of the steps before and from which all is computed; the last step always is.

    Raises:
        ValueError: a negative threshold, or shares outside 0 ... 1 or not in order.
    """

    threshold: float
    start: float = 0.15
    end: float = 0.95

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"step_cache is {self.threshold}; use 0 (off) or more.")
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(
                f"The step cache starts at {self.start:g} and ends at {self.end:g}; use shares of the steps from 0 to "
                "1, the start below the end."
            )

    def at(self, step: int, num_steps: int) -> bool:
        """Whether predictions may be used again at this step of the whole noise schedule."""
        last = min(self.end * num_steps - 1e-6, num_steps - 1)
        return self.threshold > 0 and self.start * num_steps - 1e-6 <= step < last


NO_STEP_CACHE = StepCacheSettings(0)


class _Track:
    """One stream of a long latent: the last merged predictions, and of every element how old and how fast they are.

    ``place`` is the step at which the cached prediction was made, the mean of its windows' where they differ; ``rate``
    is how far predictions change in a step, as a share of the noise that is left, and infinite where that is unknown.
    """

    def __init__(self, stream: Stream | None, time_dim: int, predictions: Sequence[torch.Tensor], step: int) -> None:
        self.stream = stream
        self.time_dim = time_dim
        self.predictions = [each.clone() for each in predictions]
        length = predictions[0].shape[time_dim]
        self.place = torch.full([length], float(step), dtype=torch.float64)
        self.rate = torch.full([length], float("inf"), dtype=torch.float64)

    def part(self, window: Window) -> Window | Part:
        return window if self.stream is None else self.stream.part(window)

    def change(self, window: Window, step: int) -> float:
        """How far the predictions of a window are thought to have changed, in the mean of its elements."""
        indices = list(self.part(window).indices)
        distance = (step - self.place[indices]).abs()
        return float(torch.where(distance > 0, self.rate[indices] * distance, distance).mean())

    def slice(self, window: Window) -> list[torch.Tensor]:
        part = self.part(window)
        return [select_window(each, part, self.time_dim) for each in self.predictions]

    def keep(self, x: torch.Tensor, merged: Sequence[torch.Tensor], fresh: torch.Tensor, step: int) -> None:
        """Take over what was merged at a step; ``fresh`` is the share of each element that was computed."""
        place = self.place + fresh * (step - self.place)
        moved = (place - self.place).abs()
        change = torch.zeros_like(self.rate)
        for old, new in zip(self.predictions, merged, strict=True):
            noise = self._size(x.to(new) - new).clamp(min=1e-12)
            change = torch.maximum(change, self._size(new - old) / noise)
        self.rate = torch.where(moved > _MOVED, change / moved.clamp(min=_MOVED), self.rate)
        self.place = place
        self.predictions = [each.clone() for each in merged]

    def _size(self, tensor: torch.Tensor) -> torch.Tensor:
        """The mean size of each element's values."""
        return tensor.abs().movedim(self.time_dim, 0).flatten(1).mean(1, dtype=torch.float32).double().cpu()


class StepCache:
    """What a run keeps of one kind of evaluation: ``reusable``, ``part`` and ``keep``, once each and in this order.

    It lies where the latent lies, and is as large as the merged predictions of an evaluation.
    """

    def __init__(self, settings: StepCacheSettings, streams: Sequence[Stream] = (), time_dim: int = 2) -> None:
        self.settings = settings
        self.time_dim = time_dim
        self.streams = streams
        self.reused: frozenset[int] = frozenset()  #: windows of the last evaluation that were not computed
        self.leader: StepCache | None = None  #: of the same evaluation; what that computes, this computes
        self._tracks: list[_Track] = []

    def reusable(self, windows: Sequence[Window], step: int, num_steps: int) -> frozenset[int]:
        """The windows of a step whose predictions the cache has, near enough in all streams and outputs."""
        asked: Iterable[int] = range(len(windows)) if self.leader is None else self.leader.reused
        if not self._tracks or not self.settings.at(step, num_steps):
            asked = ()
        self.reused = frozenset(index for index in asked if self._is_near(windows[index], step))
        return self.reused

    def _is_near(self, window: Window, step: int) -> bool:
        return all(track.change(window, step) < self.settings.threshold for track in self._tracks)

    def part(self, window: Window) -> list[list[torch.Tensor]]:
        """The predictions ``[output][stream]`` of a window."""
        return [list(streams) for streams in zip(*(track.slice(window) for track in self._tracks), strict=True)]

    def keep(
        self,
        xs: Sequence[torch.Tensor],
        merged: Sequence[Sequence[torch.Tensor]],
        windows: Sequence[Window],
        shares: Sequence[Sequence[torch.Tensor]],
        step: int,
    ) -> None:
        """Keep the merged predictions of a step.

        Args:
            xs: the streams of the noisy latent.
            merged: the predictions ``[output][stream]``.
            windows: of the step, those that were used again among them.
            shares: their merge weights ``[stream][window]``.
            step: of the whole noise schedule.
        """
        by_stream = list(zip(*merged, strict=True))
        if not self._tracks:
            kinds: Iterable[tuple[Stream | None, int]] = [
                (None, self.time_dim), *((stream, stream.time_dim) for stream in self.streams)
            ]  # fmt: skip
            self._tracks = [_Track(*kind, each, step) for kind, each in zip(kinds, by_stream, strict=True)]
            return
        for track, x, each, share in zip(self._tracks, xs, by_stream, shares, strict=True):
            fresh = torch.zeros_like(track.place)
            for index, window in enumerate(windows):
                if index not in self.reused:
                    fresh[list(track.part(window).indices)] += share[index].double()
            track.keep(x, each, fresh.clamp(max=1), step)
