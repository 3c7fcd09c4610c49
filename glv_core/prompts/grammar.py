"""Text -> schedule: ``parse_schedule`` finds out from the text which of these ways of writing it uses.

* **Lines**, ``TIME: prompt``, see ``lines.py``. A prompt lasts until the next one starts, and the first also covers
  everything before it. A ``|`` in a prompt is part of the prompt.
* **Bars**, ``a | b | c``: as many equal parts as prompts. A ``|`` inside ``{}`` is part of the prompt.
* **Keys**, ``"0": "a", "24": "b"``, what FizzNodes and AnimateDiff-Evolved read: see ``dialects.py``.
* Anything else is one prompt for the whole video.

In all of them a prompt may go on over several lines, which are joined by a space; lines that begin with # or // and
blank lines are left out. Times in seconds and percent are rounded to the nearest whole frame, halves up; lengths of
transitions are not rounded.
"""

from __future__ import annotations

import re
from fractions import Fraction

from .dialects import is_keyed, parse_keys
from .errors import PromptScheduleError
from .layout import DefaultFade, Entry, lay_out
from .lines import begins_entry, parse_lines
from .schedule import PromptSchedule, check_video
from .source import Source, Video, first_char, join_lines, round_half_up

BAR = re.compile(r"(\||\{[^{}]*\})")


def parse_schedule(
    text: str, *, num_frames: int, fps: float, transition: str = "linear", transition_frames: float = 8
) -> PromptSchedule:
    """Read a prompt schedule, in any of the ways of writing that this module's docstring lists.

    ``num_frames`` (>= 1) and ``fps`` (> 0) describe the video. ``transition`` ("hard", "linear" or "ease") and
    ``transition_frames`` (video frames, >= 0) are used between prompts that do not say how they begin; such a default
    is shortened where it would reach past the middle of a neighbouring segment, or into a transition that is written
    out. A written length is never changed: it is an error if it does not fit. Keys ignore both, because there a
    prompt blends into the next all the way between their keys.

    Raises PromptSyntaxError for text that cannot be read and PromptScheduleError (its base, a ValueError) for a
    schedule that cannot be. Both carry ``line`` and ``column`` wherever the text is to blame.
    """
    check_video(num_frames, fps)
    default = DefaultFade(transition, transition_frames)
    if not isinstance(text, str):
        raise PromptScheduleError(f"a prompt schedule is text, not {type(text).__name__}.")
    source = Source.of(text)
    video = Video(source, num_frames, fps)
    lines = source.lines()
    if not lines:
        raise source.syntax_error(0, "there is no prompt here.", "Write one, or several such as a cat | a dog.")
    if is_keyed(source, lines[0][0]):
        return parse_keys(video)
    if any(begins_entry(line) for _, line in lines):
        return lay_out(parse_lines(video, lines), video, default)
    return lay_out(parse_bars(video, lines), video, default)


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
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise source.schedule_error(
                bars[min(index, len(bars) - 1)],
                f"prompt {index + 1} of {len(prompts)} is empty.",
                "Write a prompt on both sides of every '|', or remove the '|'.",
            )
        start = round_half_up(Fraction(video.num_frames * index, len(prompts)))
        entries.append(Entry(start, None, prompt, None, offset if index == 0 else bars[index - 1]))
    return entries


def split_bars(lines: list[tuple[int, str]]) -> tuple[list[str], list[int]]:
    """The prompts between the bars, and the offsets of the bars."""
    bars: list[int] = []
    parts = [""]
    for offset, line in lines:
        parts[-1] += "\n"
        at = offset
        for piece in BAR.split(line):  # keeps what it splits at: a bar, or a {choice|of|words} that stays whole
            if piece == "|":
                bars.append(at)
                parts.append("")
            else:
                parts[-1] += piece
            at += len(piece)
    return [join_lines(part) for part in parts], bars
