"""Names and shapes of Follow-Your-Pose's public weights, and where each of them belongs.

They have diffusers' names of a UNet, with the layers over time in every transformer block and, as ``skeleton_adapter``,
the network that reads the skeleton, which is also a file of its own (``pose_encoder.pth``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch

from .follow_your_pose import PoseAdapter, conv_rank

ADAPTER = "skeleton_adapter."
_MULTIPLES = (1, 2, 4, 4)  # widths of the four levels, in widths of the first
_LAYERS = 2  # of a level on the way down; one more on the way up
Shape = tuple[int, ...]

_RESIDUAL = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_TEMPORAL = {
    "norm_temp": "norm", "attn_temp.to_q": "attention.to_q", "attn_temp.to_k": "attention.to_k",
    "attn_temp.to_v": "attention.to_v", "attn_temp.to_out.0": "attention.to_out", "conv_temporal.down": "conv.down",
    "conv_temporal.up": "conv.up",
}  # fmt: skip


class PoseWeights(NamedTuple):
    """Weights of Follow-Your-Pose, sorted by where they belong.

    Args:
        unet: by the names of Stable Diffusion's own UNet, which ComfyUI uses (``input_blocks.0.0.weight``).
        temporal: of each transformer block, by its name there (``input_blocks.1.1.transformer_blocks.0``): the weights
            of a ``TemporalLayers``, by their names in it.
        adapter: of a ``PoseAdapter``; empty where the file has none.
    """

    unet: dict[str, torch.Tensor]
    temporal: dict[str, dict[str, torch.Tensor]]
    adapter: dict[str, torch.Tensor]


def public_shapes(width: int = 320, text_width: int = 768) -> dict[str, Shape]:
    """The names of the UNet's public weights, with their shapes; ``adapter_shapes`` has the rest.

    Args:
        width: channels of the first level.
        text_width: of the text embedding.
    """
    widths = [width * each for each in _MULTIPLES]
    shapes: dict[str, Shape] = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    def residual(name: str, old: int, new: int) -> None:
        layer(f"{name}.norm1", old)
        layer(f"{name}.conv1", new, old, 3, 3)
        layer(f"{name}.time_emb_proj", new, 4 * width)
        layer(f"{name}.norm2", new)
        layer(f"{name}.conv2", new, new, 3, 3)
        if old != new:
            layer(f"{name}.conv_shortcut", new, old, 1, 1)

    def attention(name: str, channels: int, keys: int) -> None:
        for each, wide in (("to_q", channels), ("to_k", keys), ("to_v", keys)):
            layer(f"{name}.{each}", channels, wide, bias=False)
        layer(f"{name}.to_out.0", channels, channels)

    def transformer(name: str, channels: int) -> None:
        layer(f"{name}.norm", channels)
        layer(f"{name}.proj_in", channels, channels, 1, 1)
        block = f"{name}.transformer_blocks.0"
        for norm in ("norm1", "norm2", "norm3", "norm_temp"):
            layer(f"{block}.{norm}", channels)
        attention(f"{block}.attn1", channels, channels)
        attention(f"{block}.attn2", channels, text_width)
        layer(f"{block}.ff.net.0.proj", 8 * channels, channels)
        layer(f"{block}.ff.net.2", channels, 4 * channels)
        attention(f"{block}.attn_temp", channels, channels)
        rank = conv_rank(channels)
        layer(f"{block}.conv_temporal.down", rank, channels, 3, bias=False)
        layer(f"{block}.conv_temporal.up", channels, rank, 3, bias=False)
        layer(f"{name}.proj_out", channels, channels, 1, 1)

    layer("conv_in", width, 4, 3, 3)
    layer("time_embedding.linear_1", 4 * width, width)
    layer("time_embedding.linear_2", 4 * width, 4 * width)
    skips, now, last = [width], width, len(widths) - 1
    for level, new in enumerate(widths):
        for index in range(_LAYERS):
            residual(f"down_blocks.{level}.resnets.{index}", now, new)
            if level < last:
                transformer(f"down_blocks.{level}.attentions.{index}", new)
            now = new
            skips.append(now)
        if level < last:
            layer(f"down_blocks.{level}.downsamplers.0.conv", now, now, 3, 3)
            skips.append(now)
    residual("mid_block.resnets.0", now, now)
    transformer("mid_block.attentions.0", now)
    residual("mid_block.resnets.1", now, now)
    for level, new in enumerate(reversed(widths)):
        for index in range(_LAYERS + 1):
            residual(f"up_blocks.{level}.resnets.{index}", now + skips.pop(), new)
            if level:
                transformer(f"up_blocks.{level}.attentions.{index}", new)
            now = new
        if level < last:
            layer(f"up_blocks.{level}.upsamplers.0.conv", now, now, 3, 3)
    layer("conv_norm_out", width)
    layer("conv_out", 4, width, 3, 3)
    return shapes


def adapter_shapes(width: int = 320) -> dict[str, Shape]:
    """The names of the weights of ``pose_encoder.pth``, with their shapes. ``width``: of the UNet's first level."""
    adapter = PoseAdapter([width * each for each in _MULTIPLES], device="meta")
    return {name: tuple(weight.shape) for name, weight in adapter.state_dict().items()}


