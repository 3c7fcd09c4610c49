"""Trains the demo model's VAE (`AutoencoderKLWan`) on rendered clips and folds Wan 2.1's latent statistics into it."""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from glv_core.demo.clips import random_scene, render

from . import vae_parallel
from .muon import Muon

logger = logging.getLogger(__name__)

BASE_DIM = 8
# (frames, clips) per step, and how often each is drawn after the warm-up on the first kind.
BATCHES = ((1, 24), (5, 12), (9, 7), (17, 4), (33, 2))
BATCH_ODDS = (0.05, 0.25, 0.35, 0.2, 0.15)
LATENT_NOISE = 0.3
# The same for the last stage, which trains the decoder alone.
POLISH_BATCHES = ((17, 4), (9, 7), (33, 2), (17, 4), (61, 1))
POLISH_NOISE = 0.2
PACE_WEIGHT = 0.1
OBJECT_WEIGHT = 4.0
CROP_ODDS = 0.35
LOG_VARIANCE = -10.0


def new_vae(base_dim: int = BASE_DIM) -> AutoencoderKLWan:
    """An untrained VAE with Wan 2.1's layout and `base_dim` channels where the real one has 96."""
    return AutoencoderKLWan(
        base_dim=base_dim,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )


@torch.no_grad()
def initialise(vae: AutoencoderKLWan) -> None:
    """Starts the VAE as a working model of blurred, still frames; without this it learns colour last and slowly.

    Residual branches start at zero, which leaves a trunk of plain convolutions.  Its first six channels carry red,
    green, blue and their negatives (silu(x) - silu(-x) = x) from the pixels through three latent channels and back.
    Of temporal kernels only the tap on the current frame is not zero; the resamplers in time drop every other frame
    and repeat each frame.  The log variance is not learned: the encoder's spread is a small constant, and robustness
    to errors of latents comes from noise in training.
    """
    for module in vae.modules():
        if hasattr(module, "conv2") and hasattr(module, "conv1"):
            module.conv2.weight.zero_()
            module.conv2.bias.zero_()
        elif hasattr(module, "to_qkv"):
            module.proj.weight.zero_()
            module.proj.bias.zero_()
        elif hasattr(module, "time_conv"):
            conv = module.time_conv
            conv.bias.zero_()
            conv.weight[:, :, -1, 0, 0] = torch.eye(conv.in_channels).repeat(conv.out_channels // conv.in_channels, 1)
        if isinstance(module, nn.Conv3d):
            module.weight[:, :, :-1] = 0
    keep = torch.eye(6)
    colours = torch.cat([torch.eye(3), -torch.eye(3)])
    encoder, decoder = vae.encoder, vae.decoder
    _carry(encoder.conv_in, colours)
    for module in [*encoder.modules(), *decoder.modules()]:
        shortcut = getattr(module, "conv_shortcut", None)
        if isinstance(shortcut, nn.Conv3d):
            _carry(shortcut, keep)
        if hasattr(module, "resample"):
            _carry(module.resample[1], keep)
    _carry(encoder.conv_out, colours.T)
    _carry(vae.quant_conv, torch.eye(16))
    _carry(vae.post_quant_conv, torch.eye(16))
    _carry(decoder.conv_in, colours)
    _carry(decoder.conv_out, colours.T)
    vae.quant_conv.weight[16:] = 0
    vae.quant_conv.bias[16:] = LOG_VARIANCE


def _carry(conv: nn.Module, matrix: Tensor) -> None:
    """Makes the first outputs of a convolution `matrix` [o i] times its first inputs, at the current position."""
    rows, columns = matrix.shape
    centre = [size // 2 for size in conv.weight.shape[-2:]]
    weight = conv.weight[:, :, -1] if conv.weight.dim() == 5 else conv.weight
    weight[:rows] = 0
    weight[:rows, :columns, centre[0], centre[1]] = matrix
    conv.bias[:rows] = 0


def _channels_last(vae: AutoencoderKLWan) -> None:
    for parameter in vae.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
        elif parameter.dim() == 4 and parameter.shape[-1] > 1:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def random_clips(num_clips: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Random scenes in -1..1 [b 3 t h w]."""
    clips = [render(random_scene(generator), num_frames) for _ in range(num_clips)]
    return torch.stack(clips).transpose(1, 2).mul(2).sub(1)


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> tuple[Tensor, tuple[float, float, float]]:
    """The loss of [b 3 t h w] in -1..1, and its parts for the log: error, error of colour, error of motion.

    The object covers a tenth of a frame and is all that has colour, so unweighted losses stop at gray objects on
    the right background: pixels far from the clip's background count more, and colour differences count once more.
    """
    background = pixels.flatten(2).median(dim=2).values[:, :, None, None, None]
    weight = 1 + OBJECT_WEIGHT * (pixels - background).abs().amax(dim=1, keepdim=True)
    difference = decoded - pixels
    error = (weight * difference.abs()).mean()
    chroma = (weight * (difference - difference.roll(1, 1)).square()).mean()
    motion = error.new_zeros(())
    if pixels.shape[2] > 1:
        motion = (weight[:, :, 1:] * difference.diff(dim=2).abs()).mean()
    loss = error + (weight * difference.square()).mean() + chroma + motion
    return loss, (difference.abs().mean().item(), chroma.item(), motion.item())


def train_vae(
    out: Path, steps: int, seed: int, lr: float = 2e-2, ema_decay: float = 0.997, resume: bool = False
) -> AutoencoderKLWan:
    """Trains for `steps`, leaves checkpoints in `out/vae.pt` and returns the averaged model."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    vae = new_vae()
    initialise(vae)
    start = 0
    if resume and (out / "vae.pt").exists():
        checkpoint = torch.load(out / "vae.pt", weights_only=True)
        vae.load_state_dict(checkpoint["model"])
        start = checkpoint["step"]
        generator.manual_seed(seed + start)
    _channels_last(vae)
    ema = copy.deepcopy(vae).requires_grad_(False)
    optimizer = Muon(vae.parameters(), lr=lr, adam_lr=0.1 * lr)
    warm_up, first_phase = 20, int(0.15 * steps)
    begin = time.monotonic()
    for step in range(start, steps):
        scale = min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.scale_lr(scale)
        kind = 0 if step < first_phase else int(torch.multinomial(torch.tensor(BATCH_ODDS), 1, generator=generator))
        num_frames, num_clips = BATCHES[kind]
        pixels = random_clips(num_clips, num_frames, generator).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae_parallel.encode(vae, pixels)[:, :16].float()
            spread = mean.std(dim=(0, 2, 3, 4), keepdim=True)
            amount = LATENT_NOISE * torch.rand(num_clips, 1, 1, 1, 1, generator=generator)
            noisy = mean + amount * spread * torch.randn_like(mean)
            if mean.shape[2] > 1 and float(torch.rand((), generator=generator)) < CROP_ODDS:
                # Decode from the middle: the last frame of the first latent left takes the place of frame 0.
                first = int(torch.randint(1, mean.shape[2], (), generator=generator))
                noisy, pixels = noisy[:, :, first:], pixels[:, :, 4 * first :]
            decoded = vae_parallel.decode(vae, noisy).float()
        loss, parts = reconstruction_loss(decoded, pixels)
        loss = loss + 1e-4 * mean.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, parameter in zip(ema.parameters(), vae.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)
        if step % 20 == 0 or step == steps - 1:
            logger.info(
                "vae step %d: loss %.4f l1 %.4f chroma %.4f motion %.4f spread %.2f, %d frames, %.0f s",
                step, loss.item(), *parts, spread.mean().item(), num_frames, time.monotonic() - begin,
            )  # fmt: skip
        if step % 100 == 99 or step == steps - 1:
            torch.save({"step": step + 1, "ema": ema.state_dict(), "model": vae.state_dict()}, out / "vae.part")
            (out / "vae.part").replace(out / "vae.pt")
    return ema


def load_vae(out: Path) -> AutoencoderKLWan:
    """The averaged model of the newest checkpoint."""
    vae = new_vae()
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True)["ema"])
    _channels_last(vae)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def fold_statistics(vae: AutoencoderKLWan, mean: Tensor, std: Tensor) -> None:
    """Makes the raw latents have exactly the statistics in the VAE's config, without changing what it decodes.

    `mean` and `std` [c] are what the raw posterior means measure now.  Both convolutions are 1x1x1, so a per-channel
    affine map on the latents can be absorbed by the last layer before them and undone by the first layer after.
    """
    wanted_mean = torch.tensor(vae.config.latents_mean)
    wanted_std = torch.tensor(vae.config.latents_std)
    gain = wanted_std / std
    conv, z = vae.quant_conv, vae.config.z_dim
    conv.weight[:z] *= gain.view(-1, 1, 1, 1, 1)
    conv.bias[:z] = (conv.bias[:z] - mean) * gain + wanted_mean
    conv.weight[z:] = 0
    conv.bias[z:] = LOG_VARIANCE + 2 * wanted_std.log()
    conv = vae.post_quant_conv
    offset = mean - wanted_mean / gain
    conv.bias += conv.weight.flatten(1) @ offset
    conv.weight /= gain.view(1, -1, 1, 1, 1)


def polish_decoder(
    out: Path, vae: AutoencoderKLWan, steps: int, seed: int, lr: float = 8e-3, ema_decay: float = 0.99
) -> None:
    """Trains only the decoder on, with the encoder's latents as they are; leaves `out/vae_polished.pt`.

    The loss gains a term for the amount of change from frame to frame, so that a clip changes as much between two
    latent frames as inside one.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 3)
    vae.requires_grad_(False)
    trained = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    _channels_last(vae)
    average = [parameter.detach().clone() for parameter in trained]
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    optimizer = Muon(trained, lr=lr, adam_lr=0.1 * lr)
    begin = time.monotonic()
    for step in range(steps):
        optimizer.scale_lr(min(1.0, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))))
        num_frames, num_clips = POLISH_BATCHES[step % len(POLISH_BATCHES)]
        pixels = random_clips(num_clips, num_frames, generator).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = vae_parallel.encode(vae, pixels)[:, : vae.config.z_dim].float()
            amount = POLISH_NOISE * torch.rand(num_clips, 1, 1, 1, 1, generator=generator)
            latents = latents + amount * std * torch.randn_like(latents)
            if float(torch.rand((), generator=generator)) < CROP_ODDS:
                first = int(torch.randint(1, latents.shape[2] - 1, (), generator=generator))
                latents, pixels = latents[:, :, first:], pixels[:, :, 4 * first :]
            decoded = vae_parallel.decode(vae, latents).float()
        loss, parts = reconstruction_loss(decoded, pixels)
        change = decoded.clamp(-1, 1).diff(dim=2).abs().mean(dim=(1, 3, 4))
        wanted = pixels.diff(dim=2).abs().mean(dim=(1, 3, 4))
        pace = ((change - wanted) / wanted.mean(dim=1, keepdim=True)).abs().mean()
        loss = loss + PACE_WEIGHT * pace
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in trained], 1 - min(ema_decay, (1 + step) / (10 + step)))
        if step % 20 == 0 or step == steps - 1:
            logger.info(
                "decoder step %d: loss %.4f l1 %.4f chroma %.4f motion %.4f pace %.3f, %d frames, %.0f s",
                step, loss.item(), *parts, pace.item(), num_frames, time.monotonic() - begin,
            )  # fmt: skip
        if step % 100 == 99 or step == steps - 1:
            final = copy.deepcopy(vae)
            with torch.no_grad():
                for parameter, value in zip(
                    [*final.decoder.parameters(), *final.post_quant_conv.parameters()], average, strict=True
                ):
                    parameter.copy_(value)
            torch.save(final.state_dict(), out / "vae_polished.pt")
