"""Names of MS-Vid2Vid-XL's weights, and the names that diffusers gives the same layers in ``UNet3DConditionModel``.

The file (``non_ema_0035000.pth``) holds a ``Vid2VidSDUNet``, which numbers its layers as Stable Diffusion's own code
does. Everything that differs between it and a smaller one of the same layout is read from its names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_HEADS_IN = 8  # of the first layer over time; elsewhere there are as many as fit
_RESIDUAL = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2",
}  # fmt: skip
_TEMPORAL_CONV = ("conv1.0", "conv1.2", "conv2.0", "conv2.3", "conv3.0", "conv3.3", "conv4.0", "conv4.3")
_TRANSFORMER = ("norm", "proj_in", "proj_out", *(f"transformer_blocks.0.norm{k}" for k in (1, 2, 3)))
_FEED_FORWARD = ("transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff.net.2")


@dataclass(frozen=True)
class Vid2VidLayout:
    """What differs between UNets of this kind. The defaults are MS-Vid2Vid-XL's own.

    ``widths``: channels of the levels, from the largest picture on. ``attends``: which levels have attention.
    ``layers``: of a level on the way down; there is one more on the way up. ``text_width``: of the text embedding.
    ``head_width``: channels of an attention head. ``in_channels``, ``out_channels``: of the latent.
    """

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    attends: tuple[bool, ...] = (True, True, True, False)
    layers: int = 2
    text_width: int = 1024
    head_width: int = 64
    in_channels: int = 4
    out_channels: int = 4


def weights_of(file: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """The UNet's weights in a file that was read: all of it, or what is under ``state_dict``."""
    inner = file.get("state_dict", file)
    return inner if isinstance(inner, Mapping) else file


def read_layout(weights: Mapping[str, torch.Tensor]) -> Vid2VidLayout:
    """The layout that weights are of; what cannot be seen, because weights are missing, is taken as MS-Vid2Vid-XL's."""
    default = Vid2VidLayout()
    steps = sorted({int(match[1]) for name in weights if (match := re.match(r"input_blocks\.(\d+)\.op\.", name))})
    if not steps or steps[0] < 2:
        return default
    layers = steps[0] - 1

    def size(name: str, axis: int, otherwise: int) -> int:
        return weights[name].shape[axis] if name in weights and weights[name].ndim > axis else otherwise

    widths, attends = [], []
    for level in range(len(steps) + 1):
        first = f"input_blocks.{1 + level * (layers + 1)}"
        fallback = default.widths[min(level, len(default.widths) - 1)]
        widths.append(size(f"{first}.0.out_layers.3.weight", 0, fallback))
        attends.append(any(name.startswith(f"{first}.1.") for name in weights))
    return Vid2VidLayout(
        tuple(widths),
        tuple(attends),
        layers,
        size("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1, default.text_width),
        size("input_blocks.0.1.proj_in.weight", 0, default.head_width * _HEADS_IN) // _HEADS_IN,
        size("input_blocks.0.0.weight", 1, default.in_channels),
        size("out.2.weight", 0, default.out_channels),
    )


def diffusers_names(layout: Vid2VidLayout) -> dict[str, str]:
    """The names of all weights of a layout, each with its name in diffusers; 1480 for MS-Vid2Vid-XL."""
    return dict(_names(layout))


def to_diffusers(file: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], Vid2VidLayout]:
    """The weights of a file under diffusers' names, and the layout that they are of.

    Args:
        file: names and weights, or those under ``state_dict``.

    Returns:
        The same tensors, not copied; those of convolutions over one frame, in the layers over time, as the matrices
        that they are.

    Raises:
        ValueError: weights are missing or unknown; the message counts and names them.
    """
    weights = weights_of(file)
    layout = read_layout(weights)
    names = diffusers_names(layout)
    missing = [name for name in names if name not in weights]
    unknown = [name for name in weights if name not in names]
    if missing or unknown:
        parts = [_listed(label, each) for label, each in (("lacks", missing), ("has the unknown", unknown)) if each]
        raise ValueError(
            f"The file is not MS-Vid2Vid-XL's UNet: of {len(names)} weights it {' and '.join(parts)}. Choose "
            "non_ema_0035000.pth of damo/Video-to-Video, and download it again if it is."
        )
    return {ours: _as_matrix(theirs, weights[theirs]) for theirs, ours in names.items()}, layout


