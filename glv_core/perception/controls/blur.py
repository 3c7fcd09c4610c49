"""Gaussian blurs as OpenCV computes them, and one over time that does not blur what moves."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch.nn import functional

RANGE = 0.05  #: how different a pixel may look, in 0..1, and still be the same thing


def gaussian_blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur ``t h w`` as ``cv2.GaussianBlur(image, (0, 0), sigma)`` does; borders are mirrored without the edge.

    uint8 is blurred with whole numbers (weights in units of 1 / 256), bit for bit as OpenCV does it.
    """
    if images.is_floating_point():
        radius = (round(sigma * 8 + 1) | 1) // 2
        weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
        weights = (weights / weights.sum()).tolist()
        return _filtered(_filtered(images, weights, 2), weights, 1)
    weights = _whole_weights(sigma)
    result = _filtered(_filtered(images.to(torch.int32), weights, 2), weights, 1)
    return ((result + 2**15) >> 16).to(torch.uint8)


def _whole_weights(sigma: float) -> list[int]:
    """Weights that sum to 256; what rounding leaves goes to the next, the rest to the middle."""
    radius = (round(sigma * 6 + 1) | 1) // 2
    exact = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(-radius, radius + 1)]
    total = sum(exact)
    half, error = [], 0.0
    for weight in exact[:radius]:
        wanted = weight / total * 256 + error
        half.append(round(wanted))
        error = wanted - half[-1]
    return [*half, 256 - 2 * sum(half), *reversed(half)]


def _filtered(values: torch.Tensor, weights: list, dim: int) -> torch.Tensor:
    radius, size = len(weights) // 2, values.shape[dim]
    places = mirrored(torch.arange(-radius, size + radius, device=values.device), size)
    framed = values.index_select(dim, places)
    result = torch.zeros_like(values)
    for place, weight in enumerate(weights):
        result.add_(framed.narrow(dim, place, size), alpha=weight)
    return result


def mirrored(places: torch.Tensor, size: int) -> torch.Tensor:
    """Places outside of ``0..size - 1`` mirrored at the first and the last one, which are not repeated."""
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * (size - 1)
    places = places % period
    return torch.minimum(places, period - places)


def smooth_over_time(
    pieces: Iterable[tuple[torch.Tensor, torch.Tensor]], sigma: float
) -> Iterator[torch.Tensor]:  # fmt: skip
    """Average images with their neighbours in time, at pixels where the video stays the same.

    A neighbour's weight falls with its distance (a Gaussian over time) and with how different the frames are there (a
    Gaussian over the brightness of ``guide``, blurred a little against noise; ``RANGE``): flicker on what stands still
    goes, what moves is not smeared. A joint bilateral filter over time (Tomasi and Manduchi, 1998).

    Args:
        pieces: images ``t h w`` and their guide ``t h w`` in 0..1, a few frames at a time.
        sigma: standard deviation in frames, above 0.

    Yields:
        Float images ``1 h w``, in order and as many as came in; at most ``6 sigma + 1`` are held.

    Raises:
        ValueError: ``sigma`` is not above 0.
    """
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}; it must be above 0 frames.")
    radius = max(1, math.ceil(3 * sigma))
    held: deque[tuple[torch.Tensor, torch.Tensor]] = deque()  # of frames first .. first + len(held) - 1
    first = done = 0

    def mean(at: int) -> torch.Tensor:
        guide = held[at - first][1]
        total = torch.zeros_like(guide)
        weights = torch.zeros_like(guide)
        for number in range(max(first, at - radius), min(first + len(held), at + radius + 1)):
            image, other = held[number - first]
            weight = torch.exp(-0.5 * (((other - guide) / RANGE) ** 2 + ((number - at) / sigma) ** 2))
            total += image * weight
            weights += weight
        return (total / weights)[None]

    for images, guides in pieces:
        calm = functional.avg_pool2d(guides[:, None].float(), 5, 1, 2, count_include_pad=False)[:, 0]
        for image, guide in zip(images.float(), calm, strict=True):
            held.append((image, guide))
            while done + radius < first + len(held):
                yield mean(done)
                done += 1
                if done - radius > first:
                    held.popleft()
                    first += 1
    while done < first + len(held):
        yield mean(done)
        done += 1
