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
from .schedule import HARD, PromptSchedule, Segment, Transition
from .source import NUMBER, Source, Video, Written, in_front, join_lines

CURLY = "\u201c\u201d\u201e\u2018\u2019"  # the quotes that word processors make
KEY_HELP = 'Write a frame ("24"), a share ("0.5"), percent ("50%"), seconds ("2s"), or a range ("2:5").'
PAIR_HELP = 'Write "0": "first prompt", "24": "second prompt".'

#: What a text between quotation marks looks like that is a time; wider than what is right.
TIME_KEY = re.compile(r"-?[.0-9][-.0-9:%s]*")
KEY_UNIT = re.compile(r"\s+[s%]")
QUOTE = re.compile(rf"[\"'{CURLY}]")
WORDS = re.compile(rf"[^\"'{CURLY}\n]*")
SPACES = re.compile(r"\s*")
NEARLY = re.compile(r"\s*[\"'{]{0,3}\s{0,3}-?[.0-9]{1,20}\s{0,3}[\"']{0,3}\s{0,3}[:=]")  # a first key with a slip in it

SKIP = re.compile(r"\s+|//[^\n]*|#[^\n]*")
BARE_KEY = re.compile(r"[^\s=\"'{},]*(?:\s+[%s](?!\w))?")
POINT = re.compile(rf"(-?)\s*({NUMBER})\s*([s%])?")
_HALVES = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # of a character beyond the first 65,536
ESCAPE = re.compile(rf"({_HALVES}|\\u[0-9a-fA-F]{{4}})|\\([\"'\\/nrtbf])")
STOP = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'"}


@dataclass(frozen=True)
class Key:
    """A prompt and the frames on which it is seen alone, ``first`` to ``last``, both included."""

    first: int
    last: int
    hold: bool
    prompt: str
    offset: int


def closing_quote(text: str, offset: int) -> int | None:
    """The offset of the mark that closes the quotation at ``offset``, or None; an apostrophe inside a word does not."""
    quote = text[offset]
    found = STOP[quote].search(text, offset + 1)
    while found:
        place = found.start()
        if found.group() == "\\":
            found = STOP[quote].search(text, min(place + 2, len(text)))
        elif quote == "'" and text[place - 1].isalnum() and text[place + 1 : place + 2].isalnum():
            found = STOP[quote].search(text, place + 1)
        else:
            return place
    return None


def keyed_at(source: Source, lines: list[tuple[int, str]]) -> int | None:
    """The offset where a text opens like keys and quoted prompts: its beginning, or the first line that does so
    without doubt, what stands before it being common to all prompts. None where there is none.
    """
    first = lines[0][0]
    if Opening(source.text).at(first):
        return first
    for offset, line in lines[1:]:
        begin = offset + len(line) - len(line.lstrip())
        if source.text[begin] in "{\"'" and Opening(source.text).sure_at(begin):
            return first if NEARLY.match(source.text, first) else offset
    return None


class Opening:
    """Whether a text opens like keys and quoted prompts.

    Narrow enough that a prompt which merely begins with a quoted phrase, a brace or a number is not taken for one; wide
    enough that a slip becomes an error and not a prompt.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def at(self, pos: int) -> bool:
        """Whether it does so at an offset."""
        text, pos = self.text, self.skip(pos)
        if text.startswith("{", pos):
            inner = self.skip(pos + 1)
            return (
                (text.startswith("}", inner) and self.skip(inner + 1) == len(text))
                or self.key(self.quote(inner) or inner, quoted=None) is not None
                or self.words(inner) is not None
            )
        opening = self.quote(pos)
        if opening is None:
            return self.bare(pos)
        prompt = self.words(pos)
        return (
            self.key(opening, quoted=True) is not None
            or (prompt is not None and self.quote(self.skip(prompt)) is not None)
            or (self.time(opening) is not None and self.pair_behind(opening))
        )

    def sure_at(self, pos: int) -> bool:
        """Whether a right key, a separator and a quotation mark stand at an offset, perhaps behind a brace."""
        inner = self.skip(pos + 1) if self.text.startswith("{", pos) else pos
        opening = self.quote(inner)
        behind = None if opening is None else self.key(opening, quoted=True)
        return behind is not None and self.quote(self.skip(behind)) is not None

    def skip(self, pos: int) -> int:
        return SPACES.match(self.text, pos).end()  # type: ignore[union-attr]

    def quote(self, pos: int) -> int | None:
        """The offset behind a quotation mark."""
        return pos + 1 if QUOTE.match(self.text, pos) else None

    def separator(self, pos: int) -> int | None:
        """The offset behind a colon or an equals sign, perhaps behind spaces."""
        pos = self.skip(pos)
        return pos + 1 if self.text[pos : pos + 1] in (":", "=") else None

    def time(self, pos: int) -> int | None:
        """The offset behind what looks like a time, colons at its end included."""
        found = TIME_KEY.match(self.text, self.skip(pos))
        if found is None:
            return None
        unit = KEY_UNIT.match(self.text, found.end())
        return unit.end() if unit else found.end()

    def key(self, pos: int, quoted: bool | None) -> int | None:
        """The offset behind a time, its quotation mark (None: or a separator) and, behind that, a separator."""
        end = self.time(pos)
        if end is None:
            return None
        closing = self.quote(self.skip(end))
        if quoted is None:
            return closing or self.separator(end) or (end if ":" in self.text[pos:end] else None)
        return None if closing is None else self.separator(closing)

    def words(self, pos: int) -> int | None:
        """The offset behind words in quotation marks on one line and a separator."""
        opening = self.quote(pos)
        if opening is None:
            return None
        closing = self.quote(WORDS.match(self.text, opening).end())  # type: ignore[union-attr]
        return None if closing is None else self.separator(closing)

    def pair_behind(self, pos: int) -> bool:
        """Whether a key and a prompt, both in quotation marks, stand anywhere behind an offset."""
        for found in QUOTE.finditer(self.text, pos):
            behind = self.key(found.end(), quoted=True)
            if behind is not None and self.quote(self.skip(behind)) is not None:
                return True
        return False

    def bare(self, pos: int) -> bool:
        """Whether it opens with a key without quotation marks: ``0 = ``, or ``0: "a",`` and another key or the end."""
        end = self.time(pos)
        if end is None:
            return False
        sign = self.skip(end)
        if self.text.startswith("=", sign):
            return not self.text.startswith("==", sign) and not self.text.startswith("=>", sign)
        if not self.text.startswith(":", sign) and self.text[end - 1] != ":":
            return False
        opening = self.skip(sign + 1 if self.text.startswith(":", sign) else end)
        quote = self.text[opening : opening + 1]
        if quote not in ("'", '"'):
            return False
        closing = closing_quote(self.text, opening)
        if closing is None:
            return False
        comma = self.skip(closing + 1)
        if not self.text.startswith(",", comma):
            return False
        following = self.skip(comma + 1)
        if following == len(self.text):
            return True
        return self.key(self.quote(following) or following, quoted=None) is not None


def parse_keys(video: Video, start: int, front: str) -> PromptSchedule:
    """The schedule of a text that is keyed from ``start`` on, with ``front`` in front of every prompt.

    Raises PromptSyntaxError or PromptScheduleError, with line and column.
    """
    keys = sorted(KeyReader(video, start).read(), key=lambda key: (key.first, key.offset))
    check_keys(video.source, keys)
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
        """All pairs that are not dropped, in the order of the text, at least one."""
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
        if not keys and self.video.notes.dropped:
            raise self.video.outside(self.video.notes.dropped[0])
        if not keys:
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
