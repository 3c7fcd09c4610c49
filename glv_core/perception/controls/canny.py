"""Canny edges, pixel for pixel those of OpenCV."""

from __future__ import annotations

import torch

_TAN_22 = 13573  #: tan 22.5 degrees in units of 1 / 32768
_SHIFT = 15


def canny(frames: torch.Tensor, low: float = 100, high: float = 200) -> torch.Tensor:
    """Edges of colour images as ``cv2.Canny(image, low, high)`` finds them: aperture 3, L1 norm of the gradient.

    Each pixel takes the gradient of the channel in which it is largest (the first of equals); borders are repeated;
    directions are told apart with OpenCV's fixed-point tangents; weak edges stay where they touch strong ones through
    8 neighbours (Canny, 1986).

    Args:
        frames: ``t h w c`` uint8.
        low, high: thresholds of the gradient's norm, 0..2040; a higher ``low`` is swapped with ``high``.

    Returns:
        ``t h w`` uint8, 255 on edges and 0 elsewhere.
    """
    low, high = sorted((low, high))
    dx, dy, norm = _strongest_gradient(frames)
    thin = _thin(dx, dy, norm) & (norm > int(low // 1))
    return _connected(thin, thin & (norm > int(high // 1))).to(torch.uint8) * 255


def _strongest_gradient(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sobel derivatives and their L1 norm ``t h w`` int32, of the channel where the norm is largest."""
    best = None
    for channel in frames.to(torch.int32).unbind(-1):
        framed = _padded(channel, "repeat")
        smooth = framed[:, :-2] + 2 * framed[:, 1:-1] + framed[:, 2:]
        dx = smooth[:, :, 2:] - smooth[:, :, :-2]
        smooth = framed[:, :, :-2] + 2 * framed[:, :, 1:-1] + framed[:, :, 2:]
        dy = smooth[:, 2:] - smooth[:, :-2]
        norm = dx.abs() + dy.abs()
        if best is None:
            best = dx, dy, norm
        else:
            larger = norm > best[2]
            best = tuple(torch.where(larger, new, old) for new, old in zip((dx, dy, norm), best, strict=True))
    return best


def _thin(dx: torch.Tensor, dy: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    """Where the norm is a maximum across the edge: among 2 neighbours in one of 4 directions."""
    framed = _padded(norm, "zeros")
    height, width = norm.shape[1:]

    def neighbour(down: int, right: int) -> torch.Tensor:
        return framed[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat = dx.abs() * _TAN_22
    steep = flat + (dx.abs() << (_SHIFT + 1))
    rise = dy.abs() << _SHIFT
    across = (norm > neighbour(0, -1)) & (norm >= neighbour(0, 1))
    along = (norm > neighbour(-1, 0)) & (norm >= neighbour(1, 0))
    falling = (norm > neighbour(-1, 1)) & (norm > neighbour(1, -1))
    rising = (norm > neighbour(-1, -1)) & (norm > neighbour(1, 1))
    diagonal = torch.where((dx ^ dy) < 0, falling, rising)
    return torch.where(rise < flat, across, torch.where(rise > steep, along, diagonal))


def _connected(weak: torch.Tensor, strong: torch.Tensor) -> torch.Tensor:
    """What of ``weak`` is connected to ``strong`` through 8 neighbours: a flood from the strong pixels."""
    framed = _padded(weak & ~strong, "zeros")
    width = framed.shape[2]
    steps = torch.tensor([down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right])
    steps = steps.to(weak.device)
    result = _padded(strong, "zeros")
    left, found = framed.view(-1), result.view(-1)
    front = found.nonzero()[:, 0]
    while len(front):
        near = (front[:, None] + steps).view(-1)
        front = near[left[near]].unique()
        left[front] = False
        found[front] = True
    return result[:, 1:-1, 1:-1]


def _padded(values: torch.Tensor, border: str) -> torch.Tensor:
    """``t h w`` with one more pixel around it: ``zeros``, or those of the border again."""
    count, height, width = values.shape
    framed = values.new_zeros(count, height + 2, width + 2)
    framed[:, 1:-1, 1:-1] = values
    if border == "repeat":
        framed[:, 0], framed[:, -1] = framed[:, 1], framed[:, -2]
        framed[:, :, 0], framed[:, :, -1] = framed[:, :, 1], framed[:, :, -2]
    return framed
