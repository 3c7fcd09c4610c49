"""One tensor for a condition of the whole video, however many prompts come with it.

ComfyUI makes the inputs of a network anew for each entry of a conditioning. A schedule of ten prompts has ten entries
with the same control video, and would hold it ten times.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class SharedConditions:
    """Stands in for a model's ``extra_conds``: large tensors that are equal to one that is there become that one."""

    def __init__(self, make: Any, at_least: int) -> None:
        """``make`` is the model's own ``extra_conds``; tensors of fewer than ``at_least`` numbers stay as they are."""
        self._make, self._at_least = make, at_least
        self._held: dict[str, list[weakref.ref[torch.Tensor]]] = {}

    def __call__(self, **given: Any) -> dict[str, Any]:
        made = self._make(**given)
        for key, cond in made.items():
            value = getattr(cond, "cond", None)
            if isinstance(value, torch.Tensor) and value.numel() >= self._at_least:
                made[key] = cond._copy_with(self._only(key, value))
        return made

    def _only(self, key: str, value: torch.Tensor) -> torch.Tensor:
        """``value``, or the tensor that is equal to it and still in use."""
        held = [each for each in (place() for place in self._held.get(key, ())) if each is not None]
        for each in held:
            if _alike(each, value) and torch.equal(each, value):
                return each
        self._held[key] = [weakref.ref(each) for each in (*held, value)]
        return value


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


@contextmanager
def shared_conditions(model: Any, at_least: int) -> Iterator[None]:
    """Inside, a ``BaseModel`` holds equal conditions of ``at_least`` numbers once."""
    before = vars(model).get("extra_conds")  # of somebody else who put it on the instance
    ours = SharedConditions(model.extra_conds, at_least)
    model.extra_conds = ours
    try:
        yield
    finally:
        if vars(model).get("extra_conds") is ours:
            del model.extra_conds
            if before is not None:
                model.extra_conds = before


class Mover:
    """Moves tensors into the computer's memory, each once, so that what was shared stays shared."""

    def __init__(self) -> None:
        self._moved: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """``tensor.cpu()``. Holds on to both, so that an address is not used again."""
        if id(tensor) not in self._moved:
            self._moved[id(tensor)] = (tensor, tensor.cpu())
        return self._moved[id(tensor)][1]
