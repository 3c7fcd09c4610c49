"""Schedules written as keys and quoted prompts, the way FizzNodes and AnimateDiff-Evolved read them.

``"0": "a", "24": "b"``, with or without braces, a last comma allowed; also ``0 = "a", 24 = "b"``. A key is a frame, a
share of the video (``0.5``: any number with a point, 0.0 to 1.0), ``50%``, ``2s``, a count from the end (``-5``), or a
range (``2:5``: frames 2, 3 and 4). A colon at the end of a key (``0.5:``) holds its prompt.

A prompt is reached at its key (on all frames of a range), and from there it blends straight into the next one, which
it reaches at the next key; held, it stays until then and cuts. In terms of segments: the boundary is half-way between
the keys and the transition is as long as the stretch between them. A key at the very end (24 of 24 frames) is allowed,
as both programs do: a prompt that is approached but not quite reached. Later keys are an error.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import pairwise

from .errors import PromptScheduleError
from .openings import CURLY, closing_quote
from .schedule import HARD, PromptSchedule, Segment, Transition
from .source import NUMBER, Source, Video, Written, in_front, join_lines

KEY_HELP = 'Write a frame ("24"), a share ("0.5"), percent ("50%"), seconds ("2s"), or a range ("2:5").'
PAIR_HELP = 'Write "0": "first prompt", "24": "second prompt".'

SKIP = re.compile(r"\s+|//[^\n]*|#[^\n]*")
BARE_KEY = re.compile(r"[^\s=\"'{},]*(?:\s+[%s](?!\w))?")
POINT = re.compile(rf"(-?)\s*({NUMBER})\s*([s%])?")
_HALVES = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # of a character beyond the first 65,536
ESCAPE = re.compile(rf"({_HALVES}|\\u[0-9a-fA-F]{{4}})|\\([\"'\\/nrtbf])")


@dataclass(frozen=True)
class Key:
    """A prompt and the frames on which it is seen alone, ``first`` to ``last``, both included."""

    first: int
    last: int
    hold: bool
    prompt: str
    offset: int


def parse_keys(video: Video, start: int, front: str, alone: bool = False) -> PromptSchedule:
    """The schedule of a text that is keyed from ``start`` on, with ``front`` in front of every prompt.

    ``alone``: where all keys are dropped, the front is a prompt of its own.

    Raises PromptSyntaxError or PromptScheduleError, with line and column.
    """
    keys = sorted(KeyReader(video, start).read(), key=lambda key: (key.first, key.offset))
    if not keys and alone:
        return PromptSchedule((Segment(0, video.num_frames, front),), video.num_frames, video.fps)
    if not keys:
        raise video.outside(video.notes.dropped[0])
    check_keys(video.source, keys)
    video.notes.starts += [(key.first, key.offset) for key in keys]
    starts, transitions = [0.0], [HARD]
    for before, after in pairwise(keys):
        stretch = after.first - before.last
        starts.append(after.first if before.hold else before.last + stretch / 2)
        transitions.append(HARD if before.hold else Transition("linear", stretch))
    if len(keys) > 1 and starts[-1] >= video.num_frames:  # held to the very end: the last prompt is never seen
        del keys[-1], starts[-1], transitions[-1]
    ends = [*starts[1:], float(video.num_frames)]
    segments = (
        Segment(start, end, in_front(front, key.prompt), transition)
        for start, end, key, transition in zip(starts, ends, keys, transitions, strict=True)
    )
    return PromptSchedule(tuple(segments), video.num_frames, video.fps)


def check_keys(source: Source, keys: list[Key]) -> None:
    """Raises PromptScheduleError, pointing at the key further down in the text, if two share a frame."""
    for before, after in pairwise(keys):
        if after.first > before.last:
            continue
        offset = max(before.offset, after.offset)
        line, column = source.locate(min(before.offset, after.offset))
        problem = f"frame {after.first} has two prompts; the other key is in line {line}, column {column}."
        if before.first != after.first:
            problem = f"this range overlaps with the one in line {line}, column {column}, on frame {after.first}."
        raise source.schedule_error(offset, problem, "Give each prompt frames of its own.")


class KeyReader:
    """Reads ``key: "prompt"`` pairs; raises at the first thing that is not understood."""

    def __init__(self, video: Video, start: int) -> None:
        self.video = video
        self.source = video.source
        self.text = video.source.text
        self.pos = start

    def read(self) -> list[Key]:
        """All pairs that are not dropped, in the order of the text; raises where there is none at all."""
        self.skip()
        opening = self.pos
        brace = opening if self.take("{") else None
        keys = []
        while not self.at_end():
            key = self.pair()
            if key:
                keys.append(key)
            self.skip()
            if not self.take(","):
                break
            self.skip()
        self.finish(brace)
        if not keys and not self.video.notes.dropped:
            raise self.source.schedule_error(opening, "there is no prompt between the braces.", PAIR_HELP)
        return keys

    def at_end(self) -> bool:
        self.skip()
        return self.pos >= len(self.text) or self.text[self.pos] == "}"

    def finish(self, brace: int | None) -> None:
        self.skip()
        if self.pos < len(self.text) and self.text[self.pos] != "}":
            raise self.source.syntax_error(
                self.pos,
                f"a comma or the end is expected here, not '{self.text[self.pos]}'.",
                'Put a comma between prompts. A quotation mark inside a prompt is written \\".',
            )
        closed = self.take("}")
        if closed and brace is None:
            raise self.source.syntax_error(self.pos - 1, "this brace was never opened.", "Remove it.")
        if brace is not None and not closed:
            raise self.source.syntax_error(brace, "this brace is never closed.", "Write '}' at the end.")
        self.skip()
        if self.pos < len(self.text):
            raise self.source.syntax_error(
                self.pos, "there is more text after the closing brace.", "Move it inside the braces, or remove it."
            )

    def skip(self) -> None:
        while found := SKIP.match(self.text, self.pos):
            self.pos = found.end()
            if not found.group().isspace():
                self.video.notes.comments.append((found.start(), found.group()))

    def take(self, char: str) -> bool:
        if self.text.startswith(char, self.pos):
            self.pos += 1
            return True
        return False

    def pair(self) -> Key | None:
        """One key and its prompt; None if it is dropped because it lies beyond the end of the video."""
        offset = self.pos
        if self.text[self.pos] in "\"'" + CURLY:
            _, start, end = self.quoted()
            separated = self.separator()
        else:
            start = self.pos
            self.pos = end = BARE_KEY.match(self.text, self.pos).end()  # type: ignore[union-attr]
            separated = self.separator()
            if not separated and end > start and self.text[end - 1] == ":":
                end, separated = end - 1, True
        frames = self.frames(start, end)
        if not separated:
            raise self.source.syntax_error(self.pos, "a colon is missing between the key and its prompt.", PAIR_HELP)
        prompt = self.prompt()
        return Key(*frames, prompt, offset) if frames else None

    def separator(self) -> bool:
        end_of_key = self.pos
        self.skip()
        found = self.take("=") or self.take(":")
        if not found and not self.text.startswith(('"', "'"), self.pos):
            self.pos = end_of_key
        return found

    def prompt(self) -> str:
        self.skip()
        offset = self.pos
        if self.pos >= len(self.text) or self.text[self.pos] not in "\"'" + CURLY:
            raise self.source.syntax_error(offset, "a prompt in quotation marks is expected here.", PAIR_HELP)
        raw, start, end = self.quoted()
        self.video.notes.prompts.append((start, end))
        if "`" in raw:
            raise self.source.syntax_error(
                start + raw.index("`"),
                "expressions in backticks (FizzNodes) are not supported.",
                "Write the number itself, for example (cat:1.2), and change it with one more key where it should.",
            )
        if "--neg" in raw:
            raise self.source.syntax_error(
                start + raw.index("--neg"),
                "--neg (FizzNodes) is not supported.",
                "Move what follows it into a negative prompt of its own.",
            )
        prompt = join_lines(self.unescape(raw, start))
        if not prompt:
            raise self.source.schedule_error(offset, "this prompt is empty.", "Write a prompt, or remove its key.")
        return prompt

    def quoted(self) -> tuple[str, int, int]:
        """(text as written, its first offset, the offset after its last) of the quoted text here."""
        offset, quote = self.pos, self.text[self.pos]
        if quote in CURLY:
            raise self.source.syntax_error(offset, f"{quote} is a curly quotation mark.", 'Use straight ones: "')
        end = closing_quote(self.text, offset)
        if end is None:
            raise self.source.syntax_error(offset, "this quotation mark is never closed.", f"Write {quote} at its end.")
        self.pos = end + 1
        return self.text[offset + 1 : end], offset + 1, end

    def unescape(self, raw: str, start: int) -> str:
        r"""JSON escapes as characters; other backslashes stay, because \( and \) mean something to the text encoder."""

        def decode(found: re.Match[str]) -> str:
            if not found.group(1):
                return {"n": "\n", "r": " ", "t": " ", "b": " ", "f": " "}.get(found.group(2), found.group(2))
            decoded = json.loads(f'"{found.group(1)}"')
            if any("\ud800" <= char <= "\udfff" for char in decoded):
                raise self.source.syntax_error(
                    start + found.start(), f"{found.group(1)} is not a whole character.", "Write the character itself."
                )
            return decoded

        return ESCAPE.sub(decode, raw)

    def frames(self, start: int, end: int) -> tuple[int, int, bool] | None:
        """(first frame, last frame, hold) of the key that is written at [start, end); None if it is dropped."""
        while end > start and self.text[end - 1].isspace():
            end -= 1
        hold = end > start and self.text[end - 1] == ":"
        parts = self.text[start : end - 1 if hold else end].split(":")
        if len(parts) > 2:
            raise self.source.syntax_error(
                start + len(parts[0]) + len(parts[1]) + 1, "a range has one colon, and hold one at its end.", KEY_HELP
            )
        points: list[int] = []
        offset = start
        for part in parts:
            point = self.point(part, offset, is_end=bool(points))
            if point is None:
                return None
            points.append(point)
            offset += len(part) + 1
        if len(points) == 1:
            return points[0], points[0], hold
        if points[0] >= points[1]:
            raise self.source.schedule_error(
                start,
                f"this range is empty: it goes from frame {points[0]} to frame {points[1]}.",
                "The start must come before the end, by at least one frame.",
            )
        return points[0], points[1] - 1, hold

    def point(self, text: str, offset: int, is_end: bool) -> int | None:
        """The frame that one time of a key means; None if it is dropped."""
        offset += len(text) - len(text.lstrip())
        text = text.strip()
        found = POINT.fullmatch(text)
        if not found:
            raise self.not_a_key(text, offset)
        sign, number, unit = found.groups()
        if not unit and "." in number:
            return self.share(sign, number, is_end, offset)
        time = Written(self.video.place(sign, self.video.frames_of(number, unit or "", offset)), text, offset)
        if time.frames > self.video.num_frames and not is_end and self.video.drops(time):
            return None
        if time.frames < 0 or (time.frames > self.video.num_frames and not self.video.drop_beyond):
            raise self.video.outside(time)
        if is_end or time.frames == self.video.num_frames:
            return self.video.end_frame(time)
        return self.video.start_frame(time)

    def share(self, sign: str, number: str, is_end: bool, offset: int) -> int:
        """The frame of a share of the video, rounded down; 1.0 is the last frame, or the end of a range."""
        frames = self.video.frames_of(number, "", offset) * self.video.num_frames
        if sign or frames > self.video.num_frames:
            raise self.source.schedule_error(
                offset,
                f"{sign}{number} is not a share of the video.",
                "A number with a point goes from 0.0 to 1.0. Write whole frames without one, or seconds as 2.5s.",
            )
        return min(math.floor(frames), self.video.num_frames - (0 if is_end else 1))

    def not_a_key(self, text: str, offset: int) -> PromptScheduleError:
        if text in ("pre_text", "app_text"):
            return self.source.syntax_error(
                offset,
                f"{text} (FizzNodes) is not a time.",
                "Write that text into the common text, in front of the first key, or into each prompt.",
            )
        if re.search(r"max_f|maxKeyframes|[*/+()]|^t\b", text):
            return self.source.syntax_error(
                offset,
                f"expressions in keys (FizzNodes), such as '{text}', are not supported.",
                'Write the frame itself ("24"), a share of the video ("0.5") or a count from the end ("-1").',
            )
        found = re.match(rf"-?\s*{NUMBER}\s*[s%]?", text)
        wrong = text[found.end() :] if found else text
        at = offset + (found.end() if found else 0)
        problem = f"'{wrong}' is not a time." if wrong else "the key is empty."
        return self.source.syntax_error(at, problem, KEY_HELP)
