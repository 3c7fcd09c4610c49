"""From prompts with a start each to segments: every transition is given a length that fits between its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from .schedule import FIT_TOLERANCE, PromptSchedule, Segment, Transition, name_prompt
from .source import Source, Video, Written, in_front


@dataclass(frozen=True)
class Fade:
    """A transition as written: ``frames`` is None where only its kind was given; it stands at [offset, end).

    ``unit`` is what its length was written in, see ``Written``.
    """

    kind: str
    frames: float | None
    offset: int
    end: int = 0
    unit: str = ""


@dataclass(frozen=True)
class Spans:
    """Where a prompt stands in the text, as (start, end): its own words, and all that goes with it.

    ``first`` and ``last`` are its time and the end of its range, where they are written.
    """

    prompt: tuple[int, int]
    block: tuple[int, int]
    first: Written | None = None
    last: Written | None = None


@dataclass(frozen=True)
class Entry:
    """One prompt as written: its first frame, the frame before which its range ends (None: no range), its place.

    ``spans`` are None for what stands in front of all times.
    """

    start: int
    end: int | None
    prompt: str
    fade: Fade | None
    offset: int
    spans: Spans | None = None

    def with_prompt(self, prompt: str) -> Entry:
        """The same with another prompt."""
        return replace(self, prompt=prompt)


@dataclass(frozen=True)
class Reading:
    """What a text says: its entries in the order of time, and the ``head``, text in front of all times.

    The head, written at ``offset``, is a prompt by itself until the first time. It stands in front of every other
    prompt too, unless it is ``alone`` and there is such a while. ``form`` is the way of writing: "lines", "brackets",
    "bars", "timed bars" or "scenes".
    """

    entries: list[Entry]
    head: str = ""
    offset: int = 0
    alone: bool = False
    form: str = "bars"

    def with_head(self) -> list[Entry]:
        """The entries with the head where it belongs; none if there are none."""
        if not self.head or not self.entries:
            return self.entries
        late = self.entries[0].start > 0
        first = [Entry(0, None, self.head, None, self.offset)] if late else []
        if self.alone and late:
            return first + self.entries
        return first + [entry.with_prompt(in_front(self.head, entry.prompt)) for entry in self.entries]


@dataclass(frozen=True)
class DefaultFade:
    """The transition of prompts that name none. ``frames`` also serves a written kind without a length."""

    kind: str
    frames: float

    def __post_init__(self) -> None:
        Transition(self.kind)  # raises for an unknown kind
        Transition("linear", self.frames)  # raises for a length that cannot be


def lay_out(entries: list[Entry], video: Video, default: DefaultFade) -> PromptSchedule:
    """The schedule of entries that are in the order of time.

    A prompt lasts until the next one starts; the first also covers what comes before it. Raises PromptScheduleError
    where written transitions do not fit into the segment between them.
    """
    bounds = [0, *(entry.start for entry in entries[1:]), video.num_frames]
    lengths = [float(end - start) for start, end in pairwise(bounds)]
    halves = [written_half(entry) for entry in entries]
    halves[0] = 0.0
    check_written(entries, lengths, halves, video.source)
    segments = []
    for index, entry in enumerate(entries):
        kind = entry.fade.kind if entry.fade else default.kind
        half = halves[index]
        if half is None:
            left = room(lengths[index - 1], halves[index - 1])
            right = room(lengths[index], halves[index + 1] if index + 1 < len(entries) else None)
            half = min(default.frames / 2, left, right)
        transition = Transition(kind, 2 * half) if half and kind != "hard" else Transition()
        segments.append(Segment(bounds[index], bounds[index + 1], entry.prompt, transition))
    return PromptSchedule(tuple(segments), video.num_frames, video.fps)


def written_half(entry: Entry) -> float | None:
    """Half the length of the transition written for an entry; None where the default decides."""
    if entry.fade is None:
        return None
    if entry.fade.kind == "hard":
        return 0.0
    return None if entry.fade.frames is None else entry.fade.frames / 2


def room(length: float, other_half: float | None) -> float:
    """Frames of a segment that a default transition at one end may take: up to the middle, less what is taken."""
    return max(0.0, min(length / 2, length - (other_half or 0.0)))


def check_written(entries: list[Entry], lengths: list[float], halves: list[float | None], source: Source) -> None:
    """Raises PromptScheduleError, pointing at a transition, if the written ones do not fit into a segment."""
    for index, entry in enumerate(entries):
        into = halves[index] or 0.0
        out = (halves[index + 1] or 0.0) if index + 1 < len(entries) else 0.0
        if into + out <= lengths[index] + FIT_TOLERANCE:
            continue
        blamed = entry if into >= out else entries[index + 1]
        both = f" ({into:g} at its start, {out:g} at its end)" if into and out else ""
        raise source.schedule_error(
            blamed.fade.offset if blamed.fade else blamed.offset,
            f"this transition is too long: {name_prompt(entry.prompt)} lasts {lengths[index]:g} frames, "
            f"but transitions would take {into + out:g} of them{both}.",
            "Half of a transition lies before its time and half after. Shorten it, or move the times apart.",
        )
