"""MS-Vid2Vid-XL, which refines StreamingT2V's videos, as diffusers' ``UNet3DConditionModel``.

diffusers has no class for it. Its layers are those of the stock one, but it pads rows in another way where it changes
the size of the picture: that is put right here with hooks on the instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from torch import nn

from ...streamingt2v.square import check_latent_size
from ...streamingt2v.vid2vid_keys import Vid2VidLayout, to_diffusers


def make_vid2vid_unet(file: Mapping[str, Any]) -> UNet3DConditionModel:
    """The UNet of a file, in eval mode, with the file's own tensors as its weights.

    It takes noised latents ``b 4 t h w``, levels 0 ... 999 and text ``b tokens 1024``, and says the velocity; see
    ``streamingt2v.vid2vid_schedule``. A latent of a size that it cannot work at is refused when it is called.

    Args:
        file: what was read from ``non_ema_0035000.pth``, on the CPU or mapped from the disk.

    Raises:
        ValueError: weights are missing, unknown, or of another shape; the message names them.
    """
    weights, layout = to_diffusers(file)
    with torch.device("meta"):
        unet = UNet3DConditionModel(**unet_config(layout))
    shapes = {name: tuple(each.shape) for name, each in unet.state_dict().items()}
    if wrong := [name for name, each in weights.items() if tuple(each.shape) != shapes.get(name)]:
        listed = ", ".join(f"{name} ({_sizes(weights[name].shape)}, not {_sizes(shapes[name])})" for name in wrong[:3])
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"The file is not MS-Vid2Vid-XL's UNet: {len(wrong)} weights have another shape, {listed}{more}. Choose "
            "non_ema_0035000.pth of damo/Video-to-Video, and download it again if it is."
        )
    unet.load_state_dict(weights, strict=True, assign=True)
    pad_rows(unet)
    return unet.eval().requires_grad_(False)


def unet_config(layout: Vid2VidLayout) -> dict[str, Any]:
    """The arguments of ``UNet3DConditionModel`` for a layout; for MS-Vid2Vid-XL's they are those of ms-1.7b."""
    down = tuple("CrossAttnDownBlock3D" if attends else "DownBlock3D" for attends in layout.attends)
    up = tuple("CrossAttnUpBlock3D" if attends else "UpBlock3D" for attends in reversed(layout.attends))
    return {
        "in_channels": layout.in_channels,
        "out_channels": layout.out_channels,
        "block_out_channels": layout.widths,
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": layout.layers,
        "cross_attention_dim": layout.text_width,
        "attention_head_dim": layout.head_width,
    }


def pad_rows(unet: UNet3DConditionModel) -> None:
    """Change a stock UNet's sizes to MS-Vid2Vid-XL's.

    Downsamplers pad two rows and one column on each side, so that n rows become n / 2 + 1. Upsamplers make every pixel
    four, then drop the first and the last row. Between them they need sizes that ``check_latent_size`` allows, which is
    asked at every call.
    """
    downsamplers = [each for block in unet.down_blocks for each in block.downsamplers or ()]
    for downsampler in downsamplers:
        downsampler.conv.padding = (2, 1)
    for block in unet.up_blocks:
        for upsampler in block.upsamplers or ():
            upsampler.register_forward_pre_hook(_double, with_kwargs=True)
            upsampler.conv.register_forward_pre_hook(_drop_rows)

    def check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample = args[0] if args else kwargs["sample"]
        check_latent_size(sample.shape[-1], sample.shape[-2], len(downsamplers))

    unet.register_forward_pre_hook(check, with_kwargs=True)


def _double(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Leave out the size that the UNet asks of an upsampler for latents of odd sizes: it is that behind the crop."""
    return args[:1], {name: value for name, value in kwargs.items() if name != "output_size"}


def _drop_rows(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (args[0][..., 1:-1, :],)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
