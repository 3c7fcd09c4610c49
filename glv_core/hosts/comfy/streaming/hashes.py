"""What a sampled chunk depends on, as short text: hashes of models and conditionings that last beyond this process.

What a thing does is described, not what has happened to it: loading a model, patching its weights in place, moving a
LoRA to the device and sampling all leave traces in the objects, and none of them may change a hash.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import comfy.controlnet
import comfy.hooks
import comfy.model_patcher
import comfy.sd
import torch
from comfy.weight_adapter import WeightAdapterBase
from comfy.weight_adapter.bypass import BypassInjectionManager

from ....streaming import digest_of, weights_digest

_NOT_THE_MODEL = "model_sampling."  # set while sampling only; the wanted one is described by itself
_RUN_STATE = {"context_handler"}  # of model_options
_PLAIN = (bool, int, float, str, bytes, type(None))
# What an object is made from, where the rest of it changes as it runs.
_MADE_FROM: dict[type, tuple[str, ...]] = {
    comfy.controlnet.ControlBase: (
        "control_model", "control_weights", "t2i_model", "vae", "cond_hint_original", "extra_concat_orig",
        "extra_conds", "extra_args", "extra_hooks", "strength", "strength_type", "timestep_percent_range",
        "compression_ratio", "previous_controlnet",
    ),
    comfy.hooks.HookKeyframe: ("strength", "start_percent", "guarantee_steps"),
    comfy.hooks.HookKeyframeGroup: ("keyframes",),
    comfy.hooks.HookGroup: ("hooks",),
    comfy.hooks.TransformerOptionsHook: ("hook_type", "hook_id", "hook_keyframe", "hook_scope", "transformers_dict"),
    BypassInjectionManager: ("adapters",),
}  # fmt: skip


def model_hash(model: Any) -> str:
    """A hash of a MODEL: class, weights (see ``weights_digest``), noise levels, and all that patches it.

    It is the same before and after the model is loaded and used, with LoRA or without, and in another process.
    """
    about = _Descriptions(model.model)
    described = [
        type(model.model).__name__,
        weights_hash(model),
        about.of(model.get_model_object("model_sampling")),
        about.of(model.patches),
        about.of({key: value for key, value in model.model_options.items() if key not in _RUN_STATE}),
        about.of({key: value for key, value in model.object_patches.items() if key != "model_sampling"}),
        *(about.of(getattr(model, name, None)) for name in ("injections", "weight_wrapper_patches", "hook_patches")),
    ]
    return hashlib.sha256(repr(described).encode()).hexdigest()


def weights_hash(patcher: Any) -> str:
    """A hash of the weights of a MODEL, or of the patcher of a VAE or CLIP, loaded or not."""
    return weights_digest(_weights(patcher))


def _weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """A model's own weights without what is applied to them in place."""
    module = model.model
    kept_buffers = getattr(model, "backup_buffers", {})
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        if not name.startswith(_NOT_THE_MODEL):
            kept = model.backup.get(name, kept_buffers.get(name))
            yield from _stored(name, weight if kept is None else getattr(kept, "weight", kept))


