"""What lives as long as a run: its windows in latent frames, what its prompts say, and how many windows fit."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ....co_denoise import Stage, nearest_step
from ....prompts import PromptSchedule, PromptTrack
from ....timeline import Place
from ....windows import Tile, View, Window
from ..families import family_of, time_dim_of
from ..memory import free_for_windows
from .conditioning import Conditions, Entry, begins_with_an_image, host_slices
from .controls import check_control
from .driven import check_driven
from .model_patches import check_model_options
from .options import WindowOptions
from .packed import PackedLatent
from .prompt_tags import track_of
from .space import check_tiles

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
        self.settings = options.settings(self.family.compression, seed)
        self._tiling = options.tiling(model.latent_format.spacial_downscale_ratio)
        ask_host = host_slices(model, shape, self.time_dim)
        self.conditions = Conditions(self.family, self.length, self.time_dim, ask_host, self.latent)
        self.lead = 1 if options.start_image == "every_window" else 0
        self._place = place
        self._stage = stage
        self._model = model
        self.kept: dict[int, torch.Tensor] = {}  #: what model patches made of the whole video
        self._checked = False
        self._tracks: dict[PromptSchedule, PromptTrack] = {}
        self._limit = self.settings.largest_batch

    @property
    def is_long(self) -> bool:
        """Whether a window is less than what the latent shows, so that everything along it has to be sliced."""
        return self.length > self.settings.window or self.settings.closed_loop

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
        """What the model is shown for a window: it, behind the first latent frame if all windows are to see that."""
        return self.latent.with_guides(View(window, 0 if 0 in window.indices else self.lead))

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
            for window in self.settings.windows(self.length, 0)[:2]:
                self.conditions.check(entry, self.view(window))
        self._checked = True

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
        if self._stage is None:
            self._stage = Stage.of_shares([self._share(level) for level in sigmas])
        if sigmas[-1] > 0:  # where the noise is not at its end, its last level is the next run's first
            sigmas = [*sigmas, 0.0]
        return self._stage.first + nearest_step(sigma, sigmas), self._stage.total

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

    def track(self, schedule: PromptSchedule) -> PromptTrack:
        """What the latent's frames see of a schedule.

        Raises:
            ValueError: the schedule is for a video of another length.
        """
        if schedule not in self._tracks:
            place = self._place or self._behind_references(schedule)
            whole = track_of(schedule, place.num_latent_frames, self.family.compression)
            self._tracks[schedule] = whole.at(place, self.length)
        return self._tracks[schedule]

    def _behind_references(self, schedule: PromptSchedule) -> Place:
        """The place of the whole latent, which may begin with reference latents that the schedule leaves out."""
        scheduled = self.family.compression.num_latent_frames(schedule.num_frames)
        extra = self.length - scheduled
        return Place(-extra, scheduled) if 0 < extra <= self.family.references else Place(0, self.length)

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
