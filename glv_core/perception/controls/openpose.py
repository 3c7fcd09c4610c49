"""People from the maps of OpenPose's body network (Cao et al., 2017, arXiv 1611.08050), as ControlNet reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from .pose_drawing import KEYPOINTS, LIMBS
from .resample import resample

BOX = 368  #: pixels of height that the network was trained at
SCALE = 0.5
STRIDE = 8
PEAK = 0.1  #: a keypoint's blurred heat must be above it
FIELD = 0.05  #: affinity along a limb
FEWEST_PARTS = 4
MEAN_SCORE = 0.4
SAMPLES = 10  #: places along a limb
_PAIRS = 2**16  # of peaks that are looked at together

# Limbs that join parts to people, and the channels of their affinity field (x, y). The last two find no new people.
JOINS = (*LIMBS, (2, 16), (5, 17))
FIELDS = (
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11),
    (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
)  # fmt: skip


def network_input(frames: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """Frames ``t h w 3`` uint8 as the body network wants them, ``t 3 h' w'``.

    Half of 368 pixels high by cubic interpolation, grey pixels below and to the right up to multiples of 8, BGR,
    -0.5..0.5.

    Returns:
        The input, and height and width without the grey pixels.
    """
    scale = SCALE * BOX / frames.shape[1]
    height, width = (max(1, round(side * scale)) for side in frames.shape[1:3])
    small = resample(frames, height, width, "cubic", (scale, scale))
    padding = (0, -width % STRIDE, 0, -height % STRIDE)
    framed = functional.pad(small.flip(-1).movedim(-1, 1).float(), padding, value=128.0)
    return framed / 256 - 0.5, (height, width)


def decode_people(
    heat: torch.Tensor, fields: torch.Tensor, inner: tuple[int, int], height: int, width: int
) -> np.ndarray:  # fmt: skip
    """The people in one frame.

    Args:
        heat: ``19 h' w'``, one map a keypoint and one for none.
        fields: ``38 h' w'``, affinity fields.
        inner: from ``network_input``.
        height, width: of the frame.

    Returns:
        ``p 18 3`` float32: x, y and score of the keypoints; a keypoint not found is 0, 0, 0.
    """
    heat, fields = heat[: len(KEYPOINTS)].float(), fields.float()
    down, right = (
        _enlargement(cells, ends, size, heat.device)
        for cells, ends, size in zip(heat.shape[1:], inner, (height, width), strict=True)
    )
    peaks = _peaks(heat, down, right)
    people: list[_Person] = []
    for number, a, b, score in _connections(peaks, down @ fields @ right.T, height):
        _join(people, *JOINS[number], a, b, score, peaks, new=number < len(LIMBS))
    kept = [each for each in people if each.count >= FEWEST_PARTS and each.score / each.count >= MEAN_SCORE]
    result = np.zeros((len(kept), len(KEYPOINTS), 3), np.float32)
    for row, person in zip(result, kept, strict=True):
        for part, peak in person.parts.items():
            row[part] = peaks[part][peak]
    return result


@lru_cache(maxsize=8)
def _enlargement(cells: int, inner: int, size: int, device: torch.device) -> torch.Tensor:
    """What brings one side of the maps to the frame's, ``size cells``: cubic by 8, cut to ``inner``, then cubic."""
    maps = functional.interpolate(torch.eye(cells)[None, None], scale_factor=(STRIDE, 1), mode="bicubic")
    return functional.interpolate(maps[:, :, :inner], (size, cells), mode="bicubic")[0, 0].to(device)


def _peaks(heat: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> list[np.ndarray]:
    """For each keypoint ``n 3``: x, y and heat where the blurred heat, enlarged, is a maximum, row by row."""
    blurred = _blurred(down) @ heat @ _blurred(right).T
    found = blurred > PEAK
    for dim in (1, 2):
        here, there = (blurred.narrow(dim, start, blurred.shape[dim] - 1) for start in (0, 1))
        found.narrow(dim, 0, here.shape[dim]).logical_and_(here >= there)
        found.narrow(dim, 1, here.shape[dim]).logical_and_(there >= here)
    part, y, x = found.nonzero().unbind(1)
    heats = torch.einsum("ni,nij,nj->n", down[y], heat[part], right[x])
    rows = torch.stack([part.to(heats), x.to(heats), y.to(heats), heats], 1).cpu().numpy().astype(np.float64)
    return np.split(rows[:, 1:], np.searchsorted(rows[:, 0], np.arange(1, len(heat))))


def _blurred(matrix: torch.Tensor, sigma: float = 3.0) -> torch.Tensor:
    """Columns after a Gaussian over 4 sigma; beyond the border they are mirrored with their edge."""
    radius = int(4 * sigma + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=matrix.device) / sigma) ** 2)
    size = len(matrix)
    places = torch.arange(-radius, size + radius, device=matrix.device) % (2 * size)
    framed = matrix[torch.minimum(places, 2 * size - 1 - places)]
    return framed.unfold(0, len(weights), 1) @ (weights / weights.sum())


