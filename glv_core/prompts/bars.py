"""Schedules written with bars: ``a | b | c`` in equal parts, or ``all of it | a [0-50] | b [50-150]`` with times.

A ``|`` inside ``{}``, ``[]`` or ``()`` is part of a prompt.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from .layout import Entry, Reading, Spans
from .lines import EntryReader, check_order, unquoted
from .source import Video, first_char, join_lines, round_half_up
from .times import SPAN, UNITED

_SIGN = re.compile(r"\\.|[|{}()\[\]]")
_CLOSED_BY = {"{": "}", "(": ")", "[": "]"}
#: Characters of a part that can hold the brackets at its end.
LONGEST_TAIL = 200


def parse_bars(video: Video, lines: list[tuple[int, str]]) -> list[Entry]:
    """The entries of ``a | b | c``: equal parts, their starts rounded to whole frames. One prompt is one part."""
    source = video.source
    prompts, bars = split_bars(lines)
    offset = first_char(*lines[0])
    if len(prompts) > video.num_frames:
        raise source.schedule_error(
            bars[video.num_frames - 1],
            f"{len(prompts)} prompts do not fit into {video.num_frames} frames.",
            "Write at most one prompt per frame, or make the video longer.",
        )
    entries = []
    words = list(zip([0, *(bar + 1 for bar in bars)], [*bars, len(source.text)], strict=True))
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise source.schedule_error(
                bars[min(index, len(bars) - 1)],
                f"prompt {index + 1} of {len(prompts)} is empty.",
                "Write a prompt on both sides of every '|', or remove the '|'.",
            )
        start = round_half_up(Fraction(video.num_frames * index, len(prompts)))
        place = offset if index == 0 else bars[index - 1]
        entries.append(Entry(start, None, prompt, None, place, Spans(words[index], words[index])))
    video.notes.prompts += words
    return unquoted(entries, least=2)


def split_bars(lines: list[tuple[int, str]]) -> tuple[list[str], list[int]]:
    """The prompts between the bars, and the offsets of the bars."""
    bars = bars_of(lines)
    parts: list[list[str]] = [[]]
    ahead = iter([*bars, math.inf])
    bar = next(ahead)
    for offset, line in lines:
        begin = offset
        while bar < offset + len(line):
            parts[-1].append(line[begin - offset : int(bar) - offset])
            parts.append([])
            begin, bar = int(bar) + 1, next(ahead)
        parts[-1].append(line[begin - offset :])
    return [join_lines("\n".join(part)) for part in parts], bars


def bars_of(lines: list[tuple[int, str]]) -> list[int]:
    """The offsets of the bars that stand in no brackets; a bracket without its partner counts for nothing."""
    opened: list[tuple[str, int]] = []  # what closes it, and how many bars there were before it
    waiting = dict.fromkeys(_CLOSED_BY.values(), 0)
    bars: list[int] = []
    for offset, line in lines:
        for found in _SIGN.finditer(line):
            sign = found.group()
            if sign == "|":
                bars.append(offset + found.start())
            elif sign in _CLOSED_BY:
                opened.append((_CLOSED_BY[sign], len(bars)))
                waiting[_CLOSED_BY[sign]] += 1
            elif waiting.get(sign):
                closes, before = opened.pop()
                waiting[closes] -= 1
                while closes != sign:
                    closes, before = opened.pop()
                    waiting[closes] -= 1
                del bars[before:]
    return bars


def parse_timed_bars(video: Video, lines: list[tuple[int, str]]) -> Reading | None:
    """The entries of ``a | b [0-50] | c [50-150]``, and the first part if it has no time; None if no part has one.

    Raises:
        PromptSyntaxError: another part has no time, or a number that may be a start or a length.
    """
    source, text = video.source, video.source.visible
    bars = split_bars(lines)[1]
    if not bars:
        return None
    starts, ends = [0, *(bar + 1 for bar in bars)], [*bars, len(text)]
    tails = [tail_of(text, start, end) for start, end in zip(starts, ends, strict=True)]
    timed = [tail for tail in tails if tail and tail[2]]
    if not timed and sum(tail is not None for tail in tails) < 2:
        return None
    entries = []
    for index, (start, end, tail) in enumerate(zip(starts, ends, tails, strict=True)):
        place = min(start + len(text[start:end]) - len(text[start:end].lstrip()), len(text))
        if tail is None:
            video.notes.prompts.append((start, end))
            if index == 0:
                continue
            raise source.syntax_error(
                place, "this part has no time, but others have.", "Write one, as in a cat [0-50]."
            )
        opening, span, sure = tail
        if not sure:
            raise source.syntax_error(
                opening,
                "a number alone in brackets can be a start or a length.",
                "Write the range in frames or seconds, as in [0-50] or [0s-3s].",
            )
        entry = EntryReader(video, *span).read(join_lines(text[start:opening]), (start, opening), (start, end))
        video.notes.prompts.append((start, opening))
        if entry:
            entries.append(entry)
    entries.sort(key=lambda entry: entry.start)
    check_order(source, entries)
    return Reading(entries, "" if tails[0] else join_lines(text[: ends[0]]), 0, form="timed bars")


def tail_of(text: str, start: int, end: int) -> tuple[int, tuple[int, int], bool] | None:
    """The brackets with a time at the end of the part [start, end).

    Returns:
        (their offset, the (start, end) of the time, whether it is a range or has a unit); None where there are none.
    """
    first = max(start, end - LONGEST_TAIL)
    piece = text[first:end].rstrip(" \t\n,;.")
    opening = piece.rfind("[")
    if opening < 0 or not piece.endswith("]"):
        return None
    inner = piece[opening + 1 : -1]
    begin = first + opening + 1 + len(inner) - len(inner.lstrip())
    span = SPAN.fullmatch(inner.strip())
    if span is None:
        return None
    sure = span.group("last") is not None or bool(UNITED.search(span.group()))
    return first + opening, (begin, begin + len(span.group())), sure
