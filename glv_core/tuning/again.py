"""Gradients through blocks that work in place, with the memory of one block.

PyTorch's own checkpointing keeps what a block saves without a copy. Video networks are written for speed, and change
tensors in place that were saved, which is an error within a block. Here what is saved is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten


@contextmanager
def copied() -> Iterator[None]:
    """While open, what is saved for the way back is a copy, so that it may be changed in place afterwards."""

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, torch.nn.Parameter) and not tensor.is_inference() else tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def again(block: Callable, *args: Any, **kwargs: Any) -> Any:
    """What a block gives, which forgets what it computed and computes it again on the way back.

    Args:
        block: a function of tensors; it may change its arguments in place, which its caller does not see.
        args, kwargs: its arguments, nested or not.

    Returns:
        Its tensors, nested as it gives them; gradients flow back to its arguments, and to all that it uses itself.
    """
    leaves, shape = tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    made: list[Any] = []

    def run(*tensors: torch.Tensor) -> list[Any]:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        own_args, own_kwargs = tree_unflatten(filled, shape)
        flat, nested = tree_flatten(block(*own_args, **own_kwargs))
        made[:] = [nested]
        return flat

    start = torch.zeros((), requires_grad=True)  # so that there is a way back where no argument has one
    flat = _Again.apply(run, start, *(leaves[place] for place in places))
    return tree_unflatten(list(flat), made[0])


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable, start: torch.Tensor, *tensors: torch.Tensor) -> Any:
        ctx.set_materialize_grads(False)  # what no gradient reaches is to have none, not zeros
        ctx.run = run
        ctx.kept = [tensor.detach().clone() for tensor in tensors]
        ctx.wanted = [tensor.requires_grad for tensor in tensors]
        device = next((tensor.device.type for tensor in tensors), "cpu")
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        with torch.no_grad():
            return tuple(run(*(tensor.clone() for tensor in ctx.kept)))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        device, dtype, enabled = ctx.autocast
        given = [
            tensor.requires_grad_(wanted and tensor.is_floating_point())
            for tensor, wanted in zip(ctx.kept, ctx.wanted, strict=True)
        ]
        with torch.enable_grad(), copied(), torch.autocast(device, dtype, enabled=enabled):
            # A leaf may not be changed in place; what is made of it may.
            made = ctx.run(*(tensor.clone() if tensor.requires_grad else tensor for tensor in given))
        pairs = [
            (tensor, grad)
            for tensor, grad in zip(made, grads, strict=True)
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad and grad is not None
        ]
        if pairs:
            torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])
        # What had no way back was given as it is, and may have been changed in place since to something that has one.
        grads_of = (tensor.grad if tensor.is_leaf and tensor.requires_grad else None for tensor in given)
        return (None, None, *grads_of)
