"""MS-Vid2Vid-XL on diffusers' UNet, against a stock UNet whose changes of size are written out in functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("diffusers")

import diffusers
from vid2vid_files import FLAT, SMALL, original_file, stock_unet

from glv_core.hosts.diffusers.vid2vid import make_vid2vid_unet, unet_config
from glv_core.streamingt2v.vid2vid_keys import Vid2VidLayout

DEEP = SMALL | dict(
    block_out_channels=(32, 32, 64, 64),
    down_block_types=("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
    up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
)


class Smaller(torch.nn.Module):
    """The strided convolution behind a frame of zeros that is two rows high and one column wide."""

    def __init__(self, conv):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 2, 2)), self.weight, self.bias, stride=2)


class Larger(torch.nn.Module):
    """Every pixel four times, without the outer rows, then the convolution."""

    def __init__(self, conv):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x, output_size=None):
        x = x.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        return F.conv2d(F.pad(x[:, :, 1 : x.shape[2] - 1], (1, 1, 1, 1)), self.weight, self.bias)


def random_unet(config):
    torch.manual_seed(0)
    unet = diffusers.UNet3DConditionModel(**config).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return unet


def written_out(unet):
    """The same weights with other changes of size."""
    for block in unet.down_blocks:
        if block.downsamplers:
            block.downsamplers = torch.nn.ModuleList([Smaller(each.conv) for each in block.downsamplers])
    for block in unet.up_blocks:
        if block.upsamplers:
            block.upsamplers = torch.nn.ModuleList([Larger(each.conv) for each in block.upsamplers])
    return unet


def call(unet, config, rows, columns, frames=3):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(1, config.get("in_channels", 4), frames, rows, columns, generator=generator)
    text = torch.randn(1, 7, config["cross_attention_dim"], generator=generator)
    with torch.no_grad():
        return unet(sample, 599, text).sample


@pytest.mark.parametrize(
    ("config", "rows", "columns"),
    [(SMALL, 10, 8), (SMALL, 6, 4), (FLAT, 8, 6), (DEEP, 18, 16), (DEEP, 90, 8)],
    ids=["small", "smallest", "flat", "deep", "720"],
)
def test_the_model_of_a_file_is_the_stock_one_with_other_changes_of_size(config, rows, columns):
    stock = random_unet(config)
    made = make_vid2vid_unet(original_file(stock))
    ours, plain = call(made, config, rows, columns), None
    if rows % 2 ** (len(config["block_out_channels"]) - 1) == 0:
        plain = call(stock, config, rows, columns)
    reference = call(written_out(stock), config, rows, columns)
    assert ours.shape == reference.shape and ours.shape[-2:] == (rows, columns)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=2e-5)
    if plain is not None:
        assert not torch.allclose(ours, plain, atol=1e-2)


def test_rows_on_the_way_through():
    """720 rows of pixels are 90, 46, 24 and 13 of the latent, and come back."""
    made = make_vid2vid_unet(original_file(random_unet(DEEP)))
    heights = []
    for block in [*made.down_blocks, *made.up_blocks]:
        block.register_forward_hook(
            lambda module, args, output: heights.append((output[0] if isinstance(output, tuple) else output).shape[-2])
        )
    call(made, DEEP, 90, 8, frames=1)
    assert heights == [46, 24, 13, 13, 24, 46, 90, 90]


def test_other_rows_are_refused_before_anything_runs():
    made = make_vid2vid_unet(original_file(random_unet(DEEP)))
    made.conv_in.register_forward_hook(lambda *_: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=r"latent is 160 x 72 \(1280 x 576 pixels\).* nearest size is 1280 x 592"):
        call(made, DEEP, 72, 160)
    with pytest.raises(ValueError, match="latent is 12 x 90"):
        made(sample=torch.zeros(1, 4, 1, 90, 12), timestep=0, encoder_hidden_states=torch.zeros(1, 7, 24))


def test_the_weights_are_the_files_own():
    file = original_file(random_unet(SMALL))
    made = make_vid2vid_unet({"state_dict": file})
    assert made.conv_in.weight.data_ptr() == file["input_blocks.0.0.weight"].data_ptr()
    assert not any(each.is_meta or each.requires_grad for each in made.parameters())
    assert not any(each.is_meta for each in made.buffers())
    assert not made.training
    half = make_vid2vid_unet({name: each.half() for name, each in file.items()})
    assert half.dtype == torch.float16


def test_other_unets_are_left_alone():
    make_vid2vid_unet(original_file(random_unet(SMALL)))
    stock = random_unet(SMALL)
    assert stock.down_blocks[0].downsamplers[0].conv.padding in (1, (1, 1))
    assert call(stock, SMALL, 8, 8).shape[-2:] == (8, 8)


def test_wrong_shapes_are_named():
    file = original_file(random_unet(SMALL))
    file["input_blocks.1.0.in_layers.2.weight"] = torch.zeros(32, 32, 1, 1)
    file["out.2.bias"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"2 weights have another shape, .*conv1.weight \(32x32x1x1, not 32x32x3x3\)"):
        make_vid2vid_unet(file)


def test_the_full_configuration_is_that_of_ms_1_7b():
    stock = stock_unet()
    ours = stock_unet(**unet_config(Vid2VidLayout()))
    assert {name: each.shape for name, each in ours.state_dict().items()} == {
        name: each.shape for name, each in stock.state_dict().items()
    }
    for name in unet_config(Vid2VidLayout()):
        assert getattr(ours.config, name) == getattr(stock.config, name)
