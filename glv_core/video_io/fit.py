"""Pictures in another size."""

from __future__ import annotations

import torch


def fit(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Pictures in this size; of other proportions, their middle.

    Args:
        frames: ``t h w c`` uint8.
        width, height: in pixels.

    Returns:
        ``t height width c`` uint8.
    """
    if tuple(frames.shape[1:3]) == (height, width):
        return frames
    scale = max(width / frames.shape[2], height / frames.shape[1])
    size = (max(height, round(frames.shape[1] * scale)), max(width, round(frames.shape[2] * scale)))
    large = torch.nn.functional.interpolate(
        frames.movedim(-1, 1).float(), size, mode="bicubic", align_corners=False, antialias=True
    )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    part = large[:, :, top : top + height, left : left + width]
    return part.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
