"""Tiny models whose latents combine video and sound: LTX-2 and MiniMax H3, by ComfyUI's own classes."""

from __future__ import annotations

import functools
from typing import Any

import comfy.model_base
import comfy.nested_tensor
import comfy.sd
import torch

import rows_parts

TEXT = {"ltx": 128, "h3": 16}  # widths of a text's tokens
HAS_H3 = hasattr(comfy.model_base, "MiniMaxH3")
KINDS = ("ltx", "h3") if HAS_H3 else ("ltx",)


def model(kind: str, layers: int = 1) -> Any:
    """A MODEL; H3 with so many layers."""
    if kind == "ltx":
        return rows_parts.build(
            "LTXAV", attention_head_dim=24, num_attention_heads=2, cross_attention_dim=48, caption_channels=64,
            audio_cross_attention_dim=32, audio_attention_head_dim=16, audio_num_attention_heads=2, num_layers=1,
            connector_attention_head_dim=16, connector_num_attention_heads=4, connector_num_layers=1,
        )  # fmt: skip
    made = rows_parts.build(
        "MiniMaxH3", hidden_size=64, num_layers=layers, token_refiner_num_layers=1, num_attention_heads=2, text_dim=16,
        attention_head_dim=32, ffn_hidden_size=64, time_embed_hidden_size=32, time_embed_dim=32, timestep_input_dim=32,
        rope_inv_freq_len=4,
    )  # fmt: skip
    made.model.diffusion_model.rope.inv_freq.copy_(100 ** -(torch.arange(4) / 4))
    with torch.no_grad():
        for value in made.model.diffusion_model.parameters():
            value.mul_(3)
    return made


def frames_of(kind: str, latent_frames: int) -> int:
    """Frames of a video."""
    return 8 * latent_frames - 7 if kind == "ltx" else latent_frames // 5 * 17 + (0, 1, 5, 9, 13)[latent_frames % 5]


def sound_of(kind: str, latent_frames: int) -> int:
    """Elements of sound beside so many latent frames: 25 a second at 24 frames a second, or 40."""
    frames = frames_of(kind, latent_frames)
    return round(frames / 24 * 25) if kind == "ltx" else round(frames * 5 / 3)


def latent(kind: str, latent_frames: int, batch: int = 1) -> dict:
    """An empty LATENT."""
    sound = sound_of(kind, latent_frames)
    channels, beside = (128, (8, sound, 16)) if kind == "ltx" else (24, (32, 2, sound))
    return nested(torch.zeros(batch, channels, latent_frames, 4, 4), torch.zeros(batch, *beside))


def nested(*streams: torch.Tensor) -> dict:
    """A LATENT of streams."""
    return {"samples": comfy.nested_tensor.NestedTensor(list(streams))}


def text(kind: str, seed: int, tokens: int = 8, **extras: Any) -> list:
    """A CONDITIONING."""
    return rows_parts.text(seed, TEXT[kind], tokens, **extras)


class Spy:
    """Keeps what a MODEL's network is called with: ``streams``, ``timestep`` and what else it is given."""

    def __init__(self, patcher: Any) -> None:
        self.calls: list[dict] = []
        forward = patcher.model.diffusion_model.forward

        def called(x: Any, timestep: Any, context: Any, *args: Any, **given: Any) -> Any:
            self.calls.append({
                "streams": [each.clone() for each in x], "timestep": timestep, "context": context, **given,
            })  # fmt: skip
            said = forward(x, timestep, context, *args, **given)
            self.calls[-1]["said"] = [each.clone() for each in said]
            return said

        patcher.model.diffusion_model.forward = called


def audio_vae(kind: str) -> Any:
    """A small audio VAE of a kind with random weights, as the host's own loaders make it."""
    if kind == "h3":
        return _h3_audio_vae()
    import comfy.ldm.lightricks.vae.audio_vae as host

    encoder = {
        "double_z": True, "mel_bins": 64, "z_channels": 8, "resolution": 256, "downsample_time": False,
        "in_channels": 2, "out_ch": 2, "ch": 8, "ch_mult": [1, 2, 4], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0, "mid_block_add_attention": False, "norm_type": "pixel", "causality_axis": "height",
    }  # fmt: skip
    autoencoder = {
        "model": {"params": {"ddconfig": encoder, "sampling_rate": 16000}},
        "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160}},
    }
    vocoder = {
        "upsample_initial_channel": 64, "upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [16, 15, 8, 4, 4],
    }  # fmt: skip
    metadata = {"config": {"audio_vae": autoencoder, "vocoder": vocoder}}
    if hasattr(host.AudioVAE, "device_manager") or "state_dict" in host.AudioVAE.__init__.__annotations__:
        made = host.AudioVAE({}, metadata)
        made.load_state_dict(_filled(made))
        return made
    return comfy.sd.VAE(sd=_filled(host.AudioVAE(metadata)), metadata=metadata)


def _h3_audio_vae() -> Any:
    import comfy.ldm.minimax.audio_vae as host

    whole = host.MiniMaxH3AudioVAE
    host.MiniMaxH3AudioVAE = functools.partial(whole, encoder_dim=4, latent_dim=64, decoder_dim=128)
    try:
        return comfy.sd.VAE(sd=_filled(host.MiniMaxH3AudioVAE()))
    finally:
        host.MiniMaxH3AudioVAE = whole


def _filled(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random weights, and statistics that change nothing."""
    generator = torch.Generator().manual_seed(4)
    filled = {name: value.clone() for name, value in module.state_dict().items()}
    for name, value in module.named_parameters():
        filled[name] = torch.randn(value.shape, generator=generator) * 0.1
    for name in filled:
        if name.rpartition(".")[2] in ("latents_mean", "mean-of-means", "zero_k_bias"):
            filled[name].zero_()
        elif name.rpartition(".")[2] in ("latents_std", "std-of-means"):
            filled[name].fill_(1)
    return filled
