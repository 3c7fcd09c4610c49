"""Decoding closed loops with a ComfyUI VAE."""

from __future__ import annotations

from typing import Any

import torch


def decode_loop(vae: Any, samples: torch.Tensor, lead: int) -> torch.Tensor:
    """The frames of one round of a closed loop.

    The last ``lead`` latent frames are decoded before the first one, and their frames dropped, so that the first latent
    frame has the past that it has in the loop, and as many frames as the others.

    Args:
        vae: a ComfyUI VAE.
        samples: ``b c t h w``, or ``t c h w`` for image VAEs, which need no lead.
        lead: latent frames, at least 1; a short loop goes around more than once.

    Returns:
        ``(b t) h w c`` in 0..1; of a causal VAE with 4 frames a latent frame, ``4 t`` frames.

    Raises:
        ValueError: lead below 1, or an empty latent.
    """
    if lead < 1:
        raise ValueError(f"lead is {lead}; it must be at least 1.")
    if 0 in samples.shape:
        raise ValueError(f"samples is empty: its shape is {list(samples.shape)}.")
    if samples.ndim == 4:
        return vae.decode(samples)
    length = samples.shape[2]
    around = torch.arange(-lead, length) % length
    images = vae.decode(samples.index_select(2, around.to(samples.device)))
    compression = vae.temporal_compression_decode() or 1
    videos = [video[-compression * length :] for video in (images if images.ndim == 5 else images[None])]
    return torch.cat(videos)
