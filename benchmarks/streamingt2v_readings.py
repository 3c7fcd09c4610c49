"""What a video of the drawn world tells of the chunks that it was made in: no model, only its frames.

Frames are `t h w 3`, values 0..1. A join is the number of a frame with which a chunk begins; the step to it from the
frame before is the step at the join, all others are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import torch

from glv_core.demo.detector import STEPS, agrees, centred, expected, find_covers, read_clip

Array = np.ndarray
_FULL = 0.9  # of a pixel that shows the object's own colour
_THING = 0.2  # difference from the background, of 1
_FARTHEST = 12  # pixels that a thing can move between two frames


def read_video(frames: Array, joins: Sequence[int], prompt: str) -> dict[str, float]:
    """All figures of one video.

    Steps in pixels a frame: their mean length at joins and inside (`speed`), the one over the other (`velocity_ratio`),
    and the mean distance from the video's own median step inside (`speed_error`). Overlap of the object's shape with
    that of the frame before, 0..1. `as_prompted`: share of frames with all that the prompt names but the direction,
    `direction`: share of the steps inside that go nearest to that. Drifts in percent, see `drift`.
    """
    reading, covers = read_clip(frames), find_covers(frames)
    steps = np.array([(np.nan, np.nan) if step is None else step for step in reading.steps])
    inside = np.delete(steps, np.array(joins, int) - 1, axis=0)
    inside = inside[~np.isnan(inside).any(axis=1)]
    usual = np.median(inside, axis=0) if len(inside) else np.full(2, np.nan)
    lengths, errors = np.hypot(*steps.T), np.hypot(*(steps - usual).T)
    overlaps = np.array([shape_overlap(*pair) for pair in pairwise(covers)])
    figures = {}
    for name, values in (("speed", lengths), ("speed_error", errors), ("overlap", overlaps)):
        figures[f"{name}_at_joins"], figures[f"{name}_inside"] = at_and_inside(values, joins)
    figures["velocity_ratio"] = figures["speed_at_joins"] / (figures["speed_inside"] or np.nan)
    figures["as_prompted"] = float(np.mean([agrees(frame, prompt) for frame in reading.frames]))
    wanted = np.array(STEPS[expected(prompt)["direction"]])
    along, across = inside @ wanted, np.abs(inside @ wanted[::-1])
    figures["direction"] = float(np.mean(along > across)) if len(inside) else np.nan
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

    The thing is what differs from the background, and it moves by what brings both frames' things closest (the highest
    correlation around the edges, within 12 pixels each way), to a part of a pixel by the parabola through the highest
    and its neighbours. So it needs no network and no detector.
    """
    things = [frame - frame.flatten(0, 1).median(dim=0).values for frame in (left, right)]
    spectra = [torch.fft.rfft2(thing, dim=(0, 1)) for thing in things]
    likeness = torch.fft.irfft2((spectra[0].conj() * spectra[1]).sum(-1), s=left.shape[:2])
    reach = torch.arange(-_FARTHEST, _FARTHEST + 1)
    row, column = (place - _FARTHEST for place in divmod(int(likeness[reach][:, reach].argmax()), len(reach)))
    around = likeness.roll((1 - row, 1 - column), (0, 1))[:3, :3]
    moved = torch.tensor([column + _peak(around[1]), row + _peak(around[:, 1])])
    return (things[0].abs().amax(-1) > 255 * _THING)[..., None] * moved


def _peak(three: torch.Tensor) -> float:
    """Where a parabola through values at -1, 0 and 1 is highest, to 1/64."""
    before, middle, after = three.double().tolist()
    bend = before - 2 * middle + after
    return round(32 * (before - after) / bend) / 64 if bend < 0 else 0.0


def flow_unevenness(frames: Array, joins: Sequence[int]) -> float:
    """How far the mean length of the flow at joins is from its mean inside, root mean square, in pixels."""
    pixels = torch.from_numpy(frames).float() * 255
    lengths = np.array([
        object_flow(left, right).norm(dim=-1).mean().item() for left, right in pairwise(pixels)
    ])  # fmt: skip
    return at_and_inside((lengths - at_and_inside(lengths, joins)[1]) ** 2, joins)[0] ** 0.5
