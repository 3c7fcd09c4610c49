"""Files of tunings: a LoRA as ComfyUI and diffusers read it, and beside it what is ours, with a header that says so.

All keys of the low-rank weights are those that the host knows, so that its own loader reads them too. Keys that begin
with ``IDENTIFIERS`` or ``OVER_TIME`` are for ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..partial import written_whole
from .identifiers import ClipIdentifiers

FORMAT = "gen-l-video tuning"
VERSION = 1
IDENTIFIERS = "clip_identifiers."
OVER_TIME = "layers_over_time."


class NotTunedError(ValueError):
    """A file that is not one of a tuning; the message says what it is instead."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning gives.

    Args:
        lora: low-rank weights and differences of weights, by the host's names.
        about: of the run, as JSON holds it: ``family``, ``prompt``, ``steps`` and what else there is to know.
        identifiers: clip identifiers, or None.
        over_time: weights of layers over time that the network did not have, by name; empty without.
    """

    lora: Mapping[str, torch.Tensor]
    about: Mapping[str, Any]
    identifiers: ClipIdentifiers | None = None
    over_time: Mapping[str, torch.Tensor] = field(default_factory=dict)


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write the file; one of this name before is there until it is whole."""
    tensors = dict(tuned.lora)
    header = {"format": FORMAT, "version": str(VERSION), "about": json.dumps(tuned.about, ensure_ascii=False)}
    if tuned.identifiers is not None:
        header["identifiers"] = json.dumps(tuned.identifiers.header())
        tensors |= {IDENTIFIERS + name: weight for name, weight in tuned.identifiers.tensors().items()}
    tensors |= {OVER_TIME + name: weight for name, weight in tuned.over_time.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, header)


def read_tuned_header(path: Path) -> dict[str, Any]:
    """What a file says of its tuning, without its weights; see ``Tuned``.

    Raises:
        NotTunedError: it is another file.
    """
    try:
        with safe_open(path, "pt") as file:
            return _header(path, file.metadata() or {}, list(file.keys()))
    except (SafetensorError, OSError) as error:
        raise NotTunedError(f"{path.name} is no safetensors file, or is damaged ({error}).") from error


def read_tuned(path: Path) -> Tuned:
    """Read a file of ``write_tuned``.

    Raises:
        NotTunedError: it is another file, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            about = _header(path, header, list(file.keys()))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise NotTunedError(f"{path.name} is no safetensors file, or is damaged ({error}).") from error
    ours = {
        prefix: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in (IDENTIFIERS, OVER_TIME)
    }
    lora = {name: tensor for name, tensor in tensors.items() if not name.startswith((IDENTIFIERS, OVER_TIME))}
    identifiers = None
    if "identifiers" in header:
        try:
            identifiers = ClipIdentifiers.of_file(json.loads(header["identifiers"]), ours[IDENTIFIERS])
        except (ValueError, KeyError, TypeError) as error:
            raise NotTunedError(f"{path.name} is damaged: {error}") from error
    elif ours[IDENTIFIERS]:
        raise NotTunedError(f"{path.name} is damaged: its header says nothing of the clip identifiers that it has.")
    return Tuned(lora, about, identifiers, ours[OVER_TIME])


def _header(path: Path, header: Mapping[str, str], names: list[str]) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise NotTunedError(f"{path.name} is {_kind(names)}, not a file of Tune on Video. {_remedy(names)}")
    if header.get("version") != str(VERSION):
        raise NotTunedError(
            f"{path.name} was written by another version of this pack (format {header.get('version')}, not {VERSION}). "
            "Update the pack, or tune anew."
        )
    try:
        return dict(json.loads(header["about"]))
    except (KeyError, ValueError, TypeError) as error:
        raise NotTunedError(f"{path.name} is damaged: its header cannot be read ({error}).") from error


def _is_state(names: list[str]) -> bool:
    return any(name.startswith("weight/") for name in names)


def _is_lora(names: list[str]) -> bool:
    return not _is_state(names) and any(".lora_" in name or "_lora." in name or ".lora." in name for name in names)


def _kind(names: list[str]) -> str:
    if _is_lora(names):
        return "an ordinary LoRA"
    if _is_state(names):
        return "the state of a tuning that is not finished, or its optimiser's"
    return "a file of other weights"


def _remedy(names: list[str]) -> str:
    return "Load it with LoraLoaderModelOnly." if _is_lora(names) else "Choose a file that Tune on Video has written."
