"""What lets gradients flow through the host's networks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import comfy.model_management
import torch

_FLAG = "in_training"
#: Rotary positions of comfy_kitchen, the host's library of kernels: its own operators have no gradient, and what it
#: does without a kernel has.
_ROTATIONS = (
    "apply_rope", "apply_rope1", "apply_rope_split_half", "apply_rope_split_half1", "rms_rope", "rms_rope1",
    "rms_rope_split_half", "rms_rope_split_half1",
)  # fmt: skip


@contextmanager
def in_training() -> Iterator[None]:
    """While open, the host's networks take ways that gradients can flow back through.

    Newer hosts ask a flag, and take such a way in most of their networks, though not in all (Cosmos Predict2, MiniMax
    H3); older ones in none.
    """
    swapped = []
    flagged = hasattr(comfy.model_management, _FLAG)
    before = getattr(comfy.model_management, _FLAG, False)
    for name, plain in _plain_rotations().items():
        kernels = sys.modules["comfy_kitchen"]
        own = getattr(kernels, name, None)
        if own is None:
            continue
        users = [module for key, module in list(sys.modules.items()) if key.startswith("comfy.ldm.")]
        swapped += [(module, name, own, plain) for module in (kernels, *users) if getattr(module, name, None) is own]
    try:
        if flagged:
            comfy.model_management.in_training = True
        for module, name, _, plain in swapped:
            setattr(module, name, plain)
        yield
    finally:
        for module, name, own, _ in swapped:
            setattr(module, name, own)
        if flagged:
            comfy.model_management.in_training = before


def _plain_rotations() -> dict[str, Any]:
    """Those that are made of PyTorch's own operators; none where the host has no such library."""
    with suppress(ImportError):
        plain = importlib.import_module("comfy_kitchen.backends.eager.rope")
        return {name: getattr(plain, name) for name in _ROTATIONS if hasattr(plain, name)}
    return {}


class WithoutGradient:
    """A ControlNet or T2I-Adapter, and those before it, as a host's control that no gradient flows through.

    Their weights are not trained, and are as the host loaded them, in inference mode. They compute in their own dtype,
    as in sampling.
    """

    def __init__(self, control: Any) -> None:
        self._control = control

    def get_control(self, x_noisy: torch.Tensor, *args: Any) -> Any:
        """What they say to the network: lists of tensors by its parts, or None outside of their steps."""
        with torch.no_grad(), torch.autocast(x_noisy.device.type, enabled=False):
            made = self._control.get_control(x_noisy, *args)
        return None if made is None else {part: own_tensors(values) for part, values in made.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)


def own_tensors(value: Any) -> Any:
    """Tensors, nested in lists and tuples or not, as ones that may be part of what gradients flow through: ComfyUI made
    them in inference mode.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple)):
        return type(value)(own_tensors(each) for each in value)
    return value
