"""Depth and normal maps from a depth network's inverse depth."""

from __future__ import annotations

import math

import torch

from .blur import mirrored

NORMAL_Z = 2 * math.pi  #: how far a normal points at the viewer, in units of inverse depth per 8 pixels
ROUNDING = 1e-5  #: a range below this part of the values is none
BACKGROUND = 0.4  #: normalised depth below which normals are flat


def value_range(depth: torch.Tensor) -> torch.Tensor:
    """Smallest and largest depth of each frame, ``t h w`` to ``t 2``."""
    return torch.stack(torch.aminmax(depth.flatten(1), dim=1), 1)


def normalised(depth: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Inverse depth ``t h w`` brought to 0..1; all 0 where it is constant but for rounding.

    Args:
        bounds: smallest and largest value, ``2`` for the whole clip or ``t 2`` for each frame.
    """
    low, high = (each.view(-1, 1, 1).to(depth) for each in bounds.unbind(-1))
    span = high - low
    varies = span > ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(varies, (depth - low) / torch.where(varies, span, 1), 0).clamp_(0, 1)


def depth_map(depth: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Inverse depth ``t h w`` as grey ``t h w`` uint8, near bright, cut off to whole numbers as ControlNet does."""
    return (normalised(depth, bounds) * 255).to(torch.uint8)


def normal_map(
    depth: torch.Tensor, bounds: torch.Tensor, background: float = BACKGROUND, span: float = 0.0
) -> torch.Tensor:  # fmt: skip
    """Normals of inverse depth ``t h w`` as colours ``t h w 3`` uint8, by the rule of ControlNet's annotator.

    x and y are the 3 x 3 Sobel derivatives of the depth (borders mirrored), z is 2 pi; x and y are 0 where the
    normalised depth is below ``background``; the vector has length 1 and -1..1 becomes 0..255. Flat is (127, 127, 255).

    Args:
        bounds: as for ``normalised``.
        span: derivatives are those of depth whose range is brought to ``span``; 0 takes the network's own numbers,
            as ControlNet does with DPT-hybrid, whose ranges are about 1000 to 3000.
    """
    near = normalised(depth, bounds)
    heights = near * span if span else depth.float()
    framed = heights
    for dim in (1, 2):
        size = heights.shape[dim]
        framed = framed.index_select(dim, mirrored(torch.arange(-1, size + 1, device=heights.device), size))
    smooth = framed[:, :-2] + 2 * framed[:, 1:-1] + framed[:, 2:]
    dx = smooth[:, :, 2:] - smooth[:, :, :-2]
    smooth = framed[:, :, :-2] + 2 * framed[:, :, 1:-1] + framed[:, :, 2:]
    dy = smooth[:, 2:] - smooth[:, :-2]
    seen = (near >= background).to(dx)
    normal = torch.stack([dx * seen, dy * seen, torch.full_like(dx, NORMAL_Z)], -1)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    return (normal * 127.5 + 127.5).clamp_(0, 255).to(torch.uint8)
