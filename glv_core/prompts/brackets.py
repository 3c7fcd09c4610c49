"""Schedules written in brackets behind a first text: ``a girl sits [1s: she waves] [3s: she jumps]``.

The first text is a prompt of its own until the first time; where that is the start of the video, it stands in front of
every prompt.
"""

from __future__ import annotations

import re

from .layout import Reading
from .lines import EntryReader, check_order
from .source import Source, Video, join_lines
from .times import COLONS, SPAN, UNITS

_BRACKET = re.compile(r"[\[\]]")
_GAP = re.compile(r"\s{0,20}")
_COLON = re.compile(rf"[ \t]{{0,4}}[{COLONS}](?![0-9])")
# Something that begins like a time and has a unit, so that a slip in a time becomes an error and not part of a prompt.
_SLIP = re.compile(
    rf"[.0-9]{{1,20}}[ \t]?{UNITS}(?!\w)[^\w\[\]\n:]{{0,8}}[.0-9]{{0,20}}\w{{0,8}}[ \t]{{0,4}}:(?![0-9])"
)


def timed_bracket(text: str, opening: int) -> tuple[int, int] | None:
    """Where the time in the bracket at ``opening`` begins and its colon stands; None if it does not begin with one."""
    start = _GAP.match(text, opening + 1).end()  # type: ignore[union-attr]
    span = SPAN.match(text, start)
    if span:
        colon = _COLON.match(text, span.end())
        if colon:
            return start, colon.end() - 1
    slip = _SLIP.match(text, start)
    return (start, slip.end() - 1) if slip else None


def has_timed_brackets(source: Source) -> bool:
    """Whether a text has a bracket that begins with a time and a colon."""
    text = source.visible
    return any(timed_bracket(text, found.start()) for found in _BRACKET.finditer(text) if found.group() == "[")


def parse_brackets(video: Video) -> Reading:
    """The entries of a text for which ``has_timed_brackets``, in the order of time, and the text before them."""
    source, text = video.source, video.source.visible
    found = bracketed(source)
    for (_, _, _, end), following in zip(found, [*(each[0] for each in found[1:]), len(text)], strict=True):
        between = text[end:following]
        if any(char.isalnum() for char in between):
            raise source.syntax_error(
                end + len(between) - len(between.lstrip(" \t\n,;.|")),
                "this stands between two times and belongs to none, or behind the last.",
                "Put it inside the brackets of a time, or in front of the first one.",
            )
    head = join_lines(text[: found[0][0]])
    entries = []
    for opening, start, colon, end in found:
        reader = EntryReader(video, start, colon)
        entry = reader.read(join_lines(text[colon + 1 : end - 1]), (colon + 1, end - 1), (opening, end))
        video.notes.prompts.append((colon + 1, end - 1))
        if entry:
            entries.append(entry)
    video.notes.prompts.append((0, found[0][0]))
    entries.sort(key=lambda entry: entry.start)
    check_order(source, entries)
    return Reading(entries, head, len(text) - len(text.lstrip()), alone=True, form="brackets")


def bracketed(source: Source) -> list[tuple[int, int, int, int]]:
    """(opening, start of the time, its colon, behind the closing bracket) of every bracket with a time.

    Brackets inside one are part of its prompt.
    """
    text = source.visible
    found: list[tuple[int, int, int, int]] = []
    depth, opened = 0, (0, 0, 0)
    for each in _BRACKET.finditer(text):
        if each.group() == "[":
            timed = timed_bracket(text, each.start())
            if timed and depth:
                raise source.syntax_error(
                    each.start(),
                    "this time stands inside the brackets of another.",
                    f"Close the bracket of line {source.locate(opened[0])[0]} before it with ].",
                )
            if timed:
                opened = (each.start(), *timed)
            depth += bool(timed or depth)
        elif depth:
            depth -= 1
            if not depth:
                found.append((*opened, each.end()))
    if depth:
        raise source.syntax_error(opened[0], "this bracket is never closed.", "Write ] behind its prompt.")
    return found
