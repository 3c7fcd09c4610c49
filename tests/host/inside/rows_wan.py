"""Rows of Wan 2.1 and 2.2 in all their kinds."""

from __future__ import annotations

import json
from typing import Any

import comfy.latent_formats
import comfy.ldm.wan.model_multitalk as multitalk
import comfy.ldm.wan.uni3c
import comfy.model_patcher
import comfy.ops
import torch
from comfy_extras import (
    nodes_bernini,
    nodes_camera_trajectory,
    nodes_model_patch,
    nodes_scail,
    nodes_wan,
    nodes_wandancer,
    nodes_wanmove,
)

import tiny
from rows_judge import AnyOf, Made, Row
from rows_parts import CPU, TEXT, Vae, build, fill, texts, video, vision

SIZE = 32
ALONG = ("sliced", 2, 1, 0)
_SMALL = dict(dim=128, ffn_dim=64, num_heads=1, num_layers=1, text_dim=TEXT)
_MAKE = dict(dtype=torch.float32, device=CPU, operations=comfy.ops.disable_weight_init)


def wan(config: str, **unet: Any) -> Any:
    """A MODEL with a tiny network of a kind of Wan."""
    return build(config, **{**_SMALL, **unet})


def _frames(length: int) -> int:
    return 4 * length - 3


def _sizes(length: int, size: int = SIZE) -> dict[str, int]:
    return dict(width=size, height=size, length=_frames(length), batch_size=1)


def _sound(frames: int, layers: int, width: int, rate: int) -> dict:
    """An AUDIO_ENCODER_OUTPUT for so many frames of a video with ``rate`` frames a second; 50 features a second."""
    generator = torch.Generator().manual_seed(6)
    count = frames * 50 // rate + 50
    states = [torch.randn(1, count, width, generator=generator) for _ in range(layers)]
    return {"encoded_audio_all_layers": states, "encoded_audio": states[-1], "audio_samples": count * 320}


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


def fun_control(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanFunControlToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), control_video=video(_frames(length)),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_FunControl2V"), positive, negative, latent, {"c_concat": ALONG})


def fun_control_22(length: int) -> Made:
    positive, negative, latent = nodes_wan.Wan22FunControlToVideo.execute(
        *texts(), Vae(), **_sizes(length), ref_image=video(1), control_video=video(_frames(length))
    ).args
    model = wan("WAN21_T2V", in_dim=52, in_dim_ref_conv=16)
    return Made(model, positive, negative, latent, {"c_concat": ALONG})


def camera(length: int) -> Made:
    path = nodes_camera_trajectory.WanCameraEmbedding.execute("Pan Left", SIZE, SIZE, _frames(length)).args[0]
    positive, negative, latent = nodes_wan.WanCameraImageToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), clip_vision_output=vision(), camera_conditions=path
    ).args
    expected = {"camera_conditions": ALONG, "c_concat": ALONG}
    return Made(wan("WAN21_Camera"), positive, negative, latent, expected)


def _vace(length: int, count: int = 1, reference: bool = False) -> Made:
    positive, negative = texts()
    vae, lead = Vae(), 1 if reference else 0
    frames = _frames(length - lead)
    masks = video(frames)[..., 0]
    for number in range(count):
        positive, negative, latent, _ = nodes_wan.WanVaceToVideo.execute(
            positive, negative, vae, **_sizes(length - lead), strength=1.0 - number / 2, control_video=video(frames),
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
        *texts(), Vae(), **_sizes(length), images=video(2)
    ).args
    return Made(wan("WAN21_T2V"), positive, negative, latent)


