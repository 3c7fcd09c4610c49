"""Co-denoising at ComfyUI's context-handler hook: one model evaluation of a long latent, window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.context_windows import ContextHandlerABC

from ....co_denoise import AUTOMATIC_WINDOWS_PER_FORWARD, CoDenoiseSettings, co_denoise
from ....prompts.weights import prompt_weights
from ....timeline import Place, Timebase
from ..families.latents import temporal_compression_of, time_dim_of
from ..memory import free_for_windows
from .conditioning import Entry, check_entry, cut
from .evaluation import Evaluation, Slot
from .options import WindowOptions
from .prompt_tags import check_length, schedules_in

log = logging.getLogger(__name__)

_MEMORY_MARGIN = 1.5  # the host's own factor between its estimate and what it wants to be free

OnWindows = Callable[[int, int, int], None]


class CoDenoiseHandler(ContextHandlerABC):
    """Runs overlapping windows in place of the one forward pass over the whole latent.

    ComfyUI calls it inside every model evaluation, before batching, ControlNet and hooks, and applies CFG to what it
    returns; so it works with every sampler, scheduler and guider. State of a run (``begin`` ... ``end``) is kept apart
    from the options, and a copy of the handler starts without any.
    """

    def __init__(self, options: WindowOptions, on_windows: OnWindows | None = None, place: Place | None = None) -> None:
        super().__init__()
        self.options = options
        self.on_windows = on_windows
        self.place = place
        self.end()

    def __deepcopy__(self, memo: dict) -> CoDenoiseHandler:
        return type(self)(self.options, self.on_windows, self.place)

    def begin(self, model: Any, conds: dict[str, list[Entry]], shape: Sequence[int], seed: int = 0) -> None:
        """Check a run before its first forward pass and reset what is kept within a run.

        Raises:
            ValueError: the options, prompts or latent do not fit; the message says what to do.
        """
        self.end()
        self._seed = seed
        latent_format = model.latent_format
        if len(shape) == 3 and latent_format.latent_dimensions == 3:
            raise ValueError(
                "Co-denoising does not support combined audio and video latents yet. Use a video-only latent."
            )
        self.options.settings(self.timebase(model, shape))
        for schedule in schedules_in(conds.values()):
            check_length(schedule, self._timeline(self.timebase(model, shape, schedule.fps)))

    def end(self) -> None:
        """Forget what was kept within a run."""
        self._limit = self.options.windows_per_forward or AUTOMATIC_WINDOWS_PER_FORWARD
        self._prompt_weights: dict[Any, torch.Tensor] = {}
        self._seed = 0

    def settings(self, timebase: Timebase) -> CoDenoiseSettings:
        """The options in latent frames, with the seed of the run."""
        return self.options.settings(timebase, self._seed)

    def timebase(self, model: Any, shape: Sequence[int], fps: float = 24.0) -> Timebase:
        """The timebase of a latent of this shape."""
        latent_format = model.latent_format
        frames = shape[time_dim_of(latent_format)]
        return Timebase.from_latent_frames(frames, fps, temporal_compression_of(latent_format))

    def should_use_context(
        self, model: Any, conds: list, x_in: torch.Tensor, timestep: torch.Tensor, model_options: dict
    ) -> bool:
        """Whether windows are needed: a latent longer than one, a loop, or in host memory, or several prompts."""
        timebase = self.timebase(model, x_in.shape)
        if (
            self.options.closed_loop
            or self.options.host_memory
            or timebase.num_latent_frames > self.options.settings(timebase).window
        ):
            return True
        return any(len(schedule.segments) > 1 for schedule in schedules_in(conds))

    def get_resized_cond(self, cond_in: list, x_in: torch.Tensor, window: Any, device: Any = None) -> list:
        """Part of the host's interface, which it does not call itself: ``cond_in`` for one window."""
        time_dim = 2 if x_in.ndim == 5 else 0
        cuts = (cut(entry, window, x_in.shape[time_dim], time_dim, None) for entry in cond_in)
        return [entry for entry in cuts if entry is not None]

    def execute(
        self,
        calc_cond_batch: Callable,
        model: Any,
        conds: list[list[Entry] | None],
        x_in: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
    ) -> list[torch.Tensor]:
        """One model evaluation: ``conds`` for each output -> a merged x0 prediction of ``x_in``'s shape for each."""
        timebase = self.timebase(model, x_in.shape)
        if timebase.num_latent_frames > self.options.settings(timebase).window or self.options.closed_loop:
            for entries in conds:
                for entry in entries or ():
                    check_entry(entry)
        evaluation = Evaluation(self, calc_cond_batch, model, conds, x_in, timestep, model_options, timebase)
        return co_denoise(
            x_in,
            evaluation.step,
            evaluation.settings,
            evaluation.denoise_windows,
            num_outputs=len(conds),
            time_dim=evaluation.time_dim,
            num_steps=evaluation.num_steps,
        )

    def prompt_weights(self, schedule: Any, timebase: Timebase) -> torch.Tensor:
        """Prompt weights ``[segment, latent frame]`` of a schedule, on the CPU, kept for the run."""
        if schedule not in self._prompt_weights:
            timeline = self._timeline(replace(timebase, fps=schedule.fps))
            check_length(schedule, timeline)
            weights = prompt_weights(schedule, timeline)
            if self.place is not None:
                weights = weights[:, self.place.frames(timebase.num_latent_frames)]
            self._prompt_weights[schedule] = weights
        return self._prompt_weights[schedule]

    def _timeline(self, timebase: Timebase) -> Timebase:
        """The clock that prompts are read by: that of the latent, or of the longer video that it belongs to."""
        if self.place is None:
            return timebase
        return self.place.timebase(timebase.fps, timebase.temporal_compression)

    def windows_that_fit(
        self, model: Any, x: torch.Tensor, slots: Sequence[Slot], patchers: Mapping[torch.device, Any]
    ) -> int:
        """Windows that fit in one forward pass, by the host's own estimate for all of a window's slots, at least 1.

        Args:
            model: the model.
            x: a window's part of the latent.
            slots: a window's slots.
            patchers: the MODEL on each device that takes a part of the slots.
        """
        if self._limit == 1:
            return 1
        free = min(free_for_windows(patcher, device) for device, patcher in patchers.items())
        slots = slots[: -(-len(slots) // len(patchers))]  # what the host gives to one device
        for count in range(self._limit, 1, -1):
            shape = [count * x.shape[0] * len(slots), *x.shape[1:]]
            shapes: dict[str, list] = {}
            for slot in slots:
                for key, cond in slot.entry["model_conds"].items():
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
