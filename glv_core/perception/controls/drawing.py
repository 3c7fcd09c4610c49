"""Lines, discs and limbs as OpenCV draws them, without smoothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pixels = tuple[np.ndarray, np.ndarray]  #: x and y

# A disc of radius 4, row by row from its middle: how far it reaches to each side (``cv2.circle``, filled).
_DISC_4 = (4, 3, 3, 2, 0)
_DISC = np.array([
    (right, down)
    for down in range(-4, 5)
    for right in range(-_DISC_4[abs(down)], _DISC_4[abs(down)] + 1)
])  # fmt: skip
_SINE = np.round(np.sin(np.radians(np.arange(451))), 7).astype(np.float32).astype(np.float64)  #: OpenCV's table


def line_points(start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    """Pixels ``n 2`` (x, y) of a line one pixel wide, both ends with it: Bresenham's with 8 neighbours, left to right.

    The pixels of ``cv2.line`` with thickness 1, where nothing of the line lies outside of the image.
    """
    along = np.arange(max(abs(end[0] - start[0]), abs(end[1] - start[1])) + 1)
    x, y = _on_lines(*((np.array([x]), np.array([y])) for x, y in (start, end)), np.zeros_like(along), along)
    return np.stack([x, y], 1)


def _on_lines(start: Pixels, end: Pixels, line: np.ndarray, along: np.ndarray) -> Pixels:
    """The pixels number ``along`` from the left of the lines number ``line`` of those from ``start`` to ``end``."""
    (x0, y0), (x1, y1) = start, end
    swap = x0 > x1
    left, first = np.where(swap, x1, x0), np.where(swap, y1, y0)
    width, height = np.abs(x1 - x0), np.where(swap, y0 - y1, y1 - y0)
    length, rise = np.maximum(width, np.abs(height)).clip(1), np.minimum(width, np.abs(height))
    across = (2 * rise[line] * along + length[line] - 1) // (2 * length[line])
    flat = (width >= np.abs(height))[line]
    down = np.where(height < 0, -1, 1)[line]
    return left[line] + np.where(flat, along, across), first[line] + down * np.where(flat, across, along)


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


def put(canvas: np.ndarray, points: np.ndarray, colour: int | np.ndarray) -> None:
    """Set pixels ``n 2`` (x, y) of ``h w`` or ``h w c`` to one colour or ``n c``; those outside are left out."""
    height, width = canvas.shape[:2]
    x, y = points[:, 0], points[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas[y[inside], x[inside]] = np.broadcast_to(colour, (len(points), *canvas.shape[2:]))[inside]


def disc_points(places: np.ndarray) -> np.ndarray:
    """Pixels ``n 61 2`` (x, y) of filled discs of radius 4 around ``n 2``."""
    return places[:, None] + _DISC


def ellipse_spans(centres: np.ndarray, half_axes: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Filled ellipses row by row, ``r 4``: which ellipse, y, and the first and the last x.

    The pixels of ``cv2.fillConvexPoly(cv2.ellipse2Poly(centre, half_axes, degrees, 0, 360, 1))``: corners at every
    degree are rounded to pixels, joined by lines, and every row is filled between its outermost pixels.

    Args:
        centres: ``n 2`` (x, y), whole pixels.
        half_axes: ``n 2``, whole pixels along and across.
        degrees: ``n``, whole degrees that each is turned clockwise on the screen.
    """
    cos, sin = _SINE[degrees % 360 + 90, None], _SINE[degrees % 360, None]
    along, across = half_axes[:, :1] * _SINE[90:451], half_axes[:, 1:] * _SINE[:361]
    x = np.rint(centres[:, :1] + along * cos - across * sin).astype(np.int64)
    y = np.rint(centres[:, 1:] + along * sin + across * cos).astype(np.int64)
    size = np.maximum(np.abs(np.diff(x)), np.abs(np.diff(y)))
    corner, long = size.nonzero(), (size > 1).nonzero()  # of shorter sides the corners are all
    following = long[0], long[1] + 1
    sides = _side_points((x[long], y[long]), (x[following], y[following]))
    everything = [
        (np.arange(len(x)), x[:, 0], y[:, 0]),
        (corner[0], x[corner], y[corner]),
        *((long[0][side], right, down) for side, right, down in sides),
    ]
    owner, x_of, y_of = map(np.concatenate, zip(*everything, strict=True))
    top = y.min(1)
    rows = y.max(1) - top + 1
    at = (np.cumsum(rows) - rows - top)[owner] + y_of
    left = np.full(rows.sum(), np.iinfo(np.int64).max)
    right = np.full(rows.sum(), np.iinfo(np.int64).min)
    np.minimum.at(left, at, x_of)
    np.maximum.at(right, at, x_of)
    ellipse, row = _counted(rows)
    return np.stack([ellipse, top[ellipse] + row, left, right], 1)


def span_points(spans: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of spans ``r 4`` (see ``ellipse_spans``) inside an image, in their order: of which, y, and x."""
    spans = spans[(spans[:, 1] >= 0) & (spans[:, 1] < height)]
    left, right = spans[:, 2].clip(0, None), spans[:, 3].clip(None, width - 1)
    span, step = _counted((right - left + 1).clip(0, None))
    return spans[span, 0], spans[span, 1], left[span] + step


def _side_points(start: Pixels, end: Pixels) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels of a polygon's sides, as which, x, y: those of the lines, and where filling ends, which rounds halves to
    the right."""
    (x0, y0), (x1, y1) = start, end
    side, along = _counted(np.maximum(np.abs(x1 - x0), np.abs(y1 - y0)) + 1)
    yield side, *_on_lines(start, end, side, along)
    down = y1 > y0
    x, top, other, rise = np.where(down, x0, x1), np.minimum(y0, y1), np.where(down, x1, x0), np.abs(y1 - y0)
    slope = np.trunc((((other - x) << 17) + rise) / (2 * rise).clip(1)).astype(np.int64)  # in 1 / 65536 of a pixel
    side, row = _counted(rise)
    yield side, ((x[side] << 16) + row * slope[side] + 2**15) >> 16, top[side] + row


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 1, 3): 0 0 1 2 2 2, and 0 1 0 0 1 2."""
    number = np.repeat(np.arange(len(counts)), counts)
    return number, np.arange(len(number)) - (np.cumsum(counts) - counts)[number]
