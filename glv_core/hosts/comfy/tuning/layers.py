"""Which linear layers of a network's attention there are, whatever its makers called them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

#: Which layers are trained: queries, keys, values and the way out of all attention, or of a part of it; or with them
#: the feed-forward layers between.
ATTENTION, SELF, CROSS, QUERIES = "attention", "self_attention", "cross_attention", "queries"
WITH_FEED_FORWARD = "attention_and_feed_forward"
CHOICES = (ATTENTION, WITH_FEED_FORWARD, SELF, CROSS, QUERIES)

_QUERY = {"q", "to_q", "q_proj", "to_query"}
_FUSED = {"qkv", "qkv_x", "qkv_proj", "to_qkv", "wqkv"}
_OTHERS = {
    "k", "v", "o", "to_k", "to_v", "to_out", "k_proj", "v_proj", "out_proj", "output_proj", "o_proj", "to_key",
    "to_value", "out_layer", "proj", "proj_x", "attn_out",
}  # fmt: skip
_CROSS = re.compile(r"cross_?att|attn2$", re.IGNORECASE)
_FEED_FORWARD = re.compile(
    r"\.(ff|ffn|mlp|img_mlp|mlp_x|(visual_)?feed_?forward|ff_proj|ff_out)(\.|$)|\.block\.layer[12]$"
)
_FUSED_BLOCK = re.compile(r"\.linear[12]")  # of blocks whose attention and feed-forward layers are one
_UNET_BLOCKS = (BasicTransformerBlock, ResBlock)
_OTHER_STREAMS = re.compile(
    r"audio|txt_attn|txt_mlp|text_transformer|refiner|connector", re.IGNORECASE
)  # not those of the video


@dataclass(frozen=True)
class Layer:
    """A linear layer of an attention: its name below the MODEL's ``model``, its kind and what it does.

    ``part``: ``q``, ``qkv`` where queries, keys and values are one layer, or ``other``. ``cross``: whether it attends
    to the text alone. ``sizes``: features in and out.
    """

    name: str
    part: str
    cross: bool
    sizes: tuple[int, int]


def attention_layers(model: Any) -> list[Layer]:
    """The linear layers of a model's attention to the video and from it to the text, in order.

    Args:
        model: in ``comfy.model_base``.
    """
    network = model.diffusion_model
    modules = dict(network.named_modules())
    found = []
    for name, module in modules.items():
        sizes = linear_sizes(module)
        if sizes is None or _OTHER_STREAMS.search(name):
            continue
        parts = name.split(".")
        at = len(parts) - 1
        while at and parts[at].isdigit():  # of a Sequential, such as to_out.0
            at -= 1
        kind = parts[at]
        part = "q" if kind in _QUERY else "qkv" if kind in _FUSED else "other" if kind in _OTHERS else ""
        holder = ".".join(parts[:at])
        if not part or not _attends(modules[holder]):
            continue
        found.append(Layer(f"diffusion_model.{name}", part, bool(_CROSS.search(holder)), sizes))
    return found


def feed_forward_layers(model: Any) -> list[Layer]:
    """The linear layers behind the attention, in the blocks of a model's network that see the video, in order.

    Args:
        model: in ``comfy.model_base``.
    """
    found = []
    for block in blocks_of(model):
        for inner, module in model.get_submodule(block).named_modules():
            sizes, name = linear_sizes(module), f"{block}.{inner}"
            if sizes is None or _OTHER_STREAMS.search(name):
                continue
            if _FEED_FORWARD.search(f".{inner}") or _FUSED_BLOCK.fullmatch(f".{inner}"):
                found.append(Layer(name, "other", False, sizes))
    return found


def linear_sizes(module: torch.nn.Module) -> tuple[int, int] | None:
    """Features in and out of a linear layer, or None of other modules.

    The layers of quantised checkpoints are no ``torch.nn.Linear``, and the shape of what they store says nothing.
    """
    inner, outer = getattr(module, "in_features", None), getattr(module, "out_features", None)
    weight = getattr(module, "weight", None)
    if not isinstance(inner, int) or not isinstance(outer, int) or weight is None or weight.ndim != 2:
        return None
    return inner, outer


def _attends(module: torch.nn.Module) -> bool:
    """Whether a module has a layer for queries, or one for queries, keys and values."""
    return any(name in _QUERY or name in _FUSED for name, _ in module.named_children())


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
        WITH_FEED_FORWARD: layers + feed_forward_layers(model),
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


def blocks_of(model: Any) -> list[str]:
    """The blocks of a model's network that are run as one each, in order: what gradient checkpointing runs again.

    Those of its lists of blocks; of lists of lists, as in a UNet, the transformer and residual blocks inside.
    """
    found = []
    for name, each in model.diffusion_model.named_children():
        if not isinstance(each, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            continue
        for inner, block in each.named_children():
            place = f"diffusion_model.{name}.{inner}"
            if not isinstance(block, (torch.nn.Sequential, torch.nn.ModuleList)):
                found.append(place)
                continue
            found += [f"{place}.{part}" for part, module in block.named_modules() if isinstance(module, _UNET_BLOCKS)]
    return found
