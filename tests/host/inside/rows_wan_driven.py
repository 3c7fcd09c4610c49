"""Rows of the kinds of Wan that audio, poses or faces drive."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.ldm.wan.model_multitalk as multitalk
import torch
from comfy_extras import nodes_scail, nodes_wan, nodes_wandancer

from rows_parts import Vae, texts, video, vision
from rows_spy import AnyOf, Made, Row
from rows_wan import ALONG, MAKE, SIZE, num_frames, patcher, sizes, wan


def _sound(frames: int, layers: int, width: int, rate: int) -> dict:
    """An AUDIO_ENCODER_OUTPUT for so many frames of a video with ``rate`` frames a second; 50 features a second."""
    generator = torch.Generator().manual_seed(6)
    count = frames * 50 // rate + 50
    states = [torch.randn(1, count, width, generator=generator) for _ in range(layers)]
    return {"encoded_audio_all_layers": states, "encoded_audio": states[-1], "audio_samples": count * 320}


def humo(length: int) -> Made:
    positive, negative, latent = nodes_wan.WanHuMoImageToVideo.execute(
        *texts(), Vae(), **sizes(length), ref_image=video(1),
        audio_encoder_output=_sound(num_frames(length), 33, 1280, 25),
    ).args  # fmt: skip
    expected = {"audio_embed": ("sliced", 1, 1, 0), "c_concat": ALONG}
    return Made(wan("WAN21_HuMo", in_dim=36), positive, negative, latent, expected)


def _faces(whole: torch.Tensor, frames: list[int], length: int) -> AnyOf:
    """Face ``k`` of every four goes with the latent frame behind ``k``, and the first of all is a latent frame's alone;
    so a window needs one and then fours, and more of the last four change nothing."""
    first, count = 4 * (frames[1] - 1), len(frames) - 1
    most = min(first + 4 * count, whole.shape[2])
    return AnyOf([whole[:, :, first:stop] for stop in range(first + 4 * count - 3, most + 1)])


def animate(length: int) -> Made:
    """The first latent frame is the reference image's; pose and face belong to those behind it."""
    frames = num_frames(length - 1)
    positive, negative, latent, *_ = nodes_wan.WanAnimateToVideo.execute(
        *texts(), Vae(), **sizes(length - 1), continue_motion_max_frames=5, video_frame_offset=0,
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
        *texts(), Vae(), **sizes(length - 1), video_frame_offset=0, reference_image=video(1),
        pose_video=video(num_frames(length - 1)), clip_vision_output=vision(),
    ).args  # fmt: skip
    expected = {"pose_latents": ("sliced", 2, 1, 1), "c_concat": ALONG}
    return Made(wan("WAN_Animate2", in_dim=36), positive, negative, latent, expected)


