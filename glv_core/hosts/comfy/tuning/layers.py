"""Which linear layers of a network's attention there are, whatever its makers called them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

#: Which layers are trained: queries, keys, values and the way out of all attention, or of a part of it.
ATTENTION, SELF, CROSS, QUERIES = "attention", "self_attention", "cross_attention", "queries"
CHOICES = (ATTENTION, SELF, CROSS, QUERIES)

_QUERY = {"q", "to_q", "q_proj", "to_query"}
_FUSED = {"qkv", "qkv_x", "qkv_proj", "to_qkv", "wqkv"}
_OTHERS = {
    "k", "v", "o", "to_k", "to_v", "to_out", "k_proj", "v_proj", "out_proj", "output_proj", "o_proj", "to_key",
    "to_value", "out_layer", "proj", "proj_x",
}  # fmt: skip
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_CROSS = re.compile(r"cross|attn2$|text_attn", re.IGNORECASE)
_OTHER_STREAMS = re.compile(r"audio|txt_attn|text_transformers|refiner", re.IGNORECASE)  # not those of the video


@dataclass(frozen=True)
class Layer:
    """A linear layer of an attention: its name below the MODEL's ``model``, its kind and what it does.

    ``part``: ``q``, ``qkv`` where queries, keys and values are one layer, or ``other``. ``cross``: whether it attends
    to the text alone. ``sizes``: features in and out. ``block``: the module that is run as one and holds the attention.
    """

    name: str
    part: str
    cross: bool
    sizes: tuple[int, int]
    block: str


def attention_layers(model: Any) -> list[Layer]:
    """The linear layers of a model's attention to the video and from it to the text, in order.

    Args:
        model: in ``comfy.model_base``.
    """
    network = model.diffusion_model
    modules = dict(network.named_modules())
    found = []
    for name, module in modules.items():
        weight = getattr(module, "weight", None)
        if not isinstance(module, torch.nn.Linear) or weight is None or _OTHER_STREAMS.search(name):
            continue
        parts = name.split(".")
        at = len(parts) - 1
        while at and parts[at].isdigit():  # of a Sequential, such as to_out.0
            at -= 1
        kind = parts[at]
        part = "q" if kind in _QUERY else "qkv" if kind in _FUSED else "other" if kind in _OTHERS else ""
        holder = ".".join(parts[:at])
        if not part or not _is_attention(parts[at - 1] if at else "", modules.get(holder)):
            continue
        numbers = [index for index in range(at) if parts[index].isdigit()]
        block = ".".join(parts[: numbers[-1] + 1]) if numbers else holder
        found.append(
            Layer(
                f"diffusion_model.{name}", part, bool(_CROSS.search(parts[at - 1])),
                (module.in_features, module.out_features), f"diffusion_model.{block}",
            )
        )  # fmt: skip
    return found


def _is_attention(name: str, module: Any) -> bool:
    return bool(_ATTENTION.search(name) or _ATTENTION.search(type(module).__name__))


def chosen_layers(model: Any, choice: str) -> list[Layer]:
    """The layers of a choice.

    Raises:
        ValueError: an unknown choice, or the network has no such layers.
    """
    if choice not in CHOICES:
        raise ValueError(f"Unknown layers {choice!r}. Known: {', '.join(CHOICES)}.")
    layers = attention_layers(model)
    chosen = {
        ATTENTION: layers,
        SELF: [layer for layer in layers if not layer.cross],
        CROSS: [layer for layer in layers if layer.cross],
        QUERIES: [layer for layer in layers if layer.part == "q"],
    }[choice]
    if not chosen:
        _refuse(model, layers, choice)
    return chosen


def _refuse(model: Any, layers: Sequence[Layer], choice: str) -> None:
    name = type(model).__name__
    if not layers:
        raise ValueError(f"The network of {name} has no attention that this node knows, so nothing can be trained.")
    why = (
        "its queries, keys and values are one layer" if choice == QUERIES else "its text and video share one attention"
    )
    raise ValueError(f"layers is {choice}, and {name} has none: {why}. Choose {ATTENTION} or {SELF}.")


def identified_layers(model: Any) -> list[Layer]:
    """The layers that clip identifiers lie on: the queries of every self-attention, or what they are a part of."""
    return [layer for layer in attention_layers(model) if not layer.cross and layer.part in ("q", "qkv")]


def blocks_of(layers: Sequence[Layer]) -> list[str]:
    """The blocks that hold layers, each once, in order: what gradient checkpointing runs again."""
    return list(dict.fromkeys(layer.block for layer in layers))
