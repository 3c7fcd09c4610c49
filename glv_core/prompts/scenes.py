"""Schedules written as numbered scenes: ``Scene 1: a``, ``Scene 2-5: b``.

Scenes without times are equal parts of the video, and a range of them takes as many parts. ``Scene 1 (0s-3s): a`` says
when each one is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from .layout import Entry, Reading, Spans
from .lines import EntryReader, check_order
from .marks import Mark
from .source import WAY_OUT, Source, Video, join_lines, round_half_up
from .times import COLONS, SIGNS, SPAN, TIME_HELP

_NAMES = r"(?:scene|shot|clip|segment|prompt)"
_SCENE = re.compile(
    rf"(?:\*\*|__)?{_NAMES}[ \t]{{0,3}}#?(?P<first>[0-9]{{1,6}})"
    rf"(?:[ \t]{{0,3}}(?:{SIGNS}|\bto\b)[ \t]{{0,3}}(?P<last>[0-9]{{1,6}}))?(?![\w.])",
    re.IGNORECASE,
)
_BEFORE_TIME = re.compile(r"[ \t]{0,3}[,\u2013\u2014-]?[ \t]{0,3}([\[(]?)[ \t]{0,3}")
_END = re.compile(rf"[ \t]{{0,3}}(?:\*\*|__)?[ \t]{{0,3}}[{COLONS}](?:\*\*|__)?(?![0-9])")
_LATE = re.compile(r"[ \t]{0,3}([\[(])[ \t]{0,3}")
_INLINE = re.compile(rf"(?<!\w)(?:\*\*|__)?{_NAMES}(?=[ \t0-9#])", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """A scene as written: its numbers, where its name, its time if it has one, and its prompt are; and the prompt.

    ``late`` is a range in brackets at the beginning of the prompt, and ``rest`` the prompt without it. ``end`` is where
    the next scene begins.
    """

    first: int
    last: int
    offset: int
    time: tuple[int, int] | None
    prompt: int
    text: str
    late: tuple[int, int] | None = None
    rest: str = ""
    end: int = 0

    @property
    def spans(self) -> Spans:
        """Where it stands in the text."""
        return Spans((self.prompt, self.end), (self.offset, self.end))


def scene_at(text: str, pos: int) -> tuple[int, int, tuple[int, int] | None, int] | None:
    """(first, last, (start, end) of the time, start of the prompt) of the scene whose name is at ``pos``, or None."""
    name = _SCENE.match(text, pos)
    if name is None:
        return None
    at, time = name.end(), None
    before = _BEFORE_TIME.match(text, at)
    span = SPAN.match(text, before.end()) if before else None
    if before and span:
        close = {"[": "]", "(": ")", "": ""}[before.group(1)]
        if text.startswith(close, span.end()):
            at, time = span.end() + len(close), span.span()
    end = _END.match(text, at)
    if end is None:
        return None
    return int(name.group("first")), int(name.group("last") or name.group("first")), time, end.end()


def begins_scene(line: str) -> bool:
    """Whether a line begins with the name of a scene and a colon."""
    return scene_at(line, len(line) - len(line.lstrip())) is not None


def parse_scenes(video: Video, lines: list[tuple[int, str]], marks: list[Mark | None]) -> Reading | None:
    """The entries of a text with scenes, in the order of time, and the text before the first.

    None where only a single ``Prompt 1:`` stands below other text.

    Raises:
        PromptScheduleError: numbers are missing or twice there, there are more scenes than frames, or a time stands
            where no scene begins.
    """
    source = video.source
    head, scenes = scenes_of(source, lines)
    name = source.text[scenes[0].offset : scenes[0].prompt].strip("*_").lower()
    if head and len(scenes) == 1 and name.startswith("prompt"):
        remedy = (
            "It counts where Prompt 2: is there too, or no text before it. If this is part of the prompt, leave it."
        )
        video.notes.doubted.append((scenes[0].offset, scenes[0].prompt, remedy))
        return None
    for mark in marks:
        if mark and mark.start >= scenes[0].offset:
            raise source.syntax_error(
                mark.start,
                "this time stands inside a scene.",
                "Write it behind the number of the scene, as in Scene 1 (0s-3s): a prompt.",
            )
    video.notes.prompts.append((0, scenes[0].offset))
    for scene in scenes:
        video.notes.prompts.append(scene.spans.prompt)
        if not scene.text:
            raise source.schedule_error(
                scene.offset, "there is no prompt after this scene.", "Write the prompt after the colon, or remove it."
            )
    entries = timed(video, scenes) if any(scene.time for scene in scenes) else equal(video, scenes)
    return Reading(entries, head, lines[0][0], form="scenes")


def scenes_of(source: Source, lines: list[tuple[int, str]]) -> tuple[str, list[Scene]]:
    """The text before the first scene, and the scenes, in the order of the text."""
    text = source.text
    found: list[tuple[int, int, int, tuple[int, int] | None, int]] = []
    pieces: list[list[str]] = [[]]
    for offset, line in lines:
        begin, first = offset, len(line) - len(line.lstrip())
        # Behind the first one, which begins a line, they may stand anywhere.
        for place in [offset + first, *(offset + each.start() for each in _INLINE.finditer(line, first + 1))]:
            scene = scene_at(text, place) if place >= begin and (found or place == offset + first) else None
            if scene is None:
                continue
            pieces[-1].append(text[begin:place].rstrip(" \t|,;"))
            found.append((place, *scene))
            pieces.append([])
            begin = scene[3]
        pieces[-1].append(text[begin : offset + len(line)])
    texts = [join_lines("\n".join(piece)) for piece in pieces]
    scenes = []
    ends = [*(place for place, *_ in found[1:]), len(text)]
    for (place, first, last, time, prompt), told, end in zip(found, texts[1:], ends, strict=True):
        late = None if time else _LATE.match(text, prompt)
        span = SPAN.match(text, late.end()) if late else None
        if late and span and span["last"] and text.startswith("])"[late.group(1) == "("], span.end()):
            rest = told[span.end() + 1 - late.start(1) :].lstrip(" \t:\uff1a\u2013\u2014-")
            scenes.append(Scene(first, last, place, time, prompt, told, span.span(), rest, end))
        else:
            scenes.append(Scene(first, last, place, time, prompt, told, end=end))
    if all(scene.late for scene in scenes):
        scenes = [
            replace(scene, time=scene.late, prompt=scene.late[1] + 1, text=scene.rest) for scene in scenes if scene.late
        ]
    return texts[0], scenes


def timed(video: Video, scenes: list[Scene]) -> list[Entry]:
    """The entries of scenes that all say when they are."""
    entries = []
    for scene in scenes:
        if scene.time is None:
            raise video.source.syntax_error(
                scene.offset, "this scene has no time, but others have.", f"Write it in brackets. {TIME_HELP}"
            )
        start, end = scene.time
        if SPAN.fullmatch(video.source.text, start, end)["last"] is None:  # type: ignore[index]
            raise video.source.syntax_error(
                start,
                "this can be the start of a scene or its length.",
                "Write from when to when it lasts, as in Scene 1 (0s-3s): a prompt.",
            )
        entry = EntryReader(video, *scene.time).read(scene.text, scene.spans.prompt, scene.spans.block)
        if entry:
            entries.append(entry)
    entries.sort(key=lambda entry: entry.start)
    check_order(video.source, entries)
    return entries


def equal(video: Video, scenes: list[Scene]) -> list[Entry]:
    """The entries of scenes that share the video in equal parts."""
    source = video.source
    scenes = sorted(scenes, key=lambda scene: scene.first)
    for scene in scenes:
        if scene.last < scene.first:
            raise source.schedule_error(
                scene.offset,
                f"scenes {scene.first} to {scene.last} are none.",
                "Write the lower number first, as in Scene 2-5:",
            )
    if scenes[0].first != 1:
        raise source.schedule_error(scenes[0].offset, "scene 1 is missing.", f"Count scenes from 1. {WAY_OUT}")
    for before, after in pairwise(scenes):
        if after.first <= before.last:
            raise source.schedule_error(
                max(before.offset, after.offset),
                f"scene {after.first} is there twice.",
                f"Give each scene a number of its own. {WAY_OUT}",
            )
        if after.first > before.last + 1:
            raise source.schedule_error(
                after.offset, f"scene {before.last + 1} is missing.", f"Number scenes without gaps. {WAY_OUT}"
            )
    count = scenes[-1].last
    if count > video.num_frames:
        raise source.schedule_error(
            scenes[-1].offset,
            f"{count} scenes do not fit into {video.num_frames} frames.",
            "Write at most one scene per frame, or make the video longer.",
        )
    return [
        Entry(start, None, scene.text, None, scene.offset, scene.spans)
        for scene in scenes
        for start in [round_half_up(Fraction(video.num_frames * (scene.first - 1), count))]
    ]
