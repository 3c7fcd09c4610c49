"""Masks of pixels as VACE reads them: the pixels of a latent pixel are its channels (arXiv 2503.07598)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def nearest_frames(num_frames: int, num_latent_frames: int) -> list[int]:
    """The frame of a video whose mask stands for each latent frame, by torch's interpolation ``nearest-exact``."""
    numbers = torch.arange(num_frames, dtype=torch.float32).view(1, 1, -1)
    return F.interpolate(numbers, size=num_latent_frames, mode="nearest-exact").long().flatten().tolist()


def mask_cells(masks: torch.Tensor, scale: int) -> torch.Tensor:
    """Masks ``t (h y) (w x)`` as channels ``(y x) t h w``, with cells of ``scale`` x ``scale`` pixels."""
    length, height, width = masks.shape
    cells = masks.reshape(length, height // scale, scale, width // scale, scale).permute(2, 4, 0, 1, 3)
    return cells.reshape(scale**2, length, height // scale, width // scale)
