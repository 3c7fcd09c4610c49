"""What ``Vid2VidSDUNet`` would save, made of diffusers' own UNets by rules that read diffusers' names backwards."""

from __future__ import annotations

import re

import pytest
import torch

ENDS = {
    "conv_in": "input_blocks.0.0", "transformer_in": "input_blocks.0.1", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
PARTS = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def original_name(name: str, layers: int, attends_up: list[bool]) -> str:
    """Vid2VidSDUNet's name of a weight by diffusers' name of it."""
    for ours, theirs in ENDS.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    way, level, kind, index, rest = re.fullmatch(r"(down|mid|up)_blocks?\.?(\d*)\.(\w+)\.(\d)\.(.+)", name).groups()
    level, index = int(level or 0), int(index)
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{(level + 1) * (layers + 1) - 1}.{3 if attends_up[level] else 1}.{rest}"
    place = {
        "down": f"input_blocks.{1 + level * (layers + 1) + index}.",
        "up": f"output_blocks.{level * (layers + 1) + index}.",
        "mid": "middle_block.",
    }[way]
    sub = {"resnets": 0, "temp_convs": 0, "attentions": 1, "temp_attentions": 2}[kind]
    if way == "mid" and not sub:
        sub = 3 * index
    if kind == "temp_convs":
        return f"{place}{sub}.temopral_conv.{rest}"
    if kind == "resnets":
        part, ending = rest.split(".")
        rest = f"{PARTS[part]}.{ending}"
    return f"{place}{sub}.{rest}"


def original_file(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What ``Vid2VidSDUNet`` would save, of a stock UNet's weights."""
    attends_up = [hasattr(block, "attentions") for block in unet.up_blocks]
    file = {}
    for name, weight in unet.state_dict().items():
        over_time = "temp_attentions" in name or name.startswith("transformer_in")
        if over_time and re.search(r"proj_(in|out)\.weight$", name):
            weight = weight[:, :, None]
        file[original_name(name, unet.config.layers_per_block, attends_up)] = weight
    return file


def stock_unet(**changes) -> torch.nn.Module:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        return diffusers.UNet3DConditionModel(**changes)


SMALL = dict(
    block_out_channels=(32, 64, 64),
    down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
    layers_per_block=1,
    cross_attention_dim=24,
    attention_head_dim=16,
)
FLAT = dict(
    block_out_channels=(32, 32),
    down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
    up_block_types=("CrossAttnUpBlock3D", "UpBlock3D"),
    layers_per_block=3,
    cross_attention_dim=8,
    attention_head_dim=32,
    in_channels=5,
    out_channels=3,
)
