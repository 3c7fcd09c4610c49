"""The prompt schedule: which prompt holds where on the timeline, and how much of each a frame sees.

Positions are video frames, counted from 0, and may be fractional. A segment is a stretch ``[start, end)`` with one
prompt. A transition of ``n`` frames into a segment that starts at ``f`` cross-fades over ``[f - n/2, f + n/2]``: it is
centred on the boundary, and half of it lies in either segment. The halves that lie in one segment may touch but not
overlap, so no frame ever sees more than two prompts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from .errors import PromptScheduleError

TRANSITION_KINDS = ("hard", "linear", "ease")

# Lengths written in seconds become frames with float noise; halves that overlap by less than this touch.
FIT_TOLERANCE = 1e-6


def name_prompt(prompt: str) -> str:
    """A prompt as error messages name it: quoted, shortened to 40 characters."""
    text = " ".join(prompt.split())
    return f"the prompt '{text if len(text) <= 40 else text[:39] + '…'}'"


def check_number(value: object, what: str) -> None:
    """Raises PromptScheduleError unless ``value`` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise PromptScheduleError(f"{what} must be a number, not {value!r}.")


def check_video(num_frames: object, fps: object) -> None:
    """Raises PromptScheduleError unless ``num_frames`` is a whole number >= 1 and ``fps`` a finite number > 0."""
    if isinstance(num_frames, bool) or not isinstance(num_frames, int):
        raise PromptScheduleError(f"the number of frames must be a whole number, not {num_frames!r}.")
    if num_frames < 1:
        raise PromptScheduleError(f"a video needs at least 1 frame, not {num_frames}.")
    check_number(fps, "the frame rate (fps)")
    if fps <= 0:  # type: ignore[operator]
        raise PromptScheduleError(f"the frame rate (fps) must be above 0, not {fps:g}.")


@dataclass(frozen=True)
class Transition:
    """How a segment begins.

    ``kind``: "hard" (a cut: the first frame of the segment shows only its prompt), "linear" (a straight ramp) or
    "ease" (a smoothstep ramp, slow at both ends). ``frames``: the length of the cross-fade in video frames, >= 0, may
    be fractional; 0 for "hard". A ramp of 0 frames is a cut.

    Raises PromptScheduleError for an unknown kind, for a length that is negative or not finite, and for a hard
    transition with a length.
    """

    kind: str = "hard"
    frames: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in TRANSITION_KINDS:
            raise PromptScheduleError(f"'{self.kind}' is not a transition. Known: {', '.join(TRANSITION_KINDS)}.")
        check_number(self.frames, "the length of a transition")
        if self.frames < 0:
            raise PromptScheduleError(f"a transition cannot be {self.frames:g} frames long. Write 0 or more.")
        if self.kind == "hard" and self.frames:
            raise PromptScheduleError(
                f"a hard transition is a cut and has no length, but {self.frames:g} frames were given. "
                "Use 'linear' or 'ease' for a cross-fade."
            )
        object.__setattr__(self, "frames", float(self.frames))

    @property
    def half(self) -> float:
        """The frames that the cross-fade takes from the segment on either side."""
        return self.frames / 2

    def progress(self, offset: float) -> float:
        """Weight of the new prompt, 0 to 1, ``offset`` frames after the boundary (negative: before it)."""
        if not self.frames:
            return 1.0 if offset >= 0 else 0.0
        share = min(max((offset + self.half) / self.frames, 0.0), 1.0)
        if self.kind == "ease":
            return share * share * (3.0 - 2.0 * share)
        return share


HARD = Transition()


@dataclass(frozen=True)
class Segment:
    """A stretch ``[start, end)`` of the timeline, in video frames, with one prompt.

    ``transition`` leads into this segment. An empty ``prompt`` is allowed here (a negative prompt may be empty);
    ``parse_schedule`` refuses it, because in a text it is a slip. Raises PromptScheduleError unless
    0 <= start < end, both finite.
    """

    start: float
    end: float
    prompt: str
    transition: Transition = HARD

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise PromptScheduleError(f"a prompt is text, not {type(self.prompt).__name__}.")
        check_number(self.start, "the start of a segment")
        check_number(self.end, "the end of a segment")
        if not 0 <= self.start < self.end:
            raise PromptScheduleError(
                f"{name_prompt(self.prompt)} goes from frame {self.start:g} to {self.end:g}. "
                "A segment starts at frame 0 or later and ends after it starts."
            )
        object.__setattr__(self, "start", float(self.start))
        object.__setattr__(self, "end", float(self.end))

    @property
    def length(self) -> float:
        """Frames from start to end, > 0."""
        return self.end - self.start


