"""Several cond entries as one: those whose embeddings are mixed, and those of windows that share a forward pass."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

import comfy.conds
import comfy.utils
import torch

from ....prompts.blending import mix_embeddings
from ..families import Family
from .conditioning import Entry
from .controls import can_share_a_forward


def check_mixing(family: Family, blending: str) -> None:
    """Check that a model's prompts can be mixed, as a way of blending them asks for.

    Raises:
        ValueError: they cannot, with the remedy.
    """
    if not family.mixes_texts:
        raise ValueError(
            f"prompt_blending is {blending}, and {family.name} cannot have embeddings of prompts mixed. "
            "Set prompt_blending to predictions or one_per_window."
        )


def mix_entries(entries: Sequence[Entry], weights: torch.Tensor, spherical: bool) -> Entry:
    """One cond entry whose text embeddings are mixed from several that differ in their prompt.

    Args:
        entries: sliced for the same window.
        weights: ``[entry]``, or ``[entry, row]`` where every row of the batch is a frame with a mix of its own.
        spherical: see ``mix_embeddings``.
    """
    strongest = int(weights.sum(1).argmax() if weights.ndim == 2 else weights.argmax())
    mixed = dict(entries[strongest])
    mixed["model_conds"] = dict(mixed["model_conds"])
    for key, cond in mixed["model_conds"].items():
        values = [getattr(entry["model_conds"].get(key), "cond", None) for entry in entries]
        if key == "num_tokens":
            mixed["model_conds"][key] = cond._copy_with(max(values))
        if any(not isinstance(value, torch.Tensor) for value in values):
            continue
        if all(_equal(values[0], value) for value in values[1:]):
            continue
        if values[0].is_floating_point():
            mixed["model_conds"][key] = cond._copy_with(mix_embeddings(values, weights, spherical))
        else:  # which tokens are to be seen: those of any of the prompts
            mixed["model_conds"][key] = cond._copy_with(_any_of(values))
    names = "+".join(f"{entry['uuid']}*{weight.tolist()}" for entry, weight in zip(entries, weights, strict=True))
    mixed["uuid"] = uuid.uuid5(mixed["uuid"], names)
    return mixed


def _any_of(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Masks ``b tokens`` of different lengths as one, as long as the longest."""
    tokens = max(mask.shape[-1] for mask in masks)
    padded = [torch.nn.functional.pad(mask, (0, tokens - mask.shape[-1])) for mask in masks]
    return torch.stack(padded).amax(dim=0)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def batch_key(entry: Entry, window_index: int, alone: Collection[str] = ()) -> tuple:
    """What must be equal for two windows' entries to share a slot of one forward pass; hashable.

    Args:
        entry: sliced for a window.
        window_index: of that window.
        alone: model conds with which every window has a forward pass of its own.
    """
    control = entry.get("control")
    apart = any(key in entry["model_conds"] for key in alone)
    apart = apart or (control is not None and not can_share_a_forward(control))
    conds = []
    for key in sorted(entry["model_conds"]):
        cond = entry["model_conds"][key]
        value = cond.cond
        if key in alone:
            same: Any = None
        elif isinstance(value, torch.Tensor):
            same = (tuple(value.shape[1:]), str(value.device), value.dtype)
        elif _is_tensors(value):
            same = tuple((tuple(each.shape[1:]), str(each.device), each.dtype) for each in value)
        elif isinstance(cond, comfy.conds.CONDConstant):
            same = repr(value)
        else:
            same = id(value)
        conds.append((key, type(cond).__name__, same))
    return (
        tuple(conds),
        tuple(entry.get("area", ())),
        entry["mask"].ndim if "mask" in entry else None,
        tuple((key, repr(entry.get(key))) for key in ("strength", "mask_strength", "timestep_start", "timestep_end")),
        tuple(id(entry.get(key)) for key in ("hooks", "gligen", "control")),
        window_index if apart else None,
        "default" in entry,
    )


def collate(
    entries: Sequence[Entry],
    rows: int,
    latent_size: Sequence[int],
    device: torch.device,
    whole: Collection[str] = (),
) -> Entry:
    """One cond entry that serves several windows, stacked along the batch.

    Args:
        entries: the windows' entries for one slot, with equal ``batch_key``.
        rows: batch rows of each window (videos in the batch; frames of the window where the frames are the batch).
        latent_size: sizes of the window's latent behind the channel axis, ``t h w`` or ``h w``.
        device: where the model runs.
        whole: model conds of a single window that stay as they are.

    Returns:
        A cond entry whose tensors have ``len(entries) * rows`` rows, but for those of ``whole``.
    """
    first = entries[0]
    collated = dict(first)
    collated["model_conds"] = {
        key: cond
        if key in whole
        else _collate_cond(cond, [entry["model_conds"][key].cond for entry in entries], rows, device)
        for key, cond in first["model_conds"].items()
    }
    if "mask" in first:
        collated["mask"] = torch.cat(
            [comfy.utils.repeat_to_batch_size(entry["mask"].expand(-1, *latent_size), rows) for entry in entries]
        ).to(device)
    if len(entries) > 1:
        collated["uuid"] = uuid.uuid5(first["uuid"], "+".join(str(entry["uuid"]) for entry in entries))
    return collated


def _is_tensors(value: Any) -> bool:
    """Whether a cond's value is a list of tensors."""
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(each, torch.Tensor) for each in value)


def _collate_cond(cond: Any, values: list[Any], rows: int, device: torch.device) -> Any:
    if _is_tensors(values[0]):
        return cond._copy_with([_collate_tensors(column, rows, device) for column in zip(*values, strict=True)])
    if not isinstance(values[0], torch.Tensor):
        return cond
    return cond._copy_with(_collate_tensors(values, rows, device))


def _collate_tensors(values: Sequence[torch.Tensor], rows: int, device: torch.device) -> torch.Tensor:
    first = values[0]
    if first.shape[0] == 1 and all(value is first for value in values):  # as prompts are: no copy for each window
        return first.expand(len(values) * rows, *first.shape[1:]).to(device)
    return torch.cat([comfy.utils.repeat_to_batch_size(value, rows) for value in values]).to(device)
