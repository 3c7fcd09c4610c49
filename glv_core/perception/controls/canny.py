"""Canny edges, pixel for pixel those of OpenCV."""

from __future__ import annotations

import torch

_TAN_22 = 13573  #: tan 22.5 degrees in units of 1 / 32768
_SHIFT = 15
_LARGEST = 2040  #: L1 norm of Sobel's derivatives of 8-bit values


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
    low, high = (int(min(max(each, 0), _LARGEST) // 1) for each in sorted((low, high)))
    count, height, width, channels = frames.shape
    bits = (channels - 1).bit_length()
    ranks = torch.zeros(count, height + 2, width + 2, dtype=torch.int16, device=frames.device)
    found = [_thin(frame, each, low, bits) for frame, each in zip(frames, ranks, strict=True)]
    size = ranks[0].numel()
    edges = torch.cat([number * size + places for number, places in enumerate(found)])
    result = _connected(edges, ranks.view(-1)[edges] >> bits > high, ranks.numel(), width + 2)
    return result.view_as(ranks)[:, 1:-1, 1:-1] * 255


def _thin(frame: torch.Tensor, ranks: torch.Tensor, low: int, bits: int) -> torch.Tensor:
    """Where the gradient of a frame ``h w c`` is above ``low`` and a maximum across the edge: among 2 neighbours in one
    of 4 directions.

    Args:
        ranks: zeros, ``h w`` in a border of one pixel; gets the gradient's L1 norm of the channel where it is largest
            and, in so many ``bits`` below it, which channel that is: larger for the first.

    Returns:
        Places in ``ranks``, flattened.
    """
    planes = _padded(frame.permute(2, 0, 1))
    (channels, _, width), size = planes.shape, ranks.numel()
    dx, dy = torch.empty(2, *planes.shape, dtype=torch.int16, device=frame.device)
    inner = slice(None), slice(1, -1), slice(1, -1)
    smooth = (planes[:, :-2] + planes[:, 2:]).add_(planes[:, 1:-1], alpha=2)
    torch.sub(smooth[:, :, 2:], smooth[:, :, :-2], out=dx[inner])
    smooth = (planes[:, :, :-2] + planes[:, :, 2:]).add_(planes[:, :, 1:-1], alpha=2)
    torch.sub(smooth[:, 2:], smooth[:, :-2], out=dy[inner])
    ranked = dx[inner].abs().add_(dy[inner].abs()).mul_(1 << bits)
    for number in range(channels - 1):
        ranked[number] += channels - 1 - number
    ranks[1:-1, 1:-1] = ranked.amax(0)
    values = ranks.view(-1)
    places = (values >= (low + 1) << bits).nonzero()[:, 0]
    rank = values[places]
    channel = channels - 1 - (rank & ((1 << bits) - 1)).long()
    at = channel * size + places
    right, down = dx.view(-1)[at].int(), dy.view(-1)[at].int()
    flat, rise = right.abs() * _TAN_22, down.abs() << _SHIFT
    across, along = rise < flat, rise > flat + (right.abs() << (_SHIFT + 1))
    step = torch.where((right ^ down) < 0, width - 1, width + 1)
    step = torch.where(across, 1, torch.where(along, width, step))
    straight = (across | along).to(rank.dtype)  # the second neighbour may be equal
    here, before, after = (each >> bits for each in (rank, values[places - step], values[places + step]))
    return places[(here > before) & (here + straight > after)]


def _connected(edges: torch.Tensor, strong: torch.Tensor, size: int, width: int) -> torch.Tensor:
    """What of ``edges`` is connected to the ``strong`` ones through 8 neighbours: a flood from these.

    Args:
        edges: places in frames in a row, ``size`` pixels in all, with a border around each frame, ``width`` with it.

    Returns:
        ``size`` uint8, 1 at what is.
    """
    left, found = torch.zeros(2, size, dtype=torch.bool, device=edges.device)
    left[edges] = True
    front = edges[strong]
    left[front] = False
    found[front] = True
    steps = torch.tensor([down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right])
    steps = steps.to(edges.device)
    order = torch.empty(size, dtype=torch.int32, device=edges.device)
    while len(front):
        near = (front[:, None] + steps).view(-1)
        near = near[left[near]]
        number = torch.arange(len(near), dtype=order.dtype, device=near.device)
        order[near] = number
        front = near[order[near] == number]  # each once
        left[front] = False
        found[front] = True
    return found.to(torch.uint8)


def _padded(planes: torch.Tensor) -> torch.Tensor:
    """``c h w`` as int16 with one more pixel around it, those of the border again."""
    count, height, width = planes.shape
    framed = torch.empty(count, height + 2, width + 2, dtype=torch.int16, device=planes.device)
    framed[:, 1:-1, 1:-1] = planes
    framed[:, 0], framed[:, -1] = framed[:, 1], framed[:, -2]
    framed[:, :, 0], framed[:, :, -1] = framed[:, :, 1], framed[:, :, -2]
    return framed
