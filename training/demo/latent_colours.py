"""Fits what the demo model's latents look like: the colours of their pixels, for the preview of a run.

``python -m training.demo.latent_colours`` prints the constants of ``glv_core/demo/latent_colours.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from glv_core.demo import MODEL_DIR
from glv_core.demo.clips import random_scene, render

SCENES, FRAMES, SEED = 48, 17, 0
NOISE = 0.1  #: how far a sampler's predictions are thought to be off, in deviations of the latents


def load_vae() -> AutoencoderKLWan:
    """The demo model's VAE, in float32."""
    return AutoencoderKLWan.from_pretrained(MODEL_DIR / "vae", torch_dtype=torch.float32).eval()


@torch.no_grad()
def latents_and_colours(vae: AutoencoderKLWan, scenes: int = SCENES, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Pixels of latents as a sampler sees them, ``n c``, and the colours that they decode to, ``n 3`` in -1..1."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [_pixels(vae, render(random_scene(generator), FRAMES)) for _ in range(scenes)]
    return torch.cat([latents for latents, _ in pairs]), torch.cat([colours for _, colours in pairs])


def _pixels(vae: AutoencoderKLWan, clip: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(each).view(1, -1, 1, 1, 1) for each in (vae.config.latents_mean, vae.config.latents_std))
    encoded = vae.encode(2 * clip.movedim(1, 0)[None] - 1).latent_dist.mode()
    decoded = vae.decode(encoded).sample[0].clamp(-1, 1)
    side = decoded.shape[-1] // encoded.shape[-1]
    small = torch.nn.functional.avg_pool2d(decoded, side)
    by_latent_frame = torch.stack([part.mean(dim=1) for part in _latent_frames(small)], dim=1)
    return ((encoded - mean) / std)[0].flatten(1).T, by_latent_frame.flatten(1).T


def _latent_frames(frames: Tensor) -> Iterator[Tensor]:
    """The frames ``c t h w`` of each latent frame."""
    yield frames[:, :1]
    yield from frames[:, 1:].split(4, dim=1)


def fit(latents: Tensor, colours: Tensor, noise: float = NOISE) -> tuple[Tensor, Tensor]:
    """The linear map ``c 3`` and the bias ``3`` whose colours are nearest, of latents with noise on them.

    Least squares; without the noise channels that say the same get large factors of opposite signs, and a preview
    speckles (0.14 of 1 is the error then at a noise of 0.1, and 0.06 with it).
    """
    known = torch.cat([latents, torch.ones(len(latents), 1)], dim=1).double()
    spread = torch.full((known.shape[1],), len(latents) * noise**2, dtype=torch.float64)
    spread[-1] = 0  # of the bias
    solved = torch.linalg.solve(known.T @ known + torch.diag(spread), known.T @ colours.double()).float()
    return solved[:-1], solved[-1]


def preview(latents: Tensor, factors: Tensor, bias: Tensor) -> Tensor:
    """The colours that a preview shows of latents ``n c``, ``n 3`` in -1..1."""
    return torch.addmm(bias, latents, factors).clamp(-1, 1)


if __name__ == "__main__":
    pixels, seen = latents_and_colours(load_vae())
    factors, bias = fit(pixels, seen)
    error = (preview(pixels, factors, bias) - seen).abs().mean() / 2
    print(f"# mean error {error:.3f} of 1\nFACTORS = (")
    for row in factors.tolist():
        print(f"    ({', '.join(f'{value:.4f}' for value in row)}),")
    print(f")\nBIAS = ({', '.join(f'{value:.4f}' for value in bias.tolist())})")
