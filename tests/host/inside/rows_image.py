"""Rows of image models that take the frames of a video as a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.controlnet
import torch
from comfy_extras import nodes_ip2p, nodes_video_model

import nodes
from rows_parts import CPU, TEXT, StandIn, Vae, build, texts, video, vision
from rows_spy import Made, Row

SIZE = 32
ALONG = ("sliced", 0, 1, 0)
_BATCH = dict(frames=1, time_dim=0)


def _latent(length: int) -> dict:
    return {"samples": torch.zeros(length, 4, SIZE // 8, SIZE // 8)}


def _unet(config: str = "SD15", channels: int = 4, **more: Any) -> Any:
    return build(
        config, image_size=32, in_channels=channels, out_channels=4, model_channels=64, num_res_blocks=[1],
        channel_mult=[1], transformer_depth=[1], transformer_depth_middle=0, transformer_depth_output=[1, 1],
        use_spatial_transformer=True, context_dim=TEXT, legacy=False, **more,
    )  # fmt: skip


def sd15(length: int) -> Made:
    return Made(_unet(), *texts(), _latent(length), **_BATCH)


def svd(length: int) -> Made:
    clip_vision = SimpleNamespace(encode_image=lambda image: vision(TEXT))
    positive, negative, latent = nodes_video_model.SVD_img2vid_Conditioning().encode(
        clip_vision, video(1), Vae(4, 8, 0), SIZE, SIZE, length, 127, 6, 0.0
    )
    model = _unet(
        "SVD_img2vid", 8, num_classes="sequential", adm_in_channels=768, extra_ff_mix_layer=True,
        use_spatial_context=True, merge_strategy="learned_with_images", merge_factor=0.0, video_kernel_size=[3, 1, 1],
    )  # fmt: skip
    return Made(model, positive, negative, latent, {"num_video_frames": "count"}, **_BATCH)


def pix2pix(length: int) -> Made:
    positive, negative, latent = nodes_ip2p.InstructPixToPixConditioning.execute(
        *texts(), video(length), Vae(4, 8, 0)
    ).args
    model = _unet("SD15_instructpix2pix", 8)
    return Made(model, positive, negative, latent, {"c_concat": ALONG}, **_BATCH)


class _Control(torch.nn.Module):
    """A control network that says for each row what picture it was given."""

    dtype, unshuffle_amount = torch.float32, 8

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, hint, x=None, timesteps=None, context=None, **more):
        told = hint.mean((1, 2, 3), keepdim=True)
        return {
            "input": [],
            "middle": [told if x is None else told.expand(x.shape[0], -1, -1, -1).clone()],
            "output": [],
        }


def _controlled(length: int, control: Any, pictures: int, expected: dict) -> Made:
    """With a stand-in for the network, which is given what the control network says."""
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
        *texts(), control, video(pictures), 1.0, 0.0, 1.0
    )
    return Made(build("SD15", StandIn(4), in_channels=4), positive, negative, _latent(length), expected, **_BATCH)


def controlnet_picture(length: int) -> Made:
    return _controlled(length, comfy.controlnet.ControlNet(_Control(), load_device=CPU), 1, {})


def controlnet_video(length: int) -> Made:
    return _controlled(length, comfy.controlnet.ControlNet(_Control(), load_device=CPU), length, {"control": ALONG})


def adapter_video(length: int) -> Made:
    adapter = comfy.controlnet.T2IAdapter(_Control(), 3, 8, "nearest-exact", device=CPU)
    return _controlled(length, adapter, length, {"control": ALONG})


ROWS = [
    Row("SD 1.5, frames as batch", sd15),
    Row("SVD", svd),
    Row("InstructPix2Pix", pix2pix),
    Row("ControlNet, one picture", controlnet_picture),
    Row("ControlNet, a picture a frame", controlnet_video),
    Row("T2I adapter, a picture a frame", adapter_video),
]
