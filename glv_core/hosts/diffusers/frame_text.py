"""Prompts by attention in a diffusers denoiser: a bias on its attention to text, given to its attention processors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...prompts.frame_attention import query_bias
from .denoisers import DenoiserKind, UnsupportedDenoiserError


def check_attention(name: str, kind: DenoiserKind) -> None:
    """Check that the latent frames of a denoiser, given by its class, can attend to prompts of their own.

    Raises:
        UnsupportedDenoiserError: they cannot.
    """
    if not kind.text_attention:
        raise UnsupportedDenoiserError(
            f"prompt_blending is attention, which {name} does not support: it needs attention from "
            "the latent frames, one after the other, to text alone, as in Wan. Set prompt_blending to predictions."
        )


@contextmanager
def attending(
    module: torch.nn.Module, kind: DenoiserKind, bias: torch.Tensor, sides: tuple[int, int]
) -> Iterator[None]:
    """While this context is open, the denoiser's attention to text heeds a bias.

    Args:
        module: the denoiser.
        kind: of it, with ``text_attention``.
        bias: ``rows, latent frames, tokens``, for the rows of one forward pass.
        sides: height and width of the latent.
    """
    _, *patch = module.config.patch_size
    bias = query_bias(bias, (sides[0] // patch[0]) * (sides[1] // patch[1]))
    layers = [layer for name, layer in module.named_modules() if name.rpartition(".")[2] == kind.text_attention]
    before = [layer.processor for layer in layers]
    for layer, processor in zip(layers, before, strict=True):
        layer.set_processor(BiasedProcessor(processor, bias))
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


class BiasedProcessor:
    """An attention processor that gives another one a bias, ``b 1 query tokens``, as its mask."""

    def __init__(self, processor: Any, bias: torch.Tensor) -> None:
        self.processor = processor
        self.bias = bias

    def __call__(
        self,
        attn: torch.nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As the processor inside; Wan gives it no mask of its own."""
        bias = self.bias.to(hidden_states)
        return self.processor(attn, hidden_states, encoder_hidden_states, bias, *args, **kwargs)
