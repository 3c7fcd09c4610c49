"""The plan under a timeline, from the values of the sampler's node alone: models are known by the names of their files.

Sizes in frames, as JSON can hold them. What is wrong with a value is a ``ValueError``, as it is when the graph runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ....plan_image import Plan, facts, runs
from ....prompts import PromptSchedule, PromptTrack
from ....streaming import Chunk, chunk_seed, plan_chunks
from ....timeline import Place, Timebase
from ....video_models import WAN, VideoModel
from ..co_denoise.options import PhaseOptions, WindowOptions
from ..families import FAMILIES

MOST_FRAMES = 100_000  #: longer videos are not drawn
_MOST_WORK = 1_000_000  # latent frames times steps, a few seconds


@dataclass(frozen=True)
class Planned:
    """The video that a plan is for: its prompts, and the family of its model, Wan's where none is known."""

    schedule: PromptSchedule
    model: VideoModel | None = None

    @property
    def known(self) -> VideoModel:
        """The family whose numbers are used."""
        return self.model or WAN

    @property
    def timebase(self) -> Timebase:
        """The clock of the video; raises ValueError for one that is not drawn."""
        if self.schedule.num_frames > MOST_FRAMES:
            raise ValueError(f"A plan is drawn of up to {MOST_FRAMES} frames, not of {self.schedule.num_frames}.")
        frames = self.known.compression.num_frames(self.known.compression.num_latent_frames(self.schedule.num_frames))
        return Timebase(frames, self.schedule.fps, self.known.compression)

    @property
    def grid(self) -> list[int]:
        """The first frame of each latent frame."""
        timebase = self.timebase
        return [timebase.frames_of(index)[0] for index in range(timebase.num_latent_frames)]


def window_plan(
    planned: Planned, values: Mapping[str, Any], phases: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The windows of a run.

    Args:
        planned: the video.
        values: of the sampler's inputs, by name; what is missing has its default, what is no window's is left out.
        phases: the same of Co-Denoise Phase nodes.

    Returns:
        ``steps``: those to draw, each with a ``name`` and ``windows``: their ``runs``, (first frame, frame behind the
        last one), and ``weights``, one a latent frame; ``facts``: lines of text, the cost in the last one; ``ratio``.

    Raises:
        ValueError: a value cannot be.
    """
    timebase = planned.timebase
    attends = any(family.model is planned.known and family.attends for family in FAMILIES)
    options = WindowOptions(
        int(values.get("window", planned.known.clip)), int(values.get("overlap", 0)),
        phases=tuple(PhaseOptions.of_inputs(**each) for each in phases), **_chosen(values),
    )  # fmt: skip
    settings = options.settings(timebase.compression, int(values.get("seed", 0)), attends)
    schedule = _at_length(planned.schedule, timebase.num_frames)
    steps = max(1, int(values.get("steps", 20)))
    if steps * timebase.num_latent_frames > _MOST_WORK:
        raise ValueError(f"No plan is drawn of {steps} steps of {timebase.num_frames} frames.")
    plan = Plan(settings, timebase, schedule, steps)
    return {
        "steps": [
            {
                "name": name,
                "windows": [
                    {
                        "runs": [_frames(timebase, *run) for run in runs(window)],
                        "weights": [round(w, 3) for w in weights],
                    }
                    for window, weights in zip(plan.windows(step), plan.weights(step), strict=True)
                ],
            }
            for name, step in plan.shown()
        ],
        "facts": list(facts(plan)),
        "ratio": plan.cost.ratio,
    }


def chunk_plan(
    planned: Planned, values: Mapping[str, Any], made: Sequence[Mapping[str, Any]] = (), given: int = 0
) -> dict[str, Any]:
    """The chunks of a streamed video.

    Args:
        planned: the video.
        values: of the inputs of Streaming Extend, by name.
        made: the chunks of the run's manifest.
        given: latent frames that there are already; 0 takes as many as the manifest's first chunk went on from.

    Returns:
        ``chunks``: each with its ``start``, ``first_new`` and ``end`` in frames, and its ``state``: "new" where there
        is none yet, "finished", or "again" where it, or one before it, was made with other prompts, seed, sampler or
        sizes; ``file``: its name where there is one. Models and images are not looked at.

    Raises:
        ValueError: a value cannot be.
    """
    timebase, compression = planned.timebase, planned.known.compression
    if made and not given:
        given = int(made[0]["chunk"]["start"]) + int(made[0]["chunk"]["overlap"])
    length = compression.whole_clip(timebase.num_latent_frames)
    chunk = compression.whole_clip(compression.num_latent_frames(int(values["chunk"])))
    overlap = compression.overlap(int(values["overlap"]))
    track = PromptTrack.of(_at_length(planned.schedule, compression.num_frames(length)), length, compression)
    by_index = {each["chunk"]["index"]: each for each in made}
    state, chunks = "finished", []
    for each in plan_chunks(length, chunk, overlap, given, compression.grain):
        found = by_index.get(each.index)
        if state == "finished" and found is not None and not _as_planned(found, each, track, values):
            state = "again"
        chunks.append(
            {
                "start": timebase.frames_of(each.start)[0],
                "first_new": timebase.frames_of(each.first_new)[0],
                "end": min(compression.num_frames(each.stop), timebase.num_frames),
                "state": "new" if found is None else state,
                "file": None if found is None else found.get("file"),
            }
        )
        if found is None:
            state = "new"
    return {"chunks": chunks}


def _as_planned(found: Mapping[str, Any], chunk: Chunk, track: PromptTrack, values: Mapping[str, Any]) -> bool:
    """Whether a chunk was made as it is planned, as far as the values are known; linked ones are not."""
    same = {
        "chunk": vars(chunk),
        "prompts": track.of_part(Place(chunk.start, track.weights.shape[1]), chunk.length),
    }
    if "seed" in values:
        same["seed"] = chunk_seed(int(values["seed"]), chunk.index)
    sampler = zip(("steps", "cfg", "sampler_name", "scheduler"), found.get("sampler", ()), strict=False)
    known = all(values.get(name, made) == made for name, made in sampler)
    return known and all(found.get(name) in (None, wanted) for name, wanted in same.items())


def _at_length(schedule: PromptSchedule, num_frames: int) -> PromptSchedule:
    """A schedule whose last prompt goes on to the length that the VAE makes of it."""
    if schedule.num_frames == num_frames:
        return schedule
    last = replace(schedule.segments[-1], end=float(num_frames))
    return PromptSchedule((*schedule.segments[:-1], last), num_frames, schedule.fps)


def _frames(timebase: Timebase, first: int, last: int) -> tuple[int, int]:
    return timebase.frames_of(first)[0], min(timebase.frames_of(last)[-1] + 1, timebase.num_frames)


_CHOICES = {each.name for each in fields(WindowOptions)} - {"window_frames", "overlap_frames", "phases", "step_cache"}


def _chosen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in _CHOICES and value is not None}
