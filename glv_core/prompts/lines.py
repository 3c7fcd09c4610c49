"""Schedules written as lines, ``TIME: prompt``, with an optional range and transition."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from .errors import PromptScheduleError
from .layout import Entry, Fade
from .schedule import TRANSITION_KINDS
from .source import NUMBER, Source, Video, Written, first_char, join_lines, match_at

TIME_HELP = "Write a frame (12), seconds (0.5s), percent (50%), or a range (12-24)."
FADE_HELP = "Write for example 48 [hard]: or 48 [linear 8]: or 48 [ease 0.5s]:"

TIME = re.compile(rf"(-?)(?:([0-9]+):([0-5][0-9](?:\.[0-9]+)?)(?![\w.:])|({NUMBER}))")
UNIT = re.compile(r"\s*([s%])(?!\w)")
RANGE_SIGN = re.compile(r"\s*(?:\.\.|-|\u2013)\s*")  # \u2013: the dash that word processors make of "-"
SPOILT = re.compile(r"[^\s\-\u2013\[.]|\.(?!\.)")  # what cannot follow a time
FADE_KIND = re.compile(r"[^\s\]\[.:%0-9-]+")
FADE_LENGTH = re.compile(rf"({NUMBER})\s*([s%](?!\w))?")
SPACES = re.compile(r"\s*")
RUN = re.compile(r"\w+|.")

# What makes a line a new entry and not more of the prompt above: something that begins like a number, perhaps a range,
# perhaps a transition, then a colon. Wider than what is right: a slip becomes an error, not part of a prompt.
_ROUGH_TIME = r"[-+]?[.0-9][^\s:()\[\]{}\"'|]*(?:[ \t]+[s%](?!\w))?(?::[0-5][0-9](?:\.[0-9]+)?(?![\w.]))?"
_ROUGH_SPAN = rf"\s*{_ROUGH_TIME}(?:[ \t]*(?:-|\u2013|\.\.)[ \t]*{_ROUGH_TIME})?\s*"
_KINDS = "|".join(TRANSITION_KINDS)
ENTRY = re.compile(rf"({_ROUGH_SPAN}(?:\[[^\]]*\]\s*|(?:\[\s*)?(?:{_KINDS})\b[^\]:]*)?):")
UNENDED_ENTRY = re.compile(rf"{_ROUGH_SPAN}\[\s*(?:{_KINDS})\b[^\]]*\]?")


def begins_entry(line: str) -> bool:
    """Whether a line is a new ``TIME: prompt``, right or nearly right, and not more of the prompt above."""
    return bool(ENTRY.match(line) or UNENDED_ENTRY.match(line))


def parse_lines(video: Video, lines: list[tuple[int, str]]) -> list[Entry]:
    """The entries of a text with times, in the order of time. ``lines`` are (offset, line), without comments."""
    if not begins_entry(lines[0][1]):
        raise video.source.syntax_error(
            first_char(*lines[0]),
            "this text comes before the first time, so it belongs to no prompt.",
            "Put a time in front of it, for example 0: for the start of the video.",
        )
    entries: list[Entry] = []
    for index, (offset, line) in enumerate(lines):
        if not begins_entry(line):
            continue
        colon = find_colon(video.source, offset, line)
        rest = [line[colon - offset + 1 :]]
        for _, more in lines[index + 1 :]:
            if begins_entry(more):
                break
            rest.append(more)
        entries.append(EntryReader(video, offset, colon).read(join_lines("\n".join(rest))))
    entries.sort(key=lambda entry: entry.start)
    check_order(video.source, entries)
    return entries


def find_colon(source: Source, offset: int, line: str) -> int:
    """Offset of the colon that ends the time of an entry; raises PromptSyntaxError if it is missing or ambiguous."""
    match = ENTRY.match(line)
    if match is None:
        end = UNENDED_ENTRY.match(line).end()  # type: ignore[union-attr]
        raise source.syntax_error(offset + end, "a colon is missing between the time and the prompt.", FADE_HELP)
    colon = match.end() - 1
    if line[colon + 1 : colon + 2] in set("0123456789"):
        raise source.syntax_error(
            offset + colon,
            f"'{line[: colon + 2].strip()}…' can be a time or the beginning of a prompt.",
            "If a time ends at this colon, write a space after it. "
            "If it is part of the prompt, put a word in front of it. For minutes and seconds write 1:05: a prompt.",
        )
    return offset + colon


class EntryReader:
    """Reads the part of a line before its colon: a time or range, perhaps a transition."""

    def __init__(self, video: Video, start: int, colon: int) -> None:
        self.video = video
        self.source = video.source
        self.pos = start
        self.end = colon

    def read(self, prompt: str) -> Entry:
        """The entry with this prompt; raises at the first thing that is not understood."""
        self.match(SPACES)
        offset = self.pos
        start = self.time()
        end = self.time() if self.match(RANGE_SIGN) else None
        self.match(SPACES)
        fade = self.fade() if self.peek() == "[" else None
        self.match(SPACES)
        if self.pos < self.end:
            raise self.unread()
        if not prompt:
            raise self.source.schedule_error(
                offset, "there is no prompt after this time.", "Write the prompt after the colon, or remove the line."
            )
        return Entry(*self.frames(start, end), prompt, fade, offset)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = match_at(pattern, self.source.text, self.pos, self.end)
        if found:
            self.pos = found.end()
        return found

    def peek(self) -> str:
        return self.source.text[self.pos : min(self.pos + 1, self.end)]

    def time(self) -> Written:
        offset = self.pos
        found = self.match(TIME)
        if not found:
            raise self.not_a_time()
        sign, minutes, seconds, number = found.groups()
        if minutes is not None:
            unit, frames = "s", self.video.frames_of(minutes, "s", offset) * 60
            frames += self.video.frames_of(seconds, "s", offset)
        else:
            unit_found = self.match(UNIT)
            unit = unit_found.group(1) if unit_found else ""
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
        return Written(self.video.place(sign, frames), self.source.text[offset : self.pos].strip(), offset)

    def not_a_time(self) -> PromptScheduleError:
        found = match_at(RUN, self.source.text, self.pos, self.end)
        what = f"'{found.group()}' is not a time." if found else "a time is missing here."
        return self.source.syntax_error(self.pos, what, TIME_HELP)

    def unread(self) -> PromptScheduleError:
        word = self.source.text[self.pos : self.end].split()[0]
        if word in TRANSITION_KINDS:
            return self.source.syntax_error(self.pos, f"'{word}' is a transition and needs brackets.", FADE_HELP)
        return self.source.syntax_error(self.pos, f"'{word}' is not understood here.", f"{TIME_HELP} {FADE_HELP}")

    def fade(self) -> Fade:
        offset = self.pos
        self.pos += 1
        self.match(SPACES)
        kind_offset, kind = self.pos, self.match(FADE_KIND)
        if not kind:
            raise self.source.syntax_error(self.pos, "the name of a transition is missing here.", FADE_HELP)
        if kind.group() not in TRANSITION_KINDS:
            known = ", ".join(TRANSITION_KINDS)
            raise self.source.syntax_error(
                kind_offset, f"'{kind.group()}' is not a transition. Known: {known}.", FADE_HELP
            )
        self.match(SPACES)
        frames = self.fade_length(kind.group())
        self.match(SPACES)
        if self.peek() != "]":
            problem = f"'{self.peek()}' is not understood here." if self.peek() else "the bracket is not closed."
            raise self.source.syntax_error(self.pos, problem, FADE_HELP)
        self.pos += 1
        return Fade(kind.group(), frames, offset)

    def fade_length(self, kind: str) -> float | None:
        offset = self.pos
        if self.peek() == "-":
            raise self.source.schedule_error(offset, "a transition cannot be shorter than 0 frames.", FADE_HELP)
        found = self.match(FADE_LENGTH)
        if not found:
            return None
        frames = float(self.video.frames_of(found.group(1), found.group(2) or "", offset))
        if kind == "hard" and frames:
            raise self.source.schedule_error(
                offset, "a hard transition is a cut and has no length.", "Write [hard], or [linear 8] for a cross-fade."
            )
        return frames

    def frames(self, start: Written, end: Written | None) -> tuple[int, int | None]:
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


def check_order(source: Source, entries: list[Entry]) -> None:
    """Raises PromptScheduleError, pointing at the entry further down in the text, if two share a frame by mistake."""
    for before, after in pairwise(entries):
        offset, other = max(before.offset, after.offset), min(before.offset, after.offset)
        line = source.locate(other)[0]
        if before.start == after.start:
            raise source.schedule_error(
                offset,
                f"two prompts start on frame {after.start}; the other one is in line {line}.",
                "Give each prompt a start of its own.",
            )
        if before.end is not None and after.start < before.end:
            raise source.schedule_error(
                offset,
                f"this overlaps with line {line}: frames {after.start} to {before.end - 1} would have two prompts.",
                f"End the first range at {after.start}, or start the second one at {before.end}.",
            )
