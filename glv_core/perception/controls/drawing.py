"""Lines, discs and limbs as OpenCV draws them, without smoothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pixels = tuple[np.ndarray, np.ndarray]  #: x and y

# A disc of radius 4, row by row from its middle: how far it reaches to each side (``cv2.circle``, filled).
_DISC_4 = (4, 3, 3, 2, 0)
_DISC = np.array([(down, -_DISC_4[abs(down)], _DISC_4[abs(down)]) for down in range(-4, 5)])  #: y, first and last x
_SINE = np.round(np.sin(np.radians(np.arange(451))), 7).astype(np.float32).astype(np.float64)  #: OpenCV's table
_SHORT = 57  # of an ellipse with shorter axes, corners a degree apart are rounded to the same or neighbouring pixels


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


def disc_spans(centres: np.ndarray) -> np.ndarray:
    """Filled discs of radius 4 around whole pixels ``n 2`` (x, y), row by row, see ``ellipse_spans``."""
    spans = np.empty((len(centres), len(_DISC), 4), np.int64)
    spans[..., 0] = np.arange(len(centres))[:, None]
    spans[..., 1:] = centres[:, None, [1, 0, 0]] + _DISC
    return spans.reshape(-1, 4)


def ellipse_spans(centres: np.ndarray, half_axes: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Filled ellipses row by row, ``r 4``: which ellipse, y, and the first and the last x.

    The pixels of ``cv2.fillConvexPoly(cv2.ellipse2Poly(centre, half_axes, degrees, 0, 360, 1))``: corners at every
    degree are rounded to pixels, joined by lines, and every row is filled between its outermost pixels. Half of the
    corners are reckoned; the others lie across the centre from them.

    Args:
        centres: ``n 2`` (x, y), whole pixels.
        half_axes: ``n 2``, whole pixels along and across.
        degrees: ``n``, whole degrees that each is turned clockwise on the screen.
    """
    cos, sin = _SINE[degrees % 360 + 90, None], _SINE[degrees % 360, None]
    along, across = half_axes[:, :1] * _SINE[90:271], half_axes[:, 1:] * _SINE[:181]
    x, y = along * cos, along * sin
    x -= across * sin
    y += across * cos
    x += centres[:, :1]
    y += centres[:, 1:]
    x, y = np.rint(x, out=x).astype(np.int32), np.rint(y, out=y).astype(np.int32)
    middle_x, middle_y = centres.T.astype(np.int32)
    top = np.minimum(y.min(1), 2 * middle_y - y.max(1))
    rows = 2 * (middle_y - top) + 1
    first = np.cumsum(rows) - rows
    at = (first - top)[:, None].astype(np.int32) + y
    begins = np.diff(at.ravel(), prepend=-1).nonzero()[0]  # of corners side by side in a row
    runs = at.ravel()[begins]
    left = np.full(rows.sum(), 2**30, np.int32)
    right = np.full(rows.sum(), -(2**30), np.int32)
    np.minimum.at(left, runs, np.minimum.reduceat(x.ravel(), begins))
    np.maximum.at(right, runs, np.maximum.reduceat(x.ravel(), begins))
    ellipse, row = _counted(rows)
    across_ = (2 * first + rows - 1)[ellipse] - np.arange(len(row))
    twice = 2 * middle_x[ellipse]
    left, right = np.minimum(left, twice - right[across_]), np.maximum(right, twice - left[across_])
    big = (half_axes.max(1) > _SHORT).nonzero()[0]
    x, y = x[big], y[big]
    which, corner = (np.maximum(np.abs(np.diff(x)), np.abs(np.diff(y))) > 1).nonzero()
    if len(which):  # of shorter sides the corners are all
        ends = [np.stack([each[which, corner + more] for more in (0, 1)]) for each in (x, y)]
        owner = np.tile(big[which], 2)
        ends = [
            np.concatenate([each, 2 * middle[big[which]] - each], 1)
            for each, middle in zip(ends, (middle_x, middle_y), strict=True)
        ]
        for side, x_of, y_of in _side_points(*zip(*ends, strict=True)):
            at = (first - top)[owner[side]] + y_of
            np.minimum.at(left, at, x_of.astype(np.int32))
            np.maximum.at(right, at, x_of.astype(np.int32))
    return np.stack([ellipse, top[ellipse] + row, left, right], 1)


def span_places(
    spans: np.ndarray, image: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of spans ``r 4`` (see ``ellipse_spans``) lie in images ``t h w`` that are one row of pixels.

    What is outside of its image is left out.

    Args:
        image: for each of the shapes which image it is in.

    Returns:
        The places, in the order of the spans, and for each of the shapes where its own begin, and last where all end.
    """
    shape, y = spans[:, 0], spans[:, 1]
    left, right = spans[:, 2].clip(0, None), spans[:, 3].clip(None, width - 1)
    counts = np.where((y >= 0) & (y < height), (right - left + 1).clip(0, None), 0)
    ends = np.cumsum(counts)
    first = (image[shape] * height + y) * width + left
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - counts), counts)
    begin = np.concatenate([[0], ends])[np.searchsorted(shape, np.arange(len(image) + 1))]
    return places, begin


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
