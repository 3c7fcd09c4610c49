"""What StreamingT2V measures of a video (arXiv 2403.14773): error after warping, cuts, and how evenly it moves.

Frames are ``t h w c`` with three colours, integers 0 ... 255 or floats 0 ... 1, torch or numpy; they are read a pair at
a time. The flow comes from outside: a function of two frames, so that no network belongs to the core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

Frames = torch.Tensor | np.ndarray
#: From two frames ``h w 3``, float32 whole numbers 0 ... 255, to where each pixel of the first lies in the second:
#: float ``h w 2``, so many pixels to the right and so many down.
Flow = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Pair = tuple[torch.Tensor, torch.Tensor]

#: The size that the released script brings every video to, height and width in pixels, and what it divides by.
RELEASED_SIZE = (720, 720)
RELEASED_SCALE = 9.5


class WarpError(NamedTuple):
    """A motion-aware warp error, the lower the better.

    ``value`` is NaN where nothing moves: the error is relative to motion and says nothing about stills. ``num_still``
    of ``num_pairs`` pairs of frames have no motion at all.
    """

    value: float
    num_pairs: int
    num_still: int


def warp_error(
    frames: Frames, flow: Flow, variant: str = "released", size: tuple[int, int] | None = RELEASED_SIZE
) -> WarpError:
    """MAWE: how badly frames follow from the ones before by motion alone, relative to how much moves.

    Args:
        frames: at least two.
        flow: for ``paper`` it is asked in both directions.
        variant: ``released``, as in the authors' script: each frame is pushed along the flow to the nearest pixels, of
            several that fall on one the last in reading order is taken, and where none falls is left out; the mean over
            pairs of squared error / (9.5 times the mean length of the flow). Pairs without motion are left out, where
            the script becomes infinite. ``paper``: each second frame is pulled back along the flow, without what is
            occluded or comes from outside; the mean squared error over all pairs / the mean squared length of the flow.
            The paper does not say how it finds occlusions: here a pixel is occluded where the flows there and back do
            not cancel (Sundaram et al. 2010, with their constants), as is usual for warp errors.
            The two have different units, so only values of the same variant may be compared.
        size: height and width that frames are brought to first, bilinearly and rounded to whole levels; None keeps
            theirs.

    Raises:
        ValueError: unknown variant, fewer than two frames, or frames that are not ``t h w 3``.
    """
    if variant not in VARIANTS:
        raise ValueError(f"Unknown variant of the warp error {variant!r}. Known: {', '.join(VARIANTS)}.")
    return VARIANTS[variant](_pairs(frames, size), flow)


def flow_spread(frames: Frames, flow: Flow, size: tuple[int, int] | None = None) -> float:
    """How unevenly a video moves: the standard deviation, over pairs of frames, of the mean length of the flow, pixels.

    Where chunks of a video do not fit together it jumps or halts, which raises it. Arguments and errors as in
    ``warp_error``.
    """
    return float(np.std([_lengths(flow(left, right)).mean().item() for left, right in _pairs(frames, size)]))


def _released(pairs: Iterator[Pair], flow: Flow) -> WarpError:
    ratios, num_pairs = [], 0
    for left, right in pairs:
        num_pairs += 1
        way = flow(left, right)
        motion = _lengths(way).mean().item()
        if motion:
            pushed, known = push_along(left, way)
            error = (right - pushed)[known].square().mean().item() if known.any() else 0.0
            ratios.append(error / (RELEASED_SCALE * motion))
    return WarpError(float(np.mean(ratios)) if ratios else math.nan, num_pairs, num_pairs - len(ratios))


def _paper(pairs: Iterator[Pair], flow: Flow) -> WarpError:
    num_pairs = num_still = 0
    errors: list[torch.Tensor] = []  # sum and number of the errors, then of the squared lengths, of every pair
    for left, right in pairs:
        num_pairs += 1
        there, back = flow(left, right), flow(right, left)
        pulled, inside = pull_along(torch.cat([right, back.to(right)], -1), there)
        returned = pulled[..., 3:]
        squares = there.square().sum(-1)
        num_still += not squares.any()
        apart = (there + returned).square().sum(-1)
        seen = inside & (apart <= 0.01 * (squares + returned.square().sum(-1)) + 0.5)
        error = (left - pulled[..., :3])[seen].square()
        errors.append(torch.tensor([error.sum(), error.numel(), squares.sum(), squares.numel()], dtype=torch.float64))
    error_sum, error_number, square_sum, square_number = torch.stack(errors).sum(0).tolist()
    if not error_number or not square_sum:
        return WarpError(math.nan, num_pairs, num_still)
    return WarpError((error_sum / error_number) / (square_sum / square_number), num_pairs, num_still)


VARIANTS: dict[str, Callable[[Iterator[Pair], Flow], WarpError]] = {"released": _released, "paper": _paper}


def push_along(frame: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move every pixel of ``h w c`` along ``h w 2`` to the nearest pixel; the last in reading order stays.

    Returns:
        The moved frame, 0 where nothing fell, and where something did, bool ``h w``.
    """
    height, width = frame.shape[:2]
    columns, rows = (_grid(frame) + flow).round().long().unbind(-1)
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    source = torch.arange(height * width, device=frame.device)[inside.flatten()]
    target = (rows * width + columns)[inside]
    latest = torch.full((height * width,), -1, device=frame.device)
    latest.scatter_reduce_(0, target, source, "amax")
    known = latest >= 0
    moved = frame.flatten(0, 1)[latest.clamp(min=0)] * known[:, None]
    return moved.reshape(frame.shape), known.reshape(height, width)


