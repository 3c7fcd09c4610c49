"""Hooks that are on a network for the length of one call, or, where it is trained, until its gradients are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar

import torch

_KEPT: ContextVar[ExitStack | None] = ContextVar("kept", default=None)


@contextmanager
def kept_for_gradients() -> Iterator[None]:
    """While this lasts, the hooks of a call stay on its network until the next call of the network, or the end of this.

    Gradient checkpointing computes parts of a network once more when gradients are asked for, which is after the call;
    without the hooks it would compute something else. So the call that gradients are asked of must be the last one of
    its network before. Other calls are as without: no hook of one call is there in another.
    """
    with ExitStack() as kept:
        token = _KEPT.set(kept)
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def for_this_call(network: torch.nn.Module, hooks: AbstractContextManager[None]) -> Iterator[None]:
    """Put hooks on a network around its call, or longer: see ``kept_for_gradients``."""
    kept = _KEPT.get()
    if kept is None:
        with hooks:
            yield
        return
    handle = network.register_forward_pre_hook(lambda *_: kept.close())
    kept.callback(handle.remove)
    kept.enter_context(hooks)
    yield
