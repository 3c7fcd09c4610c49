"""One model evaluation of a long latent in ComfyUI: what each window sees, and which windows share a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch

from ....co_denoise import CoDenoiseSettings
from ....tiles import TileSum
from ....windows import View, Window
from ..families import asks_for_windows, with_frames, with_windows
from ..memory import ran_out_of_memory
from .attention_maps import AttentionMaps, map_keeper
from .batching import batch_key, check_mixing, collate, mix_entries
from .conditioning import Entry
from .controls import control_for
from .driven import drives, options_for
from .frame_text import join_prompts, with_frame_text
from .joint_text import ROW
from .model_patches import one_at_a_time
from .packed import PackedLatent
from .prompt_tags import TAG
from .run import OnWindows, Run
from .step_caches import Kept


@dataclass(frozen=True)
class Slot:
    """The cond entries of one window for one output, ready to be stacked with those of other windows."""

    output: int
    entry: Entry


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
        self.on_windows = on_windows
        self.step, self.num_steps = run.moment(timestep, model_options)
        sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
        self.rising = sigmas is not None and bool(sigmas[0] < sigmas[-1])
        self.settings = run.settings.at(self.step, self.num_steps)
        self.is_long = self.settings.cuts(run.length)
        by_attention = self.settings.prompt_blending == "attention"
        self.model_options = with_frame_text(model_options) if by_attention else model_options
        self.guides: list[GuideSum] = []
        self.device = model.current_patcher.load_device if run.options.offload_latent else x.device

    def kept(self) -> Kept | None:
        """What is kept of evaluations like this one; None where nothing is.

        Raises:
            ValueError: something on the model needs every forward pass.
        """
        if self.run.caches is None or self.rising:
            return None
        if self._attention_maps() is not None:
            raise ValueError(
                "step_cache leaves out forward passes, and Self-Attention Guidance needs the attention of every one. "
                "Set step_cache to 0, or remove the guidance."
            )
        options = self.model_options.get("transformer_options", {})
        return self.run.caches.of(self.conds, self.x, self.timestep, options, self.step)

    def denoise_windows(self, windows: Sequence[Window]) -> Iterator[tuple[int, list[list[torch.Tensor]]]]:
        """Evaluate all windows, as many at a time as fit; yields ``(index, predictions)``, of all streams."""
        tiles = self.run.tiles(self.step)
        sums: dict[int, TileSum] = {}
        for place, predictions in self._denoise(self.run.views(windows, tiles), windows):
            if not tiles:
                yield place, predictions
                continue
            index, number = divmod(place, len(tiles))
            if sums.setdefault(index, TileSum(tiles)).add(number, predictions):
                yield index, sums.pop(index).whole

    def _denoise(
        self, views: Sequence[View], windows: Sequence[Window]
    ) -> Iterator[tuple[int, list[list[torch.Tensor]]]]:
        """The same for what the model is shown of the windows: ``(place among the views, predictions)``."""
        groups: dict[tuple, list[tuple[int, list[Slot]]]] = {}
        alone = self.run.family.unbatched | {ROW} | one_at_a_time(self.model_options)
        for index, view in enumerate(views):
            slots = self._slots(view, self.settings)
            key = (view.length, tuple((slot.output, batch_key(slot.entry, index, alone)) for slot in slots))
            if any(slot.entry.get("control") is not None for slot in slots):
                key = (*key, view.tile)  # a hint is cut once for a forward pass
            groups.setdefault(key, []).append((index, slots))
        maps = self._attention_maps()
        weights = self.run.settings.weights(windows, self.run.length, self.step, self.num_steps) if maps else []
        done = 0
        for group in groups.values():
            while group:
                comfy.model_management.throw_exception_if_processing_interrupted()
                batch = group[: self._fitting(views[group[0][0]], group[0][1])]
                shown = [views[index] for index, _ in batch]
                try:
                    predictions = self._forward(shown, [slots for _, slots in batch])
                except Exception as error:
                    if len(batch) == 1 or not ran_out_of_memory(error):
                        raise
                    predictions = None
                if predictions is None:  # outside the handler of the exception, which holds on to the tensors
                    comfy.model_management.soft_empty_cache()
                    self.run.halve(len(batch))
                    continue
                if maps:
                    maps.take(shown, [weights[index] for index, _ in batch])
                del group[: len(batch)]
                done += len(batch)
                for row, (index, _) in enumerate(batch):
                    yield index, predictions[row]
                if self.on_windows is not None:
                    self.on_windows(self.step - self.run.first_step, done, len(views))
        if maps:
            maps.give()

    def _attention_maps(self) -> AttentionMaps | None:
        keeper = map_keeper(self.model_options) if self.run.time_dim == 0 else None
        return None if keeper is None else AttentionMaps(keeper, self.run.length)

    def check_blendings(self) -> None:
        """Check once in a run that phases to come can have their prompts blended, by blending them.

        Raises:
            ValueError: they cannot, or not by this family; the message says what to do.
        """
        for settings in self.run.unblended:
            for window in settings.windows(self.run.length, 0):
                self._slots(self.run.view(window), settings)
        self.run.unblended = ()

    def _slots(self, view: View, settings: CoDenoiseSettings) -> list[Slot]:
        slots = []
        for output, entries in enumerate(self.conds):
            tagged: dict[Any, list[Entry]] = {}
            for entry in entries or ():
                if TAG not in entry:
                    slots += self._slot(output, entry, view, None)
                    continue
                tag = entry[TAG]
                if settings.prompt_blending != "predictions":
                    tagged.setdefault((tag.schedule, *_differences(entry)), []).append(entry)
                    continue
                weights = self.run.track(tag.schedule).in_window(view.window)[tag.prompt]
                if (weights > 0).any():
                    slots += self._slot(output, entry, view, None if (weights > 1 - 1e-6).all() else weights)
            for prompts in tagged.values():
                slots += self._mixed(output, prompts, view, settings)
        return slots

    def _slot(self, output: int, entry: Entry, view: View, weights: torch.Tensor | None) -> list[Slot]:
        weights = None if weights is None else _with_lead(weights, view).to(self.device)
        part = self.run.conditions.slice(entry, view, weights)
        return [] if part is None else [Slot(output, part)]

    def _mixed(self, output: int, prompts: list[Entry], view: View, settings: CoDenoiseSettings) -> list[Slot]:
        """One slot for all prompts of a schedule: with their embeddings mixed, or side by side."""
        blending = settings.prompt_blending
        per_frame = self.run.time_dim == 0  # every frame is a row of the batch
        table = self.run.track(prompts[0][TAG].schedule).mixed(view.window, settings.overlap, blending, per_frame)
        table = _with_lead(table, view) if table.ndim == 2 else table
        weights = table[[entry[TAG].prompt for entry in prompts]]
        active = [n for n in range(len(prompts)) if (weights[n] > 1e-6).any()]
        slots = [slot for n in active for slot in self._slot(output, prompts[n], view, None)]
        if len(slots) < 2:  # one prompt, or an area outside the window, which all entries of a group share
            return slots
        entries, weights = [slot.entry for slot in slots], weights[active]
        if blending == "attention":
            return [Slot(output, join_prompts(entries, weights, self.model, self.run.latent.beside(weights, view)))]
        check_mixing(self.run.family, blending)
        return [Slot(output, mix_entries(entries, weights, blending == "embeddings_spherical"))]

    def _fitting(self, view: View, slots: list[Slot]) -> int:
        clones = self.model_options.get("multigpu_clones") or {self.device: self.model.current_patcher}
        entries = [slot.entry for slot in slots]
        return self.run.windows_that_fit(self.model, self._part(self.x, view), entries, clones)

    def _part(self, tensor: torch.Tensor, view: View) -> torch.Tensor:
        return self.run.latent.part(tensor, view).to(self.device)

    def _forward(self, views: list[View], slots: list[list[Slot]]) -> list[list[list[torch.Tensor]]]:
        """Predictions ``[window][output][stream]`` of windows with equal batch keys, in one call of the host."""
        x = torch.cat([self._part(self.x, view) for view in views])
        rows = x.shape[0] // len(views)
        timestep = self.timestep
        if self.run.time_dim == 0 and timestep.shape[0] == self.x.shape[0]:
            timestep = timestep[:rows]
        timestep = torch.cat([timestep] * len(views)).to(self.device)
        conds: list[list[Entry] | None] = [None if entries is None else [] for entries in self.conds]
        controls: dict[int, Any] = {}  # one object for all outputs, or the host takes them one by one
        for column in zip(*slots, strict=True):
            entry = collate([slot.entry for slot in column], rows, x.shape[2:], x.device, self.run.family.whole)
            control = entry.get("control")
            if control is not None and (self.is_long or views[0].tile is not None):
                if id(control) not in controls:
                    shown = [index for view in views for index in view.indices]
                    controls[id(control)] = control_for(control, shown, self.run.length, views[0].tile)
                entry["control"] = controls[id(control)]
            conds[column[0].output].append(entry)
        options = with_frames(self.model_options, rows) if self.run.time_dim == 0 else self.model_options
        if asks_for_windows(options):
            options = with_windows(options, [self.run.place_of(view) for view in views])
        if self.is_long and drives(options.get("transformer_options", {})):
            [view] = views
            options = options_for(options, view, self.run.latent.shapes[0][2:], self.run.kept)
        outputs = self.calc_cond_batch(self.model, conds, x, timestep, options)
        chunks = [output.chunk(len(views)) for output in outputs]
        latent = self.run.latent
        if latent.guided and not self.guides:
            self.guides = [GuideSum(latent, self.x) for _ in chunks]
        for row, view in enumerate(views):
            for total, chunk in zip(self.guides, chunks, strict=False):
                total.add(latent.guides_of(chunk[row], view), view)
        return [[latent.of_window(chunk[row], view) for chunk in chunks] for row, view in enumerate(views)]

    def with_guides(self, merged: list[list[torch.Tensor]], kept: Kept | None) -> list[list[torch.Tensor]]:
        """Merged streams of all outputs, with what was said of the guides behind the video, or is kept of it."""
        run = self.run
        windows = run.settings.windows(run.length, self.step, self.num_steps)
        reused = () if kept is None else kept.cache.reused
        if run.caches is not None:
            run.caches.count(len(reused), len(windows))
        if not run.latent.guided:
            return merged
        if not self.guides:  # no window was computed
            self.guides = [GuideSum(run.latent, self.x) for _ in merged]
        for total, before in zip(self.guides, kept.guides if kept is not None else (), strict=False):
            for index in reused:
                view = run.view(windows[index])
                total.add(
                    before.index_select(
                        run.time_dim, torch.tensor(view.guides, dtype=torch.long, device=before.device)
                    ),
                    view,
                )
        means = [total.mean() for total in self.guides]
        if kept is not None:
            kept.guides = means
        return [
            [torch.cat([streams[0], mean], dim=run.time_dim), *streams[1:]]
            for streams, mean in zip(merged, means, strict=True)
        ]


class GuideSum:
    """What windows say of the guides that lie behind the video: the mean, and of those that no window sees what they
    are already.
    """

    def __init__(self, latent: PackedLatent, x: torch.Tensor) -> None:
        self.latent = latent
        self.given = latent.split(x)[0].narrow(latent.time_dim, latent.length, len(latent.guided))
        self.total = torch.zeros_like(self.given)
        self.count = torch.zeros(len(latent.guided), device=x.device)

    def add(self, said: torch.Tensor, view: View) -> None:
        """Add what a window said of its guides."""
        if view.guides:
            guides = torch.tensor(view.guides, device=self.total.device)
            said, share, total = said.to(self.total), 1.0, self.total
            if view.tile is not None:
                said, share = said * view.tile.weights.to(said), view.tile.share
                total = view.tile.of(total)
            total.index_add_(self.latent.time_dim, guides, said)
            self.count.index_add_(0, guides, torch.full((len(guides),), share, device=guides.device))

    def mean(self) -> torch.Tensor:
        """What is said of all guides."""
        shape = [1] * self.total.ndim
        shape[self.latent.time_dim] = -1
        count = self.count.reshape(shape)
        return torch.where(count > 0, self.total / torch.where(count > 0, count, 1).to(self.total), self.given)


def _with_lead(weights: torch.Tensor, view: View) -> torch.Tensor:
    """Weights ``... [latent frame of the window]`` with those of its first one for what stands before it, and with
    those of what they guide for guides behind it; of the first one for guides that stand before the video.
    """
    weights = torch.cat([weights[..., :1]] * view.lead + [weights], dim=-1)
    if not view.guides:
        return weights
    places = [0 if index < 0 else list(view.video).index(index) for index in view.guided]
    return torch.cat([weights, weights[..., places]], dim=-1)
