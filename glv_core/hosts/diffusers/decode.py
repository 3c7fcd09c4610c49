"""Decoding long latents with a pipeline's VAE, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

LOOP_LEAD = 8  #: latent frames of a loop's end that are decoded before its beginning, and dropped
PIECE = 12  #: images that an image VAE decodes at once


@torch.no_grad()
def decode_frames(pipeline: Any, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    """The frames of normalised latents ``1 c t h w``, in pieces ``t h w 3`` in 0..1 on the CPU.

    Wan's VAE is followed latent frame by latent frame with the caches of its own loop: the pixels are those of decoding
    at once, and memory does not grow with the length. Image VAEs decode every frame alone.
    """
    vae = pipeline.vae
    if type(vae).__name__ != "AutoencoderKLWan":
        for part in latents[0].movedim(1, 0).split(PIECE):
            scaled = part.to(vae.device, vae.dtype) / vae.config.scaling_factor
            yield _pixels(vae.decode(scaled, return_dict=False)[0].movedim(1, -1))
        return
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1, 1)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    vae.clear_cache()
    caches = vae._feat_map
    try:
        for frame in range(latents.shape[2]):
            latent = latents[:, :, frame : frame + 1].float().cpu() * std + mean
            z = vae.post_quant_conv(latent.to(vae.device, vae.dtype))
            first = {"first_chunk": True} if frame == 0 else {}
            pixels = vae.decoder(z, feat_cache=caches, feat_idx=[0], **first)
            if vae.config.patch_size is not None:
                pixels = _unpatchify(pixels, vae.config.patch_size)
            yield _pixels(pixels[0].permute(1, 2, 3, 0))
    finally:
        vae.clear_cache()


def decode_loop(pipeline: Any, latents: torch.Tensor, temporal_compression: int) -> torch.Tensor:
    """The frames ``t h w c`` of one round of a closed loop, by a pipeline with a causal VAE.

    Args:
        pipeline: a Wan pipeline.
        latents: normalised, ``1 c t h w``.
        temporal_compression: frames per latent frame.
    """
    length = latents.shape[2]
    around = latents[:, :, torch.arange(-LOOP_LEAD, length) % length]
    return torch.cat(list(decode_frames(pipeline, around)))[-temporal_compression * length :]


def _unpatchify(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Wan 2.2's VAE makes squares of ``size`` pixels as channels: ``b (c x y) t h w -> b c t (h y) (w x)``."""
    batch, channels, frames, height, width = pixels.shape
    parts = pixels.reshape(batch, channels // size**2, size, size, frames, height, width)
    return parts.permute(0, 1, 4, 5, 3, 6, 2).reshape(batch, -1, frames, height * size, width * size)


def _pixels(frames: torch.Tensor) -> torch.Tensor:
    return (frames.float().cpu() / 2 + 0.5).clamp(0, 1)