def pull_along(frame: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What of ``h w c`` lies at the end of ``h w 2``, bilinearly between pixels.

    Returns:
        ``h w c``, and which pixels' flow ends inside the frame, bool ``h w``.
    """
    height, width = frame.shape[:2]
    at = _grid(frame) + flow
    last = at.new_tensor([width - 1, height - 1])
    inside = ((at >= 0) & (at <= last)).all(-1)
    low = at.minimum(last).clamp(min=0).floor()
    share = at.minimum(last).clamp(min=0) - low
    (left, top), (right, bottom) = low.long().unbind(-1), (low + 1).minimum(last).long().unbind(-1)
    x, y = share[..., :1], share[..., 1:]
    above = frame[top, left] * (1 - x) + frame[top, right] * x
    below = frame[bottom, left] * (1 - x) + frame[bottom, right] * x
    return above * (1 - y) + below * y, inside


def _grid(frame: torch.Tensor) -> torch.Tensor:
    """The place of every pixel, ``h w 2``: column and row."""
    rows, columns = (torch.arange(size, dtype=torch.float32, device=frame.device) for size in frame.shape[:2])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def _lengths(flow: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(flow.float(), dim=-1)


def _pairs(frames: Frames, size: tuple[int, int] | None) -> Iterator[Pair]:
    _check(frames, 2)

    def read() -> Iterator[Pair]:
        before = _levels(frames[0], size)
        for index in range(1, len(frames)):
            after = _levels(frames[index], size)
            yield before, after
            before = after

    return read()


def _check(frames: Frames, at_least: int) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < at_least:
        raise ValueError(f"Frames have the shape {tuple(frames.shape)}; expected t h w 3 with t of {at_least} or more.")


def _levels(frame: Frames, size: tuple[int, int] | None = None) -> torch.Tensor:
    """A frame ``h w 3`` as the levels of an 8-bit file, float32."""
    given = torch.as_tensor(frame)
    levels = given.detach().float()
    levels = (levels * 255 if given.is_floating_point() else levels).round().clamp(0, 255)
    if size is not None and size != tuple(levels.shape[:2]):
        resized = F.interpolate(levels.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)
        levels = resized[0].permute(1, 2, 0).round()
    return levels


#: PySceneDetect's ``AdaptiveDetector`` with its defaults: how often a frame's change must be that of its neighbours,
#: which is the mean of so many on either side, how large it must be at least, and the shortest scene in frames.
CUT_RATIO, CUT_NEIGHBOURS, CUT_LEAST, CUT_DISTANCE = 3.0, 2, 15.0, 15


def content_changes(frames: Frames) -> np.ndarray:
    """How much every frame differs from the one before: the mean absolute difference of hue, saturation and value.

    Args:
        frames: at full size; PySceneDetect's command line makes those of wide videos smaller first.

    Returns:
        float64 ``[t]``, in levels of OpenCV's 8-bit HSV (hue 0 ... 179); 0 for the first frame.

    Raises:
        ValueError: no frame, or frames that are not ``t h w 3``.
    """
    _check(frames, 1)
    changes = np.zeros(len(frames))
    before = _hsv(frames[0])
    for index in range(1, len(frames)):
        after = _hsv(frames[index])
        changes[index] = np.abs(after - before).mean(dtype=np.float64)
        before = after
    return changes


def scene_cuts(frames: Frames) -> list[int]:
    """The frames with which a new scene begins; their number is SCuts. See ``content_changes`` and ``cuts_of``."""
    return cuts_of(content_changes(frames))


def cuts_of(changes: np.ndarray) -> list[int]:
    """The cuts in a video by its ``content_changes``, as PySceneDetect's ``AdaptiveDetector`` finds them.

    A change is a cut where it is 15 or more and at least three times the mean of the two before and the two after it,
    and if 15 frames or more have passed since the last cut, or the start. So a fast pan is none, and neither is what
    happens in the last two frames.
    """
    cuts: list[int] = []
    for index in range(CUT_NEIGHBOURS, len(changes) - CUT_NEIGHBOURS):
        around = [*changes[index - CUT_NEIGHBOURS : index], *changes[index + 1 : index + 1 + CUT_NEIGHBOURS]]
        mean = float(np.mean(around))
        stands_out = mean < 1e-5 or changes[index] / mean >= CUT_RATIO
        far_enough = index - (cuts[-1] if cuts else 0) >= CUT_DISTANCE
        if changes[index] >= CUT_LEAST and stands_out and far_enough:
            cuts.append(index)
    return cuts


def _hsv(frame: Frames) -> np.ndarray:
    """A frame in OpenCV's 8-bit HSV, float64 ``h w 3`` of whole numbers."""
    colours = _levels(frame).cpu().numpy().astype(np.float64)
    red, green, blue = np.moveaxis(colours, -1, 0)
    value, spread = colours.max(-1), np.ptp(colours, axis=-1)
    divisor = np.where(spread > 0, spread, 1)
    sixth = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = np.where(spread > 0, np.floor(30 * sixth + 0.5), 0)
    saturation = np.floor(255 * spread / np.where(value > 0, value, 1) + 0.5)
    return np.stack([np.where(hue < 0, hue + 180, hue), saturation, value], -1)
