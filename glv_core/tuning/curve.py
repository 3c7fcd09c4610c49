"""A picture of how the loss of a tuning fell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

_PAPER, _INK, _POINTS, _LINE = (24, 24, 28), (220, 220, 224), (82, 96, 128), (120, 190, 255)
_MARGIN = 36


def smoothed(losses: Sequence[float], over: int = 20) -> list[float]:
    """The mean of each loss and those before it, ``over`` in all where there are so many."""
    return [sum(part) / len(part) for end in range(1, len(losses) + 1) if (part := losses[max(0, end - over) : end])]


def draw_curve(losses: Sequence[float], steps: int, width: int = 640, height: int = 320) -> Image.Image:
    """The losses of the steps so far as points, their mean as a line, and the last one in words.

    Args:
        losses: one a step; those that are no numbers are left out.
        steps: of the whole tuning, over the width.
        width, height: in pixels.
    """
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    known = [loss for loss in losses if math.isfinite(loss)]
    left, right, top, bottom = _MARGIN + 12, width - 12, 28, height - _MARGIN
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=_INK)
    draw.text((left, bottom + 8), "0", fill=_INK)
    draw.text((right - 8 * len(str(steps)), bottom + 8), str(steps), fill=_INK)
    if not known:
        return image
    low, high = 0.0, max(sorted(known)[min(len(known) - 1, int(0.98 * len(known)))], 1e-9) * 1.1

    def at(step: int, loss: float) -> tuple[float, float]:
        share = (min(max(loss, low), high) - low) / (high - low)
        return left + (right - left) * step / max(1, steps), bottom - (bottom - top) * share

    for step, loss in enumerate(losses, start=1):
        if math.isfinite(loss):
            x, y = at(step, loss)
            draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=_POINTS)
    line = smoothed(known)
    if len(line) > 1:
        draw.line([at(step, loss) for step, loss in enumerate(line, start=1)], fill=_LINE, width=3)
    draw.text((4, top - 6), f"{high:.2g}", fill=_INK)
    draw.text((4, bottom - 6), "0", fill=_INK)
    draw.text((left + 8, 8), f"loss {line[-1]:.4f} after {len(losses)} of {steps} steps", fill=_LINE)
    return image
