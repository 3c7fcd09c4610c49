"""What a user sets for the windows. *Options* are in frames, as the editor shows them; *settings* in latent frames."""

from __future__ import annotations

from dataclasses import dataclass

from ....co_denoise import CoDenoiseSettings, Phase
from ....noise import NoiseSettings
from ....tiles import PATCH, Tiling
from ....timeline import Compression

#: Which windows see the video's first latent frame, where a start or reference image stands. auto: every window where
#: the conditioning says that there is one; every_window; first_window: only those that it lies in.
START_IMAGES = ("auto", "every_window", "first_window")


@dataclass(frozen=True)
class NoiseOptions:
    """The kind of initial noise, and for ``mixed`` the shared part of its variance."""

    kind: str = "independent"
    shared: float = 0.5

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


@dataclass(frozen=True)
class WindowOptions:
    """What a user sets for the windows; ``stride`` is in latent frames.

    ``offload_latent``: the long latent stays in the computer's memory, and only windows go to the device.
    ``start_image``: which windows see the first latent frame, one of ``START_IMAGES``.
    ``isolated_clips``: windows side by side that share nothing, whatever the other options say.
    ``tile_width``, ``tile_height``, ``tile_overlap``: tiles of larger frames and what they share, in pixels; a side of
    0 is not cut.
    """

    window_frames: int
    overlap_frames: int
    schedule: str = "shifted"
    merge: str = "pyramid"
    windows_per_forward: int = 0
    stride: int = 1
    closed_loop: bool = False
    prompt_blending: str = "predictions"
    phases: tuple[PhaseOptions, ...] = ()
    offload_latent: bool = False
    start_image: str = "auto"
    isolated_clips: bool = False
    tile_width: int = 0
    tile_height: int = 0
    tile_overlap: int = 128

    def settings(self, compression: Compression, seed: int = 0) -> CoDenoiseSettings:
        """These options in latent frames.

        Raises:
            ValueError: overlap not below window, an unknown schedule, merge or start_image, or windows that clips of a
                pattern cannot be.
        """
        if self.start_image not in START_IMAGES:
            raise ValueError(f"Unknown start_image {self.start_image!r}. Known: {', '.join(START_IMAGES)}.")
        if compression.rest:
            self._check_unbroken()
        window = compression.whole_clip(compression.num_latent_frames(self.window_frames))
        if self.isolated_clips:
            return CoDenoiseSettings(
                window, 0, "batched", "earliest", self.windows_per_forward, seed=seed,
                prompt_blending=self.prompt_blending, grain=compression.grain,
            )  # fmt: skip

        def latent(overlap_frames: int, where: str = "") -> int:
            if not 0 <= overlap_frames < self.window_frames:
                raise ValueError(
                    f"overlap{where} is {overlap_frames} frames and window {self.window_frames}; overlap must be 0 or "
                    "more and below window. Lower overlap or raise window."
                )
            return min(compression.latent_span(overlap_frames), window - 1)

        phases = tuple(
            Phase(
                phase.start,
                phase.schedule,
                None
                if phase.overlap_frames is None
                else latent(phase.overlap_frames, f" of the phase that starts at {phase.start:g}"),
                phase.stride,
                phase.merge,
            )
            for phase in self.phases
        )
        return CoDenoiseSettings(
            window, latent(self.overlap_frames), self.schedule, self.merge, self.windows_per_forward, self.stride,
            self.closed_loop, seed, phases, self.prompt_blending, compression.grain,
        )  # fmt: skip

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
