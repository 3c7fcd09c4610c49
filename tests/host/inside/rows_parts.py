"""What the rows are made of: tiny networks with random weights, and an autoencoder whose latents tell their place."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
import comfy.model_patcher
import comfy.supported_models
import torch

CPU = torch.device("cpu")
TEXT = 64


class Vae:
    """An autoencoder whose every latent frame is another: ``t h w c`` -> ``1 c t h w``.

    The first channel is the latent frame's number, the second the number of the call, the others its pixels' mean.

    Args:
        channels, space, time: of its latents. With a time of 0 it is an autoencoder of pictures: ``b h w c`` -> ``b c h
            w``.
    """

    def __init__(self, channels: int = 16, space: int = 8, time: int = 4) -> None:
        self.latent_channels, self._space, self._calls = channels, space, 0
        self._time, self._pictures = max(1, time), time == 0
        self.downscale_index_formula = (time, space, space)

    def spacial_compression_encode(self) -> int:
        return self._space

    def temporal_compression_decode(self) -> int:
        return self._time

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self._calls += 1
        if pixels.ndim == 5:
            pixels = pixels[0]
        frames = 1 + (pixels.shape[0] - 1) // self._time
        height, width = pixels.shape[1] // self._space, pixels.shape[2] // self._space
        means = pixels.flatten(1).mean(1)
        firsts = [0, *range(1, pixels.shape[0], self._time)][:frames]
        latent = torch.zeros(1, self.latent_channels, frames, height, width)
        latent += torch.stack([means[first : first + self._time].mean() for first in firsts]).view(-1, 1, 1)
        latent[:, 0] = (torch.arange(frames) + 1.0).view(-1, 1, 1) * 0.1
        latent[:, 1] = self._calls * 0.05
        return latent[0].movedim(1, 0) if self._pictures else latent


def text(seed: int, width: int = TEXT, tokens: int = 8, **extras: Any) -> list:
    """A CONDITIONING of random embeddings."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, width, generator=generator), dict(extras)]]


def texts(width: int = TEXT, **extras: Any) -> tuple[list, list]:
    """A positive and a negative CONDITIONING."""
    return text(1, width, **extras), text(0, width, **extras)


def video(frames: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    """A video ``t h w c`` whose every frame has a shade of its own."""
    return ((torch.arange(frames) + 1.0) / (frames + 1)).view(-1, 1, 1, 1).expand(-1, size, size, channels).clone()


def vision(width: int = 1280, tokens: int = 257) -> Any:
    """A CLIP_VISION_OUTPUT."""
    output = comfy.clip_vision.Output()
    states = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(3))
    output.penultimate_hidden_states = output.last_hidden_state = states
    output.image_embeds = states[:, 0]
    return output


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Gives a network small random weights."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in module.named_parameters():
            drawn = torch.randn(value.shape, generator=generator) * 0.05
            value.copy_(drawn + 1 if "norm" in name and name.endswith(("weight", "scale")) else drawn)
    return module.requires_grad_(False)


class StandIn(torch.nn.Module):
    """A network that takes anything, for a kind that is not made small here; predicts a tenth of ``x``."""

    def __init__(self, channels: int, **attributes: Any) -> None:
        super().__init__()
        self.channels, self.dtype = channels, torch.float32
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x, timestep, context=None, **given):
        if isinstance(x, list):
            return [each * 0.1 for each in x] if len(x) > 1 else x[0] * 0.1
        return x[:, : self.channels] * 0.1


def build(config: str, network: torch.nn.Module | None = None, **unet: Any) -> Any:
    """A MODEL of a class of ``comfy.supported_models``, with its own network of the given size or a stand-in."""
    kind = getattr(comfy.supported_models, config)
    given = {**kind.unet_config, **unet, "dtype": torch.float32}
    if network is not None:
        given["disable_unet_model_creation"] = True
    made = kind(given)
    made.manual_cast_dtype = None
    model = made.get_model({}, "", CPU)
    if network is None:
        fill(model.diffusion_model)
    else:
        model.diffusion_model = network
    return comfy.model_patcher.ModelPatcher(model, load_device=CPU, offload_device=CPU)


def cosmos_model(config: str, channels: int) -> Any:
    return build(
        config, max_img_h=240, max_img_w=240, max_frames=128, in_channels=channels, out_channels=16, patch_spatial=2,
        patch_temporal=1, model_channels=128, block_config="FA-CA-MLP", concat_padding_mask=True,
        pos_emb_cls="rope3d", pos_emb_learnable=False, pos_emb_interpolation="crop", block_x_format="THWBD",
        affline_emb_norm=True, use_adaln_lora=True, adaln_lora_dim=16, num_blocks=1, num_heads=2,
        crossattn_emb_channels=TEXT, extra_per_block_abs_pos_emb=True, rope_h_extrapolation_ratio=1.0,
        rope_w_extrapolation_ratio=1.0, rope_t_extrapolation_ratio=2.0, extra_per_block_abs_pos_emb_type="learnable",
    )  # fmt: skip


def cosmos_2_model(config: str, channels: int) -> Any:
    return build(
        config, max_img_h=240, max_img_w=240, max_frames=128, in_channels=channels, out_channels=16, patch_spatial=2,
        patch_temporal=1, model_channels=128, concat_padding_mask=True, crossattn_emb_channels=TEXT,
        pos_emb_cls="rope3d", pos_emb_learnable=True, pos_emb_interpolation="crop", min_fps=1, max_fps=30,
        use_adaln_lora=True, adaln_lora_dim=16, num_blocks=1, num_heads=1, extra_per_block_abs_pos_emb=False,
        rope_h_extrapolation_ratio=3.0, rope_w_extrapolation_ratio=3.0, rope_t_extrapolation_ratio=1.0,
        extra_h_extrapolation_ratio=1.0, extra_w_extrapolation_ratio=1.0, extra_t_extrapolation_ratio=1.0,
        rope_enable_fps_modulation=False,
    )  # fmt: skip
