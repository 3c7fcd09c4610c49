"""One model evaluation of a long latent in ComfyUI: what each window sees, and which windows share a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch

from ....co_denoise import nearest_step
from ....fusion import select_window
from ....windows import Window
from ..memory import ran_out_of_memory
from .batching import batch_key, collate, mix_entries
from .conditioning import Entry
from .prompt_tags import TAG
from .run import OnWindows, Run


@dataclass(frozen=True)
class Slot:
    """The cond entries of one window for one output, ready to be stacked with those of other windows."""

    output: int
    entry: Entry


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


class Evaluation:
    """The windows of one model evaluation: what they see, which share a forward pass, and running them."""

    def __init__(
        self,
        run: Run,
        calc_cond_batch: Callable,
        model: Any,
        conds: list[list[Entry] | None],
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
        on_windows: OnWindows | None = None,
    ) -> None:
        self.run = run
        self.calc_cond_batch = calc_cond_batch
        self.model = model
        self.conds = conds
        self.x = x
        self.timestep = timestep
        self.model_options = model_options
        self.on_windows = on_windows
        self.step, self.num_steps = _step_of(timestep, model_options)
        self.overlap = run.settings.at(self.step, self.num_steps).overlap
        self.device = model.current_patcher.load_device if run.options.offload_latent else x.device

    def denoise_windows(self, windows: Sequence[Window]) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Evaluate all windows, as many at a time as fit; yields ``(index, predictions)``."""
        groups: dict[tuple, list[tuple[int, list[Slot]]]] = {}
        for index, window in enumerate(windows):
            slots = self._slots(window)
            key = (window.length, tuple((slot.output, batch_key(slot.entry, index)) for slot in slots))
            groups.setdefault(key, []).append((index, slots))
        done = 0
        for group in groups.values():
            while group:
                comfy.model_management.throw_exception_if_processing_interrupted()
                batch = group[: self._fitting(windows[group[0][0]], group[0][1])]
                try:
                    predictions = self._forward([windows[index] for index, _ in batch], [slots for _, slots in batch])
                except Exception as error:
                    if len(batch) == 1 or not ran_out_of_memory(error):
                        raise
                    predictions = None
                if predictions is None:  # outside the handler of the exception, which holds on to the tensors
                    comfy.model_management.soft_empty_cache()
                    self.run.halve(len(batch))
                    continue
                del group[: len(batch)]
                done += len(batch)
                for row, (index, _) in enumerate(batch):
                    yield index, predictions[row]
                if self.on_windows is not None:
                    self.on_windows(self.step, done, len(windows))

    def _slots(self, window: Window) -> list[Slot]:
        slots = []
        for output, entries in enumerate(self.conds):
            tagged: dict[Any, list[Entry]] = {}
            for entry in entries or ():
                if TAG not in entry:
                    slots += self._slot(output, entry, window, None)
                    continue
                tag = entry[TAG]
                if self.run.settings.prompt_blending != "predictions":
                    tagged.setdefault((tag.schedule, *_differences(entry)), []).append(entry)
                    continue
                weights = self.run.track(tag.schedule).in_window(window)[tag.prompt]
                if (weights > 0).any():
                    slots += self._slot(output, entry, window, None if (weights > 1 - 1e-6).all() else weights)
            for prompts in tagged.values():
                slots += self._mixed(output, prompts, window)
        return slots

    def _slot(self, output: int, entry: Entry, window: Window, weights: torch.Tensor | None) -> list[Slot]:
        weights = None if weights is None else weights.to(self.device)
        part = self.run.conditions.slice(entry, window, weights)
        return [] if part is None else [Slot(output, part)]

    def _mixed(self, output: int, prompts: list[Entry], window: Window) -> list[Slot]:
        """One slot for all prompts of a schedule, with their embeddings mixed."""
        blending = self.run.settings.prompt_blending
        per_frame = self.run.time_dim == 0  # every frame is a row of the batch
        table = self.run.track(prompts[0][TAG].schedule).mixed(window, self.overlap, blending, per_frame)
        weights = table[[entry[TAG].prompt for entry in prompts]]
        active = [n for n in range(len(prompts)) if (weights[n] > 1e-6).any()]
        slots = [slot for n in active for slot in self._slot(output, prompts[n], window, None)]
        if len(slots) < 2:  # one prompt, or an area outside the window, which all entries of a group share
            return slots
        entry = mix_entries([slot.entry for slot in slots], weights[active], blending == "embeddings_spherical")
        return [Slot(output, entry)]

    def _fitting(self, window: Window, slots: list[Slot]) -> int:
        clones = self.model_options.get("multigpu_clones") or {self.device: self.model.current_patcher}
        entries = [slot.entry for slot in slots]
        return self.run.windows_that_fit(self.model, self._part(self.x, window), entries, clones)

    def _part(self, tensor: torch.Tensor, window: Window) -> torch.Tensor:
        return select_window(tensor, window, self.run.time_dim).to(self.device)

    def _forward(self, windows: list[Window], slots: list[list[Slot]]) -> list[list[torch.Tensor]]:
        """Predictions ``[window][output]`` of windows whose slots have equal batch keys, in one call of the host."""
        x = torch.cat([self._part(self.x, window) for window in windows])
        rows = x.shape[0] // len(windows)
        timestep = self.timestep
        if self.run.time_dim == 0 and timestep.shape[0] == self.x.shape[0]:
            timestep = timestep[:rows]
        timestep = torch.cat([timestep] * len(windows)).to(self.device)
        conds: list[list[Entry] | None] = [None if entries is None else [] for entries in self.conds]
        for column in zip(*slots, strict=True):
            entry = collate([slot.entry for slot in column], rows, x.shape[2:], x.device)
            conds[column[0].output].append(entry)
        outputs = self.calc_cond_batch(self.model, conds, x, timestep, self.model_options)
        chunks = [output.chunk(len(windows)) for output in outputs]
        return [[chunk[row] for chunk in chunks] for row in range(len(windows))]
