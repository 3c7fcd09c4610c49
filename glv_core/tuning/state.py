"""The state of a tuning that was cut off, in a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..partial import written_whole

_FORMAT = "gen-l-video tuning state 1"


class StateError(ValueError):
    """A file that is no state of a tuning, or a damaged one."""


@dataclass(frozen=True)
class State:
    """``key``: of all that the result depends on. ``losses``: of the steps so far. ``tensors``: weights and what the
    optimiser knows of them, by name.
    """

    key: str
    losses: list[float]
    tensors: dict[str, torch.Tensor]


def write_state(path: Path, state: State) -> None:
    """Write a state; the file of this name before is there until it is whole."""
    header = {"format": _FORMAT, "key": state.key, "losses": json.dumps(state.losses)}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    with written_whole(path) as partial:
        save_file(tensors, partial, header)


def read_state(path: Path) -> State:
    """Read a state.

    Raises:
        StateError: it is none, or damaged.
    """
    with _opened(path) as (file, key, losses):
        return State(key, losses, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping


def read_progress(path: Path) -> tuple[str, int]:
    """The key of a state and its steps, without its tensors.

    Raises:
        StateError: it is none, or damaged.
    """
    with _opened(path) as (_, key, losses):
        return key, len(losses)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str, list[float]]]:
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise StateError(f"{path.name} is no state of a tuning. Move it away, or choose another name.")
            yield file, header["key"], json.loads(header["losses"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{path.name} is damaged ({error}). Delete it to begin anew.") from error
