"""Changes of a strip written back into its text: what was not changed stays as it is written.

A change is written where the piece stands, in its way of writing and its units. What that way cannot say (a border
between prompts that have no times, a transition in brackets) turns the whole text into lines. Either is read again
before it is given out, and must say what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from .changes import faded, moved, removed, retyped, split
from .errors import PromptScheduleError
from .grammar import BEYOND_END, read_schedule
from .layout import Fade, Spans
from .schedule import check_video
from .source import Source, Video, Written, is_comment, round_half_up
from .strip import Piece, Strip
from .writing import fade_as, time_as

CHANGES: dict[str, Callable[..., Strip]] = {
    "move": moved,
    "fade": faded,
    "split": split,
    "remove": removed,
    "retype": retyped,
}
_TRAIL = re.compile(r"[ \t]*[|,;]?[ \t]*\Z")


@dataclass(frozen=True)
class Timing:
    """What makes frames of a schedule's times, and how its prompts begin where their text does not say."""

    num_frames: int
    fps: float
    transition: str = "linear"
    transition_frames: float = 8
    common_text: str = ""
    beyond_end: str = BEYOND_END[0]

    def video(self, text: str) -> Video:
        """The video that a text is about."""
        check_video(self.num_frames, self.fps)
        return Video(Source.of(text), self.num_frames, self.fps, self.beyond_end == "drop")

    def check(self, text: str) -> None:
        """Read a text; raises PromptScheduleError where that is not possible."""
        read_schedule(text, **vars(self))


def edited(text: str, timing: Timing, change: str, **arguments: object) -> str:
    """The text with one of ``CHANGES`` made.

    Raises:
        PromptScheduleError: the text cannot be read, the change is not possible, or cannot be written.
    """
    if change not in CHANGES:
        raise PromptScheduleError(f"'{change}' is no change. Known: {', '.join(CHANGES)}.")
    video = timing.video(text)
    strip = Strip.of(video)
    timing.check(text)
    wanted = CHANGES[change](strip, **arguments)
    if wanted == strip:
        return text
    problem: PromptScheduleError | None = None
    for write in (_in_place, partial(_in_place, quote="'"), _as_lines):
        try:
            new = write(video, strip, wanted)
            timing.check(new)
            if Strip.of(timing.video(new)).says() == wanted.says():
                return new
        except PromptScheduleError as error:
            problem = error
    raise PromptScheduleError(
        "this change cannot be written into the text. Words that begin like a time or hold a | or a bracket alone may "
        f"be why.{f' {problem}' if problem else ''}"
    )


class _Unwritable(PromptScheduleError):
    """A change that the text's way of writing cannot say."""


def _in_place(video: Video, strip: Strip, wanted: Strip, quote: str = "") -> str:
    """The text with each change where its piece stands."""
    text = video.source.written or video.source.text
    kept = {id(piece.spans): piece for piece in wanted.pieces if piece.spans}
    changes: list[tuple[int, int, str]] = []
    for piece in strip.pieces:
        if piece.head:
            if wanted.head != strip.head:
                changes += _words(text, (0, _first_block(strip)), strip.head, wanted.head, quote)
            continue
        if piece.spans is None:
            raise _Unwritable(_CANNOT)
        if id(piece.spans) in kept:
            # The first prompt begins the video though its time may be later, as long as the next one is behind that.
            late = piece.start == 0 and piece.spans.first is not None and round_half_up(piece.spans.first.frames)
            timed = bool(late) and wanted.end_of(0) <= late
            changes += _piece(text, video, piece, kept[id(piece.spans)], timed, quote)
        else:
            changes += _removed(text, strip.form, piece.spans)
    for before, after in pairwise(wanted.pieces):
        if after.spans is None:
            changes.append(_inserted(text, video, strip.form, before, after, quote))
    return _applied(text, changes)


_CANNOT = "this way of writing has no place for it."


