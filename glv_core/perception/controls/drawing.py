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


def put(canvas: np.ndarray, points: np.ndarray, value: int) -> None:
    """Set pixels ``n 2`` (x, y) of ``h w``; those outside are left out."""
    height, width = canvas.shape
    x, y = points.T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas[y[inside], x[inside]] = value


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
    x = np.rint(along * cos - across * sin + centres[:, :1]).astype(np.int32)
    y = np.rint(along * sin + across * cos + centres[:, 1:]).astype(np.int32)
    middle_x, middle_y = centres.T.astype(np.int32)
    top = np.minimum(y.min(1), 2 * middle_y - y.max(1))
    rows = 2 * (middle_y - top) + 1
    first = np.cumsum(rows) - rows
    left, right = np.full(rows.sum(), 2**30, np.int32), np.full(rows.sum(), -(2**30), np.int32)
    at = ((first - top).astype(np.int32)[:, None] + y).ravel()
    runs = np.append(True, at[1:] != at[:-1])[: len(at)].nonzero()[0]  # of corners that follow one another in a row
    np.minimum.at(left, at[runs], np.minimum.reduceat(x.ravel(), runs))
    np.maximum.at(right, at[runs], np.maximum.reduceat(x.ravel(), runs))
    ellipse, row = _counted(rows)
    opposite, twice = (2 * first + rows - 1)[ellipse] - np.arange(len(row)), 2 * middle_x[ellipse]
    left, right = np.minimum(left, twice - right[opposite]), np.maximum(right, twice - left[opposite])
    for which, x_of, y_of in _long_sides(np.stack([x, y]), centres, half_axes):
        at = (first - top)[which] + y_of
        np.minimum.at(left, at, x_of)
        np.maximum.at(right, at, x_of)
    return np.stack([ellipse, top[ellipse] + row, left, right], 1)


def _long_sides(
    corners: np.ndarray, centres: np.ndarray, half_axes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels of sides longer than a pixel, as which ellipse, x, y; of others the corners, ``2 n 181``, are all."""
    big = (half_axes.max(1) > _SHORT).nonzero()[0]
    corners = corners[:, big].astype(np.int64)
    which, side = (np.abs(np.diff(corners)).max(0) > 1).nonzero()
    centre = centres[big[which]].T
    start, end = (
        np.concatenate([each, 2 * centre - each], 1)
        for each in (corners[:, which, side], corners[:, which, side + 1])
    )  # fmt: skip
    for number, x, y in _side_points(start, end):
        yield np.tile(big[which], 2)[number], x, y


def span_places(spans: np.ndarray, image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of spans ``r 4`` (see ``ellipse_spans``) lie in images ``t h w``, counted through all of them.

    What is outside of its image is left out.

    Args:
        image: which image each of the shapes is in.

    Returns:
        The places in the order of the spans, and where in them each shape's own begin; the last one is where all end.
    """
    shape, y = spans[:, 0], spans[:, 1]
    left, right = spans[:, 2].clip(0, None), spans[:, 3].clip(None, width - 1)
    counts = np.where((y >= 0) & (y < height), (right - left + 1).clip(0, None), 0)
    ends = np.cumsum(counts)
    first = (image[shape] * height + y) * width + left
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - counts), counts)
    return places, np.concatenate([[0], ends])[np.searchsorted(shape, np.arange(len(image) + 1))]


def _side_points(start: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels of sides between corners ``2 n`` (x, y), as which, x, y: those of the lines, and where filling ends, which
    rounds halves to the right."""
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