def _stored(name: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The numbers that a weight is stored as, also where a loader keeps it in a class of its own."""
    numbers = getattr(weight, "_qdata", None)  # of the host's quantised weights
    if type(weight) in (torch.Tensor, torch.nn.Parameter):
        yield name, weight
    elif isinstance(numbers, torch.Tensor):
        yield name, numbers
        scales = {each.name: getattr(weight._params, each.name) for each in dataclasses.fields(weight._params)}
        yield from ((f"{name}.{each}", scale) for each, scale in scales.items() if isinstance(scale, torch.Tensor))
    else:  # GGUF
        yield name, weight.data.as_subclass(torch.Tensor)


def value_hash(value: Any) -> str:
    """A hash of anything that a CONDITIONING may hold."""
    return hashlib.sha256(repr(_Descriptions().of(value)).encode()).hexdigest()


class _Descriptions:
    """Numbers, text and lists that say what values are.

    Args:
        model: the network that is described by its weights already. Where a patch refers to a part of it, only which
            part is said: its weights may have been changed in place.
    """

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        self._known: dict[int, str] = {}
        if model is not None:
            parts = (*model.named_modules(), *model.named_parameters(), *model.named_buffers())
            self._known = {
                id(part): f"the model's {name}" for name, part in parts if not f"{name}.".startswith(_NOT_THE_MODEL)
            }

    def of(self, value: Any, seen: tuple[int, ...] = ()) -> Any:
        """Describe a value; of objects, their class and what they hold."""
        if id(value) in self._known:
            return self._known[id(value)]
        if isinstance(value, enum.Enum):
            return [type(value).__name__, value.name]
        if isinstance(value, _PLAIN):
            return value
        if id(value) in seen or len(seen) > 12:
            return "again"
        seen = (*seen, id(value))
        if isinstance(value, torch.Tensor):
            return [digest_of(numbers) for _, numbers in _stored("", value)]
        if isinstance(value, torch.nn.Module):
            weights = (*value.named_parameters(), *value.named_buffers())
            return [type(value).__name__, weights_digest(each for named in weights for each in _stored(*named))]
        if isinstance(value, Mapping):
            return sorted((repr(self.of(key, seen)), repr(self.of(item, seen))) for key, item in value.items())
        if isinstance(value, (set, frozenset)):
            return sorted(repr(self.of(item, seen)) for item in value)
        if isinstance(value, (list, tuple)):
            return [self.of(item, seen) for item in value]
        if isinstance(value, (functools.partial, types.MethodType, types.FunctionType)):
            return self._function(value, seen)
        if isinstance(value, type):
            return value.__qualname__
        return self._object(value, seen)

    def _function(self, value: Any, seen: tuple[int, ...]) -> list:
        if isinstance(value, functools.partial):
            return ["partial", *(self.of(each, seen) for each in (value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return [value.__func__.__qualname__, self.of(value.__self__, seen)]
        cells = [self._setting(_contents(cell), seen) for cell in value.__closure__ or ()]
        return [value.__module__.rpartition(".")[2], value.__qualname__, self.of(value.__defaults__, seen), cells]

    def _object(self, value: Any, seen: tuple[int, ...]) -> Any:
        if isinstance(value, comfy.sd.VAE):
            return [type(value).__name__, weights_hash(value.patcher)]
        if isinstance(value, comfy.model_patcher.ModelPatcher):  # of another network, such as GLIGEN
            return [type(value.model).__name__, weights_hash(value), self.of(value.patches, seen)]
        if isinstance(value, WeightAdapterBase):
            return [type(value).__name__, self._adapter_weights(value.weights, seen)]
        for kind, names in _MADE_FROM.items():
            if isinstance(value, kind):
                return [type(value).__name__, *(self.of(getattr(value, name, None), seen) for name in names)]
        if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
            return [type(value).__name__, self.of(vars(value), seen)]
        return type(value).__name__

    def _adapter_weights(self, weights: Any, seen: tuple[int, ...]) -> Any:
        """Those of a LoRA, which the host moves to the type of the layer that they are used on."""
        if isinstance(weights, (list, tuple)):
            return [self._adapter_weights(each, seen) for each in weights]
        if isinstance(weights, torch.Tensor) and weights.is_floating_point():
            return digest_of(weights.to(torch.bfloat16))
        return self.of(weights, seen)

    def _setting(self, value: Any, seen: tuple[int, ...]) -> Any:
        """What a function was made with, but not what it keeps between calls, which changes as it runs."""
        if isinstance(value, (list, tuple, set)) and all(isinstance(item, _PLAIN) for item in value):
            return self.of(value, seen)
        functions = (types.FunctionType, types.MethodType)
        if isinstance(value, (*_PLAIN, *functions, *_MADE_FROM, torch.Tensor, torch.nn.Module, WeightAdapterBase)):
            return self.of(value, seen)
        return type(value).__name__


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
