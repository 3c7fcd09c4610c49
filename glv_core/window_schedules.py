"""Window schedules: which windows there are at a sampling step.

Pure functions from numbers to windows. All windows of a step have one length, but for the ends of ``shifted_trimmed``;
every latent frame is covered at every step; no latent frame stands twice in a window. Schedules only say where windows
start in a lane, see ``windows``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .windows import Window


@dataclass(frozen=True)
class Layout:
    """What a schedule has to cover, in latent frames.

    ``step`` is the index of the sampling step; ``seed`` is used by schedules that draw. Windows start at multiples of
    ``grain``.
    """

    length: int
    window: int
    overlap: int
    step: int = 0
    stride: int = 1
    closed_loop: bool = False
    seed: int = 0
    grain: int = 1

    @property
    def hop(self) -> int:
        """From the start of one window to the next, counted along a lane."""
        return max(self.grain, (self.window - self.overlap) // self.grain * self.grain)

    def on_grain(self, place: float) -> int:
        """The last place at which a window may start up to this one."""
        return int(place) // self.grain * self.grain


def check_sizes(
    length: int, window: int, overlap: int, stride: int = 1, grain: int = 1, closed_loop: bool = False
) -> None:
    """Check a length, window, overlap, stride and grain, all in latent frames.

    Raises:
        ValueError: length, window or stride below 1, overlap not in ``0 ... window - 1``, or a grain that the windows
            cannot keep.
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
    if stride < 1:
        raise ValueError(f"The stride is {stride}; it must be 1 (neighbouring latent frames) or more.")
    if grain > 1 and stride > 1:
        raise ValueError(f"The stride is {stride}; windows that start at multiples of {grain} need a stride of 1.")
    if grain > window and length > window:
        raise ValueError(
            f"The window is {window} latent frames, and windows start at multiples of {grain}, which leaves some out. "
            f"Raise the window to {grain} latent frames or more."
        )
    if grain > 1 and length > window and (length if closed_loop else length - window) % grain:
        raise ValueError(
            f"The latent has {length} latent frames and the window {window}; windows start at multiples of {grain}, "
            f"which must divide {'the length of a closed loop' if closed_loop else 'their difference'}."
        )


# Where windows start in a lane of `cells` latent frames, of which `layout.window` are fewer; `turn` is how far the
# windows are moved on, as a share of the hop in 0 ... 1.


def _open_starts(cells: int, layout: Layout, turn: float) -> list[int]:
    last = cells - layout.window
    return sorted({0, *range(layout.on_grain(turn * layout.hop), last, layout.hop), last})


def _loop_starts(cells: int, layout: Layout, turn: float) -> list[int]:
    # Spread evenly, so that no two windows of a loop share more than they must.
    count = math.ceil(cells / layout.hop)
    offset = layout.on_grain(turn * layout.hop)
    return sorted({(offset + layout.on_grain(i * cells / count)) % cells for i in range(count)})


def _balanced_starts(cells: int, layout: Layout, turn: float) -> list[int]:
    last = cells - layout.window
    count = 1 + math.ceil(last / layout.hop)
    return sorted({layout.on_grain(i * last / max(1, count - 1)) for i in range(count)})


def _starts(cells: int, layout: Layout, turn: float) -> list[int]:
    return (_loop_starts if layout.closed_loop else _open_starts)(cells, layout, turn)


