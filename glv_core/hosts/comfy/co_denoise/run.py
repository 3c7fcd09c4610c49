"""What lives as long as a run: its windows in latent frames, what its prompts say, and how many windows fit."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ....co_denoise import Stage, nearest_step
from ....prompts import AUTO, PromptSchedule, PromptTrack
from ....timeline import Place
from ....tuning import Place as WindowPlace
from ....windows import Tile, View, Window
from ..families import family_of, time_dim_of
from ..memory import free_for_windows
from .conditioning import Conditions, Entry, begins_with_an_image, host_slices
from .controls import check_control
from .driven import check_driven
from .frame_text import has_frame_text
from .model_patches import check_model_options
from .options import NoiseOptions, WindowOptions
from .packed import PackedLatent
from .prompt_tags import track_in
from .space import check_tiles
from .step_caches import StepCaches

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
        stage: which steps of a whole noise schedule this is; None finds it from the noise levels.
        latent_shapes: of the streams of a packed latent; None or one where there is video alone.
        entries: of all prompts, which may say that guides lie behind the video in its latent.

    Raises:
        ValueError: the model has no frames, or the options do not fit it.
    """

    def __init__(
        self,
        model: Any,
        shape: Sequence[int],
        options: WindowOptions,
        seed: int = 0,
        place: Place | None = None,
        stage: Stage | None = None,
        latent_shapes: Sequence[Sequence[int]] | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        self.family = family_of(model)
        self.time_dim = time_dim_of(model.latent_format)
        shapes = [tuple(each) for each in latent_shapes or [shape]]
        if len(shapes[0]) <= self.time_dim:
            raise ValueError("The latent combines several streams, and its sampler does not say which. Use KSampler.")
        guided = self.family.guided(entries, shapes[0]) if self.family.guided is not None else ()
        self.latent = PackedLatent.of(self.family, shapes, self.time_dim, guided)
        shape, self.length = shapes[0], self.latent.length
        self.options = options
        self._seed = seed
        self.by_attention = options.prompt_blending == AUTO and has_frame_text(model, entries, len(shapes))
        self._tiling = options.tiling(model.latent_format.spacial_downscale_ratio)
        ask_host = host_slices(model, shape, self.time_dim)
        self.conditions = Conditions(self.family, self.length, self.time_dim, ask_host, self.latent)
        self.lead = 1 if options.start_image == "every_window" else 0
        self.caches = StepCaches(options.step_cache, self.latent) if options.step_cache.threshold else None
        self._place = place
        self._stage = stage
        self._model = model
        self.kept: dict[int, torch.Tensor] = {}  #: what model patches made of the whole video
        self._settle()
        self._checked = False
        self._tracks: dict[PromptSchedule, PromptTrack] = {}
        self._limit = self.settings.largest_batch

    def _settle(self) -> None:
        self.settings = self.options.settings(self.family.compression, self._seed, self.by_attention)
        self.each = self.settings.each(self._stage)  #: the settings that its steps may have, without phases
        blendings = {settings.prompt_blending: settings for settings in self.each}
        known = ("predictions", self.each[0].prompt_blending)
        #: settings of later phases, one for each way of blending prompts that is still to be tried
        self.unblended = tuple(settings for name, settings in blendings.items() if name not in known)

    def do_without_attention(self, reason: Exception) -> None:
        """Blend the predictions of prompts for the rest of the run, where attention was chosen and turned out not to
        be possible.
        """
        log.warning("Prompts are blended by their predictions: %s", reason)
        self.by_attention = False
        self._settle()

    @property
    def is_long(self) -> bool:
        """Whether some step's windows are less than what the latent shows: what runs along it has to be sliced then."""
        return any(settings.cuts(self.length) for settings in self.each)

    @property
    def largest_view(self) -> View:
        """The most that the model is shown in a step."""
        sizes = [min(settings.window, self.length) for settings in self.each]
        windows = [Window(self.length - size, size) for size in sizes]
        views = self.views(windows, self.tiles(0)[-1:])
        return max(views, key=lambda view: view.length)

    def tiles(self, step: int) -> tuple[Tile, ...]:
        """The tiles of a sampling step; none where frames are seen whole."""
        height, width = self.latent.shapes[0][-2:]
        tiles = () if self._tiling is None else self._tiling.tiles((height, width), step)
        return tiles if len(tiles) > 1 else ()

    @property
    def is_tiled(self) -> bool:
        """Whether frames are larger than a tile, so that everything of their size has to be cut."""
        return bool(self.tiles(0))

    def views(self, windows: Sequence[Window], tiles: Sequence[Tile]) -> list[View]:
        """What the model is shown of some windows: of each all of its tiles, or it once."""
        shown = [self.view(window) for window in windows]
        return [replace(view, tile=tile) for view in shown for tile in tiles] if tiles else shown

    def view(self, window: Window) -> View:
        """What the model is shown for a window: it, behind the first latent frame if all windows are to see that, or
        behind the one before it with ``causal_anchor``.
        """
        shown = self.settings.view(window)
        if self.lead:
            shown = View(window, 0 if 0 in window.indices else self.lead)
        return self.latent.with_guides(shown)

    def place_of(self, view: View) -> WindowPlace:
        """Where the window of a view lies in the whole video."""
        place = self._place or Place(0, self.length)
        return WindowPlace(place.start + view.window.start, view.window.length, place.num_latent_frames)

    def decide_lead(self, entries: Sequence[Entry]) -> None:
        """Decide whether all windows see the first latent frame, from the cond entries of a run."""
        if self.options.start_image == "auto" and any(begins_with_an_image(entry) for entry in entries):
            self.lead = 1

    def check(self, conds: Sequence[list[Entry] | None], model_options: Mapping[str, Any]) -> None:
        """Check once, before the first forward pass, that windows can be sliced from all that runs along the video.

        Raises:
            ValueError: something cannot; it is named.
        """
        if self._checked or not (self.is_long or self.is_tiled):
            return
        entries = [entry for output in conds for entry in output or ()]
        if self.is_tiled:
            check_tiles(entries, self.family, model_options)
        self.decide_lead(entries)
        check_model_options(model_options)
        check_driven(model_options.get("transformer_options", {}), self.length)
        for entry in entries:
            check_control(entry.get("control"), self.length, self.time_dim)
            for settings in self.each:
                seen_whole = not (self.is_tiled or settings.cuts(self.length))
                for window in () if seen_whole else settings.windows(self.length, 0)[:2]:
                    self.conditions.check(entry, self.view(window))
        self._checked = True

    def moment(self, timestep: torch.Tensor, model_options: Mapping[str, Any]) -> tuple[int, int]:
        """``step_of`` an evaluation at ``timestep``."""
        sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
        return self.step_of(float(timestep.flatten()[0]), None if sigmas is None else sigmas.tolist())

    def step_of(self, sigma: float, sigmas: Sequence[float] | None) -> tuple[int, int]:
        """The step of the whole noise schedule that an evaluation belongs to, and how many steps that has.

        Args:
            sigma: the noise level of the evaluation.
            sigmas: of the run, falling, or rising in an inversion; None counts as one step.
        """
        if sigmas is None:
            return 0, 1
        if sigmas[0] < sigmas[-1]:
            sigmas = sigmas[::-1]
        stage = self._stage_of(sigmas)
        if sigmas[-1] > 0:  # where the noise is not at its end, its last level is the next run's first
            sigmas = [*sigmas, 0.0]
        return stage.first + nearest_step(sigma, sigmas), stage.total

    def steps_before(self, share: float, sigmas: Sequence[float]) -> int:
        """How many steps of the run lie before a share of the whole noise schedule; of an inversion none."""
        if sigmas[0] < sigmas[-1]:
            return 0
        return min(self._stage_of(sigmas).steps_before(share), len(sigmas) - 1)

    def _stage_of(self, sigmas: Sequence[float]) -> Stage:
        if self._stage is None:
            self._stage = Stage.of_shares([self._share(level) for level in sigmas])
        return self._stage

    @property
    def first_step(self) -> int:
        """The step of the whole noise schedule with which this run begins."""
        return self._stage.first if self._stage is not None else 0

    def _share(self, sigma: float) -> float:
        """Where a noise level lies in the model's range: 0 at its highest, 1 without noise."""
        # Asked for at an evaluation: before, the shift that a node sets is not on the model yet.
        levels = getattr(self._model.model_sampling, "sigmas", None)
        if levels is None or sigma <= 0:
            return float(sigma <= 0)
        levels = levels.tolist()  # rising
        above = bisect.bisect_left(levels, sigma * (1 - 1e-5))
        return 1 - min(above + 1, len(levels)) / len(levels)

    def noise(self, like: torch.Tensor, seed: int, options: NoiseOptions) -> torch.Tensor:
        """Noise of a kind for the whole latent, where ``like`` is; drawn on the CPU."""
        first = self.each[0]
        settings = options.settings(first.window, first.overlap)
        return self.latent.join(self.latent.noise(self.latent.split(like.cpu()), seed, settings)).to(like.device)

    def noised(self, x0: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """A clean latent with noise at a level of the model's."""
        return self._model.model_sampling.noise_scaling(sigma, noise, x0, False)

    def track(self, schedule: PromptSchedule) -> PromptTrack:
        """What the latent's frames see of a schedule.

        Raises:
            ValueError: the schedule is for a video of another length.
        """
        if schedule not in self._tracks:
            self._tracks[schedule] = track_in(schedule, self.length, self.family, self._place)
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
