"""How a prompt schedule travels inside ComfyUI's CONDITIONING, and what each window sees of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ....prompts import PromptSchedule
from ....timeline import Timebase

TAG = "co_denoise_prompt"  #: key in the dictionary of a CONDITIONING entry


@dataclass(frozen=True)
class PromptTag:
    """Marks a CONDITIONING entry as the prompt of ``segments`` (by number) of ``schedule``."""

    schedule: PromptSchedule
    segments: tuple[int, ...]


def schedules_in(conds: Iterable[Sequence[dict[str, Any]] | None]) -> set[PromptSchedule]:
    """The distinct prompt schedules in ComfyUI's conds (lists of dictionaries)."""
    return {entry[TAG].schedule for entries in conds for entry in entries or () if TAG in entry}


def check_length(schedule: PromptSchedule, timebase: Timebase) -> None:
    """Check that a schedule was made for a video of this length.

    Raises:
        ValueError: it was not; says both lengths and what to do.
    """
    wanted = timebase.latent_length(schedule.num_frames)
    if wanted != timebase.num_latent_frames:
        raise ValueError(
            f"The prompts were scheduled over {schedule.num_frames} frames ({wanted} latent frames), but the latent "
            f"holds {timebase.num_frames} frames ({timebase.num_latent_frames} latent frames). Give "
            "MultiPromptSchedule the length of the latent: connect LongLatent's output 'length' to its input 'length'."
        )
