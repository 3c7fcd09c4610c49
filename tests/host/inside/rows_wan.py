"""Rows of Wan 2.1 and 2.2: text, images and videos as conditions."""

from __future__ import annotations

import json
from typing import Any

import comfy.ldm.wan.uni3c
import comfy.model_patcher
import comfy.ops
import torch
from comfy_extras import (
    nodes_bernini,
    nodes_camera_trajectory,
    nodes_model_patch,
    nodes_wan,
    nodes_wanmove,
)

import tiny
from rows_spy import Made, Row
from rows_parts import CPU, TEXT, Vae, build, fill, texts, video, vision

SIZE = 32
ALONG = ("sliced", 2, 1, 0)
_SMALL = dict(dim=128, ffn_dim=64, num_heads=1, num_layers=1, text_dim=TEXT)
MAKE = dict(dtype=torch.float32, device=CPU, operations=comfy.ops.disable_weight_init)


def wan(config: str, **unet: Any) -> Any:
    """A MODEL with a tiny network of a kind of Wan."""
    return build(config, **{**_SMALL, **unet})


def num_frames(length: int) -> int:
    return 4 * length - 3


def sizes(length: int, size: int = SIZE) -> dict[str, int]:
    return dict(width=size, height=size, length=num_frames(length), batch_size=1)


def t2v(length: int) -> Made:
    return Made(wan("WAN21_T2V"), *texts(), tiny.latent(length))


def t2v_masked(length: int) -> Made:
    """Another part of every latent frame is held."""
    made = t2v(length)
    mask = torch.ones(1, 1, length, 4, 4)
    for frame in range(length):
        mask[:, :, frame, :, frame % 4] = 0
    samples = torch.randn(1, 16, length, 4, 4, generator=torch.Generator().manual_seed(8))
    made.latent = {"samples": samples, "noise_mask": mask}
    return made


def i2v(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanImageToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), clip_vision_output=vision()
    ).args
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def first_last(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFirstLastFrameToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), end_image=video(1), clip_vision_start_image=vision(),
        clip_vision_end_image=vision(),
    ).args  # fmt: skip
    model = wan("WAN21_I2V", flf_pos_embed_token_number=514)
    return Made(model, positive, negative, latent, {"c_concat": ALONG})


def fun_inpaint(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFunInpaintToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), end_image=video(2), clip_vision_output=vision()
    ).args
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def fun_control(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFunControlToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), control_video=video(num_frames(length)),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_FunControl2V"), positive, negative, latent, {"c_concat": ALONG})


def fun_control_22(length: int) -> Made:
    positive, negative, latent = nodes_wan.Wan22FunControlToVideo.execute(
        *texts(), Vae(), **sizes(length), ref_image=video(1), control_video=video(num_frames(length))
    ).args
    model = wan("WAN21_T2V", in_dim=52, in_dim_ref_conv=16)
    return Made(model, positive, negative, latent, {"c_concat": ALONG})


def _camera(length: int, model: Any) -> Made:
    path = nodes_camera_trajectory.WanCameraEmbedding.execute("Pan Left", SIZE, SIZE, num_frames(length)).args[0]
    positive, negative, latent = nodes_wan.WanCameraImageToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), clip_vision_output=vision(), camera_conditions=path
    ).args
    return Made(model, positive, negative, latent, {"camera_conditions": ALONG, "c_concat": ALONG})


def camera(length: int) -> Made:
    return _camera(length, wan("WAN21_Camera"))


def camera_22(length: int) -> Made:
    return _camera(length, wan("WAN22_Camera"))


def _vace(length: int, count: int = 1, reference: bool = False) -> Made:
    positive, negative = texts()
    vae, lead = Vae(), 1 if reference else 0
    frames = num_frames(length - lead)
    masks = video(frames)[..., 0]
    for number in range(count):
        positive, negative, latent, _ = nodes_wan.WanVaceToVideo.execute(
            positive, negative, vae, **sizes(length - lead), strength=1.0 - number / 2, control_video=video(frames),
            control_masks=masks, reference_image=video(1) if reference else None,
        ).args  # fmt: skip
    model = wan("WAN21_Vace", num_layers=2, vace_layers=1, vace_in_dim=96)
    return Made(model, positive, negative, latent, {"vace_context": ("sliced", 3, 1, 0)})


def vace(length: int) -> Made:
    return _vace(length)


