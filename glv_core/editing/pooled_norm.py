"""GroupNorm whose mean and variance are those of all frames of a window together.

In Gen-L-Video's inflated image models (arXiv 2305.18264) the norms of the ResNet blocks and of the output get
``b c f h w``, so that all frames of a window share their statistics. A batch of images has them apart.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def fold_frames(features: torch.Tensor, frames: int) -> torch.Tensor:
    """Frames below each other in one tall image, whose GroupNorm is that of ``g c f h w``.

    Args:
        features: ``(g f) c h w``, groups of ``frames`` behind each other.
        frames: frames of a group.

    Returns:
        ``g c (f h) w``; ``features`` itself where a group is one frame.

    Raises:
        ValueError: the rows are not whole groups.
    """
    rows, channels, height, width = features.shape
    if frames == 1:
        return features
    if frames < 1 or rows % frames:
        raise ValueError(f"{rows} rows of features are not whole groups of {frames} frames.")
    grouped = features.reshape(rows // frames, frames, channels, height, width)
    return grouped.transpose(1, 2).reshape(rows // frames, channels, frames * height, width)


def unfold_frames(features: torch.Tensor, frames: int) -> torch.Tensor:
    """The inverse of ``fold_frames``: ``g c (f h) w`` to ``(g f) c h w``."""
    if frames == 1:
        return features
    groups, channels, height, width = features.shape
    grouped = features.reshape(groups, channels, frames, height // frames, width)
    return grouped.transpose(1, 2).reshape(groups * frames, channels, height // frames, width)


def pooled_norm(features: torch.Tensor, frames: int, norm: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Normalise frames with the statistics of all frames of their group.

    Args:
        features: ``(g f) c h w``, groups of ``frames`` behind each other.
        frames: frames of a group; with 1 it is ``norm(features)``.
        norm: a GroupNorm, of ``b c h w``.

    Returns:
        ``(g f) c h w``: what ``norm`` would make of ``g c f h w``.
    """
    return unfold_frames(norm(fold_frames(features, frames)), frames)
