"""The text of a schedule and the times in it: positions for error messages, and times turned into frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from .errors import PromptScheduleError, PromptSyntaxError, PromptWarning

NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
LONGEST_NUMBER = 40
LONGEST_EXCERPT = 100
WAY_OUT = "If it is part of the prompt, put a word in front of it."


# A time that begins a line, perhaps with the digits, dots and minus signs of other keyboards, up to its colon.
_DIGIT = r"[0-9\uff10-\uff19]"
_MINUS = r"[-\u2010-\u2013\u2212\uff0d]"
_TIME = (
    rf"{_MINUS}?{_DIGIT}{{1,12}}(?:[.\uff0e]{_DIGIT}{{1,6}})?(?:[:\uff1a]{_DIGIT}{{2}}){{0,2}}"
    r"[ \t]?(?:seconds?|secs?|s|frames?|f|[%\uff05])?"
)
_BEGINNING = re.compile(
    rf"(?:\A|\n)[ \t]{{0,20}}(?:[-*\u2022][ \t])?[\[(]?{_TIME}(?:[ \t]?(?:{_MINUS}|[~>]|to\b){{1,3}}[ \t]?{_TIME})?"
    rf"(?=[ \t]{{0,3}}[\])]?[ \t]{{0,3}}(?:\[|[:\uff1a](?!{_DIGIT})))",
    re.IGNORECASE,
)
_PLAIN = {0xFF10 + digit: str(digit) for digit in range(10)} | {
    0xFF0E: ".",
    0xFF1A: ":",
    0xFF05: "%",
    0x2212: "-",
    0xFF0D: "-",
    **dict.fromkeys(range(0x2010, 0x2014), "-"),
}


@dataclass(frozen=True)
class Source:
    """The text of a schedule, or the common text; ``\\n`` ends a line. Offsets count characters from 0.

    ``written`` is the text as it is shown, where that is another: times at the start of lines are in plain digits.
    """

    text: str
    common: bool = False
    written: str = ""

    @classmethod
    def of(cls, text: str, common: bool = False) -> Source:
        """The source of a text with line ends of any system, with or without a byte order mark."""
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        if text.isascii() or common:
            return cls(text, common)
        return cls(_BEGINNING.sub(lambda found: found.group().translate(_PLAIN), text), written=text)

    @cached_property
    def visible(self) -> str:
        """The text with spaces for its comments; offsets stay."""
        lines = self.text.split("\n")
        return "\n".join(" " * len(line) if is_comment(line.strip()) else line for line in lines)

    def lines(self) -> list[tuple[int, str]]:
        """(offset, text) of every line that is neither blank nor a comment (# or //)."""
        found, offset = [], 0
        for line in self.text.split("\n"):
            stripped = line.strip()
            if stripped and not is_comment(stripped):
                found.append((offset, line))
            offset += len(line) + 1
        return found

    def locate(self, offset: int) -> tuple[int, int]:
        """(line, column) of an offset, both counted from 1."""
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def syntax_error(self, offset: int, problem: str, remedy: str) -> PromptSyntaxError:
        """The error to raise for text that cannot be read, pointing at ``offset``."""
        line, column = self.locate(offset)
        return PromptSyntaxError(self._describe(line, column, problem, remedy), line, column, self.common)

    def schedule_error(self, offset: int, problem: str, remedy: str) -> PromptScheduleError:
        """The error to raise for text that reads well but describes no possible schedule, pointing at ``offset``."""
        line, column = self.locate(offset)
        return PromptScheduleError(self._describe(line, column, problem, remedy), line, column, self.common)

    def warning(self, offset: int, problem: str, remedy: str) -> PromptWarning:
        """What to say of a text that is read but may have been meant otherwise, pointing at ``offset``."""
        line, column = self.locate(offset)
        return PromptWarning(self._describe(line, column, problem, remedy), line, column, self.common)

    def _describe(self, line: int, column: int, problem: str, remedy: str) -> str:
        shown, caret = excerpt((self.written or self.text).split("\n")[line - 1], column - 1)
        where = "common text, " if self.common else ""
        return f"{where}line {line}, column {column}: {problem}\n  {shown}\n  {' ' * caret}^\n{remedy}"


def is_comment(stripped: str) -> bool:
    """Whether a line, without the spaces around it, is left out."""
    return stripped.startswith(("#", "//"))


def excerpt(line: str, index: int) -> tuple[str, int]:
    """The part of a line to show around ``index``, each character one column wide, and where ``index`` is in it."""
    line = "".join(char if char.isprintable() else " " for char in line)
    if len(line) <= LONGEST_EXCERPT:
        return line, index
    start = max(0, min(index - LONGEST_EXCERPT // 2, len(line) - LONGEST_EXCERPT))
    head = "…" if start else ""
    tail = "…" if start + LONGEST_EXCERPT < len(line) else ""
    return head + line[start : start + LONGEST_EXCERPT] + tail, index - start + len(head)


@dataclass(frozen=True)
class Written:
    """A time as it was written: its exact place in frames (not yet rounded), its text, and its offset.

    ``unit`` is what its number counts, "s", "%" or "" for frames; a time that ``counts_back`` does so from the end.
    """

    frames: Fraction
    text: str
    offset: int
    unit: str = ""
    counts_back: bool = False

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + len(self.text)


@dataclass
class Notes:
    """What is found while a text is read.

    ``prompts``: the (start, end) of what became prompts; ``doubted``: that of what could begin one and is read as part
    of one, and how to make it begin one; ``starts``: the (first frame, offset) of prompts with times. Times ``dropped``
    or ``cut`` lie beyond the end of the video. ``comments`` are (offset, text) of those between keys.
    """

    prompts: list[tuple[int, int]] = field(default_factory=list)
    doubted: list[tuple[int, int, str]] = field(default_factory=list)
    starts: list[tuple[int, int]] = field(default_factory=list)
    dropped: list[Written] = field(default_factory=list)
    cut: list[Written] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Video:
    """The video that a text is about: how long it is, and how its times become frames.

    Times in seconds and percent are rounded to the nearest whole frame, halves up. ``drop_beyond``: prompts that start
    beyond the end are left out and ranges cut there; without it they are errors.
    """

    source: Source
    num_frames: int
    fps: float
    drop_beyond: bool = False
    notes: Notes = field(default_factory=Notes, compare=False)

    def frames_of(self, number: str, unit: str, offset: int) -> Fraction:
        """The exact number of frames in a length such as 12, 0.5s or 50% (of the video)."""
        if len(number) > LONGEST_NUMBER:
            raise self.source.syntax_error(
                offset, f"a number of {len(number)} digits is too long.", f"Use at most {LONGEST_NUMBER} digits."
            )
        if unit == "s":
            return Fraction(number) * Fraction(self.fps)
        if unit == "%":
            return Fraction(number) * self.num_frames / 100
        return Fraction(number)

    def place(self, sign: str, frames: Fraction) -> Fraction:
        """Where on the timeline a time is; with a minus sign it counts back from the end."""
        return self.num_frames - frames if sign else frames

    def start_frame(self, time: Written) -> int:
        """The frame on which a prompt starts; raises PromptScheduleError outside [0, num_frames)."""
        if not 0 <= time.frames < self.num_frames:
            raise self.outside(time)
        return min(round_half_up(time.frames), self.num_frames - 1)

    def drops(self, time: Written) -> bool:
        """Whether a prompt that starts so late is left out; it is noted."""
        if not (self.drop_beyond and time.frames >= self.num_frames):
            return False
        self.notes.dropped.append(time)
        return True

    def end_frame(self, time: Written) -> int:
        """The frame before which a range ends; raises PromptScheduleError outside [0, num_frames]."""
        if self.drop_beyond and time.frames > self.num_frames:
            self.notes.cut.append(time)
            return self.num_frames
        if not 0 <= time.frames <= self.num_frames:
            raise self.outside(time)
        return round_half_up(time.frames)

    def outside(self, time: Written) -> PromptScheduleError:
        """The error for a time before the start or past the end of the video."""
        text = self.source.text
        remedy = f"Frames count from 0, so the last one is {self.num_frames - 1}."
        if time.frames >= self.num_frames and not self.drop_beyond:
            remedy += " With beyond_end set to drop, what is later is left out."
        if not text[text.rfind("\n", 0, time.offset) + 1 : time.offset].strip(" \t[(*_@-"):
            remedy += f" {WAY_OUT}"
        problem = f"'{time.text}' is outside the video, which is {self.length}."
        return self.source.schedule_error(time.offset, problem, remedy)

    @property
    def length(self) -> str:
        """How long the video is, in words."""
        frames = "1 frame" if self.num_frames == 1 else f"{self.num_frames} frames"
        return f"{frames} long ({self.num_frames / self.fps:.6g} s at {self.fps:.6g} fps)"


def round_half_up(value: Fraction) -> int:
    """The nearest whole number; halves go up."""
    return math.floor(value + Fraction(1, 2))


def join_lines(text: str) -> str:
    """The lines of a prompt as one line, joined by single spaces."""
    return " ".join(line.strip() for line in text.split("\n") if line.strip())


def match_at(pattern: re.Pattern[str], text: str, start: int, end: int) -> re.Match[str] | None:
    """``pattern`` matched at ``start`` without looking past ``end``."""
    return pattern.match(text, start, end)


def first_char(offset: int, line: str) -> int:
    """Offset of the first character of a line that is not a space."""
    return offset + len(line) - len(line.lstrip())


def in_front(front: str, prompt: str) -> str:
    """A prompt with a text in front of it, and one separator between them."""
    front, prompt = front.strip(), prompt.strip()
    if not front:
        return prompt
    trimmed = front.rstrip(", \t")
    prompt = prompt.lstrip(", \t")
    if not trimmed or not prompt:
        return trimmed or prompt
    if trimmed == front and trimmed[-1] in ".;:!?\u3002\uff0c\u3001\uff1b\uff1a\uff01\uff1f":
        return f"{trimmed} {prompt}"
    return f"{trimmed}, {prompt}"