@dataclass(frozen=True)
class PromptSchedule:
    """Prompts on the timeline of a video of ``num_frames`` frames at ``fps`` frames a second.

    ``segments`` are in order, without gaps, and cover ``[0, num_frames)``. Neighbours with the same prompt stay two
    segments: their weights are separate, and the caller may merge them. The transition into the first segment means
    nothing and is set to a hard one.

    Raises PromptScheduleError where any of this does not hold, where two transitions overlap inside a segment, for
    num_frames < 1 and for fps <= 0.
    """

    segments: tuple[Segment, ...]
    num_frames: int
    fps: float

    def __post_init__(self) -> None:
        check_video(self.num_frames, self.fps)
        segments = tuple(self.segments)
        if not segments:
            raise PromptScheduleError("a schedule needs at least one prompt.")
        segments = (replace(segments[0], transition=HARD), *segments[1:])
        check_cover(segments, self.num_frames)
        check_fit(segments)
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The distinct prompts, in order of appearance."""
        return tuple(dict.fromkeys(segment.prompt for segment in self.segments))

    @cached_property
    def _starts(self) -> list[float]:
        return [segment.start for segment in self.segments]

    def __hash__(self) -> int:
        # Asked for once for every prompt, so it does not go through all of them.
        return hash((self.num_frames, self.fps, len(self.segments), self.segments[0].prompt))

    def seen(self, frame: float) -> tuple[tuple[int, float], ...]:
        """The one or two segments that a frame sees: (index, weight above 0) in order, the weights summing to 1.

        ``frame`` is a video frame, may be fractional, and is clamped to [0, num_frames - 1]. The time that this takes
        hardly grows with the number of segments.
        Raises PromptScheduleError if it is NaN.
        """
        frame = self._clamp(frame)
        segments = self.segments
        index = bisect_right(self._starts, frame) - 1
        # The first half of a transition lies in the segment before the boundary, the second half in the one after.
        into = index
        if index + 1 < len(segments) and frame > segments[index].end - segments[index + 1].transition.half:
            into = index + 1
        if into == 0:
            return ((0, 1.0),)
        share = segments[into].transition.progress(frame - segments[into].start)
        return tuple(each for each in ((into - 1, 1.0 - share), (into, share)) if each[1])

    def weights(self, frame: float) -> tuple[float, ...]:
        """How much of each prompt a frame sees: one weight per segment, each >= 0, at most two above 0, summing to 1.

        See ``seen``, which says the same in fewer words.
        """
        weights = [0.0] * len(self.segments)
        for index, weight in self.seen(frame):
            weights[index] = weight
        return tuple(weights)

    def _clamp(self, frame: float) -> float:
        if math.isnan(frame):
            raise PromptScheduleError("a frame position must be a number, not NaN.")
        return min(max(float(frame), 0.0), self.num_frames - 1.0)


def check_cover(segments: tuple[Segment, ...], num_frames: int) -> None:
    """Raises PromptScheduleError unless the segments follow each other without gap and cover [0, num_frames)."""
    if segments[0].start != 0 or segments[-1].end != num_frames:
        raise PromptScheduleError(
            f"the segments go from frame {segments[0].start:g} to {segments[-1].end:g}, "
            f"but must cover the whole video, from 0 to {num_frames}."
        )
    for before, after in pairwise(segments):
        if before.end != after.start:
            raise PromptScheduleError(
                f"{name_prompt(before.prompt)} ends at frame {before.end:g}, "
                f"but {name_prompt(after.prompt)} starts at {after.start:g}. They must meet."
            )


def check_fit(segments: tuple[Segment, ...]) -> None:
    """Raises PromptScheduleError if the transitions at both ends of a segment overlap inside it."""
    for index, segment in enumerate(segments):
        after = segments[index + 1].transition.half if index + 1 < len(segments) else 0.0
        if segment.transition.half + after > segment.length + FIT_TOLERANCE:
            raise PromptScheduleError(
                f"{name_prompt(segment.prompt)} lasts {segment.length:g} frames, but its transitions take "
                f"{segment.transition.half + after:g} of them ({segment.transition.half:g} at its start, {after:g} at "
                "its end). Shorten a transition or lengthen the segment."
            )
