"""What lives as long as a run: its windows in latent frames, what its prompts say, and how many windows fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ....prompts import PromptSchedule, PromptTrack
from ....timeline import Place
from ..families import family_of, time_dim_of
from ..memory import free_for_windows
from .conditioning import Conditions, Entry
from .options import WindowOptions
from .prompt_tags import track_of

log = logging.getLogger(__name__)

_MEMORY_MARGIN = 1.5  # the host's own factor between its estimate and what it wants to be free

#: Called as ``on_windows(step, windows done, windows of the step)`` after each forward pass.
OnWindows = Callable[[int, int, int], None]


class Run:
    """One run over a long latent.

    Args:
        model: in ``comfy.model_base``.
        shape: of the long latent.
        options: windows and the rest.
        seed: of the run, for schedules and merges that draw.
        place: where the latent lies in a longer video, whose prompts it follows.

    Raises:
        ValueError: the model has no frames, or the options do not fit it.
    """

    def __init__(
        self, model: Any, shape: Sequence[int], options: WindowOptions, seed: int = 0, place: Place | None = None
    ) -> None:
        self.family = family_of(model)
        self.time_dim = time_dim_of(model.latent_format)
        self.length = shape[self.time_dim]
        self.options = options
        self.settings = options.settings(self.family.compression, seed)
        self.conditions = Conditions(self.family, self.length, self.time_dim)
        self._place = place or Place(0, self.length)
        self._tracks: dict[PromptSchedule, PromptTrack] = {}
        self._limit = self.settings.largest_batch

    @property
    def is_long(self) -> bool:
        """Whether a window is less than what the latent shows, so that everything along it has to be sliced."""
        return self.length > self.settings.window or self.settings.closed_loop

    def track(self, schedule: PromptSchedule) -> PromptTrack:
        """What the latent's frames see of a schedule.

        Raises:
            ValueError: the schedule is for a video of another length.
        """
        if schedule not in self._tracks:
            whole = track_of(schedule, self._place.num_latent_frames, self.family.compression)
            self._tracks[schedule] = whole.at(self._place, self.length)
        return self._tracks[schedule]

    def windows_that_fit(
        self, model: Any, x: torch.Tensor, entries: Sequence[Entry], patchers: Mapping[torch.device, Any]
    ) -> int:
        """Windows that fit in one forward pass, by the host's own estimate for all of a window's entries, at least 1.

        Args:
            model: the model.
            x: a window's part of the latent.
            entries: a window's cond entries, for all outputs.
            patchers: the MODEL on each device that takes a part of the entries.
        """
        if self._limit == 1:
            return 1
        free = min(free_for_windows(patcher, device) for device, patcher in patchers.items())
        entries = entries[: -(-len(entries) // len(patchers))]  # what the host gives to one device
        for count in range(self._limit, 1, -1):
            shape = [count * x.shape[0] * len(entries), *x.shape[1:]]
            shapes: dict[str, list] = {}
            for entry in entries:
                for key, cond in entry["model_conds"].items():
                    rows, *rest = cond.size()
                    shapes.setdefault(key, []).append([max(rows, count * x.shape[0]), *rest])
            if model.memory_required(shape, cond_shapes=shapes) * _MEMORY_MARGIN < free:
                return count
        return 1

    def halve(self, count: int) -> None:
        """Allow half of ``count`` windows a forward pass for the rest of the run, after running out of memory."""
        self._limit = max(1, count // 2)
        log.warning(
            "Co-denoising ran out of memory with %d windows in one forward pass; going on with %d.", count, self._limit
        )
