"""All regions of an image as one colour image: the control of EditAnything, as Gen-L-Video uses it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

MOST_REGIONS = 65_535


def painting_order(areas: torch.Tensor) -> torch.Tensor:
    """Numbers of regions of these areas ``n``, the largest first; those of the same size keep their order.

    Raises:
        ValueError: there are more regions than the colours can tell apart.
    """
    if len(areas) > MOST_REGIONS:
        raise ValueError(f"There are {len(areas)} regions; an id map holds {MOST_REGIONS}. Use fewer points.")
    return torch.argsort(areas, descending=True, stable=True)


def id_map(masks: Iterable[torch.Tensor], height: int, width: int) -> torch.Tensor:
    """Numbers of regions as colours: red = number % 256, green = number // 256, blue = 0.

    The first region is number 1, and later ones lie on earlier ones: with masks in ``painting_order``, smaller ones on
    larger ones. 0 is where no region is.

    Args:
        masks: ``h w`` bool each, at most ``MOST_REGIONS``; there may be none.
        height, width: of the image.

    Returns:
        ``h w 3`` float, whole numbers in 0..255.
    """
    numbers = torch.zeros(height, width, dtype=torch.int64)
    for number, mask in enumerate(masks, 1):
        numbers[mask.to(numbers.device)] = number
    return torch.stack([numbers % 256, numbers // 256, torch.zeros_like(numbers)], -1).float()