def _connections(
    peaks: list[np.ndarray], fields: torch.Tensor, height: int
) -> Iterator[tuple[int, int, int, float]]:  # fmt: skip
    """Which peaks a limb joins: its number, which of its two keypoints' peaks, and how well.

    Each peak at most once for a limb, the best pairs first.
    """
    counts = np.array([len(each) for each in peaks])
    every, begins = np.concatenate(peaks)[:, :2], np.cumsum(counts) - counts
    firsts, seconds = np.array(JOINS).T
    limbs = np.repeat(np.arange(len(JOINS)), counts[firsts] * counts[seconds])
    number = np.arange(len(limbs)) - np.searchsorted(limbs, limbs)
    a, b = np.divmod(number, counts[seconds[limbs]])
    start, end = every[begins[firsts[limbs]] + a], every[begins[seconds[limbs]] + b]
    parts = (np.split(each, range(_PAIRS, len(limbs), _PAIRS)) for each in (start, end, limbs))
    total = np.concatenate([_scores(*part, fields, height) for part in zip(*parts, strict=True)])
    good = np.flatnonzero(total > 0)
    used: set[tuple[int, int, int]] = set()
    for pair in good[np.lexsort((-total[good], limbs[good]))].tolist():
        limb, one, two = int(limbs[pair]), int(a[pair]), int(b[pair])
        if not used & (ends := {(limb, 0, one), (limb, 1, two)}):
            used |= ends
            yield limb, one, two, float(total[pair])


def _scores(start: np.ndarray, end: np.ndarray, limb: np.ndarray, fields: torch.Tensor, height: int) -> np.ndarray:
    """How well pairs of places ``n 2`` are joined by the limbs with these numbers; 0 for not at all."""
    ways = end - start
    lengths = np.maximum(np.hypot(*ways.T), 0.001)
    places = np.rint(start + np.linspace(0, 1, SAMPLES)[:, None, None] * ways).astype(np.int64)
    channel, x, y = (torch.from_numpy(each).to(fields.device) for each in (np.array(FIELDS)[limb].T, *places.T))
    along = fields[channel[:, None], y.T, x.T].cpu().numpy().astype(np.float64)
    scores = (along[0] * ways[:, 0] + along[1] * ways[:, 1]) / lengths
    total = scores.mean(0) + np.minimum(0.5 * height / lengths - 1, 0)
    return np.where((scores > FIELD).sum(0) > 0.8 * SAMPLES, total, 0)


@dataclass
class _Person:
    parts: dict[int, int]  #: keypoint: which of its peaks
    score: float
    count: int  #: of parts that were added


def _join(
    people: list[_Person], first: int, second: int, a: int, b: int, score: float, peaks: list[np.ndarray], new: bool
) -> None:  # fmt: skip
    """Give a limb to the person that has one of its ends; merge two people that share no keypoint; or begin one."""
    owners = [each for each in people if each.parts.get(first) == a or each.parts.get(second) == b]
    if len(owners) >= 2 and not owners[0].parts.keys() & owners[1].parts.keys():
        one, other = owners[:2]
        one.parts.update(other.parts)
        one.score += other.score + score
        one.count += other.count
        people[:] = [each for each in people if each is not other]
    elif len(owners) >= 2 or (owners and owners[0].parts.get(second) != b):
        owners[0].parts[second] = b
        owners[0].score += peaks[second][b][2] + score
        owners[0].count += 1
    elif not owners and new:
        people.append(_Person({first: a, second: b}, peaks[first][a][2] + peaks[second][b][2] + score, 2))
