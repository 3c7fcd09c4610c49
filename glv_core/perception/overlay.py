"""The preview: masks, boxes, ids and labels drawn over a frame."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .tracking import TrackedInstance

_GOLDEN = 0.61803398875


def id_colour(number: int) -> tuple[int, int, int]:
    """A bright colour for an id, far from those of its neighbours; red, green and blue in 0..255."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + number * _GOLDEN) % 1, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(frame: torch.Tensor, found: Iterable[TrackedInstance], mask: torch.Tensor | None = None) -> torch.Tensor:
    """Draw objects over a frame.

    Args:
        frame: ``h w 3`` in 0..1.
        found: objects; each gets its colour, a line around it, its box, and its id, label and score.
        mask: ``h w`` in 0..1, the finished mask; what it leaves out is darkened.

    Returns:
        ``h w 3`` in 0..1.
    """
    image = frame.float().clone()
    if mask is not None:
        image *= (0.35 + 0.65 * mask.to(image.device))[..., None]
    found = list(found)
    for each in found:
        colour = torch.tensor(id_colour(each.id), device=image.device) / 255
        inside = each.mask.to(image.device)
        image[inside] = image[inside] * 0.6 + colour * 0.4
        image[_edge(inside)] = colour
    drawn = Image.fromarray((image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    pen = ImageDraw.Draw(drawn)
    size = max(10, round(frame.shape[0] / 30))
    font = ImageFont.load_default(size)
    for each in found:
        _label(pen, each, font, drawn.size)
    return torch.from_numpy(np.array(drawn)).float() / 255


def _edge(mask: torch.Tensor) -> torch.Tensor:
    inner = mask.clone()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def _label(pen: ImageDraw.ImageDraw, each: TrackedInstance, font: ImageFont.ImageFont, size: tuple[int, int]) -> None:
    colour = id_colour(each.id)
    left, top, right, bottom = each.box
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)
    text = f"{each.id} {each.label} {each.score:.2f}"
    _, _, width, height = pen.textbbox((0, 0), text, font=font)
    x = max(0, min(left, size[0] - width - 4))
    y = top - height - 4 if top >= height + 4 else min(top, size[1] - height - 4)
    pen.rectangle((x, y, x + width + 4, y + height + 4), fill=colour)
    pen.text((x + 2, y + 1), text, fill=(0, 0, 0), font=font)
