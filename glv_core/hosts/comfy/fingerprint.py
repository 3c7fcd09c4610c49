"""What a sampled chunk depends on, as short text: hashes of models and conditionings that last beyond this process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import comfy.controlnet
import torch

from ...streaming import digest_of, weights_digest

_NOT_THE_MODEL = "model_sampling."  # set while sampling only; the wanted one is described by itself
_RUN_STATE = {"context_handler"}  # of model_options


def model_fingerprint(model: Any) -> str:
    """A hash of a MODEL: class, weights (see ``weights_digest``), noise levels, and all that patches it.

    It is the same before and after the model is loaded, and in another process.
    """
    described = [
        type(model.model).__name__,
        weights_digest(_weights(model)),
        _describe(model.get_model_object("model_sampling")),
        _describe(model.patches),
        _describe({key: value for key, value in model.model_options.items() if key not in _RUN_STATE}),
        _describe({key: value for key, value in model.object_patches.items() if key != "model_sampling"}),
        *(_describe(getattr(model, name, None)) for name in ("injections", "weight_wrapper_patches", "hook_patches")),
    ]
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A model's own weights without what is applied to them in place."""
    module = model.model
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        if not name.startswith(_NOT_THE_MODEL):
            kept = model.backup.get(name)
            yield name, _raw(weight if kept is None else getattr(kept, "weight", kept))


def _raw(weight: torch.Tensor) -> torch.Tensor:
    """The numbers that a weight is stored as, also where a loader keeps it in a class of its own (GGUF)."""
    return weight if type(weight) in (torch.Tensor, torch.nn.Parameter) else weight.data.as_subclass(torch.Tensor)


def value_fingerprint(value: Any) -> str:
    """A hash of anything that a CONDITIONING may hold."""
    return hashlib.sha256(repr(_describe(value)).encode()).hexdigest()


def _describe(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Numbers, text and lists that say what a value is; of objects, their class and what they hold."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if id(value) in seen or len(seen) > 12:
        return "again"
    seen = (*seen, id(value))
    if isinstance(value, torch.Tensor):
        return digest_of(_raw(value))
    if isinstance(value, torch.nn.Module):
        return [type(value).__name__, weights_digest((name, _raw(each)) for name, each in _state(value))]
    if isinstance(value, Mapping):
        return sorted((str(key), repr(_describe(item, seen))) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_describe(item, seen)) for item in value)
    if isinstance(value, (list, tuple)):
        return [_describe(item, seen) for item in value]
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(each, seen) for each in (value.func, value.args, value.keywords))]
    if isinstance(value, types.MethodType):
        return [value.__func__.__qualname__, _describe(value.__self__, seen)]
    if isinstance(value, types.FunctionType):
        cells = [_setting(_contents(cell), seen) for cell in value.__closure__ or ()]
        return [value.__module__.rpartition(".")[2], value.__qualname__, _describe(value.__defaults__, seen), cells]
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, comfy.controlnet.ControlBase):
        names = ("cond_hint_original", "strength", "timestep_percent_range", "extra_args", "previous_controlnet")
        control = getattr(value, "control_model", None)
        return [type(value).__name__, _describe(control, seen), *(_describe(getattr(value, n), seen) for n in names)]
    if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        return [type(value).__name__, _describe(vars(value), seen)]
    return type(value).__name__


_PLAIN = (bool, int, float, str, bytes, type(None))


def _setting(value: Any, seen: tuple[int, ...]) -> Any:
    """What a function was made with, but not what it keeps between calls, which changes as it runs."""
    if isinstance(value, (list, tuple, set)) and all(isinstance(item, _PLAIN) for item in value):
        return _describe(value, seen)
    if isinstance(value, (*_PLAIN, torch.Tensor, torch.nn.Module, types.FunctionType, types.MethodType)):
        return _describe(value, seen)
    return type(value).__name__


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _state(module: torch.nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    return (*module.named_parameters(), *module.named_buffers())
