"""Names of MS-Vid2Vid-XL's weights: one block by hand, all of them against rules that go the other way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from vid2vid_files import FLAT, SMALL, original_file, original_name, stock_unet

from glv_core.streamingt2v.vid2vid_keys import (
    Vid2VidLayout,
    diffusers_names,
    read_layout,
    to_diffusers,
    weights_of,
)

#: Modules of the second block on the way down, one whose width changes, and of what follows it.
BY_HAND = {
    "input_blocks.4.0.in_layers.0": "down_blocks.1.resnets.0.norm1",
    "input_blocks.4.0.in_layers.2": "down_blocks.1.resnets.0.conv1",
    "input_blocks.4.0.emb_layers.1": "down_blocks.1.resnets.0.time_emb_proj",
    "input_blocks.4.0.out_layers.0": "down_blocks.1.resnets.0.norm2",
    "input_blocks.4.0.out_layers.3": "down_blocks.1.resnets.0.conv2",
    "input_blocks.4.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "input_blocks.4.0.temopral_conv.conv1.0": "down_blocks.1.temp_convs.0.conv1.0",
    "input_blocks.4.0.temopral_conv.conv1.2": "down_blocks.1.temp_convs.0.conv1.2",
    "input_blocks.4.0.temopral_conv.conv4.3": "down_blocks.1.temp_convs.0.conv4.3",
    "input_blocks.4.1.norm": "down_blocks.1.attentions.0.norm",
    "input_blocks.4.1.proj_in": "down_blocks.1.attentions.0.proj_in",
    "input_blocks.4.1.transformer_blocks.0.attn2.to_out.0": (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
    ),
    "input_blocks.4.1.transformer_blocks.0.ff.net.0.proj": (
        "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj"
    ),
    "input_blocks.4.2.proj_out": "down_blocks.1.temp_attentions.0.proj_out",
    "input_blocks.5.0.in_layers.0": "down_blocks.1.resnets.1.norm1",
    "input_blocks.6.op": "down_blocks.1.downsamplers.0.conv",
    "input_blocks.0.0": "conv_in",
    "input_blocks.0.1.norm": "transformer_in.norm",
    "middle_block.0.in_layers.2": "mid_block.resnets.0.conv1",
    "middle_block.1.norm": "mid_block.attentions.0.norm",
    "middle_block.2.norm": "mid_block.temp_attentions.0.norm",
    "middle_block.3.temopral_conv.conv2.3": "mid_block.temp_convs.1.conv2.3",
    "output_blocks.0.0.skip_connection": "up_blocks.0.resnets.0.conv_shortcut",
    "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.5.3.conv": "up_blocks.1.upsamplers.0.conv",
    "output_blocks.11.2.norm": "up_blocks.3.temp_attentions.2.norm",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
}

CONFIGS = {
    "ms-1.7b": ({}, Vid2VidLayout()),
    "small": (SMALL, Vid2VidLayout((32, 64, 64), (True, True, False), 1, 24, 16)),
    "flat": (FLAT, Vid2VidLayout((32, 32), (False, True), 3, 8, 32, 5, 3)),
}


def test_a_block_by_hand():
    names = diffusers_names(Vid2VidLayout())
    for theirs, ours in BY_HAND.items():
        assert names[f"{theirs}.weight"] == f"{ours}.weight"
        assert names[f"{theirs}.bias"] == f"{ours}.bias"
    assert "input_blocks.5.0.skip_connection.weight" not in names
    assert "input_blocks.10.1.norm.weight" not in names  # the smallest level has no attention


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_has_diffusers_name(name):
    changes, layout = CONFIGS[name]
    unet = stock_unet(**changes)
    file = original_file(unet)
    assert read_layout(file) == layout
    stock = unet.state_dict()
    remapped, read = to_diffusers(file)
    assert read == layout
    assert {key: each.shape for key, each in remapped.items()} == {key: each.shape for key, each in stock.items()}
    if name == "ms-1.7b":
        assert len(file) == 1480 and sum(each.numel() for each in file.values()) == 1_411_233_860
    # Every weight is its own: names go one to one, and the backward rules agree with ours.
    attends_up = [hasattr(block, "attentions") for block in unet.up_blocks]
    for theirs, ours in diffusers_names(layout).items():
        assert theirs == original_name(ours, layout.layers, attends_up)


def test_weights_stand_alone_or_under_state_dict():
    file = original_file(stock_unet(**SMALL))
    plain, wrapped = to_diffusers(file), to_diffusers({"state_dict": file, "step": 35000})
    assert plain[0].keys() == wrapped[0].keys() and plain[1] == wrapped[1]
    assert weights_of(file) is file
    same = next(iter(file))
    assert plain[0][diffusers_names(plain[1])[same]] is file[same]


def test_missing_and_unknown_weights_are_one_error():
    file = original_file(stock_unet(**SMALL))
    dropped = ["input_blocks.0.0.weight", "middle_block.1.transformer_blocks.0.attn2.to_k.weight", "out.2.bias"]
    for name in [*dropped, "out.0.bias"]:
        del file[name]
    file |= {"extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError) as caught:
        to_diffusers(file)
    message = str(caught.value)
    assert "it lacks 4: input_blocks.0.0.weight" in message and "and 1 more" in message
    assert "and has the unknown 1: extra.weight" in message and "non_ema_0035000.pth" in message


@pytest.mark.parametrize("file", [{}, {"conv_in.weight": torch.zeros(4)}, {"input_blocks.1.op.weight": torch.zeros(4)}])
def test_another_file_is_refused(file):
    with pytest.raises(ValueError, match="of 1480 weights it lacks 1480: time_embed"):
        to_diffusers(file)


def test_a_weight_of_another_rank_is_left_to_the_model():
    file = original_file(stock_unet(**SMALL))
    file["input_blocks.0.1.proj_in.weight"] = SimpleNamespace(shape=(128, 32, 3), ndim=3)
    assert to_diffusers(file)[0]["transformer_in.proj_in.weight"].shape == (128, 32, 3)
