"""What a user sets for the windows. *Options* are in frames, as the editor shows them; *settings* in latent frames."""

from __future__ import annotations

from dataclasses import dataclass

from ....co_denoise import CoDenoiseSettings, Phase
from ....noise import NoiseSettings
from ....prompts import AUTO
from ....step_cache import NO_STEP_CACHE, StepCacheSettings
from ....tiles import PATCH, Tiling
from ....timeline import Compression
from ....window_schedules import DEFAULT_SCHEDULE

#: Which windows see the video's first latent frame, where a start or reference image stands. auto: every window where
#: the conditioning says that there is one; every_window; first_window: only those that it lies in.
START_IMAGES = ("auto", "every_window", "first_window")
UNCHANGED = "unchanged"  #: the choice of a phase that leaves an option as it was


@dataclass(frozen=True)
class NoiseOptions:
    """The kind of noise, and for ``mixed`` the shared part of its variance.

    ``fresh_until``: before this share of the steps of the whole noise schedule, each adds a noise of its own to what
    the model predicts, in place of the sampler's step (FlowLong, arXiv 2605.20910).

    Raises:
        ValueError: ``fresh_until`` out of range.
    """

    kind: str = "independent"
    shared: float = 0.5
    fresh_until: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.fresh_until <= 0.95:
            raise ValueError(f"fresh_noise_until is {self.fresh_until:g}; it must be 0 to 0.95.")

    def settings(self, window: int, overlap: int) -> NoiseSettings:
        """These options for windows of so many latent frames."""
        return NoiseSettings(self.kind, window, overlap, self.shared)


@dataclass(frozen=True)
class PhaseOptions:
    """Other windows from a share ``start`` of the noise schedule on, 0 ... 1; what is None stays as it was."""

    start: float
    schedule: str | None = None
    overlap_frames: int | None = None
    stride: int | None = None
    merge: str | None = None
    window_frames: int | None = None
    prompt_blending: str | None = None

    @classmethod
    def of_inputs(
        cls,
        start: float,
        schedule: str = UNCHANGED,
        overlap: int = -1,
        stride: int = 0,
        merge: str = UNCHANGED,
        window: int = 0,
        prompt_blending: str = UNCHANGED,
    ) -> PhaseOptions:
        """A phase from the values of its node, where "unchanged", an overlap of -1 and sizes of 0 leave things so."""
        chosen = {name: None if value == UNCHANGED else value for name, value in
                  (("schedule", schedule), ("merge", merge), ("prompt_blending", prompt_blending))}  # fmt: skip
        return cls(
            start, overlap_frames=None if overlap < 0 else overlap, stride=stride or None,
            window_frames=window or None, **chosen,
        )  # fmt: skip


