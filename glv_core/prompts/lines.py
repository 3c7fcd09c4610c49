"""Schedules written as lines, ``TIME: prompt``, with an optional range and transition."""

from __future__ import annotations

import re
from itertools import pairwise

from .errors import PromptScheduleError
from .layout import Entry, Fade, Reading, Spans
from .marks import FADE_HELP, Mark
from .schedule import TRANSITION_KINDS
from .source import NUMBER, WAY_OUT, Source, Video, join_lines
from .times import TIME_HELP, UNITS, TimeReader, unit_of

FADE_KIND = re.compile(r"[^\s\]\[.:%0-9-]+")
FADE_LENGTH = re.compile(rf"({NUMBER})\s*({UNITS}(?!\w))?", re.IGNORECASE)
SPACES = re.compile(r"\s*")


def parse_lines(video: Video, lines: list[tuple[int, str]], marks: list[Mark | None]) -> Reading:
    """The entries of a text with times, in the order of time, and the text before the first time.

    ``lines`` are (offset, line), without comments; ``marks`` says which of them begin a prompt, at least one.
    """
    blocks = blocks_of(lines, marks)
    begins = [offset for (offset, _), mark in zip(lines, marks, strict=True) if mark]
    ends = [*begins[1:], len(video.source.text)]
    entries = []
    for (mark, text), begin, end in zip(blocks[1:], begins, ends, strict=True):
        assert mark is not None
        reader = EntryReader(video, mark.start, mark.end, mark.unit)
        if entry := reader.read(text, (mark.prompt, end), (begin, end)):
            entries.append(entry)
    entries.sort(key=lambda entry: entry.start)
    check_order(video.source, entries)
    video.notes.starts += [(entry.start, entry.offset) for entry in entries]
    starts = [mark.start for mark, _ in blocks if mark] + [len(video.source.text)]
    video.notes.prompts.append((0, starts[0]))
    video.notes.prompts += [(mark.prompt, end) for (mark, _), end in zip(blocks[1:], starts[1:], strict=True) if mark]
    return Reading(unquoted(entries), blocks[0][1], lines[0][0], form="lines")


def blocks_of(lines: list[tuple[int, str]], marks: list[Mark | None]) -> list[tuple[Mark | None, str]]:
    """(mark, prompt) for every marked line with what goes on below it; the first is what stands before them all."""
    blocks: list[tuple[Mark | None, list[str]]] = [(None, [])]
    for (offset, line), mark in zip(lines, marks, strict=True):
        if mark:
            blocks.append((mark, [line[mark.prompt - offset :]]))
        else:
            blocks[-1][1].append(line)
    return [(mark, join_lines("\n".join(text)).rstrip("| ")) for mark, text in blocks]


def unquoted(entries: list[Entry], least: int = 1) -> list[Entry]:
    """The entries without quotation marks around their prompts, if all of at least so many have them."""
    bare = [without_quotes(entry.prompt) for entry in entries]
    if len(entries) < least or None in bare:
        return entries
    return [entry.with_prompt(prompt) for entry, prompt in zip(entries, bare, strict=True) if prompt is not None]


def without_quotes(prompt: str) -> str | None:
    """What stands in quotation marks, perhaps with a comma behind them; None if that is not all of the prompt."""
    inner = prompt[:-1].rstrip() if prompt.endswith(",") else prompt
    if len(inner) < 3 or inner[0] not in "\"'" or inner[-1] != inner[0]:
        return None
    quote, words = inner[0], inner[1:-1].strip()
    # An apostrophe stands behind a letter; a mark that opens another quotation does not.
    apart = any(
        char == quote and (quote == '"' or not index or not words[index - 1].isalnum())
        for index, char in enumerate(words)
    )
    return words if words and not apart else None


class EntryReader(TimeReader):
    """Reads the part of a line before its colon: a time or range, perhaps a transition."""

    def read(self, prompt: str, words: tuple[int, int], block: tuple[int, int]) -> Entry | None:
        """The entry with this prompt, None if it is dropped; raises at the first thing that is not understood.

        ``words`` and ``block`` say where it stands, see ``Spans``.
        """
        self.match(SPACES)
        offset = self.pos
        start, end = self.span()
        self.match(SPACES)
        fade = self.fade() if self.peek() == "[" else None
        self.match(SPACES)
        if self.pos < self.end:
            raise self.unread()
        if not prompt:
            raise self.source.schedule_error(
                offset, "there is no prompt after this time.", "Write the prompt after the colon, or remove the line."
            )
        frames = self.frames(start, end)
        spans = Spans(words, block, start, end)
        return None if frames is None else Entry(*frames, prompt, fade, offset, spans)

    def unread(self) -> PromptScheduleError:
        word = self.source.text[self.pos : self.end].split()[0]
        if word in TRANSITION_KINDS:
            return self.source.syntax_error(self.pos, f"'{word}' is a transition and needs brackets.", FADE_HELP)
        return self.source.syntax_error(
            self.pos, f"'{word}' is not understood here.", f"{TIME_HELP} {FADE_HELP} {WAY_OUT}"
        )

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
        frames, unit = self.fade_length(kind.group())
        self.match(SPACES)
        if self.peek() != "]":
            problem = f"'{self.peek()}' is not understood here." if self.peek() else "the bracket is not closed."
            raise self.source.syntax_error(self.pos, problem, FADE_HELP)
        self.pos += 1
        return Fade(kind.group(), frames, offset, self.pos, unit)

    def fade_length(self, kind: str) -> tuple[float | None, str]:
        """The frames of a transition, None where no length is written, and the unit of what is."""
        offset = self.pos
        if self.peek() == "-":
            raise self.source.schedule_error(offset, "a transition cannot be shorter than 0 frames.", FADE_HELP)
        found = self.match(FADE_LENGTH)
        if not found:
            return None, ""
        unit = unit_of(found.group(2) or "f")
        frames = float(self.video.frames_of(found.group(1), unit, offset))
        if kind == "hard" and frames:
            raise self.source.schedule_error(
                offset, "a hard transition is a cut and has no length.", "Write [hard], or [linear 8] for a cross-fade."
            )
        return frames, unit


def check_order(source: Source, entries: list[Entry]) -> None:
    """Raises PromptScheduleError, pointing at the entry further down in the text, if two share a frame by mistake."""
    for before, after in pairwise(entries):
        offset, other = max(before.offset, after.offset), min(before.offset, after.offset)
        if before.start == after.start:
            raise source.schedule_error(
                offset,
                f"two prompts start on frame {after.start}; the other one is in line {source.locate(other)[0]}.",
                "Give each prompt a start of its own.",
            )
        if before.end is not None and after.start < before.end:
            raise source.schedule_error(
                offset,
                f"this overlaps with line {source.locate(other)[0]}: frames {after.start} to {before.end - 1} would "
                "have two prompts.",
                f"End the first range at {after.start}, or start the second one at {before.end}.",
            )
