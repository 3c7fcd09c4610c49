"""How a prompt schedule travels inside ComfyUI's CONDITIONING, and is read there."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ....prompts import PromptSchedule, PromptTrack
from ....timeline import Compression, Place
from ..families import Family

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


def track_in(schedule: PromptSchedule, length: int, family: Family, place: Place | None = None) -> PromptTrack:
    """What the latent frames of a latent see of a schedule; guides behind its video are not counted.

    Args:
        schedule: of the whole video.
        length: latent frames of the latent.
        family: of the model.
        place: where the latent lies in a longer video. With None it is all of it, perhaps behind reference latents that
            the schedule leaves out.

    Raises:
        ValueError: the schedule is for a video of another length.
    """
    if place is None:
        scheduled = family.compression.num_latent_frames(schedule.num_frames)
        extra = length - scheduled
        place = Place(-extra, scheduled) if 0 < extra <= family.references else Place(0, length)
    return track_of(schedule, place.num_latent_frames, family.compression).at(place, length)


def without_copied_tags(conds: Sequence[list[dict[str, Any]] | None]) -> list[list[dict[str, Any]] | None]:
    """ComfyUI's conds, one list an output, with its copies for areas tagged by what they say.

    For an entry with an area the host gives every other output one with the same area: a copy of it, with the tag of
    its prompt, that says what the other output says elsewhere. Such a copy belongs to no prompt of that schedule; where
    the other output has a schedule of its own, each of its prompts gets the area.
    """
    return [None if entries is None else _mended(entries) for entries in conds]


def _mended(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    mended, done = [], set()
    for entry in entries:
        original = next((each for each in entries if _is_copy_of(entry, each)), None)
        if original is None:
            mended.append(entry)
            continue
        place = (tuple(entry["area"]), id(entry.get("mask")), repr(entry.get("strength")), id(original))
        if place in done:
            continue
        done.add(place)
        schedule = original[TAG].schedule if TAG in original else None
        alike = [
            each
            for each in entries
            if schedule is not None and TAG in each and each[TAG].schedule is schedule and "area" not in each
        ]
        for each in alike or [original]:
            copy = {**entry, "model_conds": each["model_conds"], "uuid": uuid.uuid5(entry["uuid"], str(each["uuid"]))}
            copy.pop(TAG, None)
            mended.append({**copy, TAG: each[TAG]} if TAG in each else copy)
    return mended


def _is_copy_of(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether an entry with an area was made by the host from another of its output."""
    if entry is other or "area" not in entry or other.get("area") == entry["area"]:
        return False
    said, original = entry["model_conds"], other["model_conds"]
    return bool(said) and said.keys() == original.keys() and all(said[key] is original[key] for key in said)
