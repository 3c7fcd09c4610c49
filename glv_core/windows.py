"""Window schedules: which latent frames are denoised together at a sampling step.

Pure functions from numbers to windows. All windows of a step have one length; every latent frame is covered at every
step; no latent frame stands twice in a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Latent frames ``start`` to ``stop`` (exclusive) of the long latent, denoised in one forward pass."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        return self.start + self.length

    @property
    def frames(self) -> range:
        """The latent frame numbers, in order."""
        return range(self.start, self.stop)


def check_sizes(length: int, window: int, overlap: int) -> None:
    """Check a length, window and overlap, all in latent frames.

    Raises:
        ValueError: length or window below 1, or overlap not in ``0 ... window - 1``.
    """
    if length < 1:
        raise ValueError(f"The latent has {length} latent frames; it needs at least 1.")
    if window < 1:
        raise ValueError(f"The window is {window} latent frames; it needs at least 1.")
    if not 0 <= overlap < window:
        raise ValueError(
            f"The overlap is {overlap} latent frames and the window {window}; the overlap must be 0 or more and below "
            "the window. Lower the overlap or raise the window."
        )


def static_windows(length: int, window: int, overlap: int, step: int = 0) -> tuple[Window, ...]:
    """The same windows at every step, ``window - overlap`` apart; the last one is moved left to end with the video.

    Where the stride divides ``length - window`` these are the windows of Gen-L-Video (arXiv 2305.18264), whose own
    code leaves the last frames uncovered otherwise.
    """
    return _windows_at(0, length, window, overlap)


def shifted_windows(length: int, window: int, overlap: int, step: int = 0) -> tuple[Window, ...]:
    """Windows whose offset changes every step, so that no boundary stays in one place.

    The offset runs through a stride in bit-reversed order (van der Corput's sequence: 0, 1/2, 1/4, 3/4 ...), which
    spreads the boundaries of any few successive steps evenly. The ends of the video keep a window of their own.
    """
    stride = window - overlap
    return _windows_at(int(bit_reversed_fraction(step) * stride), length, window, overlap)


def _windows_at(offset: int, length: int, window: int, overlap: int) -> tuple[Window, ...]:
    check_sizes(length, window, overlap)
    if length <= window:
        return (Window(0, length),)
    last = length - window
    inner = range(offset, last, window - overlap)
    return tuple(Window(start, window) for start in sorted({0, *inner, last}))


def bit_reversed_fraction(step: int) -> float:
    """Element ``step`` of van der Corput's sequence in base 2: its binary digits mirrored behind the point."""
    fraction, weight = 0.0, 0.5
    while step > 0:
        fraction += weight * (step & 1)
        step >>= 1
        weight /= 2
    return fraction


Schedule = Callable[[int, int, int, int], tuple[Window, ...]]
SCHEDULES: dict[str, Schedule] = {"shifted": shifted_windows, "static": static_windows}


def windows_for(schedule: str, length: int, window: int, overlap: int, step: int) -> tuple[Window, ...]:
    """The windows of one sampling step.

    Args:
        schedule: a name in ``SCHEDULES``.
        length, window, overlap: in latent frames. A latent that fits in one window gets a single one.
        step: number of the sampling step, from 0.

    Raises:
        ValueError: unknown schedule, or sizes out of range.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"Unknown window schedule {schedule!r}. Known: {', '.join(SCHEDULES)}.")
    if step < 0:
        raise ValueError(f"The sampling step is {step}; it must be 0 or more.")
    return SCHEDULES[schedule](length, window, overlap, step)


def forward_cost(schedule: str, length: int, window: int, overlap: int, steps: int) -> float:
    """Windows denoised over ``steps`` steps, divided by the floor ``steps * length / window``."""
    total = sum(len(windows_for(schedule, length, window, overlap, step)) for step in range(steps))
    return total * min(window, length) / (steps * length)
