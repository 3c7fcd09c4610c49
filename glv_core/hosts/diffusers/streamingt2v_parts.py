"""What StreamingT2V's UNet is built of: diffusers' classes at its sizes, and weights under the names of its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from torch import nn

from ...streamingt2v.checkpoint import Checkpoint
from ...streamingt2v.sizes import Sizes


def unet_config(sizes: Sizes) -> dict[str, Any]:
    """The configuration of diffusers' ``UNet3DConditionModel`` that has these sizes."""
    plain = len(sizes.widths) - 1
    return {
        "in_channels": sizes.latent_channels,
        "out_channels": sizes.latent_channels,
        "down_block_types": ("CrossAttnDownBlock3D",) * plain + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * plain,
        "block_out_channels": sizes.widths,
        "layers_per_block": sizes.layers,
        "cross_attention_dim": sizes.text_width,
        "attention_head_dim": sizes.head_width,  # of a head, whatever the name of diffusers' other configurations
    }


def way_down(sizes: Sizes) -> UNet3DConditionModel:
    """The stock UNet without what is behind its middle, whose output it returns, ``b c f h w``."""
    net = UNet3DConditionModel(**unet_config(sizes))
    net.up_blocks, net.conv_norm_out, net.conv_out = nn.ModuleList(), None, nn.Identity()
    return net


def state_of(checkpoint: Checkpoint, stock: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the names of a ``StreamingUNet``; no tensor changes.

    Args:
        checkpoint: holds all but the stock UNet.
        stock: weights of the stock UNet, by diffusers' names.
    """
    sizes = checkpoint.sizes
    merged = [*(f"down_blocks.{index}" for index in range(len(sizes.skips))), "mid_block"]
    return {
        **_under("unet", stock),
        **_under("branch", checkpoint.branch),
        **_under("encoder", checkpoint.encoder),
        **_under("resampler", checkpoint.resampler),
        **_numbered("mergers", checkpoint.mergers, merged),
        **_numbered("mixers", checkpoint.mixers, sizes.text_layers),
    }


def _under(prefix: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": weight for name, weight in weights.items()}


def _numbered(prefix: str, weights: Mapping[str, torch.Tensor], places: Sequence[str]) -> dict[str, torch.Tensor]:
    """Weights of several modules that stand in a list, by their places in it."""
    found = {}
    for number, place in enumerate(places):
        inside = {
            name.removeprefix(f"{place}."): each for name, each in weights.items() if name.startswith(f"{place}.")
        }
        found |= _under(f"{prefix}.{number}", inside)
    return found
