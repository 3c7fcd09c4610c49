"""Resizing images as OpenCV does it, and the sizes that ControlNet's annotators work at."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Taps = tuple[torch.Tensor, torch.Tensor]  #: places and their weights, both ``out k``
_COEFFICIENT_BITS = 11  #: OpenCV's, of whole-number weights
_LEAST_PART = 1e-3  #: of a pixel; OpenCV leaves smaller ones out of a mean
_AT_A_TIME = 2**17  #: numbers that stay in a processor's cache


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
        The dtype of ``frames``; uint8 is rounded: with ``area`` bit for bit as OpenCV does it, with ``lanczos``
        but for one level of single pixels in 1 of 400 images.
    """
    if (height, width) == tuple(frames.shape[1:3]) and scale is None:
        return frames
    if method == "nearest":
        rows, columns = (
            (torch.arange(out, device=frames.device) * size // out)
            for out, size in ((height, frames.shape[1]), (width, frames.shape[2]))
        )
        return frames.index_select(1, rows).index_select(2, columns)
    if frames.dtype == torch.uint8 and scale is None and method in _WHOLE:
        return _WHOLE[method](frames, height, width)
    scales = (size / out for size, out in zip(frames.shape[1:3], (height, width), strict=True))
    steps = scales if scale is None else (1 / each for each in scale)
    sizes = zip(frames.shape[1:3], (height, width), steps, strict=True)
    dtype = frames.dtype if frames.is_floating_point() else torch.float32
    result = _separate(frames, *(_TAPS[method](*each) for each in sizes), dtype)
    return result if frames.is_floating_point() else result.round_().clamp_(0, 255).to(frames.dtype)


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


def _area_taps(size: int, out: int, step: float, least: float = 0.0) -> Taps:
    """How much of each pixel lies in the stretch that an output pixel covers, parts below ``least`` left out."""
    start = torch.arange(out, dtype=torch.float64) * step
    end, cell = start + step, (size - start).clamp(max=step)
    last = end.floor().clamp(max=size - 1)
    first = torch.minimum(start.ceil(), last)
    places = first[:, None] + torch.arange(-1, math.ceil(step) + 1, dtype=torch.float64)
    before, after = first - start, (end - last).clamp(max=1).minimum(cell)
    weights = ((places >= first[:, None]) & (places < last[:, None])).double()
    weights[:, 0] = torch.where(before > least, before, 0)
    weights = torch.where(places == last[:, None], torch.where(after > least, after, 0)[:, None], weights)
    return places.long().clamp_(0, size - 1), weights / cell[:, None]


def _area(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """``area`` of uint8, with OpenCV's order of sums and its three ways of rounding."""
    down, right = frames.shape[1] / height, frames.shape[2] / width
    if min(down, right) < 1:
        return _area_grown(frames, height, width)
    if down.is_integer() and right.is_integer():
        parts = [frames[:, y :: int(down), x :: int(right)] for y in range(int(down)) for x in range(int(right))]
        total = parts[0].int()
        for part in parts[1:]:
            total += part
        if (down, right) == (2, 2):
            return ((total + 2) >> 2).to(torch.uint8)
        return (total * torch.tensor(1 / len(parts), dtype=torch.float32)).round_().to(torch.uint8)
    taps = (
        _area_taps(size, out, 1 / (out / size), _LEAST_PART)
        for size, out in zip(frames.shape[1:3], (height, width), strict=True)
    )
    return _separate(frames, *taps, torch.float32).round_().clamp_(0, 255).to(torch.uint8)


def _area_grown(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """What OpenCV does in place of a mean where a side grows: between two pixels only where their border is passed."""

    def taps(size: int, out: int) -> Taps:
        number, scale = torch.arange(out, dtype=torch.float64), out / size
        first = (number * (1 / scale)).floor()
        share = ((number + 1) - (first + 1) * scale).float()
        share = torch.where(share <= 0, 0, share - share.floor())
        weights = (torch.stack([1 - share, share], 1) * 2**_COEFFICIENT_BITS).round()
        return (first[:, None] + torch.arange(2)).long().clamp_(0, size - 1), weights

    rows, columns = (taps(size, out) for size, out in zip(frames.shape[1:3], (height, width), strict=True))
    return _separate(frames, rows, columns, torch.int32, linear=True)


def _lanczos(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """``lanczos`` of uint8, in whole numbers."""

    def taps(size: int, out: int) -> Taps:
        centre = ((torch.arange(out, dtype=torch.float64) + 0.5) * (1 / (out / size)) - 0.5).float()
        first = centre.floor()
        away = (centre - first)[:, None] + 3 - torch.arange(8)
        start = away[:, :1].double() * (-math.pi / 4)
        half = math.sqrt(0.5)  # the sine of each from that of the first, which is turned by 225 degrees at a time
        cosines = torch.tensor([1, -half, 0, half, -1, half, 0, -half], dtype=torch.float64)
        waves = cosines * torch.sin(start) + cosines.roll(2) * torch.cos(start)
        weights = (waves / (away.double() * (math.pi / 4)) ** 2).float()
        weights = torch.where(away.abs() < 1e-6, torch.tensor(1e30), weights)
        weights = weights * (1 / weights.cumsum(1)[:, -1:])
        places = (first[:, None] + torch.arange(-3, 5)).long().clamp_(0, size - 1)
        return places, (weights * 2**_COEFFICIENT_BITS).round()

    rows, columns = (taps(size, out) for size, out in zip(frames.shape[1:3], (height, width), strict=True))
    total = _separate(frames, rows, columns, torch.int32)
    bits = 2 * _COEFFICIENT_BITS
    return total.add_(1 << (bits - 1)).bitwise_right_shift_(bits).clamp_(0, 255).to(torch.uint8)


def _separate(
    frames: torch.Tensor, rows: Taps, columns: Taps, dtype: torch.dtype, linear: bool = False
) -> torch.Tensor:
    """Weighted sums of ``t h w c``, first within rows and then of them, each in the order of its taps.

    Pixels are gathered where they lie one behind the other, which is much faster than 3 colours at a time.

    Args:
        linear: with OpenCV's rounding of whole-number sums of two rows; uint8 comes.
    """
    count, height, _, channels = frames.shape
    out_height, out_width = len(rows[0]), len(columns[0])
    result = torch.empty(
        count, out_height, out_width, channels, dtype=torch.uint8 if linear else dtype, device=frames.device
    )
    for frame, into in zip(frames, result, strict=True):
        turned = frame.transpose(0, 1).reshape(-1, height * channels)
        within = _gathered(turned, columns, dtype).view(out_width, height, channels)
        lines = within.transpose(0, 1).reshape(height, -1)
        if linear:
            (first, second), (low, high) = rows[0].to(lines.device).T, rows[1].to(lines).T[..., None]
            each = ((lines[at] >> 4) * weight >> 16 for at, weight in ((first, low), (second, high)))
            into.copy_((sum(each, 2) >> 2).clamp(0, 255).view_as(into))
        else:
            into.copy_(_gathered(lines, rows, dtype).view_as(into))
    return result


def _gathered(lines: torch.Tensor, taps: Taps, dtype: torch.dtype) -> torch.Tensor:
    """``n k`` to ``out k``: sums of the lines at the taps' places."""
    places, weights = taps[0].to(lines.device), taps[1].to(dtype).to(lines.device)
    result = torch.zeros(len(places), lines.shape[1], dtype=dtype, device=lines.device)
    piece = max(1, _AT_A_TIME // lines.shape[1]) if lines.device.type == "cpu" else len(places)
    for into, at, weight in zip(result.split(piece), places.split(piece), weights.split(piece), strict=True):
        for tap in range(at.shape[1]):
            into += lines.index_select(0, at[:, tap]).to(dtype).mul_(weight[:, tap, None])
    return result


_WHOLE = {"area": _area, "lanczos": _lanczos}
_TAPS = {
    "linear": _kernel(1, lambda distance: 1 - distance),
    "cubic": _kernel(2, _cubic),
    "lanczos": _kernel(4, lambda distance: torch.sinc(distance) * torch.sinc(distance / 4)),
    "area": _area_taps,
}
