"""People from the maps of OpenPose's body network (Cao et al., 2017, arXiv 1611.08050), as ControlNet reads them."""

from __future__ import annotations

from dataclasses import dataclass

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

# Limbs that join parts to people, and the channels of their affinity field (x, y). The last two find no new people.
_JOINS = (*LIMBS, (2, 16), (5, 17))
_FIELDS = (
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
    heat, fields = (_enlarged(maps, inner, height, width) for maps in (heat[: len(KEYPOINTS)], fields))
    peaks = _peaks(heat)
    people: list[_Person] = []
    for number, (first, second) in enumerate(_JOINS):
        for a, b, score in _connections(peaks[first], peaks[second], fields[list(_FIELDS[number])], height):
            _join(people, first, second, a, b, score, peaks, new=number < len(LIMBS))
    kept = [each for each in people if each.count >= FEWEST_PARTS and each.score / each.count >= MEAN_SCORE]
    result = np.zeros((len(kept), len(KEYPOINTS), 3), np.float32)
    for row, person in zip(result, kept, strict=True):
        for part, peak in person.parts.items():
            row[part] = peaks[part][peak]
    return result


def _enlarged(maps: torch.Tensor, inner: tuple[int, int], height: int, width: int) -> torch.Tensor:
    """Maps at the frame's size: cubic by 8, without the grey pixels, then cubic."""
    maps = functional.interpolate(maps[None].float(), scale_factor=STRIDE, mode="bicubic", align_corners=False)
    maps = maps[:, :, : inner[0], : inner[1]]
    return functional.interpolate(maps, (height, width), mode="bicubic", align_corners=False)[0]


def _peaks(heat: torch.Tensor) -> list[np.ndarray]:
    """For each keypoint ``n 3``: x, y and heat where the blurred heat is a maximum, row by row."""
    blurred = _blurred(heat)
    height, width = heat.shape[1:]
    framed = functional.pad(blurred, (1, 1, 1, 1))
    found = blurred > PEAK
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        found &= blurred >= framed[:, down : down + height, right : right + width]
    places = found.nonzero()
    heats = heat[places.unbind(1)]
    rows = torch.cat([places.flip(1)[:, :2].to(heats), heats[:, None]], 1).cpu().numpy().astype(np.float64)
    part = places[:, 0].cpu().numpy()
    return [rows[part == number] for number in range(len(heat))]


def _blurred(heat: torch.Tensor, sigma: float = 3.0) -> torch.Tensor:
    """A Gaussian over 4 sigma; beyond the border the maps are mirrored with their edge."""
    radius = int(4 * sigma + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).tolist()
    for dim in (1, 2):
        size = heat.shape[dim]
        places = torch.arange(-radius, size + radius, device=heat.device) % (2 * size)
        framed = heat.index_select(dim, torch.minimum(places, 2 * size - 1 - places))
        heat = torch.zeros_like(heat)
        for place, weight in enumerate(weights):
            heat.add_(framed.narrow(dim, place, size), alpha=weight)
    return heat


def _connections(
    first: np.ndarray, second: np.ndarray, field: torch.Tensor, height: int
) -> list[tuple[int, int, float]]:  # fmt: skip
    """Which peaks of two keypoints a limb joins, and how well: each peak at most once, the best pairs first."""
    if not len(first) or not len(second):
        return []
    ways = second[None, :, :2] - first[:, None, :2]
    lengths = np.maximum(np.hypot(*np.moveaxis(ways, -1, 0)), 0.001)
    steps = np.linspace(0, 1, SAMPLES)[:, None, None, None]
    places = torch.from_numpy(np.rint(first[None, :, None, :2] + steps * ways).astype(np.int64)).to(field.device)
    along = field[:, places[..., 1], places[..., 0]].cpu().numpy().astype(np.float64)
    scores = (along[0] * ways[..., 0] + along[1] * ways[..., 1]) / lengths
    total = scores.mean(0) + np.minimum(0.5 * height / lengths - 1, 0)
    good = ((scores > FIELD).sum(0) > 0.8 * SAMPLES) & (total > 0)
    pairs = sorted(np.argwhere(good).tolist(), key=lambda pair: -total[tuple(pair)])
    result, used_first, used_second = [], set(), set()
    for a, b in pairs:
        if a not in used_first and b not in used_second:
            used_first.add(a)
            used_second.add(b)
            result.append((a, b, float(total[a, b])))
    return result


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
