"""What looks like a time in a text and was not read as one, and what was left out: the warnings of a schedule.

A sentence may hold numbers, clock times, ratios and weights, so a time is only suspected where people write one: alone
in brackets, in front of a colon, as a range at the start of a sentence, as a key in quotation marks, or as sentences
speak of times (``spoken``).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

from .brackets import timed_bracket
from .errors import PromptWarning
from .schedule import TRANSITION_KINDS
from .source import Notes, Source, Video, Written
from .spoken import spoken
from .times import SIGNS, SPAN, UNITED, UNITS, are_years

MOST_WARNINGS = 10  #: times that are shown one by one
MOST_NAMED = 10  #: times that one warning lists
_REMEDY = "Times stand at the start of a line, as in 0-24: a prompt, or 2.5s: a prompt. If this is none, leave it."
LONG = 10  #: frames for each prompt from which on a video is long for prompts that start on frames 0, 1, 2

_CANDIDATE = re.compile(
    r"[\[(<\"'\u201c\u201d\u201e\u2018\u2019]|(?<![\w.:%/-])-?(?:[0-9]|\.[0-9])"
    r"|(?<![\w-])(?:scene|shot|time|frame|start)(?=[ \t\"':=])",
    re.IGNORECASE,
)
_GAP = re.compile(r"[ \t]{0,4}")
_COLON = re.compile(r"(?:\*\*|__)?[ \t]{0,3}(?::(?=[ \t\n\"'*_]|\Z)|\uff1a)")
_SCENE = re.compile(
    rf"(?:scene|shot)[ \t]{{1,3}}#?[0-9]{{1,6}}(?:[ \t]{{0,3}}{SIGNS}[ \t]{{0,3}}[0-9]{{1,6}})?(?!\w)",
    re.IGNORECASE,
)
_COUNT = r"[ \t]{0,2}[#=]?[ \t]{0,2}(?P<number>[0-9\uff10-\uff19]{1,4})"
_COUNTED = re.compile(  # a word and a number, in front of a colon or in brackets
    rf"(?<!\w)(?P<word>[^\W\d_]{{1,12}}){_COUNT}[^\W\d_]{{0,2}}"
    r"[ \t]{0,2}(?:\*\*|__)?(?:(?P<bracket>[\])\u3011\uff09])|[:\uff1a](?![0-9]))",
    re.IGNORECASE,
)
_CALLED = re.compile(  # the same without a colon, for words that only times have
    rf"(?:(?<=\n)|\A)[ \t]{{0,10}}(?P<word>frames?|time|t|seconds?|secs?){_COUNT}s?(?=[ \t])", re.IGNORECASE
)
_HEADING = re.compile(r"[ \t]{0,20}(#{1,6})[ \t]{0,4}(?:\*\*|__)?[\[(]?")
_NUMBERED = re.compile(rf"[^\W\d_]{{1,12}}{_COUNT}(?!\w)")
_QUOTED_TIME = re.compile(
    r"[\"'\u201c\u201d\u201e\u2018\u2019]-?[.0-9][.0-9:%s]{0,20}[\"'\u201c\u201d\u2018\u2019][ \t]{0,3}[:=\uff1a]"
)
_FROM_ZERO = re.compile(r"(?:0+(?:\.0+)?[ \t]?s|0{1,2}:00)", re.IGNORECASE)
_END_OF_NAME = re.compile(r"[ \t]{0,3}[:.)\n\u2013\u2014-]")
_FIELD = re.compile(
    rf"(?:time|frame|start)s?[\"']?[ \t]{{0,3}}[:=][ \t]{{0,3}}[\"']?[0-9]{{1,20}}[ \t]?{UNITS}?[\"']?"
    r"(?=[ \t]{0,3}(?:[,}\]\n]|\Z))",
    re.IGNORECASE,
)
_TRANSITION = re.compile(rf"\[[ \t]{{0,4}}(?:{'|'.join(TRANSITION_KINDS)})\b[^\]\n]{{0,12}}\]")
_SCENE_ALONE = re.compile(r"\[[ \t]{0,3}(?:scene|shot)[ \t]{0,3}#?[0-9]{1,6}[ \t]{0,3}\]", re.IGNORECASE)
_QUOTED_KEY = re.compile(r"([\"'])[ \t]{0,3}-?[.0-9][.0-9:%s]{0,20}[ \t]{0,3}\1(?=[ \t]{0,3}[:=][ \t]{0,3}[\"'])")
_OF_DAY = re.compile(r"[ \t]{0,2}(?:[ap]\.?m\b|o'?clock|h\b|uhr\b)", re.IGNORECASE)
_COMPACT = re.compile(r"-?[.0-9]{1,20}s", re.IGNORECASE)
_BULLET = re.compile(r"(?:\n|\A)[ \t]{0,10}[-*+\u2022]\Z")
_NAMES = re.compile(r"(?:\n|\A|\W)(?:frames?|seconds?)", re.IGNORECASE)


def warnings_of(video: Video, common: Source, prompts: int) -> tuple[PromptWarning, ...]:
    """The warnings of a text that has been read as so many prompts, in its order; those of the common text last."""
    source, timed = video.source, bool(video.notes.starts)
    parts = sorted(video.notes.prompts)
    places = {place for start, end in parts for place in suspects(source.visible, start, end, timed)}
    suspected, remedies = sorted(places), {}
    for start, end, remedy in video.notes.doubted:
        around = bisect_right(suspected, (start, end)) - 1
        known = around >= 0 and suspected[around][1] > start
        remedies[suspected[around] if known else (start, end)] = remedy
    places |= remedies.keys()
    found = list(_unread(source, sorted(places), remedies)) + list(_left_out(video, video.notes))
    warned = {source.locate(start)[0] for start, _ in sorted(places)[:MOST_WARNINGS]}
    found += [*_counted(source, parts, warned), *spoken(source, parts, warned)]
    found += _headings(source) if prompts == 1 else []
    found += _frame_by_frame(video)
    found.sort(key=lambda warning: (warning.line, warning.column))
    whole = (0, len(common.text))
    return (*found, *_unread(common, suspects(common.visible, *whole)), *spoken(common, [whole], set()))


def _unread(
    source: Source, places: Iterable[tuple[int, int]], remedies: Mapping[tuple[int, int], str] = MappingProxyType({})
) -> Iterator[PromptWarning]:
    found = list(places)
    for start, end in found[:MOST_WARNINGS]:
        what = " ".join(source.text[start:end].split())
        kind = "transition" if _TRANSITION.match(what) else "time"
        yield source.warning(
            start,
            f"'{what}' looks like a {kind}, but is read as part of a prompt.",
            remedies.get((start, end), _REMEDY),
        )
    if len(found) > MOST_WARNINGS:
        start, _ = found[MOST_WARNINGS]
        yield source.warning(
            start, f"{len(found) - MOST_WARNINGS} more look like times.", "The first of them is shown here."
        )


def _counted(source: Source, parts: list[tuple[int, int]], warned: set[int]) -> Iterator[PromptWarning]:
    """Words with numbers that rise, as scenes are counted, in one prompt; not in lines that are warned of."""
    seen = 0
    for start, end in parts:
        found: dict[str, list[re.Match[str]]] = {}
        for pattern in (_COUNTED, _CALLED):
            for each in pattern.finditer(source.visible, start, end):
                if not each.groupdict().get("bracket") or _begins_line(source.visible, each.start()):
                    found.setdefault(each["word"].casefold(), []).append(each)
        for counted in found.values():
            rising = all(int(before["number"]) < int(after["number"]) for before, after in pairwise(counted))
            first = counted[0].start("word")
            if len(counted) < 2 or not rising or seen == MOST_WARNINGS:
                continue
            seen += 1
            if source.locate(first)[0] in warned:
                continue
            yield source.warning(
                first,
                f"'{counted[0].group().strip()}' and {len(counted) - 1} more look like scenes or times, but are read "
                "as part of a prompt.",
                "Write Scene 1: and Scene 2:, or times such as 0s: and 3s:. If these are none, leave them.",
            )


def _begins_line(text: str, place: int) -> bool:
    """Whether only signs stand between the start of a line and a place."""
    before = text[max(0, place - 8) : place].rpartition("\n")
    return not any(char.isalnum() for char in before[2]) and (bool(before[1]) or place < 8)


def _headings(source: Source) -> Iterator[PromptWarning]:
    """Comments that look like the headings of scenes, two or more."""
    found, offset = [], 0
    for line in source.text.split("\n"):
        signs = _HEADING.match(line)
        if signs:
            name = _NUMBERED.match(line, signs.end())
            span = None if name else SPAN.match(line, signs.end())
            if span and not (UNITED.search(span.group()) or span["last"]):
                span = None
            end = name.end() if name else span.end() if span else 0
            if end and (len(signs.group(1)) > 1 or not line[end:].strip(" \t:\uff1a*_)]-")):
                found.append((offset + signs.start(1), line[:end].strip()))
        offset += len(line) + 1
    if len(found) > 1:
        yield source.warning(
            found[0][0],
            f"'{found[0][1]}' looks like a heading, but lines that begin with # are left out, and the rest is one "
            "prompt.",
            "Write Scene 1: or 0s: in their place. If these are comments, leave them.",
        )


def _frame_by_frame(video: Video) -> Iterator[PromptWarning]:
    """Prompts that start on frames 0, 1, 2 or 1, 2, 3 of a long video, as if they were only counted."""
    starts = sorted(video.notes.starts)
    count = len(starts)
    if count < 3 or starts[0][0] > 1 or video.num_frames < LONG * count:
        return
    if all(after[0] == before[0] + 1 for before, after in pairwise(starts)):
        yield video.source.warning(
            starts[0][1],
            f"'{starts[0][0]}' to '{starts[-1][0]}' are frames, so all but the last of these prompts last "
            f"one frame; the video is {video.length}.",
            "To count prompts write Scene 1: and Scene 2:, for seconds 1s: and 2s:. If frames are meant, leave it.",
        )


def _left_out(video: Video, notes: Notes) -> Iterator[PromptWarning]:
    """What was dropped or cut at the end of the video, one warning each."""
    if notes.dropped:
        count = len(notes.dropped)
        what = "1 prompt lies" if count == 1 else f"{count} prompts lie"
        yield video.source.warning(
            min(time.offset for time in notes.dropped),
            f"{what} beyond the end of the video, which is {video.length}, and {'is' if count == 1 else 'are'} left "
            f"out: at {_named(notes.dropped)}.",
            "Make the video longer to see what is left out.",
        )
    if notes.cut:
        yield video.source.warning(
            min(time.offset for time in notes.cut),
            f"the video, which is {video.length}, ends before {_named(notes.cut)}; what lasts longer is cut there.",
            "Make the video longer to see all of it.",
        )


def _named(times: list[Written]) -> str:
    names = [time.text for time in times[:MOST_NAMED]]
    return ", ".join(names) + (f" and {len(times) - MOST_NAMED} more" if len(times) > MOST_NAMED else "")


def suspects(text: str, start: int, end: int, timed: bool = False) -> Iterator[tuple[int, int]]:
    """(start, end) of all that looks like a time in a part of a text, which may have others, in order."""
    done = start
    for candidate in _CANDIDATE.finditer(text, start, end):
        pos = candidate.start()
        found = suspect_at(text, start, pos, timed) if pos >= done else None
        if found is not None and found <= end:
            done = found
            yield pos, found


def suspect_at(text: str, start: int, pos: int, timed: bool) -> int | None:
    """The end of what looks like a time at ``pos`` of a text that starts at ``start``; None if nothing does.

    ``timed``: other times are read, so that a number in front of a colon is likely to be one.
    """
    first = text[pos]
    if first in "[(<":
        return _in_brackets(text, pos)
    if not (first.isalnum() or first in ".-"):
        quoted = _QUOTED_TIME.match(text, pos) if _begins_line(text, pos) else None
        found = quoted or _QUOTED_KEY.match(text, pos)
        return found.end() if found else None
    before = text[max(start, pos - 12) : pos].rstrip(" \t")
    begins = not before.strip() or before[-1] in "\n;|"
    if first.isalpha():
        field = _FIELD.match(text, pos)
        scene = _SCENE.match(text, pos) if begins or before[-1] in ".!?" else None
        if scene and not (before.endswith("\n") or _END_OF_NAME.match(text, scene.end())):
            scene = None
        found = field or scene
        return found.end() if found else None
    span = SPAN.match(text, pos)
    if span is None or are_years(span, before):
        return None
    colon = _COLON.match(text, span.end())
    if colon:
        listed = timed and before and before[-1] in ".!?" and not before.endswith(("No.", "no."))
        return colon.end() if listed or _before_colon(span, before, begins) else None
    if pos == 0 and _FROM_ZERO.fullmatch(span.group()):
        return span.end()
    return span.end() if _without_colon(text, span, before, begins) else None


def _in_brackets(text: str, pos: int) -> int | None:
    """``[0-50]``, ``(0s-3s)`` and ``[3s: ...``, but no weight, decade, percentage, or number alone."""
    if text[pos] == "[":
        timed = timed_bracket(text, pos)
        if timed:
            return timed[1] + 1
        called = _TRANSITION.match(text, pos) or _SCENE_ALONE.match(text, pos)
        if called:
            return called.end()
    span = SPAN.match(text, _GAP.match(text, pos + 1).end())  # type: ignore[union-attr]
    if span is None or are_years(span):
        return None
    close = _GAP.match(text, span.end()).end()  # type: ignore[union-attr]
    if text[close : close + 1] != {"[": "]", "(": ")", "<": ">"}[text[pos]]:
        return None
    united = bool(UNITED.search(span.group()))
    if text[pos] == "(":
        zero = span.group("last") is not None and span.group("first") == "0"
        return close + 1 if (united and "%" not in span.group()) or zero else None
    return close + 1 if united or span.group("last") is not None else None


def _before_colon(span: re.Match[str], before: str, begins: bool) -> bool:
    """Whether a number or range in front of a colon is where a time would be."""
    begins = begins or before[-1] == "," or before[-2:] in ("**", "__") or bool(_NAMES.search(before[-8:]))
    begins = begins or bool(_BULLET.search(before))
    if UNITED.search(span.group()):
        return begins or before[-1] in ".!?" or bool(_COMPACT.fullmatch(span.group("first")))
    return begins


def _without_colon(text: str, span: re.Match[str], before: str, begins: bool) -> bool:
    """Whether a range without a colon is where a time would be."""
    last = span.group("last")
    if last is None:
        return before.endswith("\n") and _COMPACT.fullmatch(span.group()) is not None
    if _OF_DAY.match(text, span.end()):
        return False
    if _FROM_ZERO.fullmatch(span.group("first")) and "%" not in last:
        return True
    begins = begins or before[-1] in ".!?"
    if ":" in span.group("first") and ":" in last:
        return begins or span.group("first").lstrip("0")[0] == ":"
    arrow = any(sign in span.group() for sign in (">", "\u2192", ".."))
    return begins and (arrow or (UNITED.search(span.group()) is not None and "%" not in span.group()))
