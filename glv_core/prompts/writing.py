"""Times and transitions as text: frames written in the units and the way in which others stand there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from .layout import Fade
from .source import Video, Written, round_half_up

_DIGITS = re.compile(r"[0-9.]+")
_CLOCK = re.compile(r"[0-9]+(?::[0-9]+)+(?:[.,][0-9]+)?")


def time_as(video: Video, old: Written, frame: int) -> str:
    """A frame written as another time is."""
    frames = video.num_frames - frame if old.counts_back else frame
    clock = _CLOCK.search(old.text)
    if clock:
        first, *others = clock.group().split(":")
        point = "," if "," in others[-1] else "."
        whole, _, rest = length_in(video, frames, "s").partition(".")
        if len(others[-1].partition(point)[2]) == 3:  # as subtitles have
            rest = rest.ljust(3, "0")
        minutes, left = divmod(int(whole), 60)
        width = len(first)
        shown = f"{minutes // 60:0{width}}:{minutes % 60:02}" if len(others) > 1 else f"{minutes:0{width}}"
        new = f"{shown}:{left:02}{point + rest if rest else ''}"
        return old.text[: clock.start()] + new + old.text[clock.end() :]
    number = _DIGITS.search(old.text)
    assert number is not None
    return old.text[: number.start()] + length_in(video, frames, old.unit) + old.text[number.end() :]


def length_in(video: Video, frames: int | float, unit: str, at_most: bool = False) -> str:
    """Frames in a unit, as the shortest number that is read as so many; ``at_most``: and as not more."""
    if unit:
        each = Fraction(video.fps) if unit == "s" else Fraction(video.num_frames, 100)  # frames
        return _shortest(lambda number: Fraction(number) * each, Fraction(frames) / each, at_most)
    return f"{frames:g}" if isinstance(frames, float) else str(frames)


def _shortest(frames_of: Callable[[str], Fraction], exact: Fraction, at_most: bool = False) -> str:
    """The number with the fewest decimals that means the same frame as an exact one, perhaps rounded down."""
    wanted = frames_of(str(exact))
    for decimals in range(9):
        scaled = exact * 10**decimals
        number = f"{(math.floor(scaled) if at_most else round_half_up(scaled)) / 10**decimals:.{decimals}f}"
        near = wanted.denominator == 1 and decimals > 1 and not at_most
        if abs(frames_of(number) - wanted) < Fraction(1, 20) or (near and round_half_up(frames_of(number)) == wanted):
            return number.rstrip("0").rstrip(".") if "." in number else number
    return number


def fade_as(video: Video, fade: Fade, unit: str) -> str:
    """A transition in its brackets, its length in a unit and never longer than it is."""
    if fade.frames is None:
        return f"[{fade.kind}]"
    return f"[{fade.kind} {length_in(video, fade.frames, unit, at_most=True)}{unit}]"
