"""The text of a schedule and the times in it: positions for error messages, and times turned into frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from .errors import PromptScheduleError, PromptSyntaxError

NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
LONGEST_NUMBER = 40
LONGEST_EXCERPT = 100


@dataclass(frozen=True)
class Source:
    """The text of a schedule; ``\\n`` ends a line. Offsets count characters from 0."""

    text: str

    @classmethod
    def of(cls, text: str) -> Source:
        """The source of a text with line ends of any system, with or without a byte order mark."""
        return cls(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))

    def lines(self) -> list[tuple[int, str]]:
        """(offset, text) of every line that is neither blank nor a comment (# or //)."""
        found, offset = [], 0
        for line in self.text.split("\n"):
            stripped = line.strip()
            if stripped and not stripped.startswith(("#", "//")):
                found.append((offset, line))
            offset += len(line) + 1
        return found

    def locate(self, offset: int) -> tuple[int, int]:
        """(line, column) of an offset, both counted from 1."""
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def syntax_error(self, offset: int, problem: str, remedy: str) -> PromptSyntaxError:
        """The error to raise for text that cannot be read, pointing at ``offset``."""
        line, column = self.locate(offset)
        return PromptSyntaxError(self._describe(line, column, problem, remedy), line, column)

    def schedule_error(self, offset: int, problem: str, remedy: str) -> PromptScheduleError:
        """The error to raise for text that reads well but describes no possible schedule, pointing at ``offset``."""
        line, column = self.locate(offset)
        return PromptScheduleError(self._describe(line, column, problem, remedy), line, column)

    def _describe(self, line: int, column: int, problem: str, remedy: str) -> str:
        shown, caret = excerpt(self.text.split("\n")[line - 1], column - 1)
        return f"line {line}, column {column}: {problem}\n  {shown}\n  {' ' * caret}^\n{remedy}"


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
    """A time as it was written: its exact place in frames (not yet rounded), its text, and its offset."""

    frames: Fraction
    text: str
    offset: int


@dataclass(frozen=True)
class Video:
    """The video that a text is about: how long it is, and how its times become frames.

    Times in seconds and percent are rounded to the nearest whole frame, halves up.
    """

    source: Source
    num_frames: int
    fps: float

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

    def end_frame(self, time: Written) -> int:
        """The frame before which a range ends; raises PromptScheduleError outside [0, num_frames]."""
        if not 0 <= time.frames <= self.num_frames:
            raise self.outside(time)
        return round_half_up(time.frames)

    def outside(self, time: Written) -> PromptScheduleError:
        """The error for a time before the start or past the end of the video."""
        frames = "1 frame" if self.num_frames == 1 else f"{self.num_frames} frames"
        return self.source.schedule_error(
            time.offset,
            f"'{time.text}' is outside the video, which is {frames} long "
            f"({self.num_frames / self.fps:.6g} s at {self.fps:.6g} fps).",
            f"Frames count from 0, so the last one is {self.num_frames - 1}.",
        )


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
