"""The layers of a denoiser that tuning trains, their names in files, and low-rank weights on them by peft.

Files name them as ComfyUI's LoRA loader does where it knows the model (Wan), and else as diffusers does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .denoisers import DenoiserKind, UnsupportedDenoiserError, denoisers_of
from .folder import ONE, WAN_DENOISERS

#: Which layers are trained: queries, keys, values and the way out of all attention, or of a part of it; or with them
#: the feed-forward layers between.
ATTENTION, SELF, CROSS, QUERIES = "attention", "self_attention", "cross_attention", "queries"
WITH_FEED_FORWARD = "attention_and_feed_forward"
CHOICES = (ATTENTION, WITH_FEED_FORWARD, SELF, CROSS, QUERIES)

_PARTS = ("to_q", "to_k", "to_v", "to_out.0")
_BRANCH = "vace_"  # reads hints, and stays as it is
_WAN = re.compile(r"blocks\.(\d+)\.attn([12])\.(to_q|to_k|to_v|to_out\.0)")
_FEED_FORWARD, _WAN_FEED_FORWARD = "feed_forward", re.compile(r"blocks\.(\d+)\.ffn\.net\.(0|2)(\.proj)?")
_FEED_FORWARD_LAYER = re.compile(r"\.ffn?\.net\.(0\.proj|2)$")
_WAN_ATTENTION = {"1": "self_attn", "2": "cross_attn"}
_WAN_PARTS = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}
#: Endings of the two low-rank weights, down and up, in files.
_WAN_ENDS, _UNET_ENDS = (".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight")
_ALPHA = ".alpha"
_ADAPTER = "tuned"


def tuned_denoiser(pipeline: Any) -> tuple[Any, DenoiserKind]:
    """The denoiser of a pipeline that can be tuned, and its kind.

    Raises:
        UnsupportedDenoiserError: it cannot.
    """
    found = denoisers_of(pipeline)
    if len(found) > 1:
        raise UnsupportedDenoiserError(
            f"This {type(pipeline).__name__} has two denoisers, and a file of a tuning holds the weights of one. {ONE}"
        )
    return found[0]


class TunedLayers:
    """The attention of a denoiser: names of linear layers in it, by their names in files."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._trained: list[tuple[nn.Parameter, bool]] = []
        self._wan = any(cls.__name__ in WAN_DENOISERS for cls in type(module).__mro__)
        self._names: dict[str, tuple[str, str, bool]] = {}  # of a file -> name, part, whether it attends to text
        for holder, attention in module.named_modules():
            if not hasattr(attention, "is_cross_attention") or holder.startswith(_BRANCH):
                continue
            for part in _PARTS:
                name = f"{holder}.{part}"
                self._names[self._named(name)] = name, part, attention.is_cross_attention
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear) and _FEED_FORWARD_LAYER.search(name) and not name.startswith(_BRANCH):
                self._names[self._named(name)] = name, _FEED_FORWARD, False

    def _named(self, name: str) -> str:
        if not self._wan:
            return f"unet.{name}"
        if found := _WAN_FEED_FORWARD.fullmatch(name):
            return f"diffusion_model.blocks.{found[1]}.ffn.{found[2]}"
        match = _WAN.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{type(self.module).__name__} has an attention layer {name}, which Wan's files do not name."
            )
        return f"diffusion_model.blocks.{match[1]}.{_WAN_ATTENTION[match[2]]}.{_WAN_PARTS[match[3]]}"

    def chosen(self, choice: str) -> list[str]:
        """The layers of a choice, by their names in files.

        Raises:
            ValueError: an unknown choice.
        """
        wanted = {
            ATTENTION: lambda part, cross: part != _FEED_FORWARD,
            WITH_FEED_FORWARD: lambda part, cross: True,
            SELF: lambda part, cross: part != _FEED_FORWARD and not cross,
            CROSS: lambda part, cross: cross,
            QUERIES: lambda part, cross: part == "to_q",
        }
        if choice not in wanted:
            raise ValueError(f"Unknown layers {choice!r}. Known: {', '.join(CHOICES)}.")
        return [name for name, (_, part, cross) in self._names.items() if wanted[choice](part, cross)]

    def identified(self) -> dict[str, tuple[int, int]]:
        """The layers that clip identifiers lie on, the queries of every self-attention, and their features."""
        return {name: self.size(name) for name, (_, part, cross) in self._names.items() if part == "to_q" and not cross}

    def layer_of(self, weight: str) -> str:
        """The layer of a low-rank weight, both by their names in files."""
        return weight.removesuffix(self._ends[0]).removesuffix(self._ends[1])

    def layer(self, name: str) -> nn.Module:
        """A layer by its name in files: the linear one, or peft's around it."""
        return self.module.get_submodule(self._names[name][0])

    def size(self, name: str) -> tuple[int, int]:
        """Features in and out of a layer."""
        layer: Any = self.layer(name)
        return layer.in_features, layer.out_features

    def check(self, sizes: Mapping[str, tuple[int, int]], file: str) -> None:
        """Check that these layers are there, in these sizes.

        Raises:
            ValueError: one is not; the message names it and ``file``.
        """
        model = type(self.module).__name__
        for name, size in sizes.items():
            if name not in self._names:
                raise ValueError(
                    f"{file} is for a layer {name}, which this {model} lacks: it was tuned on another model."
                )
            if size != self.size(name):
                here = "{} to {}".format(*self.size(name))
                raise ValueError(
                    f"{file} is for a layer {name} from {size[0]} to {size[1]} features, which has {here} in this "
                    f"{model}: it was tuned on another model."
                )

    def add_lora(self, names: Sequence[str], rank: int, dtype: torch.dtype | None = None) -> dict[str, nn.Parameter]:
        """Freeze the module and put low-rank weights that change nothing on layers; ``remove_lora`` takes them off.

        Args:
            names: of layers, as in files.
            rank: of the weights.
            dtype: of the weights; None is that of their layers.

        Returns:
            The weights by their names in files: of every layer ``rank in``, then ``out rank``.

        Raises:
            ValueError: there are some already.
        """
        from peft import LoraConfig, inject_adapter_in_model

        if self._lora():
            raise ValueError(f"The {type(self.module).__name__} has low-rank weights already. Take them off first.")
        self._trained = [(parameter, parameter.requires_grad) for parameter in self.module.parameters()]
        wanted = "|".join(re.escape(self._names[name][0]) for name in names)
        with torch.random.fork_rng(devices=[]):  # peft draws first weights
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=wanted)
            inject_adapter_in_model(config, self.module, _ADAPTER)
        weights = {}
        for name in names:
            layer: Any = self.layer(name)
            for end, parts in zip(self._ends, (layer.lora_A, layer.lora_B), strict=True):
                if dtype is not None:
                    parts.to(dtype)
                weights[name + end] = parts[_ADAPTER].weight
        return weights

    def remove_lora(self) -> None:
        """Take all low-rank weights off; the module is as before."""
        for name, layer in self._lora().items():
            holder, _, last = name.rpartition(".")
            setattr(self.module.get_submodule(holder), last, layer.get_base_layer())
        if hasattr(self.module, "peft_config"):
            del self.module.peft_config
        self.thaw()

    def thaw(self) -> None:
        """Let the module's own weights take gradients as before ``add_lora``, which has frozen them. Kernels, and with
        them the last bits of a result, may depend on that without any gradient.
        """
        for parameter, trained in self._trained:
            parameter.requires_grad_(trained)

    @contextmanager
    def without_lora(self) -> Iterator[None]:
        """While open, low-rank weights add nothing."""
        layers = self._lora().values()
        try:
            for layer in layers:
                layer.enable_adapters(False)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)

    def _lora(self) -> dict[str, Any]:
        from peft.tuners.lora import LoraLayer

        return {name: part for name, part in self.module.named_modules() if isinstance(part, LoraLayer)}

    def to_file(self, weights: Mapping[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
        """Weights of ``add_lora`` as a file holds them: on the CPU, with alphas where its reader looks for them."""
        tensors = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
        if self._wan:
            down = self._ends[0]
            alphas = [name.removesuffix(down) + _ALPHA for name in weights if name.endswith(down)]
            tensors |= {name: torch.tensor(float(rank)) for name in alphas}
        return tensors

    def of_file(self, tensors: Mapping[str, torch.Tensor], file: str) -> dict[str, torch.Tensor]:
        """The inverse of ``to_file``: weights by the names that ``add_lora`` gives them, alphas counted in.

        Raises:
            ValueError: they are not for this model, or of a kind that is not known here; the message names ``file``.
        """
        down, up = self._ends
        layers = dict.fromkeys(self.layer_of(name) for name in tensors if name.endswith((down, up)))
        known = {layer + end for layer in layers for end in (down, up, _ALPHA)}
        for name in tensors:
            if name not in known:
                raise ValueError(
                    f"{file} holds {name}, which a {type(self.module).__name__} has no place for: it was tuned on "
                    "another model, or with layers that the command line does not train."
                )
        weights: dict[str, torch.Tensor] = {}
        sizes: dict[str, tuple[int, int]] = {}
        ranks: set[int] = set()
        for layer in layers:
            first, second = tensors.get(layer + down), tensors.get(layer + up)
            if first is None or second is None or first.shape[0] != second.shape[1]:
                raise ValueError(f"{file} is damaged: of {layer} it does not hold both weights of one rank.")
            rank = first.shape[0]
            ranks.add(rank)
            sizes[layer] = (first.shape[1], second.shape[0])
            alpha = float(tensors.get(layer + _ALPHA, rank))
            weights |= {layer + down: first, layer + up: second * (alpha / rank)}
        if len(ranks) > 1:
            raise ValueError(f"{file} holds weights of several ranks, which the command line does not train.")
        self.check(sizes, file)
        return weights

    @property
    def _ends(self) -> tuple[str, str]:
        return _WAN_ENDS if self._wan else _UNET_ENDS
