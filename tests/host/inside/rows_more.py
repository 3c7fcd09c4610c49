"""Rows of LTX, Hunyuan, Kandinsky, Cosmos, Mochi, CogVideoX and SeedVR2."""

from __future__ import annotations

import itertools
from typing import Any

import comfy.ldm.lightricks.symmetric_patchifier as patchifiers
import comfy.nested_tensor
import torch
from comfy_extras import (
    nodes_cosmos,
    nodes_hunyuan,
    nodes_ip2p,
    nodes_kandinsky5,
    nodes_lt,
    nodes_seedvr,
)

import tiny
from rows_judge import sliced
from rows_parts import TEXT, StandIn, Vae, build, cosmos_2_model, cosmos_model, text, texts, video, vision
from rows_spy import ABSENT, WINDOW, AnyOf, Made, Row

ALONG = ("sliced", 2, 1, 0)
_TOKENS = 16  # of a latent frame of 4 x 4
_SEEN = torch.ones(1, 8, dtype=torch.long)


def _frames(length: int, scale: int = 4) -> int:
    return scale * (length - 1) + 1


def _sizes(length: int, size: int = 32, scale: int = 4) -> dict[str, int]:
    return dict(width=size, height=size, length=_frames(length, scale), batch_size=1)


def _ltx() -> Any:
    return build(
        "LTXV", attention_head_dim=16, num_attention_heads=2, cross_attention_dim=32, caption_channels=TEXT,
        num_layers=1,
    )  # fmt: skip


def _ltx_2() -> Any:
    """With a stand-in for the network, which ComfyUI gives video and audio apart."""
    network = StandIn(
        128, patchifier=patchifiers.SymmetricPatchifier(1, start_end=True), vae_scale_factors=(8, 32, 32),
        causal_temporal_positioning=True,
    )  # fmt: skip
    return build("LTXAV", network)


def ltx(length: int) -> Made:
    return Made(_ltx(), *texts(attention_mask=_SEEN), tiny.latent(length, channels=128), frames=8)


def ltx_image(length: int) -> Made:
    positive, negative, latent = nodes_lt.LTXVImgToVideo.execute(
        *texts(attention_mask=_SEEN), video(1, 128), Vae(128, 32, 8), **_sizes(length, 128, 8), strength=1.0
    ).args
    expected = {"denoise_mask": ALONG, "timestep": ("sliced", 1, _TOKENS, 0)}
    return Made(_ltx(), positive, negative, latent, expected, frames=8)


def _guided(model: Any, length: int, timestep: str) -> Made:
    """A picture guides the first latent frame, a video three others; a guide is told its place in the window."""
    vae, latent = Vae(128, 32, 8), tiny.latent(length, channels=128)
    positive, negative = texts(attention_mask=_SEEN)
    for pictures, place in ((1, 0), (25, 4)):
        positive, negative, latent = nodes_lt.LTXVAddGuide.execute(
            positive, negative, vae, latent, video(pictures, 128), 8 * place, 1.0 - place / 16
        ).args
    guides = (0, 4, 5, 6)

    def guiding(frames: list[int]) -> list[int]:
        return [number for number, guided in enumerate(guides) if guided in frames[-WINDOW:]]

    def with_guides(axis: int, scale: int) -> Any:
        def take(whole: torch.Tensor, frames: list[int], length: int) -> torch.Tensor:
            return sliced(whole, [*frames, *[length + number for number in guiding(frames)]], axis, scale)

        return take

    def places(whole: torch.Tensor, frames: list[int], length: int) -> AnyOf:
        """Frames from and to, counted from the window's first; the first latent frame of a window is one frame."""
        if not guiding(frames):
            return AnyOf([ABSENT, whole[:, :, :0]])
        moved = sliced(whole, guiding(frames), 2, _TOKENS).clone()
        moved[:, 0] -= 8 * frames[0]
        return AnyOf([moved], slack=8.0)

    def entries(whole: list[dict], frames: list[int], length: int) -> AnyOf:
        found, first = [], 0
        for entry in whole:
            count = entry["latent_shape"][0]
            inside = sum(first <= number < first + count for number in guiding(frames))
            shape = [inside, *entry["latent_shape"][1:]]
            found += [{**entry, "pre_filter_count": inside * _TOKENS, "latent_shape": shape}] if inside else []
            first += count
        return AnyOf([found] if found else [ABSENT, []])

    expected = {
        "denoise_mask": with_guides(2, 1), timestep: with_guides(1, _TOKENS), "keyframe_idxs": places,
        "guide_attention_entries": entries,
    }  # fmt: skip
    return Made(model, positive, negative, latent, expected, frames=8, guides=guides)


def ltx_guides(length: int) -> Made:
    return _guided(_ltx(), length, "timestep")


