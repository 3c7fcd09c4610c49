"""How a prompt schedule travels inside ComfyUI's CONDITIONING, and is read there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ....prompts import PromptSchedule, PromptTrack
from ....timeline import Compression

TAG = "co_denoise_prompt"  #: key in the dictionary of a CONDITIONING entry


@dataclass(frozen=True)
class PromptTag:
    """Marks a CONDITIONING entry as a prompt of ``schedule``: its index in ``schedule.prompts``."""

    schedule: PromptSchedule
    prompt: int


def schedules_in(conds: Iterable[Sequence[dict[str, Any]] | None]) -> list[PromptSchedule]:
    """The distinct prompt schedules in ComfyUI's conds (lists of dictionaries), in order."""
    return list(dict.fromkeys(entry[TAG].schedule for entries in conds for entry in entries or () if TAG in entry))


def schedules_of(*conditionings: list) -> list[PromptSchedule]:
    """The distinct prompt schedules in CONDITIONINGs, in order."""
    return schedules_in([[extras for _, extras in conditioning] for conditioning in conditionings])


def track_of(schedule: PromptSchedule, num_latent_frames: int, compression: Compression) -> PromptTrack:
    """What the latent frames of a video see of a schedule.

    Raises:
        ValueError: the schedule is for a video of another length; says what to do.
    """
    try:
        return PromptTrack.of(schedule, num_latent_frames, compression)
    except ValueError as error:
        raise ValueError(
            f"{error} Give MultiPromptSchedule the length of the latent: connect LongLatent's output 'length' to its "
            "input 'length'."
        ) from None
