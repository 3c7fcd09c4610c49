"""Times and ranges of times as they are written: ``48``, ``2.5s``, ``50%``, ``1:05``, ``-24``, ``0-24``, ``0s -> 3s``.

``SPAN`` finds a right time or range and never looks further than its own bounds; ``TimeReader`` reads one and says what
is wrong with it. No pattern here is tried at more than one place of a text for each character that it reads.
"""

from __future__ import annotations

import re
from fractions import Fraction

from .errors import PromptScheduleError
from .source import NUMBER, WAY_OUT, Video, Written, match_at

TIME_HELP = "Write a frame (12), seconds (0.5s), percent (50%), or a range (12-24)."

COLONS = ":\uff1a"  # \uff1a: the wide colon of Chinese and Japanese keyboards
UNITS = r"(?:seconds?|secs?|s|frames?|f|%)"
SIGNS = r"(?:\.\.|-{1,2}>|=>|[-~\u2013\u2014\u2192])"  # \u2013, \u2014: dashes of word processors; \u2192: an arrow
_CLOCK = r"(?:[0-9]{1,4}(?::[0-5][0-9]){1,2}(?:[.,][0-9]{1,6})?(?!:?[0-9]))"
_NUMBER = r"(?:[0-9]{1,40}(?:\.[0-9]{1,40})?|\.[0-9]{1,40})"
_ONE = rf"-?(?:{_CLOCK}|{_NUMBER}(?:[ \t]{{0,3}}{UNITS})?)(?!\w)"
_TO = rf"(?:[ \t]{{0,4}}{SIGNS}[ \t]{{0,4}}|[ \t]{{1,4}}to[ \t]{{1,4}})"
SPAN = re.compile(rf"(?P<first>{_ONE})(?:{_TO}(?P<last>{_ONE}))?", re.IGNORECASE)
DECADE = re.compile(r"(?:1[0-9]|20)[0-9]0s|[5-9]0s", re.IGNORECASE)  # 1980s, 90s: years rather than a time
_TENS = re.compile(r"[1-9]0s", re.IGNORECASE)
_OF_YEARS = re.compile(r"\b(?:the|early|late|mid|roaring|her|his|their)-?\Z", re.IGNORECASE)
UNITED = re.compile(r"[s%:]|sec|f", re.IGNORECASE)  # in a span: something that only a time has

TIME = re.compile(rf"(-?)(?:([0-9]+):(?:([0-5][0-9]):)?([0-5][0-9](?:[.,][0-9]+)?)(?![\w.:])|({NUMBER}))")
UNIT = re.compile(rf"\s*({UNITS})(?!\w)", re.IGNORECASE)
RANGE_SIGN = re.compile(rf"\s*{SIGNS}\s*|\s+to\s+", re.IGNORECASE)
SPOILT = re.compile(r"[^\s\-~\u2013\u2014\u2192\[.=]|\.(?!\.)|=(?!>)")  # what cannot follow a time
# "1-3s" is one second to three, and "10-20%" percent; two dots join what is written on either side of them.
SHARED_UNIT = re.compile(
    rf"{_NUMBER}[ \t]{{0,4}}(?:(?!\.\.){SIGNS}|\bto\b)[ \t]{{0,4}}{_NUMBER}[ \t]{{0,3}}({UNITS})(?!\w)", re.IGNORECASE
)
RUN = re.compile(r"\w+|.")


class TimeReader:
    """Reads the part [start, end) of a text; raises at the first thing that is not understood."""

    def __init__(self, video: Video, start: int, end: int, unit: str = "") -> None:
        self.video = video
        self.source = video.source
        self.pos = start
        self.end = end
        self.unit = unit  #: of numbers without one: "s", or "" for frames

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = match_at(pattern, self.source.text, self.pos, self.end)
        if found:
            self.pos = found.end()
        return found

    def peek(self) -> str:
        return self.source.text[self.pos : min(self.pos + 1, self.end)]

    def span(self) -> tuple[Written, Written | None]:
        """A time, and the end of its range if it is one."""
        shared = match_at(SHARED_UNIT, self.source.text, self.pos, self.end)
        start = self.time(unit_of(shared.group(1)) if shared else self.unit)
        return start, self.time(self.unit) if self.match(RANGE_SIGN) else None

    def time(self, default: str) -> Written:
        offset = self.pos
        found = self.match(TIME)
        if not found:
            raise self.not_a_time()
        sign, first, middle, seconds, number = found.groups()
        if first is not None:
            hours, minutes = (first, middle) if middle is not None else ("0", first)
            unit, frames = "s", self.video.frames_of(hours, "s", offset) * 3600
            frames += self.video.frames_of(minutes, "s", offset) * 60
            frames += self.video.frames_of(seconds.replace(",", "."), "s", offset)
        else:
            unit_found = self.match(UNIT)
            unit = unit_of(unit_found.group(1)) if unit_found else default
            frames = self.video.frames_of(number, unit, offset)
        if match_at(SPOILT, self.source.text, self.pos, self.end):
            raise self.not_a_time()
        if not unit and "." in number:
            share = f", {Fraction(number) * 100}%" if Fraction(number) < 1 and len(number) < 6 else ""
            raise self.source.syntax_error(
                offset,
                f"{number} is not a whole frame.",
                f"Write a whole frame, or say what it counts: {number}s{share if '/' not in share else ''}.",
            )
        written = self.source.text[offset : self.pos].strip()
        return Written(self.video.place(sign, frames), written, offset, unit, bool(sign))

    def not_a_time(self) -> PromptScheduleError:
        found = match_at(RUN, self.source.text, self.pos, self.end)
        what = f"'{found.group()}' is not a time." if found else "a time is missing here."
        return self.source.syntax_error(self.pos, what, f"{TIME_HELP} {WAY_OUT}")

    def frames(self, start: Written, end: Written | None) -> tuple[int, int | None] | None:
        """First frame and the one before which a range ends; None for what is dropped behind the end of the video."""
        if self.video.drops(start):
            return None
        first = self.video.start_frame(start)
        if end is None:
            return first, None
        stop = self.video.end_frame(end)
        if first >= stop:
            raise self.source.schedule_error(
                start.offset,
                f"the range from '{start.text}' to '{end.text}' is empty: it goes from frame {first} to frame {stop}.",
                "The start must come before the end, by at least one frame.",
            )
        return first, stop


def are_years(span: re.Match[str], before: str = "") -> bool:
    """Whether a ``SPAN`` behind some text is decades, such as the 1980s, the 70s-80s or the roaring 20s."""
    first, last = span.group("first"), span.group("last")
    if DECADE.fullmatch(first) and (last is None or DECADE.fullmatch(last)):
        return True
    return _TENS.fullmatch(first) is not None and _OF_YEARS.search(before) is not None


def unit_of(word: str) -> str:
    """What a written unit means: "s" or "%", or "" for frames."""
    return {"f": ""}.get(word[0].lower(), word[0].lower())
