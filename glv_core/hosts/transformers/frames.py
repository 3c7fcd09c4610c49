"""Frames as the library's processors take them."""

from __future__ import annotations

import torch


def pictures(frames: torch.Tensor) -> list[torch.Tensor]:
    """Frames ``t h w 3`` in 0..1 as pictures ``3 h w`` uint8, which the processors resize and normalise."""
    return list((frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-1, 1))
