"""Trains the UNet on cached latents, to predict the noise in them, with the text encoder as it is."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from .loop import Training, load_average, step_generator
from .text import PromptEmbeddings, load_tokenizer
from .train_text import load_text_encoder
from .unet import CHANNELS, fast_on_cpu, initialise, new_scheduler, new_unet
from .world import World

TRAIN_STEPS = 1000  # noise levels of the schedule
# Where the signal is weak, the object, its place and its colours are decided: there errors of the noise count by what
# they do to the latents, to this limit. Where the signal is strong they count less: that is detail that nobody sees.
MOST_WEIGHT = 20.0
SNR_LIMIT = 5.0
# Even the noisiest latents keep a little of how bright the video is. Pure noise, which sampling begins with, does not,
# and a model that reads it there paints all backgrounds grey. This share of the clips at these levels and above loses
# a random part of the signal.
LOST_SIGNAL = 0.5
LOST_FROM = 900


def signal_to_noise() -> Tensor:
    """The ratio of the variances at every noise level [1000]."""
    kept = new_scheduler().alphas_cumprod
    return kept / (1 - kept)


def loss_weights(levels: Tensor) -> Tensor:
    """How much the error of the noise counts at noise levels [b] -> [b]."""
    ratio = signal_to_noise()[levels]
    return (1 + 1 / ratio).clamp(max=MOST_WEIGHT) * (SNR_LIMIT / ratio).clamp(max=1)


def draw_levels(batch: int, generator: torch.Generator) -> Tensor:
    """One noise level a clip [b], one from each part of the schedule."""
    part = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return (part * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)


def add_noise(latents: Tensor, levels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents at their noise levels, and the noise to predict, both [b c t h w].

    Where a part of the signal is lost, the noise to predict is what leads to the latents all the same.
    """
    kept = new_scheduler().alphas_cumprod[levels].view(-1, 1, 1, 1, 1)
    signal, spread = kept.sqrt(), (1 - kept).sqrt()
    noise = torch.randn(latents.shape, generator=generator)
    chance, part = torch.rand(2, len(levels), generator=generator)
    left = torch.where((levels >= LOST_FROM) & (chance < LOST_SIGNAL), part, 1.0).view(-1, 1, 1, 1, 1)
    noisy = left * signal * latents + spread * noise
    return noisy, (noisy - signal * latents) / spread


def diffusion_loss(
    unet: UNet3DConditionModel, latents: Tensor, text: Tensor, generator: torch.Generator, half: bool = True
) -> Tensor:
    """The weighted loss of predicting the noise of latents [b 4 t h w] under text [b n c]; `half` works in bf16."""
    levels = draw_levels(len(latents), generator)
    noisy, target = add_noise(latents, levels, generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        predicted = unet(noisy, levels, text, return_dict=False)[0].float()
    error = (predicted - target).square().mean(dim=(1, 2, 3, 4))
    return (error * loss_weights(levels)).mean()


def new_model(channels: tuple[int, ...] = CHANNELS) -> UNet3DConditionModel:
    """The untrained UNet."""
    unet = new_unet(channels)
    initialise(unet)
    return unet


def train_base(
    out: Path,
    latents: Tensor,
    steps: int,
    seed: int,
    batch: int = 8,
    lr: float = 0.006,
    adam_lr: float = 6e-4,
    resume: bool = False,
    channels: tuple[int, ...] = CHANNELS,
) -> nn.Module:
    """Trains on the cached `latents`; leaves `base.pt` in `out` and returns the averaged UNet."""
    torch.manual_seed(seed)
    world, unet = World(latents), new_model(channels).eval()  # without the dropout of the layers in time
    training = Training(out / "base.pt", unet, steps, lr, adam_lr, _BY_ADAM)
    text = PromptEmbeddings(load_text_encoder(out), load_tokenizer(out / "tokenizer"))

    def loss_of(step: int) -> Tensor:
        generator = step_generator(seed, step)
        clean, prompts = world.batch(batch, generator)
        return diffusion_loss(unet, clean, text(prompts), generator)

    with fast_on_cpu(unet):
        return training.run(loss_of, resume)


# What Adam trains: the layers at both ends, and everything about the time step.
_BY_ADAM = ("conv_in", "conv_out", "time_emb")


def load_base(out: Path, channels: tuple[int, ...] = CHANNELS) -> tuple[UNet3DConditionModel, CLIPTextModel]:
    """The averaged UNet and text encoder of the newest checkpoints."""
    unet = load_average(out / "base.pt", new_model(channels))
    assert isinstance(unet, UNet3DConditionModel)
    return unet, load_text_encoder(out)