def ltx_2(length: int) -> Made:
    return Made(_ltx_2(), *texts(attention_mask=_SEEN), tiny.latent(length, channels=128), frames=8)


def _sound(whole: torch.Tensor, frames: list[int], length: int) -> AnyOf:
    """The audio of the window's time, to within one latent frame of the audio."""
    own, worth = frames[-WINDOW:], len(whole) / length  # core shows a window the frame before it, but not its audio
    start, stop, near = round(own[0] * worth), round((own[-1] + 1) * worth), (-1, 0, 1)
    return AnyOf([whole[max(0, start + a) : stop + b] for a in near for b in near if stop + b <= len(whole)])


def ltx_2_audio(length: int) -> Made:
    """Latents of video and audio, of about three latent frames of audio for each of the video."""
    samples = tiny.latent(length, channels=128)["samples"]
    sound = torch.zeros(1, 8, 3 * length + 1, 16)
    latent = {"samples": comfy.nested_tensor.NestedTensor((samples, sound))}
    return Made(_ltx_2(), *texts(attention_mask=_SEEN), latent, {"audio": _sound}, frames=8)


def ltx_2_guides(length: int) -> Made:
    return _guided(_ltx_2(), length, "timestep.0")


def _hunyuan(config: str = "HunyuanVideo", channels: int = 16, **more: Any) -> Any:
    return build(config, **dict(
        in_channels=channels, out_channels=16, vec_in_dim=768, context_in_dim=TEXT, hidden_size=128, mlp_ratio=4.0,
        num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 56, 56], theta=256, patch_size=[1, 2, 2],
        qkv_bias=True, guidance_embed=True, byt5=False, meanflow=False, use_cond_type_embedding=False,
        vision_in_dim=None, meanflow_sum=False,
    ) | more)  # fmt: skip


def _pooled(width: int = 768) -> torch.Tensor:
    return torch.randn(1, width, generator=torch.Generator().manual_seed(4))


def _hunyuan_texts() -> tuple[list, list]:
    return texts(pooled_output=_pooled())


def hunyuan(length: int) -> Made:
    return Made(_hunyuan(), *_hunyuan_texts(), tiny.latent(length))


def _hunyuan_image(length: int, kind: str, model: Any, expected: dict) -> Made:
    positive, negative = _hunyuan_texts()
    positive, latent = nodes_hunyuan.HunyuanImageToVideo.execute(
        positive, Vae(), **_sizes(length), guidance_type=kind, start_image=video(1)
    ).args
    return Made(model, positive, negative, latent, expected, cfg=1.0)


def hunyuan_v1(length: int) -> Made:
    return _hunyuan_image(length, "v1 (concat)", _hunyuan("HunyuanVideoI2V", 33), {"c_concat": ALONG})


def hunyuan_v2(length: int) -> Made:
    return _hunyuan_image(length, "v2 (replace)", _hunyuan(), {"guiding_frame_index": "first"})


def hunyuan_custom(length: int) -> Made:
    return _hunyuan_image(length, "custom", _hunyuan(), {})


def skyreels(length: int) -> Made:
    positive, negative, _ = nodes_ip2p.InstructPixToPixConditioning.execute(*_hunyuan_texts(), video(1), Vae()).args
    model = _hunyuan("HunyuanVideoSkyreelsI2V", 32)
    return Made(model, positive, negative, tiny.latent(length), {"c_concat": ALONG})


def hunyuan_15(length: int) -> Made:
    positive, negative, latent = nodes_hunyuan.HunyuanVideo15ImageToVideo.execute(
        *_hunyuan_texts(), Vae(32, 16), **_sizes(length, 64), start_image=video(1), clip_vision_output=vision(1152, 9)
    ).args
    model = _hunyuan(
        "HunyuanVideo15", 65, out_channels=32, vec_in_dim=None, patch_size=[1, 1, 1], guidance_embed=False,
        use_cond_type_embedding=True, vision_in_dim=1152, meanflow_sum=True,
    )  # fmt: skip
    return Made(model, positive, negative, latent, {"c_concat": ALONG})


def _kandinsky() -> Any:
    return build(
        "Kandinsky5", in_text_dim=TEXT, in_text_dim2=768, time_dim=32, model_dim=64, ff_dim=64, visual_embed_dim=132,
        num_text_blocks=1, num_visual_blocks=1, axes_dims=(16, 24, 24),
    )  # fmt: skip


def _kandinsky_image(length: int, pictures: int, how: Any) -> Made:
    positive, negative, latent, _ = nodes_kandinsky5.Kandinsky5ImageToVideo.execute(
        *_hunyuan_texts(), Vae(), **_sizes(length), start_image=video(pictures)
    ).args
    expected = {"c_concat": ALONG, "time_dim_replace": how}
    return Made(_kandinsky(), positive, negative, latent, expected)


