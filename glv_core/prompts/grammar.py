"""Text -> schedule: ``read_schedule`` finds out from the text which of these ways of writing it uses.

* **Keys**, ``"0": "a", "24": "b"``, what FizzNodes and AnimateDiff-Evolved read: see ``dialects.py``.
* **Scenes**, ``Scene 1: a``, ``Scene 2-5: b``, see ``scenes.py``.
* **Lines**, ``TIME: prompt``, see ``lines.py`` and ``marks.py``. A prompt lasts until the next one starts, and the
  first also covers everything before it. A ``|`` in a prompt is part of the prompt.
* **Brackets**, ``a [1s: b] [3s: c]``, see ``brackets.py``.
* **Bars**, ``a | b | c``: as many equal parts as prompts; or ``a | b [0-50] | c [50-150]``: see ``bars.py``.
* Anything else is one prompt for the whole video.

In all of them a prompt may go on over several lines, which are joined by a space; lines that begin with # or // and
blank lines are left out. Text in front of the first time stands in front of every prompt. Times in seconds and percent
are rounded to the nearest whole frame, halves up; lengths of transitions are not rounded. What looks like a time and
is not read as one becomes a warning.

The steps of reading grow with the length of the text and not faster, whatever it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from .bars import parse_bars, parse_timed_bars
from .brackets import has_timed_brackets, parse_brackets
from .dialects import parse_keys
from .errors import PromptScheduleError, PromptWarning
from .layout import DefaultFade, Entry, Reading, lay_out
from .lines import parse_lines
from .marked_lines import bulleted, check_unmarked, marks_of, pieces_of
from .marks import mark_of
from .openings import keyed_at
from .scenes import begins_scene, parse_scenes
from .schedule import PromptSchedule, check_video
from .source import Source, Video, in_front, join_lines
from .unread import warnings_of

#: Characters of text that may stand in front of every prompt; more than any text encoder reads.
LONGEST_FRONT = 5_000
BEYOND_END = ("error", "drop")  #: what may be done with prompts beyond the end of the video


@dataclass(frozen=True)
class ParsedSchedule:
    """A schedule, and what in its text was perhaps meant otherwise, in the order of the text."""

    schedule: PromptSchedule
    warnings: tuple[PromptWarning, ...] = ()


def parse_schedule(
    text: str,
    *,
    num_frames: int,
    fps: float,
    transition: str = "linear",
    transition_frames: float = 8,
    common_text: str = "",
    beyond_end: str = "error",
) -> PromptSchedule:
    """The schedule of ``read_schedule`` without its warnings."""
    return read_schedule(
        text,
        num_frames=num_frames,
        fps=fps,
        transition=transition,
        transition_frames=transition_frames,
        common_text=common_text,
        beyond_end=beyond_end,
    ).schedule


def read_schedule(
    text: str,
    *,
    num_frames: int,
    fps: float,
    transition: str = "linear",
    transition_frames: float = 8,
    common_text: str = "",
    beyond_end: str = "error",
) -> ParsedSchedule:
    """Read a prompt schedule, in any of the ways of writing that this module's docstring lists.

    ``num_frames`` (>= 1) and ``fps`` (> 0) describe the video. ``transition`` ("hard", "linear" or "ease") and
    ``transition_frames`` (video frames, >= 0) are used between prompts that do not say how they begin; such a default
    is shortened where it would reach past the middle of a neighbouring segment, or into a transition that is written
    out. A written length is never changed: it is an error if it does not fit. Keys ignore both, because there a
    prompt blends into the next all the way between their keys. ``common_text`` stands in front of every prompt.
    ``beyond_end``: prompts that start behind the end of the video, and ranges that end there, are an "error"; or with
    "drop" they are left out or cut, with a warning.

    Raises PromptSyntaxError for text that cannot be read and PromptScheduleError (its base, a ValueError) for a
    schedule that cannot be. Both carry ``line`` and ``column`` wherever the text is to blame.
    """
    check_video(num_frames, fps)
    default = DefaultFade(transition, transition_frames)
    for each, name in ((text, "a prompt schedule"), (common_text, "the common text")):
        if not isinstance(each, str):
            raise PromptScheduleError(f"{name} is text, not {type(each).__name__}.")
    if beyond_end not in BEYOND_END:
        raise PromptScheduleError(f"beyond_end is '{beyond_end}'; it must be {' or '.join(BEYOND_END)}.")
    video = Video(Source.of(text), num_frames, fps, beyond_end == "drop")
    common = Source.of(common_text, common=True)
    front = join_lines(common.visible)
    check_front(common, 0, front)
    schedule = _schedule(video, front, default)
    return ParsedSchedule(schedule, warnings_of(video, common, len(schedule.segments)))


def _schedule(video: Video, front: str, default: DefaultFade) -> PromptSchedule:
    keys = keys_in(video)
    if keys is not None:
        head = head_of_keys(video, keys)
        return parse_keys(video, keys, in_front(front, head), bool(head))
    reading = reading_of(video)
    entries = [entry.with_prompt(in_front(front, entry.prompt)) for entry in reading.with_head()]
    return lay_out(entries, video, default)


def keys_in(video: Video) -> int | None:
    """The offset at which keys and quoted prompts begin in a text; None where they do not.

    Raises:
        PromptSyntaxError: the text is empty.
    """
    lines = video.source.lines()
    if not lines:
        raise video.source.syntax_error(0, "there is no prompt here.", "Write one, or several such as a cat | a dog.")
    keys = keyed_at(video.source, lines)
    if keys is None or any(bulleted([mark_of(video.source, *line) for line in lines if line[0] < keys])):
        return None
    return keys


def head_of_keys(video: Video, keys: int) -> str:
    """The text in front of keys that begin at an offset."""
    head = join_lines(video.source.visible[:keys])
    check_front(video.source, video.source.lines()[0][0], head)
    video.notes.prompts.append((0, keys))
    return head


def reading_of(video: Video) -> Reading:
    """What a text says that has no keys, with at least one entry."""
    reading = read(video, video.source.lines())
    if not reading.entries and reading.head:
        return Reading([Entry(0, None, reading.head, None, reading.offset)])
    if not reading.entries:
        raise video.outside(video.notes.dropped[0])
    if len(reading.entries) > 1:
        check_front(video.source, reading.offset, reading.head)
    return reading


def check_front(source: Source, offset: int, text: str) -> None:
    """Raises PromptScheduleError if a text is too long to stand in front of every prompt."""
    if len(text) > LONGEST_FRONT:
        raise source.schedule_error(
            offset,
            f"this text of {len(text)} characters would stand in front of every prompt.",
            f"Shorten it to {LONGEST_FRONT} characters; text encoders read fewer.",
        )


def read(video: Video, lines: list[tuple[int, str]]) -> Reading:
    """What a text says that has no keys; no entries where all are dropped."""
    lines = pieces_of(lines)
    marks = marks_of(video, lines)
    for (_, line), mark in zip(lines, marks, strict=True):
        if mark:
            return parse_lines(video, lines, marks)
        scenes = parse_scenes(video, lines, marks) if begins_scene(line) else None
        if scenes:
            return scenes
    if has_timed_brackets(video.source):
        return parse_brackets(video)
    check_unmarked(video.source, lines)
    return parse_timed_bars(video, lines) or Reading(parse_bars(video, lines))
