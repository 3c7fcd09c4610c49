"""What lets gradients flow through the host's networks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.ldm.flux.math
import comfy.model_management
import torch

_FLAG = "in_training"
_ROTATIONS = ("apply_rope", "apply_rope1")


@contextmanager
def in_training() -> Iterator[None]:
    """While open, the host's networks take ways that gradients can flow back through.

    Newer hosts ask a flag of their own. In older ones the rotary positions have no gradient, so that their Wan, Hunyuan
    and Kandinsky networks cannot be trained: they are rotated in another way meanwhile.
    """
    if hasattr(comfy.model_management, _FLAG):
        before = comfy.model_management.in_training
        comfy.model_management.in_training = True
        try:
            yield
        finally:
            comfy.model_management.in_training = before
        return
    own = {name: getattr(comfy.ldm.flux.math, name) for name in _ROTATIONS}
    ours = {"apply_rope": rotate_both, "apply_rope1": rotate}
    users = [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.startswith("comfy.ldm.")
        for name in _ROTATIONS
        if getattr(module, name, None) is own[name]
    ]
    for module, name in users:
        setattr(module, name, ours[name])
    try:
        yield
    finally:
        for module, name in users:
            setattr(module, name, own[name])


def rotate(x: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Rotary positions: neighbouring channels of ``x``, ``... (n 2)``, turned by matrices ``... n 2 2``."""
    pairs = x.to(rotations.dtype).unflatten(-1, (-1, 2))
    return torch.einsum("...ij,...j->...i", rotations, pairs).flatten(-2).type_as(x)


def rotate_both(q: torch.Tensor, k: torch.Tensor, rotations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``rotate`` of queries and keys."""
    return rotate(q, rotations), rotate(k, rotations)
