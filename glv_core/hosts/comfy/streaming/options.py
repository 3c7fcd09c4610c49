"""What a user sets for streaming; sizes in frames, as the editor shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....prompts import AUTO
from ....step_cache import StepCacheSettings
from ....window_schedules import DEFAULT_SCHEDULE
from ..co_denoise.options import WindowOptions


@dataclass(frozen=True)
class StreamOptions:
    """What a user sets for streaming; sizes in frames of the video.

    ``length_frames``: of the finished video. ``chunk_frames``: what is sampled at once. ``overlap_frames``: the part of
    it that is known. ``window_frames``: what the model sees at once, 0 for a whole chunk; ``window_overlap_frames`` is
    between windows. ``blend``: see ``ramp``. ``run_name``: of the run folder; empty keeps nothing.
    The tiles' sizes are in pixels, see ``WindowOptions``. ``step_cache``: the threshold of ``StepCacheSettings``.
    """

    length_frames: int
    chunk_frames: int
    overlap_frames: int
    window_frames: int = 0
    window_overlap_frames: int = 16
    schedule: str = DEFAULT_SCHEDULE
    merge: str = "pyramid"
    anchor: str = "none"
    drift_correction: float = 0.0
    blend: float = 0.5
    run_name: str = ""
    tile_width: int = 0
    tile_height: int = 0
    tile_overlap: int = 128
    step_cache: float = 0.0
    prompt_blending: str = AUTO

    @property
    def in_windows(self) -> bool:
        """Whether a chunk is sampled in windows."""
        return 0 < self.window_frames < self.chunk_frames

    def windows(self, num_frames: int) -> WindowOptions:
        """The windows of a chunk of so many frames: one, or where a window is set, windows of it.

        Raises:
            ValueError: windows and their overlap do not go together, or a negative ``step_cache``.
        """
        names = ("tile_width", "tile_height", "tile_overlap", "prompt_blending")
        more = {name: getattr(self, name) for name in names}
        more["step_cache"] = StepCacheSettings(self.step_cache)
        if not self.in_windows:
            return WindowOptions(num_frames, 0, self.schedule, self.merge, **more)
        if self.window_overlap_frames >= self.window_frames:
            raise ValueError(
                f"window_overlap is {self.window_overlap_frames} frames and window {self.window_frames}; "
                "window_overlap must be below window. Lower window_overlap."
            )
        return WindowOptions(self.window_frames, self.window_overlap_frames, self.schedule, self.merge, **more)

    def check_step_cache(self, steps: int, switch_at: int | None) -> None:
        """Check that a step cache has steps to leave out.

        Args:
            steps: of the whole noise schedule.
            switch_at: the first of them that a second model makes; None where one model makes all.

        Raises:
            ValueError: there is none, with the remedy.
        """
        cache = StepCacheSettings(self.step_cache)
        runs = [(0, steps)] if switch_at is None else [(0, switch_at), (switch_at, steps)]
        # How fast predictions change is known from the first two steps of a run.
        asked = any(cache.at(step, steps) for first, last in runs for step in range(first + 2, last))
        if self.step_cache > 0 and not asked:
            each = "" if switch_at is None else " of each model"
            raise ValueError(
                f"step_cache is {self.step_cache:g} and steps {steps}, of which the first two{each} and the last are "
                "always computed, so there is none to leave out. Set step_cache to 0 or raise steps."
            )

    @property
    def keeps(self) -> bool:
        """Whether finished chunks are kept."""
        return bool(self.run_name.strip())


@dataclass(frozen=True)
class LowNoise:
    """A second MODEL, for the steps from ``step`` on, as Wan 2.2 14B has one for high and one for low noise."""

    model: Any
    step: int

    def check(self, model: Any, steps: int) -> None:
        """Check that it goes on from what ``model`` makes.

        Raises:
            ValueError: it is another kind of model, or there are no steps for one of the two.
        """
        kinds = [type(each.model.latent_format).__name__ for each in (model, self.model)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"low_noise_model has latents of another kind ({kinds[1]}) than model ({kinds[0]}). Connect two models "
                "of one family."
            )
        if not 0 < self.step < steps:
            raise ValueError(
                f"switch_at_step is {self.step} and steps {steps}, so one of the two models would make no step. Use 1 "
                f"to {steps - 1}."
            )
