"""Encoding video with a pipeline's VAE, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from ...video_io import rechunk

PIECE = 12  #: images that an image VAE encodes at once


@torch.no_grad()
def encode_frames(pipeline: Any, frames: Iterable[torch.Tensor]) -> torch.Tensor:
    """Normalised latents ``1 c t h w`` of images, in float32 on the CPU.

    Wan's VAE is followed latent frame by latent frame with the caches of its own loop, so that memory grows with the
    latents alone; up to three frames at the end that fill no latent frame are left out. Image VAEs encode every frame
    alone. The mean of the VAE's distribution is taken, so nothing is drawn.

    Args:
        pipeline: a pipeline with a ``vae``.
        frames: pieces ``t h w 3`` uint8, of any length.

    Raises:
        ValueError: there are no frames.
    """
    vae = pipeline.vae
    wan = type(vae).__name__ == "AutoencoderKLWan"
    encode = _wan_latents if wan else _image_latents
    latents = [part.float().cpu() for part in encode(vae, frames)]
    if not latents:
        raise ValueError("There are no frames to encode.")
    return torch.cat(latents, dim=2)


class WanEncoder:
    """Encodes one video latent frame by latent frame with Wan's VAE, as the loop of the VAE does.

    What it remembers of the frames before is its own, so that several videos may be encoded in turns.
    """

    def __init__(self, vae: Any) -> None:
        vae.clear_cache()
        self._vae, self._caches = vae, list(vae._enc_feat_map)

    @property
    def memory(self) -> list[Any]:
        """What it remembers now; a call of ``next`` makes new tensors."""
        return list(self._caches)

    def next(self, pixels: torch.Tensor) -> torch.Tensor:
        """The mean ``1 c 1 h w`` of the next latent frame, not normalised, where and as the VAE is.

        Args:
            pixels: ``t 3 h w`` in -1..1: one image at first, and four each time after it.
        """
        vae = self._vae
        pixels = pixels.movedim(0, 1)[None]
        if vae.config.patch_size is not None:
            pixels = _patchify(pixels, vae.config.patch_size)
        encoded = vae.quant_conv(vae.encoder(pixels, feat_cache=self._caches, feat_idx=[0]))
        return encoded.chunk(2, dim=1)[0]


def _wan_latents(vae: Any, frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    mean, std = (
        torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1, 1, 1)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    encoder = WanEncoder(vae)
    for piece in rechunk(frames, 1, 4, keep_rest=False):
        yield (encoder.next(_pixels(piece, vae)).float().cpu() - mean) / std


def _image_latents(vae: Any, frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    for piece in rechunk(frames, PIECE, PIECE, keep_rest=True):
        encoded = vae.encode(_pixels(piece, vae)).latent_dist.mode() * vae.config.scaling_factor
        yield encoded.movedim(0, 1)[None]


def _pixels(piece: torch.Tensor, vae: Any) -> torch.Tensor:
    """Images ``t h w 3`` uint8 as ``t 3 h w`` in -1..1, where and as the VAE is."""
    return (piece.movedim(-1, 1).to(vae.device).float() / 127.5 - 1).to(vae.dtype)


def _patchify(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Wan 2.2's VAE takes squares of ``size`` pixels as channels: ``b c t (h y) (w x) -> b (c x y) t h w``."""
    batch, channels, frames, height, width = pixels.shape
    parts = pixels.reshape(batch, channels, frames, height // size, size, width // size, size)
    return parts.permute(0, 1, 6, 4, 2, 3, 5).reshape(batch, -1, frames, height // size, width // size)
