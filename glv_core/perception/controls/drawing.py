"""Lines, discs and limbs as OpenCV draws them, without smoothing."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np

# A disc of radius 4, row by row from its middle: how far it reaches to each side (``cv2.circle``, filled).
_DISC_4 = (4, 3, 3, 2, 0)


def line_points(start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    """Pixels ``n 2`` (x, y) of a line one pixel wide, both ends with it: Bresenham's with 8 neighbours, left to right.

    The pixels of ``cv2.line`` with thickness 1, where nothing of the line lies outside of the image.
    """
    (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[0])
    if start[0] == end[0]:
        (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    length, rise = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    along = np.arange(length + 1)
    across = (2 * rise * along + length - 1) // (2 * length) if length else along
    if abs(dx) >= abs(dy):
        return np.stack([x0 + along, y0 + across * (1 if dy >= 0 else -1)], 1)
    return np.stack([x0 + across, y0 + along * (1 if dy >= 0 else -1)], 1)


def draw_lines(lines: np.ndarray, height: int, width: int) -> np.ndarray:
    """White lines one pixel wide on black, ``h w`` uint8.

    Args:
        lines: ``n 4``: x and y of start and end in pixels, cut off to whole numbers. Lines that leave the image are
            cut at its edge, to whole pixels again, as ``cv2.line`` does it.
    """
    canvas = np.zeros((height, width), np.uint8)
    for line in np.trunc(np.asarray(lines, np.float64).reshape(-1, 4)).astype(int).tolist():
        ends = _cut((line[:2], line[2:]), (width - 1, height - 1))
        if ends is not None:
            put(canvas, line_points(*ends), 255)
    return canvas


def _cut(ends: tuple[list[int], list[int]], last: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """A line's part in ``0..last`` (x, y), rows first; None if nothing of it is inside."""
    ends = tuple(list(end) for end in ends)
    for axis in (1, 0):
        if all(end[axis] < 0 for end in ends) or all(end[axis] > last[axis] for end in ends):
            return None
        for end, other in (ends, ends[::-1]):
            edge = min(max(end[axis], 0), last[axis])
            if edge != end[axis]:
                slope = (edge - end[axis]) * (other[1 - axis] - end[1 - axis]) / (other[axis] - end[axis])
                end[1 - axis] += int(slope)
                end[axis] = edge
    return tuple(ends[0]), tuple(ends[1])


def put(canvas: np.ndarray, points: np.ndarray, colour: int | tuple[int, int, int]) -> None:
    """Set pixels ``n 2`` (x, y) of ``h w`` or ``h w c``; those outside are left out."""
    height, width = canvas.shape[:2]
    x, y = points[:, 0], points[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas[y[inside], x[inside]] = colour


def disc_points(x: int, y: int) -> np.ndarray:
    """Pixels ``n 2`` (x, y) of a filled disc of radius 4."""
    return np.array([
        (x + right, y + down)
        for down in range(-4, 5)
        for right in range(-_DISC_4[abs(down)], _DISC_4[abs(down)] + 1)
    ])  # fmt: skip


def _side_points(start: list[int], end: list[int]) -> Iterator[tuple[int, int]]:
    """Pixels of a polygon's side: those of the line, and where filling ends, which rounds halves to the right."""
    yield from line_points(tuple(start), tuple(end)).tolist()
    (x, top), (other, bottom) = sorted((start, end), key=lambda point: point[1])
    if bottom > top:
        slope = int((((other - x) << 17) + bottom - top) / (2 * (bottom - top)))  # in 1 / 65536 of a pixel
        for row in range(bottom - top):
            yield ((x << 16) + row * slope + 2**15) >> 16, top + row


def ellipse_points(centre: tuple[int, int], half_axes: tuple[int, int], degrees: int) -> np.ndarray:
    """Pixels ``n 2`` (x, y) of a filled ellipse, turned clockwise on the screen by whole degrees.

    The pixels of ``cv2.fillConvexPoly(cv2.ellipse2Poly(centre, half_axes, degrees, 0, 360, 1))``: corners at every
    degree are rounded to pixels, joined by lines, and every row is filled between its outermost pixels.
    """
    parity = centre[0] % 2, centre[1] % 2  # halves are rounded to even numbers
    return _ellipse_around(parity, half_axes, degrees % 360) + np.subtract(centre, parity)


@functools.lru_cache(maxsize=256)
def _ellipse_around(centre: tuple[int, int], half_axes: tuple[int, int], degrees: int) -> np.ndarray:
    sine = np.round(np.sin(np.radians(np.arange(451))), 7).astype(np.float32).astype(np.float64)  # OpenCV's table
    cos, sin = sine[degrees + 90], sine[degrees]
    x, y = half_axes[0] * sine[90:451], half_axes[1] * sine[:361]
    corners = np.rint(np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], 1)).astype(int)
    corners = corners[np.r_[True, (np.diff(corners, axis=0) != 0).any(1)]].tolist()
    sides = itertools.pairwise(corners)
    outline = np.array([corners[0], *(point for a, b in sides for point in _side_points(a, b))])
    top = outline[:, 1].min()
    rows = outline[:, 1] - top
    left = np.full(rows.max() + 1, np.iinfo(int).max)
    right = np.full(rows.max() + 1, np.iinfo(int).min)
    np.minimum.at(left, rows, outline[:, 0])
    np.maximum.at(right, rows, outline[:, 0])
    return np.concatenate([
        np.stack([np.arange(a, b + 1), np.full(b - a + 1, top + row)], 1)
        for row, (a, b) in enumerate(zip(left, right, strict=True))
    ]).astype(np.int16)  # fmt: skip
