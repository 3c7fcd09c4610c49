"""All regions of a picture as one colour picture: the control of EditAnything, as Gen-L-Video uses it."""

from __future__ import annotations

import torch

MOST_REGIONS = 65_535


def id_map(masks: torch.Tensor) -> torch.Tensor:
    """Numbers of regions as colours: red = number % 256, green = number // 256, blue = 0.

    The largest region is number 1 and the smallest is painted last, so that smaller ones lie on larger ones; 0 is where
    no region is. Regions of the same size keep their order.

    Args:
        masks: ``n h w`` bool; ``n`` may be 0.

    Returns:
        ``h w 3`` float, whole numbers in 0..255.

    Raises:
        ValueError: there are more regions than the colours can tell apart.
    """
    if len(masks) > MOST_REGIONS:
        raise ValueError(f"There are {len(masks)} regions; an id map holds {MOST_REGIONS}. Use fewer points.")
    numbers = torch.zeros(masks.shape[1:], dtype=torch.int64, device=masks.device)
    order = torch.argsort(masks.flatten(1).sum(1), descending=True, stable=True)
    for number, index in enumerate(order.tolist(), 1):
        numbers[masks[index]] = number
    return torch.stack([numbers % 256, numbers // 256, torch.zeros_like(numbers)], -1).float()