def track(length: int) -> Made:
    points = json.dumps([{"x": number / 4, "y": 8 + number / 8} for number in range(121)])
    positive, negative, latent = nodes_wan.WanTrackToVideo.execute(
        *texts(), Vae(), points, **_sizes(length), temperature=220.0, topk=2, start_image=video(1),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def move(length: int) -> Made:
    path = torch.linspace(4, 28, _frames(length)).view(-1, 1, 1).expand(-1, 2, 2)
    positive, negative, latent = nodes_wanmove.WanMoveTrackToVideo.execute(
        *texts(), Vae(), **_sizes(length), strength=1.0, tracks={"track_path": path}, start_image=video(1),
        clip_vision_output=vision(),
    ).args  # fmt: skip
    return Made(wan("WAN21_I2V"), positive, negative, latent, {"c_concat": ALONG})


def ti2v_5b(length: int) -> Made:
    """The start image is the clean first latent frame, whose timestep is 0."""
    sizes = _sizes(length, 2 * SIZE)
    latent = nodes_wan.Wan22ImageToVideoLatent.execute(Vae(48, 16), **sizes, start_image=video(1, 2 * SIZE)).args[0]
    expected = {"denoise_mask": ALONG, "timestep": ("sliced", 1, 1, 0)}
    return Made(wan("WAN22_T2V", in_dim=48), *texts(), latent, expected)


def humo(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanHuMoImageToVideo.execute(
        *texts(), Vae(), **_sizes(length), ref_image=video(1),
        audio_encoder_output=_sound(_frames(length), 33, 1280, 25),
    ).args  # fmt: skip
    expected = {"audio_embed": ("sliced", 1, 1, 0), "c_concat": ALONG}
    return Made(wan("WAN21_HuMo", in_dim=36), positive, negative, latent, expected)


def _faces(whole: torch.Tensor, frames: list[int], length: int) -> AnyOf:
    """Face ``k`` of every four goes with the latent frame behind ``k``, and the first of all is a latent frame's alone;
    so a window needs one and then fours, and more of the last four change nothing."""
    first, count = 4 * frames[0], len(frames) - 1
    most = min(first + 4 * count, whole.shape[2])
    return AnyOf([whole[:, :, first:stop] for stop in range(first + 4 * count - 3, most + 1)])


def animate(length: int) -> Made:
    """The first latent frame is the reference image's; pose and face belong to those behind it."""
    frames = _frames(length - 1)
    positive, negative, latent, *_ = nodes_wan.WanAnimateToVideo.execute(
        *texts(), Vae(), **_sizes(length - 1), continue_motion_max_frames=5, video_frame_offset=0,
        reference_image=video(1), clip_vision_output=vision(), face_video=video(frames), pose_video=video(frames),
        background_video=video(frames), character_mask=video(frames)[..., 0].round(),
    ).args  # fmt: skip
    model = wan("WAN22_Animate", in_dim=36, num_layers=5)
    model.model.diffusion_model.motion_encoder.get_motion = lambda faces: faces.flatten(1)[:, :512]
    expected = {"pose_latents": ("sliced", 2, 1, 1), "face_pixel_values": _faces, "c_concat": ALONG}
    return Made(model, positive, negative, latent, expected)


def animate_2(length: int) -> Made:
    """The first latent frame is the reference image's; the pose belongs to those behind it."""
    positive, negative, latent, *_ = nodes_wan.WanAnimate2ToVideo.execute(
        *texts(), Vae(), **_sizes(length - 1), video_frame_offset=0, reference_image=video(1),
        pose_video=video(_frames(length - 1)), clip_vision_output=vision(),
    ).args  # fmt: skip
    expected = {"pose_latents": ("sliced", 2, 1, 1), "c_concat": ALONG}
    return Made(wan("WAN_Animate2", in_dim=36), positive, negative, latent, expected)


def _s2v(length: int, **more: Any) -> Made:
    positive, negative, latent = nodes_wan.WanSoundImageToVideo.execute(
        *texts(), Vae(), **_sizes(length, 2 * SIZE), ref_image=video(1), control_video=video(_frames(length)),
        audio_encoder_output=_sound(_frames(length), 25, 32, 16), **more,
    ).args  # fmt: skip
    model = wan("WAN22_S2V", audio_dim=32, audio_inject_layers=[0])
    expected = {"audio_embed": ("sliced", 3, 4, 0), "control_video": ALONG}
    return Made(model, positive, negative, latent, expected)


def s2v(length: int) -> Made:
    return _s2v(length)


def s2v_motion(length: int) -> Made:
    """The reference motion ends where the video begins: only the first window follows it."""
    made = _s2v(length, ref_motion=video(73))
    made.expected["reference_motion"] = "first"
    return made


def _music(whole: torch.Tensor, frames: list[int], length: int) -> AnyOf:
    """The network spreads whatever music it gets over the window: so much of it as the window is of the video, from
    where the window begins, to a latent frame's worth."""
    worth = whole.shape[1] / length
    start, stop = round(frames[0] * worth), round((frames[-1] + 1) * worth)
    near = range(-4, 5)
    return AnyOf([whole[:, max(0, start + a) : stop + b] for a in near for b in near if stop + b <= whole.shape[1]])


def dancer(length: int) -> Made:
    count = _frames(length)
    music = torch.randn(1, count, 35, generator=torch.Generator().manual_seed(6))
    sizes = {key: value for key, value in _sizes(length, 2 * SIZE).items() if key != "batch_size"}
    positive, negative, latent = nodes_wandancer.WanDancerVideo.execute(
        *texts(), Vae(), **sizes, start_image=video(1), clip_vision_output=vision(), clip_vision_output_ref=vision(),
        audio_encoder_output={"audio_feature": music, "fps": 30.0, "audio_inject_scale": 1.0},
    ).args  # fmt: skip
    model = wan("WAN22_WanDancer", audio_inject_layers=[0], music_latent_dim=256)
    return Made(model, positive, negative, latent, {"audio_embed": _music, "c_concat": ALONG})


def _scail(length: int, **given: Any) -> tuple:
    return nodes_scail.WanSCAILToVideo.execute(
        *texts(), Vae(), **_sizes(length), pose_strength=1.0, pose_start=0.0, pose_end=1.0, video_frame_offset=0,
        previous_frame_count=5, reference_image=video(1), clip_vision_output=vision(), **given,
    ).args[:3]  # fmt: skip


def scail(length: int) -> Made:
    made = _scail(length, pose_video=video(_frames(length)))
    return Made(wan("WAN21_SCAIL"), *made, {"pose_latents": ALONG})


def _colours(frames: int) -> torch.Tensor:
    """A mask ``t h w c`` of colours whose every frame is another: binary numbers in the rows of pixels."""
    colours = torch.zeros(frames, SIZE, SIZE, 3)
    for frame in range(frames):
        for bit in range(4):
            colours[frame, :, 8 * bit : 8 * bit + 8, (frame // 4 >> bit) % 2] = 1
    return colours


def scail_2(length: int) -> Made:
    made = _scail(
        length, pose_video=video(_frames(length)), pose_video_mask=_colours(_frames(length)),
        reference_image_mask=_colours(1),
    )  # fmt: skip
    expected = {"pose_latents": ALONG, "sam_latents": ALONG, "ref_mask_latents": ("sliced", 2, 1, -1)}
    return Made(wan("WAN21_SCAIL2"), *made, expected)


def scail_2_reference(length: int) -> Made:
    made = _scail(length, reference_image_mask=_colours(1))
    return Made(wan("WAN21_SCAIL2"), *made, {"ref_mask_latents": ("sliced", 2, 1, -1)})


def bernini_video(length: int) -> Made:
    positive, negative, latent = nodes_bernini.BerniniConditioning.execute(
        *texts(), Vae(), **_sizes(length), source_video=video(_frames(length)),
        reference_images={"reference_image_0": video(1)},
    ).args  # fmt: skip
    return Made(wan("WAN21_T2V"), positive, negative, latent, {"context_latents.0": ALONG})


def bernini_images(length: int) -> Made:
    positive, negative, latent = nodes_bernini.BerniniConditioning.execute(
        *texts(), Vae(), **_sizes(length), reference_images={"reference_image_0": video(2)}
    ).args
    return Made(wan("WAN21_T2V"), positive, negative, latent)


class _Talk(torch.nn.Module):
    """InfiniteTalk's audio projection and its attention for one block."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.audio_proj = multitalk.MultiTalkAudioProjModel(
            seq_len_vf=8, blocks=2, channels=8, intermediate_dim=16, out_dim=16, context_tokens=4, **_MAKE
        )
        block = torch.nn.Module()
        block.audio_cross_attn = multitalk.SingleStreamMultiAttention(dim, 16, 1, True, **_MAKE)
        block.norm_x = comfy.ops.disable_weight_init.LayerNorm(dim, device=CPU, dtype=torch.float32)
        self.blocks = torch.nn.ModuleList([block])


def _patcher(module: torch.nn.Module) -> Any:
    return comfy.model_patcher.ModelPatcher(fill(module), load_device=CPU, offload_device=CPU)


def infinite_talk(length: int) -> Made:
    """The network sees the start image in place of the first latent frame of the video, and of no other. Without
    guidance, for core gives the audio for one row of the batch alone."""
    sizes = {key: value for key, value in _sizes(length).items() if key != "batch_size"}
    model, positive, negative, latent, _ = nodes_wan.WanInfiniteTalkToVideo.execute(
        {"mode": "single_speaker"}, wan("WAN21_I2V"), _patcher(_Talk(128)), *texts(), Vae(), **sizes,
        audio_encoder_output_1=_sound(_frames(length), 3, 8, 25), motion_frame_count=9, start_image=video(1),
        audio_scale=1.0, clip_vision_output=vision(),
    ).args  # fmt: skip
    known = comfy.latent_formats.Wan21().process_in(positive[0][1]["concat_latent_image"][:, :, :1].clone())
    expected = {"audio_embeds": ("sliced", 1, 1, 0), "c_concat": ALONG}
    return Made(model, positive, negative, latent, expected, known=known, cfg=1.0)


def uni3c(length: int) -> Made:
    patch = comfy.ldm.wan.uni3c.WanUni3CControlnet(
        conv_out_dim=128, dim=128, ffn_dim=64, num_heads=1, num_layers=1, time_embed_dim=128, out_proj_dim=128,
        mid_channels=8, **_MAKE,
    )  # fmt: skip
    positive, negative, latent = nodes_wan.WanImageToVideo.execute(
        *texts(), Vae(), **_sizes(length), start_image=video(1), clip_vision_output=vision()
    ).args
    (model,) = nodes_model_patch.WanUni3CControlnetApply().apply_patch(
        wan("WAN21_I2V"), _patcher(patch), Vae(), video(_frames(length)), 1.0, 0.0, 1.0
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
    Row("Wan VACE, control", vace),
    Row("Wan VACE, reference", vace_reference),
    Row("Wan VACE, two chained", vace_chained),
    Row("Wan Phantom", phantom),
    Row("Wan ATI, track", track),
    Row("WanMove, track", move),
    Row("Wan 2.2 5B TI2V", ti2v_5b),
    Row("Wan HuMo", humo),
    Row("Wan Animate", animate),
    Row("Wan Animate 2", animate_2),
    Row("Wan S2V", s2v),
    Row("Wan S2V, reference motion", s2v_motion),
    Row("WanDancer", dancer),
    Row("SCAIL, pose", scail),
    Row("SCAIL-2, pose and reference mask", scail_2),
    Row("SCAIL-2, reference mask", scail_2_reference),
    Row("Bernini v2v", bernini_video),
    Row("Bernini r2v", bernini_images),
    Row("InfiniteTalk", infinite_talk),
    Row("Uni3C", uni3c),
]
