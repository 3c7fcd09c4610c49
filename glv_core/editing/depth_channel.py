"""The depth channel of Stable Diffusion 2 depth: normalised to -1..1, of each frame or of the whole clip."""

from __future__ import annotations

import torch

from ..perception.controls.depth import ROUNDING, value_range

NORMALISE = ("per_frame", "whole_clip")


def depth_channel(depth: torch.Tensor, normalise: str = "per_frame") -> torch.Tensor:
    """Inverse depth in the size of the latent as the network was trained on it: its range becomes -1..1.

    That of every frame for itself is what Stable Diffusion 2's training and Gen-L-Video's tuning-free-mix do; where the
    range jumps from frame to frame, so does the scale. That of all frames together does not.

    Args:
        depth: ``t h w``, of any range.
        normalise: one of ``NORMALISE``.

    Returns:
        ``t h w`` float in -1..1; a range of nothing, but for rounding, becomes 0.

    Raises:
        ValueError: another name.
    """
    if normalise not in NORMALISE:
        raise ValueError(f"normalise is {normalise!r}; it must be one of {', '.join(NORMALISE)}.")
    depth = depth.float()
    bounds = value_range(depth)
    low, high = bounds[:, 0], bounds[:, 1]
    if normalise == "whole_clip":
        low, high = low.amin(0, keepdim=True), high.amax(0, keepdim=True)
    low, high = low.view(-1, 1, 1), high.view(-1, 1, 1)
    span = high - low
    varies = span > ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(varies, 2 * (depth - low) / torch.where(varies, span, 1) - 1, 0).clamp_(-1, 1)
