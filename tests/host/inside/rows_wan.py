"""Rows of Wan 2.1 and 2.2 in all their kinds."""

from __future__ import annotations

from typing import Any

import torch
from comfy_extras import nodes_wan

import tiny
from rows_judge import Made, Row
from rows_parts import TEXT, Vae, build, texts, video, vision

SIZE = 32
ALONG = ("sliced", 2, 1, 0)
_SMALL = dict(dim=128, ffn_dim=64, num_heads=1, num_layers=1, text_dim=TEXT)


def wan(config: str, **unet: Any) -> Any:
    """A MODEL with a tiny network of a kind of Wan."""
    return build(config, **{**_SMALL, **unet})


def _frames(length: int) -> int:
    return 4 * length - 3


def _sizes(length: int, size: int = SIZE) -> dict[str, int]:
    return dict(width=size, height=size, length=_frames(length), batch_size=1)


def t2v(length: int) -> Made:
    return Made(wan("WAN21_T2V"), *texts(), tiny.latent(length))


def t2v_masked(length: int) -> Made:
    """Another half of every latent frame is held."""
    made = t2v(length)
    mask = torch.ones(1, 1, length, 4, 4)
    for frame in range(length):
        mask[:, :, frame, :, frame % 4] = 0
    made.latent |= {"samples": torch.randn(1, 16, length, 4, 4), "noise_mask": mask}
    return made


def i2v(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanImageToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), clip_vision_output=vision()
    ).args
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def first_last(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFirstLastFrameToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), end_image=video(1), clip_vision_start_image=vision(),
        clip_vision_end_image=vision(),
    ).args  # fmt: skip
    model = wan("WAN21_I2V", flf_pos_embed_token_number=514)
    return Made(model, positive, negative, latent, {"c_concat": ALONG})


def fun_inpaint(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFunInpaintToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), end_image=video(2), clip_vision_output=vision()
    ).args
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


ROWS = [
    Row("Wan T2V", t2v),
    Row("Wan T2V, noise_mask", t2v_masked),
    Row("Wan I2V", i2v),
    Row("Wan FLF2V", first_last),
    Row("Wan Fun Inpaint", fun_inpaint),
]
