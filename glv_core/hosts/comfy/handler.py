"""Co-denoising at ComfyUI's context-handler hook: one model evaluation of a long latent, window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import torch
from comfy.context_windows import ContextHandlerABC

from ...co_denoise import AUTOMATIC_WINDOWS_PER_FORWARD, CoDenoiseSettings, Phase, co_denoise, nearest_step
from ...fusion import take
from ...prompt_mix import window_prompts
from ...prompt_weights import prompt_weights
from ...timeline import Timebase
from ...windows import Window
from .conditioning import Entry, check_entry, cut, fold, mix_entries, signature
from .families import temporal_compression_of, time_dim_of
from .prompt_tags import TAG, check_length, schedules_in

log = logging.getLogger(__name__)

_MEMORY_MARGIN = 1.5  # the host's own factor between its estimate and what it wants to be free

OnWindows = Callable[[int, int, int], None]


@dataclass(frozen=True)
class PhaseOptions:
    """Other windows from a share of the sampling on, as a user sets them; what is None stays. ``overlap`` in frames."""

    start: float
    schedule: str | None = None
    overlap: int | None = None
    stride: int | None = None
    merge: str | None = None


@dataclass(frozen=True)
class WindowOptions:
    """What a user sets: sizes in frames of the video, as the editor shows them.

    The latent's window and overlap follow from the temporal compression of the model at hand. ``stride`` is in latent
    frames. ``host_memory``: the long latent stays in host memory, and only windows go to the device.
    """

    window: int
    overlap: int
    schedule: str
    merge: str
    windows_per_forward: int = 0
    stride: int = 1
    closed_loop: bool = False
    transitions: str = "predictions"
    phases: tuple[PhaseOptions, ...] = ()
    host_memory: bool = False

    def settings(self, timebase: Timebase, seed: int = 0) -> CoDenoiseSettings:
        """These options in latent frames.

        Raises:
            ValueError: overlap not below window, or an unknown schedule or merge.
        """
        window = timebase.latent_length(self.window)

        def latent(overlap: int, where: str = "") -> int:
            if not 0 <= overlap < self.window:
                raise ValueError(
                    f"overlap{where} is {overlap} frames and window {self.window}; overlap must be 0 or more and below "
                    "window. Lower overlap or raise window."
                )
            return min(timebase.latent_span(overlap), window - 1)

        phases = tuple(
            Phase(
                phase.start,
                phase.schedule,
                None
                if phase.overlap is None
                else latent(phase.overlap, f" of the phase that starts at {phase.start:g}"),
                phase.stride,
                phase.merge,
            )
            for phase in self.phases
        )
        return CoDenoiseSettings(
            window, latent(self.overlap), self.schedule, self.merge, self.windows_per_forward,
            self.stride, self.closed_loop, seed, phases, self.transitions,
        )  # fmt: skip


@dataclass(frozen=True)
class _Slot:
    """The cond entries of one window for one output, ready to be stacked with those of other windows."""

    output: int
    entry: Entry


class CoDenoiseHandler(ContextHandlerABC):
    """Runs overlapping windows in place of the one forward pass over the whole latent.

    ComfyUI calls it inside every model evaluation, before batching, ControlNet and hooks, and applies CFG to what it
    returns; so it works with every sampler, scheduler and guider. State of a run (``begin`` ... ``end``) is kept apart
    from the options, and a copy of the handler starts without any.
    """

    def __init__(self, options: WindowOptions, on_windows: OnWindows | None = None) -> None:
        super().__init__()
        self.options = options
        self.on_windows = on_windows
        self.end()

    def __deepcopy__(self, memo: dict) -> CoDenoiseHandler:
        return type(self)(self.options, self.on_windows)

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
            check_length(schedule, self.timebase(model, shape, schedule.fps))

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
        for entries in conds:
            for entry in entries or ():
                check_entry(entry)
        timebase = self.timebase(model, x_in.shape)
        evaluation = _Evaluation(self, calc_cond_batch, model, conds, x_in, timestep, model_options, timebase)
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
            timebase = replace(timebase, fps=schedule.fps)
            check_length(schedule, timebase)
            self._prompt_weights[schedule] = prompt_weights(schedule, timebase)
        return self._prompt_weights[schedule]

    def windows_that_fit(self, model: Any, x: torch.Tensor, slots: Sequence[_Slot]) -> int:
        """Windows that fit in one forward pass, by the host's own estimate for all of a window's slots, at least 1."""
        if self._limit == 1:
            return 1
        free = model.current_patcher.get_free_memory(x.device)
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


def _step_of(timestep: torch.Tensor, model_options: dict) -> tuple[int, int]:
    """The step that an evaluation belongs to, and the number of steps of the run."""
    sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
    if sigmas is None:
        return 0, 1
    return nearest_step(float(timestep.flatten()[0]), sigmas.tolist()), max(1, len(sigmas) - 1)


def _differences(entry: Entry) -> tuple:
    """What two entries of one schedule must have in common for their embeddings to be mixed."""
    values = tuple(
        repr(entry.get(key)) for key in ("area", "strength", "mask_strength", "timestep_start", "timestep_end")
    )
    return (*values, *(id(entry.get(key)) for key in ("mask", "hooks", "control", "gligen")), "default" in entry)


class _Evaluation:
    """The windows of one model evaluation: what they see, which share a forward pass, and running them."""

    def __init__(
        self,
        handler: CoDenoiseHandler,
        calc_cond_batch: Callable,
        model: Any,
        conds: list[list[Entry] | None],
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
        timebase: Timebase,
    ) -> None:
        self.handler = handler
        self.calc_cond_batch = calc_cond_batch
        self.model = model
        self.conds = conds
        self.x = x
        self.timestep = timestep
        self.model_options = model_options
        self.timebase = timebase
        self.time_dim = time_dim_of(model.latent_format)
        self.step, self.num_steps = _step_of(timestep, model_options)
        self.settings = handler.settings(timebase)
        self.overlap = self.settings.at(self.step, self.num_steps).overlap
        self.device = model.current_patcher.load_device if handler.options.host_memory else x.device

    def denoise_windows(self, windows: Sequence[Window]) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Evaluate all windows, as many at a time as fit; yields ``(index, predictions)``."""
        groups: dict[tuple, list[tuple[int, list[_Slot]]]] = {}
        for index, window in enumerate(windows):
            slots = self._slots(window)
            key = (window.length, tuple((slot.output, signature(slot.entry, index)) for slot in slots))
            groups.setdefault(key, []).append((index, slots))
        done = 0
        for group in groups.values():
            while group:
                comfy.model_management.throw_exception_if_processing_interrupted()
                batch = group[: self._fitting(windows[group[0][0]], group[0][1])]
                try:
                    predictions = self._forward([windows[index] for index, _ in batch], [slots for _, slots in batch])
                except comfy.model_management.OOM_EXCEPTION:
                    if len(batch) == 1:
                        raise
                    predictions = None
                if predictions is None:  # outside the handler of the exception, which holds on to the tensors
                    comfy.model_management.soft_empty_cache()
                    self.handler.halve(len(batch))
                    continue
                del group[: len(batch)]
                done += len(batch)
                for row, (index, _) in enumerate(batch):
                    yield index, predictions[row]
                if self.handler.on_windows is not None:
                    self.handler.on_windows(self.step, done, len(windows))

    def _slots(self, window: Window) -> list[_Slot]:
        slots = []
        for output, entries in enumerate(self.conds):
            tagged: dict[Any, list[Entry]] = {}
            for entry in entries or ():
                if TAG not in entry:
                    slots += self._slot(output, entry, window, None)
                    continue
                tag = entry[TAG]
                if self.settings.transitions != "predictions":
                    tagged.setdefault((tag.schedule, *_differences(entry)), []).append(entry)
                    continue
                weights = self.handler.prompt_weights(tag.schedule, self.timebase)[list(tag.segments)].sum(0)
                weights = weights[list(window.frames)]
                if (weights > 0).any():
                    slots += self._slot(output, entry, window, None if (weights > 1 - 1e-6).all() else weights)
            for prompts in tagged.values():
                slots += self._mixed(output, prompts, window)
        return slots

    def _slot(self, output: int, entry: Entry, window: Window, weights: torch.Tensor | None) -> list[_Slot]:
        weights = None if weights is None else weights.to(self.device)
        part = cut(entry, window, self.x.shape[self.time_dim], self.time_dim, weights)
        return [] if part is None else [_Slot(output, part)]

    def _mixed(self, output: int, prompts: list[Entry], window: Window) -> list[_Slot]:
        """One slot for all prompts of a schedule, with their embeddings mixed."""
        transitions = self.settings.transitions
        table = self.handler.prompt_weights(prompts[0][TAG].schedule, self.timebase)
        if self.time_dim == 0 and transitions != "one_per_window":
            table = table[:, list(window.frames)]  # every frame is a row of the batch and has a mix of its own
        else:
            table = window_prompts(table, window, self.overlap, transitions)
        weights = torch.stack([table[list(entry[TAG].segments)].sum(0) for entry in prompts])
        active = [n for n in range(len(prompts)) if (weights[n] > 1e-6).any()]
        slots = [slot for n in active for slot in self._slot(output, prompts[n], window, None)]
        if len(slots) < 2:  # one prompt, or an area outside the window, which all entries of a group share
            return slots
        entry = mix_entries([slot.entry for slot in slots], weights[active], transitions == "embeddings_spherical")
        return [_Slot(output, entry)]

    def _fitting(self, window: Window, slots: list[_Slot]) -> int:
        return self.handler.windows_that_fit(self.model, self._part(self.x, window), slots)

    def _part(self, tensor: torch.Tensor, window: Window) -> torch.Tensor:
        return take(tensor, window, self.time_dim).to(self.device)

    def _forward(self, windows: list[Window], slots: list[list[_Slot]]) -> list[list[torch.Tensor]]:
        """Predictions ``[window][output]`` of windows whose slots have equal signatures, in one call of the host."""
        x = torch.cat([self._part(self.x, window) for window in windows])
        rows = x.shape[0] // len(windows)
        timestep = self.timestep
        if self.time_dim == 0 and timestep.shape[0] == self.x.shape[0]:
            timestep = timestep[:rows]
        timestep = torch.cat([timestep] * len(windows)).to(self.device)
        conds: list[list[Entry] | None] = [None if entries is None else [] for entries in self.conds]
        for column in zip(*slots, strict=True):
            entry = fold([slot.entry for slot in column], rows, x.shape[2:], x.device)
            conds[column[0].output].append(entry)
        outputs = self.calc_cond_batch(self.model, conds, x, timestep, self.model_options)
        chunks = [output.chunk(len(windows)) for output in outputs]
        return [[chunk[row] for chunk in chunks] for row in range(len(windows))]