def _listed(label: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{label} {len(names)}: {', '.join(names[:3])}{more}"


def _as_matrix(name: str, weight: torch.Tensor) -> torch.Tensor:
    is_projection = name.endswith(("proj_in.weight", "proj_out.weight"))
    return weight.squeeze(-1) if is_projection and weight.ndim == 3 and weight.shape[-1] == 1 else weight


Pairs = Iterator[tuple[str, str]]


def _names(layout: Vid2VidLayout) -> Pairs:
    last = len(layout.widths) - 1
    yield from _layer("time_embed.0", "time_embedding.linear_1")
    yield from _layer("time_embed.2", "time_embedding.linear_2")
    yield from _layer("input_blocks.0.0", "conv_in")
    yield from _transformer("input_blocks.0.1", "transformer_in")
    now, skips, number = layout.widths[0], [layout.widths[0]], 1
    for level, width in enumerate(layout.widths):
        for layer in range(layout.layers):
            theirs, ours = f"input_blocks.{number}", f"down_blocks.{level}"
            yield from _residual(f"{theirs}.0", ours, layer, now != width)
            yield from _attention(theirs, ours, layer, layout.attends[level])
            now, number = width, number + 1
            skips.append(now)
        if level < last:
            yield from _layer(f"input_blocks.{number}.op", f"down_blocks.{level}.downsamplers.0.conv")
            skips.append(now)
            number += 1
    yield from _residual("middle_block.0", "mid_block", 0, False)
    yield from _attention("middle_block", "mid_block", 0, True)
    yield from _residual("middle_block.3", "mid_block", 1, False)
    number = 0
    for block, level in enumerate(reversed(range(last + 1))):
        for layer in range(layout.layers + 1):
            theirs, ours = f"output_blocks.{number}", f"up_blocks.{block}"
            yield from _residual(f"{theirs}.0", ours, layer, now + skips.pop() != layout.widths[level])
            yield from _attention(theirs, ours, layer, layout.attends[level])
            now, number = layout.widths[level], number + 1
        if level:
            behind = 3 if layout.attends[level] else 1
            yield from _layer(f"output_blocks.{number - 1}.{behind}.conv", f"up_blocks.{block}.upsamplers.0.conv")
    yield from _layer("out.0", "conv_norm_out")
    yield from _layer("out.2", "conv_out")


def _layer(theirs: str, ours: str, bias: bool = True) -> Pairs:
    for kind in ("weight", "bias") if bias else ("weight",):
        yield f"{theirs}.{kind}", f"{ours}.{kind}"


def _residual(theirs: str, block: str, index: int, changes_width: bool) -> Pairs:
    """A residual block, and the convolutions over time that follow it, which diffusers keeps in a list of their own."""
    for inner, name in _RESIDUAL.items():
        yield from _layer(f"{theirs}.{inner}", f"{block}.resnets.{index}.{name}")
    if changes_width:
        yield from _layer(f"{theirs}.skip_connection", f"{block}.resnets.{index}.conv_shortcut")
    for inner in _TEMPORAL_CONV:
        yield from _layer(f"{theirs}.temopral_conv.{inner}", f"{block}.temp_convs.{index}.{inner}")


def _attention(theirs: str, block: str, index: int, is_there: bool) -> Pairs:
    """Attention in every frame, then over time."""
    if is_there:
        yield from _transformer(f"{theirs}.1", f"{block}.attentions.{index}")
        yield from _transformer(f"{theirs}.2", f"{block}.temp_attentions.{index}")


def _transformer(theirs: str, ours: str) -> Pairs:
    for inner in (*_TRANSFORMER, *_FEED_FORWARD):
        yield from _layer(f"{theirs}.{inner}", f"{ours}.{inner}")
    for attention in ("attn1", "attn2"):
        inner = f"transformer_blocks.0.{attention}"
        for name in ("to_q", "to_k", "to_v"):
            yield from _layer(f"{theirs}.{inner}.{name}", f"{ours}.{inner}.{name}", bias=False)
        yield from _layer(f"{theirs}.{inner}.to_out.0", f"{ours}.{inner}.to_out.0")
