"""Which lines of a text begin prompts, where that takes a look at all of them: marks that are in doubt alone.

``marks`` says what one line has.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from .errors import PromptScheduleError
from .marks import Mark, is_sure, mark_of, plain_mark_of
from .source import Source, Video
from .times import DECADE, UNITED, UNITS, TimeReader

_BAR = re.compile(r"\|[ \t]{0,20}")
_CUT = re.compile(r"\|[ \t]{0,20}|[\[(]")
_COUNT = re.compile(r"\s*[0-9]{1,6}\s*\Z")
_NUMBERED = re.compile(rf"[ \t]{{0,20}}[@<]?([0-9]{{1,40}}(?:\.[0-9]{{1,40}})?)(?:[ \t]?{UNITS})?(?!\w)", re.IGNORECASE)


def pieces_of(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines of a text, those cut that begin with a time and go on with others, behind bars or in the same brackets.

    Those are cut too that have two times or more, with colons, behind bars. Lines that count subtitles, and the first
    word of a file of them, are left out.
    """
    pieces = []
    for offset, line in lines:
        begin, first = 0, len(line) - len(line.lstrip())
        if is_sure(line, first):
            for cut in _CUT.finditer(line, first + 1):
                behind = cut.end() if cut.group()[0] == "|" else cut.start()
                if behind == cut.start() and line[behind] != line[first]:
                    continue
                if is_sure(line, behind):
                    pieces.append((offset + begin, line[begin : cut.start()]))
                    begin = behind
        else:
            cuts = [cut for cut in _BAR.finditer(line) if is_sure(line, cut.end(), colon=True)]
            for cut in cuts if len(cuts) > 1 else []:
                pieces.append((offset + begin, line[begin : cut.start()]))
                begin = cut.end()
        pieces.append((offset + begin, line[begin:] if begin else line))
    following = [*(line for _, line in pieces[1:]), ""]
    return [
        (offset, line)
        for index, ((offset, line), after) in enumerate(zip(pieces, following, strict=True))
        if not (_COUNT.match(line) and "-->" in after and is_sure(after, len(after) - len(after.lstrip())))
        and not (index == 0 and line.strip() == "WEBVTT" and len(pieces) > 1)
    ]


def check_unmarked(source: Source, lines: list[tuple[int, str]]) -> None:
    """Check a text in which no line begins a prompt.

    Raises:
        PromptSyntaxError: its first line begins with 0 and others with numbers that rise from there: times without
            their colons.
    """
    found = [(offset, _NUMBERED.match(line)) for offset, line in lines]
    numbers = [(offset + each.end(), float(each.group(1))) for offset, each in found if each]
    rising = all(before[1] < after[1] for before, after in pairwise(numbers))
    if len(numbers) > 1 and rising and found[0][1] and not numbers[0][1]:
        raise no_colon(source, numbers[0][0])


def no_colon(source: Source, offset: int) -> PromptScheduleError:
    """The error for a number at the start of a line that can only be a time, and has no colon behind it."""
    return source.syntax_error(
        offset,
        "a colon is missing between the time and the prompt.",
        "Write for example 0: a cat and, on a line of its own, 24: a dog.",
    )


def marks_of(video: Video, lines: list[tuple[int, str]]) -> list[Mark | None]:
    """For each line, what makes it the beginning of a prompt, or None where it is more of the prompt above.

    Raises:
        PromptSyntaxError: a line cannot be told to be one or the other.
    """
    marks = settled(video.source, lines, bulleted([mark_of(video.source, offset, line) for offset, line in lines]))
    return without_asides(video, marks)


def bulleted(marks: list[Mark | None]) -> list[Mark | None]:
    """The marks, those of numbers behind bullets only where all are such, and the first is 0."""
    found = [mark for mark in marks if mark]
    if len(found) > 1 and found[0].zero and all(mark.doubt == "more" for mark in found):
        return [mark and replace(mark, doubt="") for mark in marks]
    return [None if mark and mark.doubt == "more" else mark for mark in marks]


def without_asides(video: Video, marks: list[Mark | None]) -> list[Mark | None]:
    """The marks, or none where a prompt may begin so: decades; or times without colons, none of them 0, that are of
    several kinds (frames, seconds, percent), all on one line, or go back.

    Raises:
        PromptSyntaxError: a single time that is not 0 has no colon, but others have.
    """
    text = video.source.text
    found = [mark for mark in marks if mark]
    bare = [mark for mark in found if not mark.colon]
    if len(bare) == 1 and len(found) > 1 and not bare[0].zero:
        raise video.source.syntax_error(
            bare[0].end,
            "a colon is missing between the time and the prompt.",
            "Other times here have one. If this is part of the prompt above, put a word in front of it.",
        )
    if not found or any(mark.plain for mark in found):
        return marks
    if all(DECADE.fullmatch(text, mark.start, mark.end) for mark in found):
        return [None] * len(marks)
    times = [text[mark.start : mark.end] for mark in found]
    if len(bare) < len(found) or any(mark.zero for mark in found) or any("-->" in time for time in times):
        return marks
    kinds = {"%" if "%" in time else bool(UNITED.search(time)) for time in times}
    if len(kinds) == 1 and "\n" in text[found[0].start : found[-1].start] and _rise(video, found):
        return marks
    remedy = "It begins a prompt with a colon behind it, as in 48: a prompt. If this is no time, leave it."
    video.notes.doubted += [(mark.start, mark.end, remedy) for mark in found]
    return [None] * len(marks)


def _rise(video: Video, marks: list[Mark]) -> bool:
    """Whether no time is earlier than the one in front of it."""
    places = [TimeReader(video, mark.start, mark.end, mark.unit).span()[0].frames for mark in marks]
    return all(before <= after for before, after in pairwise(places))


def settled(source: Source, lines: list[tuple[int, str]], marks: list[Mark | None]) -> list[Mark | None]:
    """The marks that are in no doubt; raises PromptSyntaxError where that cannot be told."""
    if any(marks):
        for offset, line in lines[: next(index for index, mark in enumerate(marks) if mark)]:
            number = _NUMBERED.match(line)
            if number and not float(number.group(1)):
                raise no_colon(source, offset + number.end())
    doubtful = [mark for mark in marks if mark and mark.doubt]
    if not doubtful:
        return marks
    sure = any(mark and not mark.doubt for mark in marks)
    for mark in doubtful:
        if mark.doubt == "unit" and (sure or len(doubtful) > 1):
            raise source.syntax_error(
                mark.start,
                "a number alone in brackets can be a frame or the number of a scene.",
                "Write a colon behind it, as in [24]: a prompt, or Scene 2: a prompt.",
            )
        if mark.doubt == "colon" and sure:
            raise source.syntax_error(
                mark.end,
                "a colon is missing between the time and the prompt.",
                "If this is part of the prompt above, put a word in front of it.",
            )
    if len(doubtful) > 1:  # two lines that begin with ranges in seconds are no chance
        return marks
    return [
        plain_mark_of(source, offset, line, len(line) - len(line.lstrip())) if mark and mark.doubt else mark
        for (offset, line), mark in zip(lines, marks, strict=True)
    ]