def _applied(text: str, changes: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(changes, key=lambda each: each[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _first_block(strip: Strip) -> int:
    return min(piece.spans.block[0] for piece in strip.pieces if piece.spans)


def _piece(text: str, video: Video, old: Piece, new: Piece, timed: bool, quote: str) -> Iterator[tuple[int, int, str]]:
    """The changes of a piece that stays; ``timed``: its time is written though its start is the same."""
    spans = old.spans
    assert spans is not None
    if new.start != old.start or timed:
        if spans.first is None:
            raise _Unwritable(_CANNOT)
        yield spans.first.offset, spans.first.end, time_as(video, spans.first, new.start)
    if new.end != old.end and new.end is not None and spans.last is not None:
        yield spans.last.offset, spans.last.end, time_as(video, spans.last, new.end)
    if new.words != old.words:
        yield from _words(text, spans.prompt, old.words, new.words, quote)
    if new.fade != old.fade:
        yield _fade(text, video, spans, old.fade, new.fade)


def _fade(text: str, video: Video, spans: Spans, old: Fade | None, new: Fade | None) -> tuple[int, int, str]:
    if old is not None and old.end:
        start = old.offset
        if new is None:
            while start and text[start - 1] in " \t":
                start -= 1
            return start, old.end, ""
        return start, old.end, fade_as(video, new, old.unit)
    end = spans.last or spans.first
    if new is None or end is None:
        raise _Unwritable(_CANNOT)
    return end.end, end.end, f" {fade_as(video, new, end.unit if end.unit == 's' else '')}"


def _content(text: str, region: tuple[int, int]) -> list[tuple[int, int]]:
    """The (start, end) of each line of a part of a text, without the spaces around it.

    Comments, which are whole lines, and the numbers of subtitles are left out.
    """
    found, offset = [], region[0]
    whole = not text[text.rfind("\n", 0, offset) + 1 : offset].strip()
    for line in text[region[0] : region[1]].split("\n"):
        stripped = line.strip()
        left_out = (whole or offset > region[0]) and (is_comment(stripped) or _counts(text, offset, stripped))
        if stripped and not left_out:
            start = offset + len(line) - len(line.lstrip())
            found.append((start, start + len(stripped)))
        offset += len(line) + 1
    return found


def _counts(text: str, offset: int, line: str) -> bool:
    """Whether a line, which begins at an offset, is the number of the subtitle below it."""
    below = text.find("\n", offset) + 1
    return line.isdigit() and below > 0 and text.find("-->", below, text.find("\n", below)) >= 0


def _prompt(text: str, region: tuple[int, int], words: str) -> list[tuple[int, int]]:
    """``_content`` of a prompt's part, without what parts it from the next prompt."""
    content = _content(text, region)
    trail = _TRAIL.search(text, *content[-1]) if content else None
    if trail and trail.group().strip() and not words.endswith(trail.group().strip()):
        content[-1] = content[-1][0], max(trail.start(), content[-1][0])
    return content


def _quoted(raw: str, old: str, new: str, quote: str) -> str:
    """New words in the quotation marks of the old ones, whose writing is ``raw``, or in others."""
    mark = raw[:1] if raw[:1] in "\"'" and old[:1] != raw[:1] and raw.endswith(raw[:1]) else quote
    return f"{mark}{new}{mark}"


def _words(text: str, region: tuple[int, int], old: str, new: str, quote: str) -> list[tuple[int, int, str]]:
    """Other words in a part of a text; its comments and what parts it from the next stay."""
    content = _prompt(text, region, old)
    if not content:
        return [(region[0], region[0], f" {new}")]
    changes = [(*content[0], _quoted(text[content[0][0] : content[-1][1]], old, new, quote))]
    for (_, end), (start, stop) in pairwise(content):
        line = text.rfind("\n", end, start)
        changes.append((max(line, end), stop, ""))
    return changes


def _removed(text: str, form: str, spans: Spans) -> list[tuple[int, int, str]]:
    """A piece taken away, its comments kept."""
    start, end = spans.block
    if form in ("timed bars", "brackets"):
        if any(is_comment(line.strip()) for line in text[start:end].split("\n")[1:]):
            raise _Unwritable(_CANNOT)
        if text[end : end + 1] == "|":
            return [(start, end + 1, "")]
        start = max(start - (form == "timed bars"), 0)
        return [(len(text[:start].rstrip(" \t")), end, "")]
    within = start > 0 and text[start - 1] != "\n"
    if within and (end == len(text) or "\n" in text[start:end]):  # the last of its line: what parts it goes, too
        line = text.rfind("\n", 0, start) + 1
        start -= len(text[line:start]) - len(text[line:start].rstrip(" \t|,;"))
    changes = []
    above = text.rfind("\n", 0, max(start - 1, 0)) + 1
    if not within and above < start and _counts(text, above, text[above:start].strip()):
        changes.append((above, start, ""))
    elif text[start - 2 : start] == "\n\n" and "-->" in text[start : spans.prompt[0]]:
        changes.append((start - 1, start, ""))  # subtitles are a blank line apart
    for first, last in _content(text, (start, end)):
        line = text.rfind("\n", start, first)
        begin = start if line < 0 else line + 1
        behind = text.find("\n", last, end)
        if behind >= 0:
            changes.append((begin, behind + (not (within and line < 0)), ""))
        elif begin and text[begin - 1] == "\n" and end == len(text):
            changes.append((begin - 1, end, ""))
        else:
            changes.append((begin, end, ""))
    return changes


def _inserted(text: str, video: Video, form: str, before: Piece, new: Piece, quote: str) -> tuple[int, int, str]:
    """A piece written behind the one before it, in the same way."""
    spans = before.spans
    if spans is None or spans.first is None or form == "scenes":
        raise _Unwritable(_CANNOT)
    first = time_as(video, spans.first, new.start)
    time = first
    if spans.last is not None:
        end = video.num_frames if new.end is None else new.end
        time += text[spans.first.end : spans.last.offset] + time_as(video, spans.last, end)
    written = spans.last or spans.first
    content = _content(text, spans.block)
    at = content[-1][1]
    if form == "timed bars":
        return at, at, f" | {new.words} [{time}]"
    if form == "brackets":
        return spans.block[1], spans.block[1], f" [{time}: {new.words}]"
    behind = text[written.end : spans.prompt[0]]
    if before.fade is not None and before.fade.end:
        behind = text[before.fade.end : spans.prompt[0]]
    behind = behind if behind.endswith((" ", "\t")) else f"{behind} "
    words, prompt = new.words, _prompt(text, spans.prompt, before.words)
    if prompt:
        words = _quoted(text[prompt[0][0] : prompt[-1][1]], before.words, words, quote)
        at = prompt[-1][1] if "\n" not in text[at : spans.block[1]] and spans.block[1] < len(text) else at
        if "\n" in text[written.end : prompt[0][0]] and not text[spans.prompt[0] : prompt[0][0]].strip():
            behind = f"{behind.rstrip()}\n"  # the words stand below their time
    apart = "\n\n" if "-->" in time and behind.endswith("\n") else "\n"
    return at, at, f"{apart}{text[spans.block[0] : spans.first.offset]}{time}{behind}{words}"


def _as_lines(video: Video, strip: Strip, wanted: Strip) -> str:
    """The whole text as lines with times, in the order in which it was written, with its comments."""
    if video.notes.dropped:
        raise _Unwritable("prompts beyond the end of the video would be lost. Set beyond_end to error and see them.")
    source = video.source
    comments = [(offset, line.strip()) for offset, line in _comment_lines(source)] + video.notes.comments
    rows: list[tuple[float, int, str]] = []
    place = -1.0
    for number, piece in enumerate(wanted.pieces):
        place = piece.offset if piece.offset is not None else place + 1e-3 * (number + 1)
        if piece.head and not wanted.alone:
            continue
        rows.append((place, 1, _line(video, wanted, number)))
    if wanted.head and not wanted.alone:
        rows.append((-1.0, 0, wanted.head))
    rows += [(float(offset), 0, comment) for offset, comment in sorted(set(comments))]
    return "\n".join(row for _, _, row in sorted(rows, key=lambda row: row[:2]))


def _comment_lines(source: Source) -> list[tuple[int, str]]:
    found, offset = [], 0
    for line in source.text.split("\n"):
        if is_comment(line.strip()):
            found.append((offset, line))
        offset += len(line) + 1
    return found


def _line(video: Video, strip: Strip, number: int) -> str:
    piece = strip.pieces[number]
    like = piece.spans.first if piece.spans else _time_before(strip, number)
    time, unit = str(piece.start), ""
    if like:
        unit = like.unit
        suffix = "" if re.search(r"[A-Za-z%:]", like.text) else unit
        time = time_as(video, like, piece.start) + suffix
    fade = ""
    if number and piece.fade:
        fade = f" {fade_as(video, piece.fade, piece.fade.unit if piece.fade.end else 's' if unit == 's' else '')}"
    return f"{time}{fade}: {piece.words}"


def _time_before(strip: Strip, number: int) -> Written | None:
    """The nearest written time in front of a piece."""
    times = (piece.spans.first for piece in reversed(strip.pieces[:number]) if piece.spans)
    return next((time for time in times if time), None)