def vace_reference(length: int) -> Made:
    """The first latent frame is the reference image's."""
    return _vace(length, reference=True)


def vace_chained(length: int) -> Made:
    return _vace(length, count=2)


def phantom(length: int) -> Made:
    positive, _, negative, latent = nodes_wan.WanPhantomSubjectToVideo.execute(
        *texts(), Vae(), **sizes(length), images=video(2)
    ).args
    return Made(wan("WAN21_T2V"), positive, negative, latent)


def track(length: int) -> Made:
    points = json.dumps([{"x": number / 4, "y": 8 + number / 8} for number in range(121)])
    positive, negative, latent = nodes_wan.WanTrackToVideo.execute(
        *texts(), Vae(), points, **sizes(length), temperature=220.0, topk=2, start_image=video(1),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def move(length: int) -> Made:
    path = torch.linspace(4, 28, num_frames(length)).view(-1, 1, 1).expand(-1, 2, 2)
    positive, negative, latent = nodes_wanmove.WanMoveTrackToVideo.execute(
        *texts(), Vae(), **sizes(length), strength=1.0, tracks={"track_path": path}, start_image=video(1),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def ti2v_5b(length: int) -> Made:
    """The start image is the clean first latent frame, whose timestep is 0."""
    size = sizes(length, 2 * SIZE)
    latent = nodes_wan.Wan22ImageToVideoLatent.execute(Vae(48, 16), **size, start_image=video(1, 2 * SIZE)).args[0]
    expected = {"denoise_mask": ALONG, "timestep": ("sliced", 1, 1, 0)}
    return Made(wan("WAN22_T2V", in_dim=48), *texts(), latent, expected)


def bernini_video(length: int) -> Made:
    positive, negative, latent = nodes_bernini.BerniniConditioning.execute(
        *texts(), Vae(), **sizes(length), source_video=video(num_frames(length)),
        reference_images={"reference_image_0": video(1)},
    ).args  # fmt: skip
    return Made(wan("WAN21_T2V"), positive, negative, latent, {"context_latents.0": ALONG})


def bernini_images(length: int) -> Made:
    positive, negative, latent = nodes_bernini.BerniniConditioning.execute(
        *texts(), Vae(), **sizes(length), reference_images={"reference_image_0": video(2)}
    ).args
    return Made(wan("WAN21_T2V"), positive, negative, latent)


def patcher(module: torch.nn.Module) -> Any:
    return comfy.model_patcher.ModelPatcher(fill(module), load_device=CPU, offload_device=CPU)


def uni3c(length: int) -> Made:
    patch = comfy.ldm.wan.uni3c.WanUni3CControlnet(
        conv_out_dim=128, dim=128, ffn_dim=64, num_heads=1, num_layers=1, time_embed_dim=128, out_proj_dim=128,
        mid_channels=8, **MAKE,
    )  # fmt: skip
    positive, negative, latent = nodes_wan.WanImageToVideo.execute(
        *texts(), Vae(), **sizes(length), start_image=video(1), clip_vision_output=vision()
    ).args
    (model,) = nodes_model_patch.WanUni3CControlnetApply().apply_patch(
        wan("WAN21_I2V"), patcher(patch), Vae(), video(num_frames(length)), 1.0, 0.0, 1.0
    )
    expected = {"render": ALONG, "c_concat": ALONG}
    inner = (patch, "process_input", lambda given, *_: {"render": given[:, 20:22]})
    return Made(model, positive, negative, latent, expected, inner=inner)


ROWS = [
    Row("Wan T2V", t2v),
    Row("Wan T2V, noise_mask", t2v_masked),
    Row("Wan I2V", i2v),
    Row("Wan FLF2V", first_last),
    Row("Wan Fun Inpaint", fun_inpaint),
    Row("Wan Fun Control", fun_control),
    Row("Wan 2.2 Fun Control", fun_control_22),
    Row("Wan Camera", camera),
    Row("Wan 2.2 Camera", camera_22),
    Row("Wan VACE, control", vace),
    Row("Wan VACE, reference", vace_reference),
    Row("Wan VACE, two chained", vace_chained),
    Row("Wan Phantom", phantom),
    Row("Wan ATI, track", track),
    Row("WanMove, track", move),
    Row("Wan 2.2 5B TI2V", ti2v_5b),
    Row("Bernini v2v", bernini_video),
    Row("Bernini r2v", bernini_images),
    Row("Uni3C", uni3c),
]