def _s2v(length: int, **more: Any) -> Made:
    positive, negative, latent = nodes_wan.WanSoundImageToVideo.execute(
        *texts(), Vae(), **sizes(length, 2 * SIZE), ref_image=video(1), control_video=video(num_frames(length)),
        audio_encoder_output=_sound(num_frames(length), 25, 32, 16), **more,
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
    where the window begins, to a latent frame's worth; and that of a latent frame that stands in front."""
    worth = whole.shape[1] / length
    first = frames[1] if frames[:1] == [0] and frames[1:2] != [1] else frames[0]
    start, stop = round(first * worth), round((frames[-1] + 1) * worth)
    near = range(-4, 5)
    parts = [whole[:, max(0, start + a) : stop + b] for a in near for b in near if stop + b <= whole.shape[1]]
    if first == frames[0]:
        return AnyOf(parts)
    return AnyOf([torch.cat([whole[:, : round(worth) + a], part], dim=1) for part in parts for a in (-1, 0, 1)])


def dancer(length: int) -> Made:
    count = num_frames(length)
    music = torch.randn(1, count, 35, generator=torch.Generator().manual_seed(6))
    size = {key: value for key, value in sizes(length, 2 * SIZE).items() if key != "batch_size"}
    positive, negative, latent = nodes_wandancer.WanDancerVideo.execute(
        *texts(), Vae(), **size, start_image=video(1), clip_vision_output=vision(), clip_vision_output_ref=vision(),
        audio_encoder_output={"audio_feature": music, "fps": 30.0, "audio_inject_scale": 1.0},
    ).args  # fmt: skip
    model = wan("WAN22_WanDancer", audio_inject_layers=[0], music_latent_dim=256)
    return Made(model, positive, negative, latent, {"audio_embed": _music, "c_concat": ALONG})


def _scail(length: int, **given: Any) -> tuple:
    return nodes_scail.WanSCAILToVideo.execute(
        *texts(), Vae(), **sizes(length), pose_strength=1.0, pose_start=0.0, pose_end=1.0, video_frame_offset=0,
        previous_frame_count=5, reference_image=video(1), clip_vision_output=vision(), **given,
    ).args[:3]  # fmt: skip


def scail(length: int) -> Made:
    made = _scail(length, pose_video=video(num_frames(length)))
    return Made(wan("WAN21_SCAIL"), *made, {"pose_latents": ALONG})


def scail_reference(length: int) -> Made:
    return Made(wan("WAN21_SCAIL"), *_scail(length))


def _colours(frames: int) -> torch.Tensor:
    """A mask ``t h w c`` of colours whose every frame is another: binary numbers in the rows of pixels."""
    colours = torch.zeros(frames, SIZE, SIZE, 3)
    for frame in range(frames):
        for bit in range(4):
            colours[frame, :, 8 * bit : 8 * bit + 8, (frame // 4 >> bit) % 2] = 1
    return colours


def scail_2(length: int) -> Made:
    made = _scail(
        length, pose_video=video(num_frames(length)), pose_video_mask=_colours(num_frames(length)),
        reference_image_mask=_colours(1),
    )  # fmt: skip
    expected = {"pose_latents": ALONG, "sam_latents": ALONG, "ref_mask_latents": ("sliced", 2, 1, -1)}
    return Made(wan("WAN21_SCAIL2"), *made, expected)


def scail_2_reference(length: int) -> Made:
    made = _scail(length, reference_image_mask=_colours(1))
    return Made(wan("WAN21_SCAIL2"), *made, {"ref_mask_latents": ("sliced", 2, 1, -1)})


class _Talk(torch.nn.Module):
    """InfiniteTalk's audio projection and its attention for one block."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.audio_proj = multitalk.MultiTalkAudioProjModel(
            seq_len_vf=8, blocks=2, channels=8, intermediate_dim=16, out_dim=16, context_tokens=4, **MAKE
        )
        block = torch.nn.Module()
        block.audio_cross_attn = multitalk.SingleStreamMultiAttention(dim, 16, 1, True, **MAKE)
        block.norm_x = MAKE["operations"].LayerNorm(dim, device=MAKE["device"], dtype=torch.float32)
        self.blocks = torch.nn.ModuleList([block])


def infinite_talk(length: int) -> Made:
    """The network sees the start image in place of the first latent frame of the video, and of no other. Without
    guidance, for core gives the audio for one row of the batch alone."""
    size = {key: value for key, value in sizes(length).items() if key != "batch_size"}
    model, positive, negative, latent, _ = nodes_wan.WanInfiniteTalkToVideo.execute(
        {"mode": "single_speaker"}, wan("WAN21_I2V"), patcher(_Talk(128)), *texts(), Vae(), **size,
        audio_encoder_output_1=_sound(num_frames(length), 3, 8, 25), motion_frame_count=9, start_image=video(1),
        audio_scale=1.0, clip_vision_output=vision(),
    ).args  # fmt: skip
    known = comfy.latent_formats.Wan21().process_in(positive[0][1]["concat_latent_image"][:, :, :1].clone())
    expected = {"audio_embeds": ("sliced", 1, 1, 0), "c_concat": ALONG}
    return Made(model, positive, negative, latent, expected, known=known, cfg=1.0)


ROWS = [
    Row("Wan HuMo", humo),
    Row("Wan Animate", animate),
    Row("Wan Animate 2", animate_2),
    Row("Wan S2V", s2v),
    Row("Wan S2V, reference motion", s2v_motion),
    Row("WanDancer", dancer),
    Row("SCAIL, pose", scail),
    Row("SCAIL, reference", scail_reference),
    Row("SCAIL-2, pose and reference mask", scail_2),
    Row("SCAIL-2, reference mask", scail_2_reference),
    Row("InfiniteTalk", infinite_talk),
]
