"""A chunk as a small animated image, from its latents alone: for looking at what is finished."""

from __future__ import annotations

import io
import logging
from typing import Any

import latent_preview
import torch

log = logging.getLogger(__name__)

MOST_IMAGES = 24
MILLISECONDS = 125  #: that each is shown
QUALITY = 70


def small_video(latents: torch.Tensor, latent_format: Any, time_dim: int) -> bytes | None:
    """A WebP of the latents of a chunk, in the latent format's own colours, a pixel a latent pixel.

    Args:
        latents: a LATENT's samples, in the host's shape.
        latent_format: of the model.
        time_dim: their axis of time.

    Returns:
        None where the format has no colours, or something goes wrong; the log says so.
    """
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None:
        return None
    try:
        previewer = latent_preview.Latent2RGBPreviewer(
            factors,
            getattr(latent_format, "latent_rgb_factors_bias", None),
            getattr(latent_format, "latent_rgb_factors_reshape", None),
        )
        length = latents.shape[time_dim]
        frames = range(0, length, max(1, -(-length // MOST_IMAGES)))
        images = [previewer.decode_latent_to_preview(latents.narrow(time_dim, each, 1).float()) for each in frames]
        file = io.BytesIO()
        images[0].save(
            file, "WEBP", save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0, quality=QUALITY
        )
        return file.getvalue()
    except Exception:  # whatever it is, the chunk itself is safe
        log.exception("A finished chunk has no preview.")
        return None
