"""Hooks that are on a network for the length of one call, or, where it is trained, until its gradients are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch

_KEPT: list[ExitStack] = []  # no context variable: gradients are made in threads of torch's own
_ON: set[tuple[int, str]] = set()


@contextmanager
def kept_for_gradients() -> Iterator[None]:
    """While this lasts, the hooks of a call stay on its network until the next call of the network, or the end of this.

    Gradient checkpointing computes parts of a network once more when gradients are asked for, which is after the call;
    without the hooks it would compute something else. So the call that gradients are asked of must be the last one of
    its network before. Other calls are as without: no hook of one call is there in another.
    """
    with ExitStack() as kept:
        _KEPT.append(kept)
        try:
            yield
        finally:
            _KEPT.pop()


@contextmanager
def for_this_call(network: torch.nn.Module, whose: str, hooks: AbstractContextManager[None]) -> Iterator[None]:
    """Put hooks on a network around its call, or longer: see ``kept_for_gradients``.

    Args:
        network: that is called.
        whose: a name of the hooks. Where those of this name are still on it, the same call is computed once more.
        hooks: puts them on, and takes them off at its end.
    """
    if not _KEPT:
        with hooks:
            yield
        return
    kept, place = _KEPT[-1], (id(network), whose)
    if place not in _ON:
        kept.enter_context(hooks)
        kept.callback(_ON.discard, place)
        kept.callback(network.register_forward_pre_hook(lambda *_: kept.close()).remove)
        _ON.add(place)
    yield