def _lanes(layout: Layout) -> Iterator[tuple[int, int]]:
    """The first latent frame of every lane, and how many it holds."""
    if layout.closed_loop:
        lanes = math.gcd(layout.length, layout.stride)
        yield from ((lane, layout.length // lanes) for lane in range(lanes))
    else:
        yield from ((lane, -(-(layout.length - lane) // layout.stride)) for lane in range(layout.stride))


def _fitting(layout: Layout) -> Layout:
    """The layout with the largest stride up to its own whose lanes all hold a window."""
    stride = layout.stride
    while stride > 1 and min(cells for _, cells in _lanes(replace(layout, stride=stride))) < layout.window:
        stride -= 1
    return replace(layout, stride=stride)


def _lay(layout: Layout, turn: float, starts: Callable[[int, Layout, float], list[int]] = _starts) -> list[Window]:
    """Windows in every lane of a layout, lane by lane."""
    layout = _fitting(layout)
    loop = layout.length if layout.closed_loop else 0
    if layout.length <= layout.window:
        if not layout.closed_loop:
            return [Window(0, layout.length)]
        # One window holds the loop; turning it moves the place where it does not see its own neighbours.
        return [Window(layout.on_grain(turn * layout.length) % layout.length, layout.length, 1, loop)]
    windows = []
    for lane, cells in _lanes(layout):
        for start in starts(cells, layout, turn):
            first = lane + start * layout.stride
            first = first % loop if loop else first
            windows.append(Window(first, layout.window, layout.stride, loop, lane, start))
    return windows


def static(layout: Layout) -> list[Window]:
    """The same windows at every step, ``window - overlap`` apart; the last one is moved left to end with the video.

    Where the hop divides ``length - window`` these are the windows of Gen-L-Video (arXiv 2305.18264), whose own code
    leaves the last frames uncovered otherwise. A closed loop that one window holds is covered twice, half a loop apart.
    """
    if layout.closed_loop and 1 < layout.length <= layout.window:
        return _lay(layout, 0) + _lay(layout, 0.5)
    return _lay(layout, 0)


def static_balanced(layout: Layout) -> list[Window]:
    """As few windows as cover the video with at least the overlap, with equal overlaps: no squeezed last window."""
    return static(layout) if layout.closed_loop else _lay(layout, 0, _balanced_starts)


def batched(layout: Layout) -> list[Window]:
    """Windows side by side, whatever the overlap says: isolated clips. The last one is moved left."""
    return static(replace(layout, overlap=0))


def shifted(layout: Layout) -> list[Window]:
    """Windows whose offset changes every step, so that no boundary stays in one place.

    The offset runs through a hop in bit-reversed order (van der Corput's sequence: 0, 1/2, 1/4, 3/4 ...), which spreads
    the boundaries of any few successive steps evenly. The ends of an open video keep a window of their own.
    """
    return _lay(layout, bit_reversed_fraction(layout.step))


def shifted_trimmed(layout: Layout) -> list[Window]:
    """``shifted``, where the first and the last window of an open video end where they need to, but not below half.

    What they see of their neighbours is otherwise up to a whole window, which those denoise as well. With a grain they
    are shorter by multiples of it. With gaps in the windows, and in a loop, it is ``shifted``.
    """
    windows = shifted(layout)
    if layout.closed_loop or _fitting(layout).stride > 1 or len(windows) < 2:
        return windows
    windows.sort(key=lambda window: window.start)
    least = -(-layout.window // 2)
    spare = layout.window - max(least, windows[1].start + layout.overlap)
    windows[0] = Window(0, layout.window - layout.on_grain(max(0, spare)))
    latest = min(layout.length - least, windows[-2].stop - layout.overlap)
    start = max(windows[-1].start, layout.on_grain(latest))
    windows[-1] = Window(start, layout.length - start)
    return windows


def shifted_golden(layout: Layout) -> list[Window]:
    """Like ``shifted``, with the offset moved on by the golden ratio at every step."""
    return _lay(layout, layout.step * (math.sqrt(5) - 1) / 2 % 1)


def shifted_random(layout: Layout) -> list[Window]:
    """Like ``shifted``, with an offset drawn from seed and step."""
    return _lay(layout, random.Random(f"{layout.seed}/{layout.step}").random())


def uniform(layout: Layout) -> list[Window]:
    """Windows of every power-of-two stride up to the layout's at once, moved at every step by bit reversal.

    AnimateDiff's uniform schedule, but every latent frame is covered, none stands twice in a window, and windows keep
    their length.
    """
    turn = bit_reversed_fraction(layout.step)
    strides = sorted({_fitting(replace(layout, stride=2**k)).stride for k in range(layout.stride.bit_length())})
    return [window for stride in strides for window in _lay(replace(layout, stride=stride), turn)]


def bit_reversed_fraction(step: int) -> float:
    """Element ``step`` of van der Corput's sequence in base 2: its binary digits mirrored behind the point."""
    fraction, weight = 0.0, 0.5
    while step > 0:
        fraction += weight * (step & 1)
        step >>= 1
        weight /= 2
    return fraction


Schedule = Callable[[Layout], list[Window]]


SCHEDULES: dict[str, Schedule] = {
    schedule.__name__: schedule
    for schedule in (
        shifted,
        shifted_trimmed,
        shifted_golden,
        shifted_random,
        static,
        static_balanced,
        uniform,
        batched,
    )
}

#: What is used where nobody says. No other keeps seams as low for its cost, see docs/benchmarks.md.
DEFAULT_SCHEDULE = shifted_trimmed.__name__


def windows_for(
    schedule: str,
    length: int,
    window: int,
    overlap: int,
    step: int,
    *,
    stride: int = 1,
    closed_loop: bool = False,
    seed: int = 0,
    grain: int = 1,
) -> tuple[Window, ...]:
    """The windows of one sampling step, in no order that matters, none twice.

    Args:
        schedule: a name in ``SCHEDULES``.
        length, window, overlap: in latent frames. An open latent that fits in one window gets a single one.
        step: index of the sampling step.
        stride: spacing of the latent frames in a window; lowered where the video is too short for it.
        closed_loop: whether windows go on at the first latent frame after the last.
        seed: for schedules that draw.
        grain: windows start at multiples of this, see ``Compression.grain``.

    Raises:
        ValueError: unknown schedule, or sizes out of range.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"Unknown window schedule {schedule!r}. Known: {', '.join(SCHEDULES)}.")
    if step < 0:
        raise ValueError(f"The sampling step is {step}; it must be 0 or more.")
    check_sizes(length, window, overlap, stride, grain, closed_loop)
    windows = SCHEDULES[schedule](Layout(length, window, overlap, step, stride, closed_loop, seed, grain))
    return tuple(dict.fromkeys(windows))
