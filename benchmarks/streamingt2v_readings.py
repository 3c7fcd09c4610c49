"""What a video of the drawn world tells of the chunks that it was made in: no model, only its frames.

Frames are `t h w 3`, values 0..1. A join is the number of a frame with which a chunk begins; the step to it from the
frame before is the step at the join, all others are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import torch

from glv_core.demo.detector import agrees, centred, find_covers, read_clip

Array = np.ndarray
_FULL = 0.9  # of a pixel that shows the object's own colour
_THING = 0.2  # difference from the background, of 1
_FARTHEST = 12  # pixels that an object can move between two frames


def read_video(frames: Array, joins: Sequence[int], prompt: str, velocity: tuple[float, float]) -> dict[str, float]:
    """All figures of one video.

    Speeds in pixels a frame: their mean length at joins and inside, the one over the other (`velocity_ratio`), and the
    mean distance from `velocity`. Overlap of the object's shape with that of the frame before, both centred, 0..1.
    `as_prompted`: share of frames with all that the prompt names. Drifts in percent, see `drift`.
    """
    reading, covers = read_clip(frames), find_covers(frames)
    steps = np.array([(np.nan, np.nan) if step is None else step for step in reading.steps])
    lengths, errors = np.hypot(*steps.T), np.hypot(*(steps - np.array(velocity)).T)
    overlaps = np.array([shape_overlap(*pair) for pair in pairwise(covers)])
    figures = {}
    for name, values in (("speed", lengths), ("speed_error", errors), ("overlap", overlaps)):
        figures[f"{name}_at_joins"], figures[f"{name}_inside"] = at_and_inside(values, joins)
    figures["velocity_ratio"] = figures["speed_at_joins"] / figures["speed_inside"]
    figures["as_prompted"] = float(np.mean([agrees(frame, prompt) for frame in reading.frames]))
    colours = np.array([_colour_of(frame, cover) for frame, cover in zip(frames, covers, strict=True)])
    sizes = np.array([[cover.sum() or np.nan] for cover in covers])
    for name, values in (("colour", colours), ("size", sizes)):
        figures[f"{name}_drift"] = drift(values)
        figures[f"{name}_drift_per_100"] = figures[f"{name}_drift"] * 100 / (len(frames) - 1)
    return figures


def at_and_inside(values: Array, joins: Sequence[int]) -> tuple[float, float]:
    """Means of what is known of the steps `[t - 1]` at joins and of the others; NaN where nothing is."""
    at = np.zeros(len(values), bool)
    at[np.array(joins, int) - 1] = True
    return tuple(float(np.mean(part)) if len(part := values[chosen & ~np.isnan(values)]) else np.nan
                 for chosen in (at, ~at))  # fmt: skip


def shape_overlap(one: Array, other: Array) -> float:
    """How much two covers `h w` have in common of all that either covers, laid on each other; 0 if both are empty."""
    if not one.any() and not other.any():
        return 0.0
    one, other = centred(one)[0], centred(other)[0]  # to whole pixels, which may be one off
    moved = [np.roll(other, shift, (0, 1)) for shift in product((-1, 0, 1), repeat=2)]
    return max(float(np.minimum(one, each).sum() / np.maximum(one, each).sum()) for each in moved)


def drift(values: Array) -> float:
    """How far a straight line through `[t c]` goes from the first frame to the last, in percent of where it begins.

    Frames that are not known (NaN) are left out; NaN where fewer than two are.
    """
    known = ~np.isnan(values).any(axis=1)
    if known.sum() < 2:
        return np.nan
    slope, begin = np.polyfit(np.arange(len(values))[known], values[known], 1)
    return float(100 * np.linalg.norm(slope * (len(values) - 1)) / np.linalg.norm(begin))


def _colour_of(frame: Array, cover: Array) -> Array:
    """The object's mean colour `[3]`, NaN where there is none."""
    inside = frame[cover > _FULL]
    return inside.mean(axis=0) if len(inside) else np.full(3, np.nan)


def object_flow(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The flow from one frame to the next, `h w 3` in 0..255 to `h w 2`, where one thing moves and nothing else.

    The thing is what differs from the background, and it moves by the whole pixels within 12 each way that bring both
    frames' things closest (the highest correlation around the edges). So it needs no network and no detector.
    """
    things = [frame - frame.flatten(0, 1).median(dim=0).values for frame in (left, right)]
    spectra = [torch.fft.rfft2(thing, dim=(0, 1)) for thing in things]
    likeness = torch.fft.irfft2((spectra[0].conj() * spectra[1]).sum(-1), s=left.shape[:2])
    reach = torch.arange(-_FARTHEST, _FARTHEST + 1)
    near = likeness[reach][:, reach]
    row, column = divmod(int(near.argmax()), len(reach))
    moved = torch.tensor([column - _FARTHEST, row - _FARTHEST], dtype=torch.float32)
    return (things[0].abs().amax(-1) > 255 * _THING)[..., None] * moved


def flow_unevenness(frames: Array, joins: Sequence[int]) -> float:
    """How far the mean length of the flow at joins is from its mean inside, root mean square, in pixels."""
    pixels = torch.from_numpy(frames).float() * 255
    lengths = np.array([
        object_flow(left, right).norm(dim=-1).mean().item() for left, right in pairwise(pixels)
    ])  # fmt: skip
    return at_and_inside((lengths - at_and_inside(lengths, joins)[1]) ** 2, joins)[0] ** 0.5
