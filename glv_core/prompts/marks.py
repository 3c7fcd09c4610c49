"""What makes a line the beginning of a prompt: its time, in one of the ways in which people write it.

A line begins a prompt with something that begins like a number, perhaps a range, perhaps a transition, and a colon.
This is wider than what is right: a slip becomes an error, not part of a prompt. With right times only, these are read
too: ``[0-24] prompt``, ``(0s-3s) prompt``, ``[24]: prompt``, ``frame 24: prompt``, ``**0-3s:** prompt``, ``* 3s:
prompt``, ``0:00-0:03 prompt``. Everything is found in one pass, without going back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .schedule import TRANSITION_KINDS
from .source import Source
from .times import COLONS, DECADE, SIGNS, SPAN, UNITED, UNITS

FADE_HELP = "Write for example 48 [hard]: or 48 [linear 8]: or 48 [ease 0.5s]:"

_WORD = re.compile(rf"[-+]?[.0-9][^\s{COLONS}()\[\]{{}}\"'|]*")
_UNIT = re.compile(rf"[ \t]+{UNITS}(?!\w)", re.IGNORECASE)
_CLOCK = re.compile(r"(?::[0-5][0-9]){1,2}(?:[.,][0-9]{1,9})?(?![\w.])")
_SIGN = re.compile(rf"[ \t]*{SIGNS}[ \t]*|[ \t]+to[ \t]+", re.IGNORECASE)
_GLUED_SIGN = re.compile(rf".{{0,2}}?{SIGNS}\Z")
_KIND = re.compile(rf"(?:{'|'.join(TRANSITION_KINDS)})\b")
_SPACES = re.compile(r"\s*")
_TO_COLON = re.compile(rf"[^\]{COLONS}]*")

_BULLET = re.compile(r"(?:[-*+\u2022]|[0-9]{1,3}[.)])[ \t]{1,4}")
_STARS = re.compile(r"\*{1,3}|__")
_NAMED = re.compile(
    r"(?:(?P<seconds>seconds?|secs?)|(?P<unsure>from|at)|frames?|time(?:stamp)?)(?:[ \t]{0,3}=|[ \t]|:)"
    r"[ \t]{0,3}|[tf][ \t]{0,3}=[ \t]{0,3}|frames?(?=[0-9])|@[ \t]?",
    re.IGNORECASE,
)
_GAP = re.compile(r"[ \t]{0,4}")
_DASH = re.compile(r"[ \t]*[-\u2013\u2014|][ \t]+")
ZERO = re.compile(r"[0:.]{0,20}0(?![0-9.]|:[0-9])")


@dataclass(frozen=True)
class Mark:
    """Where a line says its time: offsets of the time's first character, of its end, and of the prompt behind it.

    ``unit`` is what numbers without one count: "s", or "" for frames. ``doubt`` is empty, or says what is missing for
    the line to be sure to begin a prompt: a "colon", a "unit" of a number alone in brackets, or "more" of its kind
    where the time is a number behind a bullet. ``colon``: whether the time ends with one; ``zero``: whether it is 0;
    ``plain``: whether it is written without brackets, words and the like.
    """

    start: int
    end: int
    prompt: int
    unit: str = ""
    doubt: str = ""
    colon: bool = True
    zero: bool = False
    plain: bool = True


def is_colon(line: str, index: int) -> bool:
    """Whether a colon stands at an index, which may be behind the end."""
    return line[index : index + 1] in tuple(COLONS)


def is_sure(line: str, begin: int, colon: bool = False) -> bool:
    """Whether a right time and what ends it, which may have to be a colon, stand at an index of a line."""
    dressed = dressed_mark(line, begin)
    if dressed:
        return not dressed[4] and (dressed[5] or not colon)
    span = SPAN.match(line, begin)
    if span is None:
        return False
    behind = _GAP.match(line, span.end()).end()  # type: ignore[union-attr]
    return is_colon(line, behind) and not line[behind + 1 : behind + 2].isdigit()


def mark_of(source: Source, offset: int, line: str) -> Mark | None:
    """What makes this line the beginning of a prompt; raises PromptSyntaxError where its colon is amiss."""
    begin = len(line) - len(line.lstrip())
    dressed = dressed_mark(line, begin)
    if dressed:
        start, end, prompt, unit, doubt, has_colon = dressed
        zero = ZERO.match(line, start) is not None
        return Mark(offset + start, offset + end, offset + prompt, unit, doubt, has_colon, zero, plain=False)
    return plain_mark_of(source, offset, line, begin)


def plain_mark_of(source: Source, offset: int, line: str, begin: int) -> Mark | None:
    """``mark_of`` for a line whose time is not dressed up."""
    plain = plain_mark(line, begin)
    if plain is None:
        return None
    end, has_colon = plain
    if not has_colon:
        raise source.syntax_error(offset + end, "a colon is missing between the time and the prompt.", FADE_HELP)
    if line[end + 1 : end + 2].isdigit():
        raise source.syntax_error(
            offset + end,
            f"'{line[: end + 2].strip()}…' can be a time or the beginning of a prompt.",
            "If a time ends at this colon, write a space after it. "
            "If it is part of the prompt, put a word in front of it. For minutes and seconds write 1:05: a prompt.",
        )
    behind = offset + end + 1 + is_colon(line, end + 1)
    return Mark(offset + begin, offset + end, behind, zero=ZERO.match(line, begin) is not None)


def dressed_mark(line: str, begin: int) -> tuple[int, int, int, str, str, bool] | None:
    """A right time in brackets, behind a word or a bullet, or as a range of minutes and seconds without a colon.

    Returns:
        (start of the time, its end, start of the prompt, unit, doubt, whether there is a colon), in the line; None
        where there is none.
    """
    pos, unit, unsure = begin, "", False
    bullet = _BULLET.match(line, pos)
    if bullet and SPAN.match(line, pos) is None:
        pos = bullet.end()
    elif bullet and bullet.group()[0].isdigit():  # a number that may count the lines of a list
        behind = SPAN.match(line, bullet.end())
        if behind and UNITED.search(behind.group()):
            pos = bullet.end()
    listed = pos > begin
    stars = _STARS.match(line, pos)
    if stars:
        pos = stars.end()
    named = _NAMED.match(line, pos)
    if named:
        pos, unsure = named.end(), bool(named.group("unsure"))
        unit = "s" if named.group("seconds") else ""
    bracket = line[pos : pos + 1] if line[pos : pos + 1] in ("[", "(") else ""
    start = _GAP.match(line, pos + 1).end() if bracket else pos  # type: ignore[union-attr]
    span = SPAN.match(line, start)
    if span is None:
        return None
    united = bool(UNITED.search(span.group())) or (bool(unit) and not bracket)
    ranged = span.group("last") is not None
    pos = _GAP.match(line, span.end()).end()  # type: ignore[union-attr]
    if bracket:
        if line[pos : pos + 1] != {"[": "]", "(": ")"}[bracket]:
            return None
        pos += 1
    behind_stars = _STARS.match(line, pos) if stars else None
    pos = behind_stars.end() if behind_stars else pos
    colon = _GAP.match(line, pos).end()  # type: ignore[union-attr]
    has_colon = is_colon(line, colon) and not line[colon + 1 : colon + 2].isdigit()
    doubt = ""
    if bracket == "[":
        doubt = "" if has_colon or ranged or united else "unit"
    elif bracket == "(":
        if not has_colon and (not united or "%" in span.group() or DECADE.fullmatch(span.group())):
            return None  # (1-3), (50%) or (1980s), which sentences have
    elif not has_colon:
        clocks = ranged and ":" in span.group("first") and ":" in (span.group("last") or "")
        if named or not united or not (behind_stars or (ranged and (pos == len(line) or line[pos - 1].isspace()))):
            return None
        doubt = "" if clocks or behind_stars else "colon"
    elif unsure and not united:
        return None
    elif listed and not (united or ranged):
        doubt = "more"
    elif not (listed or stars or named):
        return None  # a plain one, which says better what is wrong with it
    if has_colon:
        pos = colon + 1 + is_colon(line, colon + 1)
        late = _STARS.match(line, pos) if stars and not behind_stars else None
        pos = late.end() if late else pos
    else:
        dash = _DASH.match(line, pos)
        pos = dash.end() if dash else pos
    return start, span.end(), pos, unit, doubt, has_colon


def plain_mark(line: str, begin: int) -> tuple[int, bool] | None:
    """The end of something that begins like a time and ends like one: (index, whether a colon stands there)."""
    early: list[int] = []  # colons behind a number, where it may end if nothing better comes
    first = rough_time(line, begin, early)
    if first is None:
        return None
    sign = _SIGN.match(line, first) or _GLUED_SIGN.match(line, max(begin, first - 3), first)
    last = rough_time(line, _GAP.match(line, sign.end()).end(), early) if sign else None  # type: ignore[union-attr]
    found = plain_end(line, first if last is None else last)
    if found and found[1]:
        return found
    if early:
        return early[0], True
    kind = _KIND.search(line, begin, first)  # a transition without a space in front of it
    colon = _TO_COLON.match(line, kind.end()).end() if kind else 0  # type: ignore[union-attr]
    return (colon, True) if kind and is_colon(line, colon) else found


def rough_time(line: str, pos: int, early: list[int]) -> int | None:
    """The end of what begins like a time; a colon behind its number goes to ``early``."""
    word = _WORD.match(line, pos)
    if word is None:
        return None
    pos = word.end()
    unit = _UNIT.match(line, pos)
    pos = unit.end() if unit else pos
    if is_colon(line, pos):
        early.append(pos)
    clock = _CLOCK.match(line, pos)
    return clock.end() if clock else pos


def plain_end(line: str, pos: int) -> tuple[int, bool] | None:
    """Where the colon is behind a time and perhaps a transition, or should be."""
    pos = _SPACES.match(line, pos).end()  # type: ignore[union-attr]
    if is_colon(line, pos):
        return pos, True
    bracketed = line[pos : pos + 1] == "["
    if bracketed:
        close = line.find("]", pos)
        if close >= 0:
            colon = _SPACES.match(line, close + 1).end()  # type: ignore[union-attr]
            if is_colon(line, colon):
                return colon, True
    word = _SPACES.match(line, pos + 1).end() if bracketed else pos  # type: ignore[union-attr]
    kind = _KIND.match(line, word)
    if kind is None:
        return None
    colon = _TO_COLON.match(line, kind.end()).end()  # type: ignore[union-attr]
    if is_colon(line, colon):
        return colon, True
    if not bracketed:
        return None
    return (colon + 1 if line[colon : colon + 1] == "]" else colon), False