@dataclass(frozen=True)
class WindowOptions:
    """What a user sets for the windows; ``stride`` is in latent frames.

    ``offload_latent``: the long latent stays in the computer's memory, and only windows go to the device.
    ``start_image``: which windows see the first latent frame, one of ``START_IMAGES``.
    ``prompt_blending``: one of ``PROMPT_BLENDINGS``, or ``AUTO``.
    ``causal_anchor``: whether windows are seen behind the latent frame before them, see ``CoDenoiseSettings.view``.
    ``isolated_clips``: windows side by side that share nothing, whatever the other options say.
    ``step_cache``: when windows take their prediction from the steps before.
    ``tile_width``, ``tile_height``, ``tile_overlap``: tiles of larger frames and what they share, in pixels; a side of
    0 is not cut.
    """

    window_frames: int
    overlap_frames: int
    schedule: str = DEFAULT_SCHEDULE
    merge: str = "pyramid"
    windows_per_forward: int = 0
    stride: int = 1
    closed_loop: bool = False
    prompt_blending: str = AUTO
    phases: tuple[PhaseOptions, ...] = ()
    offload_latent: bool = False
    start_image: str = "auto"
    isolated_clips: bool = False
    step_cache: StepCacheSettings = NO_STEP_CACHE
    tile_width: int = 0
    tile_height: int = 0
    tile_overlap: int = 128
    causal_anchor: bool = False

    def settings(self, compression: Compression, seed: int = 0, attention: bool = False) -> CoDenoiseSettings:
        """These options in latent frames.

        Args:
            compression: of the model.
            seed: for schedules and merges that draw.
            attention: whether the model's latent frames can attend to prompts of their own, see ``AUTO``.

        Raises:
            ValueError: overlap not below window, an unknown schedule, merge or start_image, or windows that clips of a
                pattern cannot be.
        """
        if self.start_image not in START_IMAGES:
            raise ValueError(f"Unknown start_image {self.start_image!r}. Known: {', '.join(START_IMAGES)}.")
        if compression.rest:
            self._check_unbroken()

        def sizes(window_frames: int, overlap_frames: int, where: str = "") -> tuple[int, int]:
            window = compression.whole_clip(compression.num_latent_frames(window_frames))
            if window < compression.grain:
                least = compression.num_frames(compression.whole_clip(compression.grain))
                raise ValueError(
                    f"window{where} is {window_frames} frames; windows of this model have {least} frames or more. "
                    "Raise window."
                )
            if not 0 <= overlap_frames < window_frames:
                raise ValueError(
                    f"overlap{where} is {overlap_frames} frames and window {window_frames}; overlap must be 0 or more "
                    "and below window. Lower overlap or raise window."
                )
            return window, min(compression.latent_span(overlap_frames), window - 1)

        blending = self.prompt_blending
        if blending == AUTO:
            blending = "attention" if attention else "predictions"
        if self.isolated_clips:
            window, _ = sizes(self.window_frames, 0)
            return CoDenoiseSettings(
                window, 0, "batched", "earliest", self.windows_per_forward, seed=seed,
                prompt_blending=blending, grain=compression.grain,
            )  # fmt: skip
        phases, frames = [], (self.window_frames, self.overlap_frames)
        for phase in sorted(self.phases, key=lambda phase: phase.start):
            own = phase.window_frames, phase.overlap_frames
            frames = tuple(was if now is None else now for was, now in zip(frames, own, strict=True))
            window, overlap = sizes(*frames, f" of the phase that starts at {phase.start:g}")
            phases.append(
                Phase(
                    phase.start,
                    phase.schedule,
                    None if own == (None, None) else overlap,
                    phase.stride,
                    phase.merge,
                    None if phase.window_frames is None else window,
                    phase.prompt_blending,
                )
            )
        settings = CoDenoiseSettings(
            *sizes(self.window_frames, self.overlap_frames), self.schedule, self.merge, self.windows_per_forward,
            self.stride, self.closed_loop, seed, tuple(phases), blending, compression.grain,
            self.causal_anchor,
        )  # fmt: skip
        settings.check_causal_anchor(compression)
        return settings

    def tiling(self, scale: int) -> Tiling | None:
        """The tiles in latent pixels, ``scale`` pixels each; None where frames are seen whole.

        Raises:
            ValueError: a side that is not of whole patches, or an overlap that is not below both.
        """
        if not self.tile_width and not self.tile_height:
            return None
        unit = scale * PATCH
        if self.tile_overlap < 0:
            raise ValueError(f"tile_overlap is {self.tile_overlap} pixels; it must be 0 or more.")
        overlap = -(-self.tile_overlap // scale)
        for name, side in (("tile_width", self.tile_width), ("tile_height", self.tile_height)):
            if side < 0 or side % unit:
                nearest = max(unit, round(side / unit) * unit)
                raise ValueError(
                    f"{name} is {side} pixels; it must be a multiple of {unit}, as {nearest} is, or 0 for whole frames."
                )
            if side and overlap * scale >= side:
                raise ValueError(
                    f"tile_overlap is {self.tile_overlap} pixels and {name} {side}; it must be below, in steps of "
                    f"{scale}. Lower tile_overlap."
                )
        return Tiling(self.tile_height // scale, self.tile_width // scale, overlap)

    def _check_unbroken(self) -> None:
        for name, value, broken, remedy in (
            ("closed_loop", "on", self.closed_loop, "Switch it off"),
            ("start_image", self.start_image, self.start_image == "every_window", "Choose auto"),
            ("stride", str(self.stride), self.stride > 1, "Use 1"),
        ):
            if broken:
                raise ValueError(
                    f"{name} is {value}, but windows of this model must be neighbouring latent frames with nothing in "
                    f"front of them. {remedy}."
                )
