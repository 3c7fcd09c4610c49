"""Trains the VAE (`AutoencoderKL`) on drawn frames, and folds the scale of its latents into its weights."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from glv_core.demo.clips import Scene, random_scene, render

from ..demo.train_vae import reconstruction_loss
from .loop import Training, load_average, step_generator

logger = logging.getLogger(__name__)

CHANNELS = (16, 32, 32, 32)
GROUPS = 8
LATENT_CHANNELS = 4
SCALING_FACTOR = 0.18215  # Stable Diffusion's: latents times this have the variance that a UNet expects, one
LATENT_NOISE = 0.3  # at most, in standard deviations: decoding must bear the errors of a UNet
LOG_VARIANCE = -10.0


def new_vae() -> AutoencoderKL:
    """An untrained VAE with Stable Diffusion's layout, narrow and with one layer a block."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=GROUPS,
        sample_size=64,
        scaling_factor=SCALING_FACTOR,
    )


@torch.no_grad()
def initialise(vae: AutoencoderKL) -> None:
    """Residual branches start at zero; the log variance is a small constant that is not learned."""
    for module in vae.modules():
        if hasattr(module, "conv2") and hasattr(module, "time_emb_proj"):
            module.conv2.weight.zero_()
            module.conv2.bias.zero_()
        elif hasattr(module, "to_out"):
            module.to_out[0].weight.zero_()
            module.to_out[0].bias.zero_()
    vae.quant_conv.weight[LATENT_CHANNELS:] = 0
    vae.quant_conv.bias[LATENT_CHANNELS:] = LOG_VARIANCE


def random_frames(count: int, generator: torch.Generator) -> tuple[Tensor, list[Scene]]:
    """Frames of random scenes in -1..1 [b 3 h w], and the scenes."""
    scenes = [random_scene(generator) for _ in range(count)]
    return torch.cat([render(scene, 1) for scene in scenes]).mul(2).sub(1), scenes


def means(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The means of the latents, not scaled [b 3 h w] -> [b 4 h/8 w/8]."""
    return vae.quant_conv(vae.encoder(pixels))[:, :LATENT_CHANNELS]


def encode(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Scaled latents of frames in -1..1 [b 3 h w] -> [b 4 h/8 w/8]."""
    return means(vae, pixels) * SCALING_FACTOR


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Frames in -1..1 of scaled latents [b 4 h w] -> [b 3 8h 8w]."""
    return vae.decode(latents / SCALING_FACTOR).sample


def loss_of_frames(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of rebuilding [b 3 h w] from latents with a random amount of noise."""
    mean = means(vae, pixels)
    spread = mean.std(dim=(0, 2, 3), keepdim=True)
    amount = LATENT_NOISE * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    decoded = vae.decode(mean + amount * spread * torch.randn(mean.shape, generator=generator)).sample
    loss, _ = reconstruction_loss(decoded[:, :, None], pixels[:, :, None])
    return loss + 1e-4 * mean.square().mean()


def train_vae(
    out: Path, steps: int, seed: int, batch: int = 16, lr: float = 1e-2, resume: bool = False
) -> AutoencoderKL:
    """Trains for `steps`; leaves `vae.pt` in `out` and returns the averaged model."""
    torch.manual_seed(seed)
    vae = new_vae().to(memory_format=torch.channels_last)
    initialise(vae)
    training = Training(out / "vae.pt", vae, steps, lr, 0.1 * lr, ema_decay=0.997)

    def loss_of(step: int) -> Tensor:
        generator = step_generator(seed, step)
        pixels = random_frames(batch, generator)[0].contiguous(memory_format=torch.channels_last)
        return loss_of_frames(vae, pixels, generator)

    return training.run(loss_of, resume, warm_up=20)


@torch.no_grad()
def psnr(vae: AutoencoderKL, count: int = 64, seed: int = 11) -> float:
    """PSNR in dB of rebuilt frames."""
    pixels, _ = random_frames(count, torch.Generator().manual_seed(seed))
    rebuilt = decode(vae, encode(vae, pixels)).clamp(-1, 1)
    return float(-10 * ((rebuilt - pixels) / 2).square().mean().log10())


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Makes the scaled latents have mean 0 and variance 1 in each channel, without changing what is decoded.

    `mean` and `std` [4] are what the means of the latents measure now. Both convolutions around them are 1x1, so the
    one before absorbs an affine map and the one after undoes it.
    """
    gain = 1 / (SCALING_FACTOR * std)
    conv: nn.Conv2d = vae.quant_conv
    conv.weight[:LATENT_CHANNELS] *= gain.view(-1, 1, 1, 1)
    conv.bias[:LATENT_CHANNELS] = (conv.bias[:LATENT_CHANNELS] - mean) * gain
    conv.weight[LATENT_CHANNELS:] = 0
    conv.bias[LATENT_CHANNELS:] = LOG_VARIANCE
    conv = vae.post_quant_conv
    conv.bias += conv.weight.flatten(1) @ mean
    conv.weight /= gain.view(1, -1, 1, 1)


def load_vae(out: Path) -> AutoencoderKL:
    """The averaged model of the newest checkpoint, with its scale folded."""
    vae = load_average(out / "vae.pt", new_vae())
    with torch.no_grad():
        latents = means(vae, random_frames(512, torch.Generator().manual_seed(7))[0])
    fold_scale(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
    return vae
