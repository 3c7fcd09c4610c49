"""Times and transitions as text: frames written in the units and the way in which others stand there."""

from __future__ import annotations

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
        hours = clock.group().count(":") > 1
        seconds = _shortest(
            lambda number: Fraction(number) * Fraction(video.fps), Fraction(frames) / Fraction(video.fps)
        )
        whole, _, rest = seconds.partition(".")
        minutes, left = divmod(int(whole), 60)
        shown = f"{minutes // 60}:{minutes % 60:02}" if hours else f"{minutes}"
        new = f"{shown}:{left:02}{'.' + rest if rest else ''}"
        return old.text[: clock.start()] + new + old.text[clock.end() :]
    number = _DIGITS.search(old.text)
    assert number is not None
    return old.text[: number.start()] + length_in(video, frames, old.unit) + old.text[number.end() :]


def length_in(video: Video, frames: int | float, unit: str) -> str:
    """Frames in a unit, as the shortest number that is read as so many."""
    if unit == "s":
        return _shortest(lambda number: Fraction(number) * Fraction(video.fps), Fraction(frames) / Fraction(video.fps))
    if unit == "%":
        return _shortest(
            lambda number: Fraction(number) * video.num_frames / 100, Fraction(frames) * 100 / video.num_frames
        )
    return f"{frames:g}" if isinstance(frames, float) else str(frames)


def _shortest(frames_of: Callable[[str], Fraction], exact: Fraction) -> str:
    """The number with the fewest decimals that means the same frame as an exact one."""
    wanted = frames_of(str(exact))
    for decimals in range(9):
        number = f"{float(exact):.{decimals}f}"
        if abs(frames_of(number) - wanted) < Fraction(1, 20) or (
            wanted.denominator == 1 and round_half_up(frames_of(number)) == wanted and decimals > 1
        ):
            return number.rstrip("0").rstrip(".") if "." in number else number
    return number


def fade_as(video: Video, fade: Fade, unit: str) -> str:
    if fade.frames is None:
        return f"[{fade.kind}]"
    return f"[{fade.kind} {length_in(video, fade.frames, unit)}{unit}]"
