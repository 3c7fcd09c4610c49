"""Times that sentences speak of, as in ``At 0s, he walks. At 3s, he sits.``: they stay prose, and are warned of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from .errors import PromptWarning
from .source import Source
from .times import SPAN, are_years

_SPOKEN = re.compile(
    r"(?<!\w)(?:(?:at|from|after|by|until|till|around)(?:[ \t]{1,3}(?:the|about|around|exactly))?"
    r"|(?:in|for|during|over)[ \t]{1,3}the[ \t]{1,3}(?:first|next|last|final))[ \t]{1,3}"
    r"(?P<name>(?:frames?|seconds?|secs?)[ \t]{1,3}#?)?(?=-?\.?[0-9])",
    re.IGNORECASE,
)
_BEGINS = re.compile(  # a sentence or a part of one
    r"(?:[\n.!?;|(\[*\u2022\u2013\u2014\"'-]|\W(?:then|start(?:s|ing)?|begin(?:s|ning)?))[ \t]{0,3}\Z",
    re.IGNORECASE,
)
_BEFORE = 16  # characters that are looked at for it
_SECONDS = re.compile(r"[0-9][ \t]{0,3}s(?:ec(?:ond)?s?)?\Z", re.IGNORECASE)
_FRAMES = re.compile(r"[0-9][ \t]{0,3}f(?:rames?)?\Z", re.IGNORECASE)
_MARK = re.compile(r"[ \t-]?(?:(?:seconds?|secs?|s|minutes?|frames?)[ \t])?mark\b", re.IGNORECASE)
_RATE = re.compile(
    r"[ \t]{0,2}(?:/|per\b|an?[ \t](?:second|minute|hour|day|frame)\b|each\b|[ap]\.?m\b|o'?clock)", re.IGNORECASE
)
_DIGITS = re.compile(r"[0-9]+")
_MOST = 10  # warnings
_Place = tuple[int, int, str, list[int]]  # start, end, what it counts, numbers
_REMEDY = (
    "A time begins a prompt at the start of a line, with a colon behind it: 0s: he walks and, on the next line, 3s: he "
    "sits. If these are none, leave them."
)


def spoken(source: Source, parts: list[tuple[int, int]], warned: set[int]) -> Iterator[PromptWarning]:
    """A warning for each part (start, end) of a text in which sentences speak of times, but not in lines ``warned`` of.

    A time at the start of a sentence, or of 0 seconds, is enough; others must be two at least that rise.
    """
    text, given = source.visible, 0
    for start, end in parts:
        sure: list[_Place] = []
        others: list[_Place] = []
        for found in _SPOKEN.finditer(text, start, end):
            time = _time(text, found, end)
            if time:
                behind, kind, numbers = time
                pos = found.start()
                before = ("\n" if pos - start < _BEFORE else "") + text[max(start, pos - _BEFORE) : pos]
                begins = _BEGINS.search(before) or (kind == "s" and not any(numbers))
                (sure if begins else others).append((pos, behind, kind, numbers))
        places = sure or (others if _rise(others) else [])
        if not places or given == _MOST or source.locate(places[0][0])[0] in warned:
            continue
        given += 1
        more = len(sure) + len(others) - 1
        what = f"and {more} more look like times, but are" if more else "looks like a time, but is"
        first, last = places[0][:2]
        yield source.warning(first, f"'{source.text[first:last]}' {what} read as part of a prompt.", _REMEDY)


def _time(text: str, found: re.Match[str], end: int) -> tuple[int, str, list[int]] | None:
    """The end of a time behind ``found``, what it counts (seconds, frames or percent), and the numbers of its start."""
    span = SPAN.match(text, found.end(), end)
    if span is None or are_years(span) or _RATE.match(text, span.end()):
        return None
    behind, written, kind = span.end(), span.group(), ""
    mark = _MARK.match(text, behind)
    if found["name"]:
        kind = found["name"][0].lower()
    elif ":" in written:
        kind = "s" if span["first"].lstrip("0").startswith(":") else ""
    elif mark or _SECONDS.search(written):
        behind, kind = mark.end() if mark else behind, "s"
    elif "%" in written:
        kind = "%" if text.startswith(",", behind) else ""
    elif _FRAMES.search(written):
        kind = "f"
    return (behind, kind, [int(each.group()) for each in _DIGITS.finditer(span["first"])]) if kind else None


def _rise(places: list[_Place]) -> bool:
    """Whether there are two or more, of one kind, each later than the one before."""
    return len(places) > 1 and all(one[2] == two[2] and one[3] < two[3] for one, two in pairwise(places))
