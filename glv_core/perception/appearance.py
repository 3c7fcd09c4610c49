"""What an object looks like, so that it is known again in other light."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from .boxes import Box

_BINS = (12, 12, 4, 3)  # of red's and green's share, brightness beside the object's own, and height in the object
_SHARES = 0.25  # shares of red and green are told apart this far from those of grey
_STOPS = 4.0  # brightness is told apart over so many powers of two
_FLOOR = 0.06  # of red, green and blue together: what is darker is more and more like grey
_DARK = 0.03  # mean brightness below which a pixel shows no color
_MOST = 4096  # pixels that are looked at


def looks(frame: torch.Tensor, mask: torch.Tensor, box: Box) -> torch.Tensor:
    """Which colors an object has at which height, as parts that add up to 1: ``1728``, all 0 where there is no light.

    Colors are the shares of red and green in a pixel (Swain and Ballard's histograms, 1991, in the chromaticities that
    Gevers and Smeulders, 1999, find stable in other light) and the brightness beside the object's median, so that more
    or less of the same light changes nothing but where the image is clipped.

    Args:
        frame: ``h w 3`` uint8.
        mask: ``h w`` bool.
        box: around the object; the height is measured in it.
    """
    left, top = (max(0, int(side)) for side in box[:2])
    step = max(1, int((max(box[2] - box[0], 0) * max(box[3] - box[1], 0) / _MOST) ** 0.5))
    rows, columns = mask[top::step, left::step].nonzero(as_tuple=True)
    rows, columns = rows * step + top, columns * step + left
    votes = torch.zeros(prod(_BINS))
    if not len(rows):
        return votes
    pixels = frame[rows.to(frame.device), columns.to(frame.device)].float().cpu() / 255
    rows = rows.cpu()
    lit = pixels.mean(1) >= _DARK
    if lit.float().mean() < 0.05:
        return votes
    pixels, rows = pixels[lit], rows[lit]
    shares = (pixels[:, :2] + _FLOOR / 3) / (pixels.sum(1, keepdim=True) + _FLOOR)
    stops = (pixels.mean(1) + 0.02).log2()
    height = (rows - box[1]) / max(box[3] - box[1], 1)
    places = torch.stack([*((shares.T - 1 / 3) / (2 * _SHARES) + 0.5), (stops - stops.median()) / _STOPS + 0.5, height])
    bins = torch.tensor(_BINS)[:, None]
    places = places.clamp(0, 1) * (bins - 1)
    low = places.floor().minimum(bins - 2)
    corners = torch.cartesian_prod(*[torch.arange(2)] * len(_BINS))[..., None]  # each pixel votes for its neighbours
    weights = torch.where(corners.bool(), places - low, 1 - places + low).prod(1)
    strides = torch.tensor([prod(_BINS[axis + 1 :]) for axis in range(len(_BINS))])[:, None]
    votes.index_add_(0, ((low.long() + corners) * strides).sum(1).flatten(), weights.flatten())
    return votes / len(rows)


def box_looks(frame: torch.Tensor, box: Box) -> torch.Tensor:
    """The looks of what is in a box: of the ellipse in it, where the object most likely is."""
    return looks(frame, _ellipse(frame, box), box)


def similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    """How similar two looks are: 1 for the same, 0 without a common color (Bhattacharyya coefficient)."""
    return float((a * b).sqrt().sum())


def likeness(now: torch.Tensor, known: Sequence[torch.Tensor]) -> float:
    """How similar looks are to the nearest of some that are known."""
    return max(similarity(now, each) for each in known)


def light_around(frame: torch.Tensor, box: Box) -> torch.Tensor:
    """The mean color ``3`` (0..1) of a frame ``h w 3`` uint8 outside a box, or all of it if the box leaves little."""
    height, width = frame.shape[:2]
    down, across = max(1, height // 64), max(1, width // 64)
    few = frame[::down, ::across].float().cpu() / 255
    rows, columns = torch.arange(0, height, down), torch.arange(0, width, across)
    inside = ((rows >= box[1]) & (rows < box[3]))[:, None] & ((columns >= box[0]) & (columns < box[2]))
    outside = ~inside if inside.float().mean() < 0.9 else torch.ones_like(inside)
    return few[outside].mean(0)


def same_light(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two colors ``3`` (0..1) of the same surroundings differ by no more than what moves in them."""
    return bool(((a - b).abs() <= 0.12 * torch.maximum(a, b) + 0.01).all())


def _ellipse(frame: torch.Tensor, box: Box) -> torch.Tensor:
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    across = (torch.arange(width) + 0.5 - (left + right) / 2) / max((right - left) / 2, 0.5)
    down = (torch.arange(height) + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 0.5)
    return (down**2)[:, None] + across**2 <= 1
