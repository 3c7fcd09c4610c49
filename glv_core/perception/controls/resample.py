"""Resizing images as OpenCV does it, and the sizes that ControlNet's annotators work at."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Taps = tuple[torch.Tensor, torch.Tensor]


def control_size(height: int, width: int, short_side: int = 512, multiple: int = 64) -> tuple[int, int]:
    """Height and width of a control image, by the rule of ControlNet's annotators (``annotator/util.py``).

    The short side becomes ``short_side`` (0 keeps the size), then both sides are rounded to multiples of ``multiple``,
    halves to the even multiple, and are at least one multiple.

    Raises:
        ValueError: a side or ``multiple`` is below 1, or ``short_side`` is negative.
    """
    if min(height, width) < 1:
        raise ValueError(f"The frames are {width} x {height} pixels; both sides must be at least 1.")
    if short_side < 0:
        raise ValueError(f"short_side is {short_side}; it must be 0 (keep the size) or more.")
    if multiple < 1:
        raise ValueError(f"multiple is {multiple}; it must be at least 1.")
    scale = short_side / min(height, width) if short_side else 1.0
    rounded = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return next(rounded), next(rounded)


def resize_frames(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Frames ``t h w c`` uint8 at another size: Lanczos over 8 pixels where they grow, mean over the area elsewhere.

    Whether they grow is judged by the short side, as in ControlNet's annotators.
    """
    grows = min(height, width) > min(frames.shape[1:3])
    return resample(frames, height, width, "lanczos" if grows else "area")


def resample(
    frames: torch.Tensor, height: int, width: int, method: str, scale: tuple[float, float] | None = None
) -> torch.Tensor:
    """Resize ``t h w c`` (uint8 or float), channels last, like ``cv2.resize``.

    Args:
        method: ``nearest``, ``linear``, ``cubic``, ``lanczos`` (8 pixels) or ``area``; only the last averages what it
            leaves out.
        scale: of height and width; the quotient of the sizes if None. OpenCV's results depend on which it was given.

    Returns:
        The dtype of ``frames``; uint8 is rounded.
    """
    if (height, width) == tuple(frames.shape[1:3]) and scale is None:
        return frames
    if method == "nearest":
        rows, columns = (
            (torch.arange(out, device=frames.device) * size // out)
            for out, size in ((height, frames.shape[1]), (width, frames.shape[2]))
        )
        return frames.index_select(1, rows).index_select(2, columns)
    result = frames if frames.is_floating_point() else frames.float()
    for dim, out in ((1, height), (2, width)):
        size = result.shape[dim]
        if out != size or scale is not None:
            step = size / out if scale is None else 1 / scale[dim - 1]
            result = _apply(result, dim, _TAPS[method](size, out, step))
    if frames.is_floating_point():
        return result
    return result.round_().clamp_(0, 255).to(frames.dtype)


def _apply(values: torch.Tensor, dim: int, taps: Taps) -> torch.Tensor:
    places, weights = taps[0].to(values.device), taps[1].to(values.dtype).to(values.device)  # MPS has no float64
    shape = [1] * values.ndim
    shape[dim] = -1
    result = torch.zeros((), dtype=values.dtype, device=values.device)
    for tap in range(places.shape[1]):
        result = result + values.index_select(dim, places[:, tap]) * weights[:, tap].view(shape)
    return result


def _kernel(reach: int, weight: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[int, int, float], Taps]:
    """Taps of an interpolating kernel: ``reach`` pixels to each side, edge pixels repeated."""

    def taps(size: int, out: int, step: float) -> Taps:
        centre = (torch.arange(out, dtype=torch.float64) + 0.5) * step - 0.5
        first = centre.floor()
        offsets = torch.arange(1 - reach, reach + 1, dtype=torch.float64)
        weights = weight((first[:, None] + offsets - centre[:, None]).abs())
        places = (first[:, None] + offsets).long().clamp_(0, size - 1)
        return places, weights / weights.sum(1, keepdim=True)

    return taps


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    a = -0.75  # OpenCV's, and torch's
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, far)


def _area_taps(size: int, out: int, step: float) -> Taps:
    """How much of each pixel lies in the stretch that an output pixel covers."""
    start = torch.arange(out, dtype=torch.float64) * step
    end = (start + step).clamp_(max=size)
    first = (start + 1e-9).floor()
    places = first[:, None] + torch.arange(math.ceil(step) + 1, dtype=torch.float64)
    weights = (torch.minimum(places + 1, end[:, None]) - torch.maximum(places, start[:, None])).clamp_(min=0)
    return places.long().clamp_(0, size - 1), weights / weights.sum(1, keepdim=True)


_TAPS = {
    "linear": _kernel(1, lambda distance: 1 - distance),
    "cubic": _kernel(2, _cubic),
    "lanczos": _kernel(4, lambda distance: torch.sinc(distance) * torch.sinc(distance / 4)),
    "area": _area_taps,
}