def split_weights(weights: Mapping[str, torch.Tensor]) -> PoseWeights:
    """Sort the public weights by where they belong; nothing is left over, and no tensor changes.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    if weights and all(name.startswith("module.") for name in weights):  # as training on several GPUs stores them
        weights = {name.removeprefix("module."): weight for name, weight in weights.items()}
    adapter = {name.removeprefix(ADAPTER): each for name, each in weights.items() if name.startswith(ADAPTER)}
    network = {name: each for name, each in weights.items() if not name.startswith(ADAPTER)}
    width = _size(network, "conv_in.weight", 0, 320)
    text_width = _size(network, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", -1, 768)
    _check(network, public_shapes(width, text_width), "UNet")
    if adapter:
        check_adapter(adapter, width)
    unet: dict[str, torch.Tensor] = {}
    temporal: dict[str, dict[str, torch.Tensor]] = {}
    for name, weight in network.items():
        block, inner = place_of(name)
        if inner:
            temporal.setdefault(block, {})[inner] = weight
        else:
            unet[block] = weight
    return PoseWeights(unet, temporal, adapter)


def check_adapter(weights: Mapping[str, torch.Tensor], width: int = 320) -> None:
    """Check that weights are those of a ``PoseAdapter`` for a UNet whose first level has ``width`` channels.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    _check(weights, adapter_shapes(width), "pose encoder")


def place_of(name: str) -> tuple[str, str]:
    """Where a weight of the UNet belongs, by its public name.

    Returns:
        The name in Stable Diffusion's own UNet, and an empty text; or of a weight over time the name of its transformer
        block there, and its name in ``TemporalLayers``.

    Raises:
        ValueError: it has no such name.
    """
    layer, _, kind = name.rpartition(".")
    if layer in _ENDS:
        return f"{_ENDS[layer]}.{kind}", ""
    match = re.fullmatch(
        r"(?:(down|up)_blocks\.(\d)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name
    )
    if not match:
        raise ValueError(f"Follow-Your-Pose's UNet has no weight {name!r}.")
    way, level, part, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    block = _block(way, level, part, index)
    if part == "resnets":
        inner, _, kind = rest.partition(".")
        return f"{block}.{_RESIDUAL[inner]}.{kind}", ""
    if part == "downsamplers":
        return f"{block}.{rest.replace('conv', 'op')}", ""
    in_block = re.fullmatch(r"(transformer_blocks\.0)\.(.+)\.(\w+)", rest)
    if in_block and in_block[2] in _TEMPORAL:
        return f"{block}.{in_block[1]}", f"{_TEMPORAL[in_block[2]]}.{in_block[3]}"
    return f"{block}.{rest}", ""


def _block(way: str | None, level: int, part: str, index: int) -> str:
    """A residual block, transformer or change of size in Stable Diffusion's own numbering of layers."""
    kind = 0 if part == "resnets" else 1
    if way is None:
        return f"middle_block.{1 if kind else 2 * index}"
    if way == "down":
        if part == "downsamplers":
            return f"input_blocks.{(level + 1) * (_LAYERS + 1)}.0"
        return f"input_blocks.{1 + level * (_LAYERS + 1) + index}.{kind}"
    if part == "upsamplers":  # behind the last layer's residual block and, but at the lowest level, its transformer
        return f"output_blocks.{level * (_LAYERS + 1) + _LAYERS}.{2 if level else 1}"
    return f"output_blocks.{level * (_LAYERS + 1) + index}.{kind}"


def _size(weights: Mapping[str, torch.Tensor], name: str, axis: int, otherwise: int) -> int:
    return weights[name].shape[axis] if name in weights and weights[name].ndim else otherwise


def _check(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, Shape], what: str) -> None:
    for problem, names in _problems(weights, shapes):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"The {what} is not Follow-Your-Pose's: {problem} {', '.join(names[:3])}{more}. Choose the weights of "
            "FollowYourPose_v1, and download them again if they are."
        )


def _problems(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, Shape]) -> Iterator[tuple[str, list[str]]]:
    if missing := [name for name in shapes if name not in weights]:
        yield "it lacks", missing
    if unknown := [name for name in weights if name not in shapes]:
        yield "it has the unknown weights", unknown
    wrong = [
        f"{name} ({'x'.join(map(str, weights[name].shape))}, not {'x'.join(map(str, shape))})"
        for name, shape in shapes.items()
        if tuple(weights[name].shape) != shape
    ]
    if wrong:
        yield "of another shape are", wrong
