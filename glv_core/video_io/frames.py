"""Frames in other sizes, and in pieces of other lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch


def center_crop_resize(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Frames in this size; of other proportions, their middle.

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


def rechunk(frames: Iterable[torch.Tensor], first: int, then: int, keep_rest: bool) -> Iterator[torch.Tensor]:
    """The same frames in pieces of ``first``, and then of ``then``; a shorter rest only if it is to be kept.

    Args:
        frames: pieces whose first axis is time, of any length.
    """
    waiting: list[torch.Tensor] = []
    wanted = first
    for part in frames:
        waiting.append(part)
        while sum(map(len, waiting)) >= wanted:
            together = torch.cat(waiting)
            yield together[:wanted]
            waiting, wanted = [together[wanted:]], then
    rest = torch.cat(waiting) if waiting else None
    if keep_rest and rest is not None and len(rest):
        yield rest