def _started(whole: torch.Tensor, frames: list[int], length: int) -> Any:
    """The known latent frames that a window begins with."""
    held = list(itertools.takewhile(lambda frame: frame < whole.shape[2], frames))
    return whole[:, :, held] if held else AnyOf([ABSENT, whole[:, :, :0]])


def kandinsky(length: int) -> Made:
    return Made(_kandinsky(), *_hunyuan_texts(), tiny.latent(length))


def kandinsky_image(length: int) -> Made:
    return _kandinsky_image(length, 1, "first")


def kandinsky_images(length: int) -> Made:
    """Four known latent frames, so that another window begins inside them."""
    return _kandinsky_image(length, 13, _started)


def kandinsky_many(length: int) -> Made:
    """More known latent frames than a window has."""
    return _kandinsky_image(length, 25, _started)


def cosmos(length: int) -> Made:
    return Made(cosmos_model("CosmosT2V", 16), *texts(), tiny.latent(length), frames=8)


def cosmos_image(length: int) -> Made:
    latent = nodes_cosmos.CosmosImageToVideoLatent.execute(
        Vae(time=8), **_sizes(length, scale=8), start_image=video(1), end_image=video(1)
    ).args[0]
    return Made(cosmos_model("CosmosI2V", 17), *texts(), latent, {"c_concat": ALONG}, frames=8)


def cosmos_2_image(length: int) -> Made:
    latent = nodes_cosmos.CosmosPredict2ImageToVideoLatent.execute(
        Vae(), **_sizes(length), start_image=video(1), end_image=video(1)
    ).args[0]
    expected = {"c_concat": ALONG, "denoise_mask": ALONG, "timestep": ("sliced", 1, 1, 0)}
    return Made(cosmos_2_model("CosmosI2VPredict2", 17), *texts(), latent, expected)


def cosmos_2(length: int) -> Made:
    return Made(cosmos_2_model("CosmosT2IPredict2", 16), *texts(), tiny.latent(length))


def mochi(length: int) -> Made:
    """With a stand-in for the network, whose sizes are fixed."""
    model = build("GenmoMochi", StandIn(12))
    return Made(model, *texts(attention_mask=_SEEN), tiny.latent(length, channels=12), frames=6)


def _cog(config: str, channels: int) -> Any:
    return build(
        config, num_attention_heads=2, attention_head_dim=64, in_channels=channels, out_channels=16, time_embed_dim=32,
        text_embed_dim=TEXT, num_layers=1, max_text_seq_length=8, use_rotary_positional_embeddings=True,
    )  # fmt: skip


def cog(length: int) -> Made:
    return Made(_cog("CogVideoX_T2V", 16), *texts(), tiny.latent(length))


def cog_image(length: int) -> Made:
    positive, negative, _ = nodes_ip2p.InstructPixToPixConditioning.execute(*texts(), video(1), Vae()).args
    return Made(_cog("CogVideoX_I2V", 32), positive, negative, tiny.latent(length), {"c_concat": ALONG})


def seedvr(length: int) -> Made:
    """With a stand-in for the network."""
    model = build(
        "SeedVR2", StandIn(16, positive_conditioning=text(1)[0][0][0], negative_conditioning=text(0)[0][0][0])
    )
    encoded = {"samples": Vae().encode(video(_frames(length)))}
    positive, negative = nodes_seedvr.SeedVR2Conditioning.execute(model, encoded).args
    return Made(model, positive, negative, tiny.latent(length), {"condition": ALONG})


ROWS = [
    Row("LTXV T2V", ltx),
    Row("LTXV I2V", ltx_image),
    Row("LTXV, guides", ltx_guides),
    Row("LTX-2, video only", ltx_2),
    Row("LTX-2, video and audio", ltx_2_audio),
    Row("LTX-2, guides", ltx_2_guides),
    Row("Hunyuan T2V", hunyuan),
    Row("Hunyuan I2V v1", hunyuan_v1),
    Row("Hunyuan I2V v2", hunyuan_v2),
    Row("Hunyuan custom", hunyuan_custom),
    Row("SkyReels I2V", skyreels),
    Row("Hunyuan 1.5 I2V", hunyuan_15),
    Row("Kandinsky 5 T2V", kandinsky),
    Row("Kandinsky 5 I2V, one start frame", kandinsky_image),
    Row("Kandinsky 5 I2V, several", kandinsky_images),
    Row("Kandinsky 5 I2V, more than a window", kandinsky_many),
    Row("Cosmos 1 T2V", cosmos),
    Row("Cosmos 1 I2V", cosmos_image),
    Row("Cosmos Predict2 T2V", cosmos_2),
    Row("Cosmos Predict2 I2V", cosmos_2_image),
    Row("Mochi", mochi),
    Row("CogVideoX T2V", cog),
    Row("CogVideoX I2V", cog_image),
    Row("SeedVR2", seedvr),
]
