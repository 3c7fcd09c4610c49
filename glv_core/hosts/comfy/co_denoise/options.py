"""What a user sets for the windows, in frames of the video."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....co_denoise import CoDenoiseSettings, Phase
from ....timeline import Timebase


@dataclass(frozen=True)
class WindowOptions:
    """What a user sets: sizes in frames of the video, as the editor shows them.

    The latent's window and overlap follow from the temporal compression of the model at hand. ``stride`` is in latent
    frames, overlaps of ``phases`` in frames of the video. ``host_memory``: the long latent stays in
    host memory, and only windows go to the device.
    """

    window: int
    overlap: int
    schedule: str
    merge: str
    windows_per_forward: int = 0
    stride: int = 1
    closed_loop: bool = False
    transitions: str = "predictions"
    phases: tuple[Phase, ...] = ()
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
            phase
            if phase.overlap is None
            else replace(phase, overlap=latent(phase.overlap, f" of the phase that starts at {phase.start:g}"))
            for phase in self.phases
        )
        return CoDenoiseSettings(
            window, latent(self.overlap), self.schedule, self.merge, self.windows_per_forward,
            self.stride, self.closed_loop, seed, phases, self.transitions,
        )  # fmt: skip
