"""Hooks that are on a network for the length of one call, or, where it is trained, until its gradients are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import comfy.patcher_extension
import torch

from ....editing import frames_of_a_group
from ..families import FRAMES_OF_A_WINDOW, clips_in

_OPTIONS = "transformer_options"
_KEPT: list[ExitStack] = []  # no context variable: gradients are made in threads of torch's own
_ON: set[tuple[int, str]] = set()


class Hooks(Protocol):
    """What is put on a network for a call."""

    def on(self, network: torch.nn.Module, rows: int, frames: int) -> AbstractContextManager[None]:
        """Hooks for a batch of ``rows``, of which each ``frames`` are a window; taken off at the end of the context."""


def with_hooks(model: Any, key: str, hooks: Hooks | None) -> Any:
    """A clone of a MODEL whose UNet has hooks on it in each of its calls; those of this key before are replaced.

    They lie among what a MODEL is known by, so that with others it is another model to a stream.
    """
    made = model.clone()
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    options = {name: value for name, value in made.model_options.get(_OPTIONS, {}).items() if name != key}
    made.remove_wrappers_with_key(kind, key)
    if hooks is not None:
        options[key] = hooks
        made.add_wrapper_with_key(kind, key, _around_unet(key))
    made.model_options[_OPTIONS] = options
    return made


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


def frames_in(transformer_options: Mapping[str, Any], rows: int) -> int:
    """How many frames of a batch of ``rows`` belong to one window.

    Raises:
        ValueError: it cannot be told.
    """
    told = transformer_options.get(FRAMES_OF_A_WINDOW)
    if told is None and "cond_or_uncond" not in transformer_options:
        raise ValueError(
            "The model looks along the video, and is not told how many predictions share a forward pass, which "
            "ComfyUI's samplers say. Use one of them, or take CrossFrameAttention or the tuning off the model."
        )
    frames = frames_of_a_group(rows, clips_in(transformer_options, rows))
    if told not in (None, frames):
        raise ValueError(
            f"A forward pass has {rows} images, which are not whole windows of {told}. Remove what changes the batch "
            "of the model."
        )
    return frames


@functools.cache
def _around_unet(key: str) -> Callable:
    """A wrapper of ComfyUI's around the forward pass of a UNet, ``(g f) c h w``, that puts hooks on it.

    torch.compile leaves it alone: what it has compiled once would not see them.
    """

    @torch.compiler.disable  # here, for it loads the compiler
    def around(
        executor: Any,
        x: torch.Tensor,
        timesteps: Any = None,
        context: Any = None,
        y: Any = None,
        control: Any = None,
        transformer_options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> torch.Tensor:
        options = transformer_options or {}
        if key not in options:
            return executor(x, timesteps, context, y, control, options, **more)
        network, rows = executor.class_obj, x.shape[0]
        with for_this_call(network, key, options[key].on(network, rows, frames_in(options, rows))):
            return executor(x, timesteps, context, y, control, options, **more)

    return around


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
