"""Lines, discs, ellipses and skeletons against pixels that OpenCV 4.14 draws."""

from __future__ import annotations

import itertools
import math
import sys
import time
import timeit
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import people as made

from glv_core.perception.controls import pose_drawing
from glv_core.perception.controls.drawing import disc_spans, draw_lines, ellipse_spans, line_points, span_places
from glv_core.perception.controls.pose_drawing import COLOURS, KEYPOINTS, LIMBS

DISC = """
....#....
..#####..
.#######.
.#######.
#########
.#######.
.#######.
..#####..
....#....
"""
# Rows of two ellipses that OpenCV fills: row, first and last column.
SLANTED = [
    (13, 10, 15), (14, 9, 18), (15, 9, 20), (16, 10, 22), (17, 10, 23), (18, 11, 25), (19, 12, 26), (20, 13, 27),
    (21, 14, 28), (22, 15, 29), (23, 17, 30), (24, 18, 30), (25, 20, 31), (26, 22, 31), (27, 25, 30),
]  # fmt: skip
STEEP = [
    (14, 16, 17), (15, 14, 19), (16, 13, 19), (17, 12, 20), (18, 12, 20), (19, 11, 20), (20, 11, 20), (21, 11, 19),
    (22, 10, 19), (23, 10, 19), (24, 10, 18), (25, 10, 18), (26, 11, 17), (27, 11, 16), (28, 13, 14),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "points"),
    [
        ((2, 3, 9, 6), [(2, 3), (3, 3), (4, 4), (5, 4), (6, 5), (7, 5), (8, 6), (9, 6)]),
        ((9, 6, 2, 3), [(2, 3), (3, 3), (4, 4), (5, 4), (6, 5), (7, 5), (8, 6), (9, 6)]),
        ((4, 9, 1, 1), [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (3, 7), (4, 8), (4, 9)]),
        ((-3, 2, 12, 7), [(0, 3), (1, 3), (2, 4), (3, 4), (4, 4), (5, 5), (6, 5), (7, 5), (8, 6), (9, 6)]),
        ((2.9, 3.9, 2.2, 3.1), [(2, 3)]),
        ((-5, 1, -1, 8), []),
        ((3, 12, 30, 10), []),
    ],
)
def test_lines(line, points):
    canvas = draw_lines(np.array([line]), 10, 10)
    assert sorted((int(x), int(y)) for y, x in np.argwhere(canvas)) == sorted(points)
    assert set(np.unique(canvas)) <= {0, 255}


@settings(max_examples=60, deadline=None)
@given(ends=st.tuples(*[st.integers(-30, 30)] * 4))
def test_a_line_is_whole_and_near_the_true_one(ends):
    start, end = np.array(ends[:2]), np.array(ends[2:])
    points = line_points(tuple(ends[:2]), tuple(ends[2:]))
    assert len(points) == np.abs(end - start).max() + 1
    assert {tuple(points[0]), tuple(points[-1])} == {tuple(start), tuple(end)}
    assert np.abs(np.diff(points, axis=0)).max(initial=0) <= 1
    way = end - start
    if way.any():
        away = np.abs((points - start) @ (way[1], -way[0])) / np.abs(way).max()
        assert away.max() <= 0.5


def test_a_disc():
    wanted = {(x + 1, y - 2) for y, row in enumerate(DISC.split()) for x, sign in enumerate(row) if sign == "#"}
    found = disc_spans(np.array([[5, 2], [-3, 40]])).tolist()
    for number, (right, down) in enumerate([(0, 0), (-8, 38)]):
        rows = [row[1:] for row in found if row[0] == number]
        assert {(x - right, y - down) for y, first, last in rows for x in range(first, last + 1)} == wanted


def spans(*ellipses: tuple[tuple[int, int], tuple[int, int], int]) -> list[list[tuple[int, int, int]]]:
    """Rows of each ellipse: y, and the first and the last x."""
    found = ellipse_spans(*(np.array(each) for each in zip(*ellipses)))
    return [[tuple(row[1:]) for row in found.tolist() if row[0] == number] for number in range(len(ellipses))]


def test_ellipses():
    assert spans(((20, 20), (12, 4), 30), ((15, 21), (7, 4), -65)) == [SLANTED, STEEP]


@pytest.mark.parametrize("centre", [(20, 20), (21, 20), (20, 21), (-7, 33)])
def test_a_flat_ellipse_moves_with_its_centre(centre):
    (rows,) = spans((centre, (6, 4), 0))
    assert [y for y, _, _ in rows] == list(range(centre[1] - 4, centre[1] + 5))
    assert (min(first for _, first, _ in rows), max(last for _, _, last in rows)) == (centre[0] - 6, centre[0] + 6)


def plain_line(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    """Bresenham's with 8 neighbours from the left end: a step across where the error passes half a pixel."""
    (x, y), (x1, y1) = (start, end) if start[0] <= end[0] else (end, start)
    dx, dy, sign = x1 - x, abs(y1 - y), 1 if y1 >= y else -1
    points, error = set(), 0
    for _ in range(max(dx, dy) + 1):
        points.add((x, y))
        error += 2 * min(dx, dy)
        over = error > max(dx, dy)
        error -= 2 * max(dx, dy) * over
        x, y = x + (dx >= dy or over), y + sign * (dy > dx or over)
    return points


def plain_ellipse(centre: tuple[int, int], half_axes: tuple[int, int], degrees: int) -> list[tuple[int, int, int]]:
    """The same rows, side by side of the polygon, with the sine of every degree rounded to OpenCV's 7 digits."""

    def sine(angle: int) -> float:
        return float(np.float32(round(math.sin(math.radians(angle)), 7)))

    turn = degrees % 360
    corners = []
    for angle in range(361):
        x, y = half_axes[0] * sine(450 - angle), half_axes[1] * sine(angle)
        right, down = x * sine(turn + 90) - y * sine(turn), x * sine(turn) + y * sine(turn + 90)
        corners.append((round(centre[0] + right), round(centre[1] + down)))
    rows: dict[int, list[int]] = {}
    for start, end in itertools.pairwise(corners):
        for x, y in plain_line(start, end):
            rows.setdefault(y, []).append(x)
        (x, top), (other, bottom) = sorted((start, end), key=lambda corner: corner[1])
        for y in range(top, bottom):
            slope = math.trunc(Fraction(((other - x) << 17) + bottom - top, 2 * (bottom - top)))
            rows[y].append(((x << 16) + (y - top) * slope + 2**15) >> 16)
    return [(y, min(rows[y]), max(rows[y])) for y in sorted(rows)]


@settings(max_examples=60, deadline=None)
@given(
    ellipses=st.lists(
        st.tuples(
            st.tuples(st.integers(-50, 400), st.integers(-50, 400)),
            st.tuples(st.integers(0, 300), st.integers(0, 9)),
            st.integers(-180, 180),
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_ellipses_are_those_drawn_side_by_side(ellipses):
    assert spans(*ellipses) == [plain_ellipse(*each) for each in ellipses]


def test_spans_are_cut_at_the_image():
    """Four shapes, one of them in the second of two images of 3 x 5, and one outside."""
    rows = np.array([[0, -1, 0, 3], [0, 1, -2, 1], [1, 1, 3, 9], [1, 2, 6, 9], [2, 3, 0, 0], [3, 2, 4, 5]])
    places, begins = span_places(rows, np.array([0, 1, 0, 0]), 3, 5)
    assert places.tolist() == [5, 6, 15 + 8, 15 + 9, 14]
    assert begins.tolist() == [0, 2, 4, 4, 5]


def draw_poses(people: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """One frame."""
    return pose_drawing.draw_poses([people], height, width)[0]


def person(**places: tuple[float, float]) -> np.ndarray:
    result = np.zeros((18, 3), np.float32)
    for name, place in places.items():
        result[KEYPOINTS.index(name.replace("_", " "))] = (*place, 1)
    return result


def test_tables():
    assert (len(KEYPOINTS), len(LIMBS), len(COLOURS)) == (18, 17, 18)
    assert COLOURS[0] == (255, 0, 0) and len(set(COLOURS)) == 18
    names = [(KEYPOINTS[a], KEYPOINTS[b]) for a, b in LIMBS]
    assert names[:2] == [("neck", "right shoulder"), ("neck", "left shoulder")]
    assert names[12:] == [("neck", "nose"), ("nose", "right eye"), ("right eye", "right ear"), ("nose", "left eye"),
                          ("left eye", "left ear")]  # fmt: skip


def test_an_arm():
    """Two joints and the limb between them, blended over the joints and the black."""
    canvas = draw_poses([person(right_elbow=(20.7, 20.2), right_wrist=(40.9, 20.9))], 48, 64)
    elbow, wrist = COLOURS[3], COLOURS[4]
    limb = COLOURS[LIMBS.index((3, 4))]
    assert canvas[20, 30].tolist() == [round(0.6 * part) for part in limb]  # (10, 4) half axes around (30, 20)
    assert canvas[16, 30].tolist() == canvas[24, 30].tolist() == canvas[20, 30].tolist()
    assert not canvas[15, 30].any() and not canvas[25, 30].any()
    assert canvas[20, 17].tolist() == list(elbow) and canvas[20, 44].tolist() == list(wrist)
    assert canvas[20, 22].tolist() == [round(0.4 * a + 0.6 * b) for a, b in zip(elbow, limb)]


def test_nobody_is_black():
    assert not draw_poses([], 8, 9).any()
    assert not draw_poses([np.zeros((18, 3), np.float32)], 8, 9).any()


def test_a_limb_needs_both_ends_and_may_leave_the_image():
    one = draw_poses([person(nose=(5, 5))], 16, 16)
    assert {tuple(colour) for colour in one.reshape(-1, 3).tolist()} == {(0, 0, 0), COLOURS[0]}
    outside = draw_poses([person(neck=(-20, -5), nose=(30, 40))], 16, 16)
    assert outside.shape == (16, 16, 3) and outside.any()


def test_people_are_drawn_limb_by_limb():
    first, second = person(neck=(10, 10), nose=(10, 30)), person(neck=(30, 10), nose=(30, 30))
    both = draw_poses([first, second], 40, 40)
    np.testing.assert_array_equal(both, draw_poses([first], 40, 40) + draw_poses([second], 40, 40))


def plain_poses(people: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The image pixel by pixel: joints, then limb after limb over what is there."""
    canvas = np.zeros((height, width, 3), np.uint8)
    disc = [(x - 4, y - 4) for y, row in enumerate(DISC.split()) for x, sign in enumerate(row) if sign == "#"]
    for keypoint, colour in enumerate(COLOURS):
        for each in people:
            if each[keypoint, 2] > 0:
                for right, down in disc:
                    x, y = int(each[keypoint, 0]) + right, int(each[keypoint, 1]) + down
                    if 0 <= x < width and 0 <= y < height:
                        canvas[y, x] = colour
    for (first, second), colour in zip(LIMBS, COLOURS):
        for each in people:
            (x0, y0, seen), (x1, y1, also) = each[[first, second]].tolist()
            if seen > 0 and also > 0:
                centre, half = (int((x0 + x1) / 2), int((y0 + y1) / 2)), int(math.hypot(x0 - x1, y0 - y1) / 2)
                for y, left, right in plain_ellipse(centre, (half, 4), int(math.degrees(math.atan2(y0 - y1, x0 - x1)))):
                    for x in range(max(left, 0), min(right, width - 1) + 1 if 0 <= y < height else 0):
                        canvas[y, x] = [round(old * 0.4 + new * 0.6) for old, new in zip(canvas[y, x].tolist(), colour)]
    return canvas


@pytest.mark.parametrize(("seed", "count", "height", "width"), [(0, 5, 96, 128), (1, 2, 40, 200), (2, 1, 9, 7)])
def test_every_pixel_of_a_crowd_is_the_plain_one_s(seed, count, height, width):
    """Limbs over limbs and joints of others, over the edges of the image, with keypoints that are not seen."""
    random = np.random.default_rng(seed)
    people = random.uniform(-0.2, 1.2, (count, 18, 3)) * (width, height, 1)
    people[random.uniform(size=(count, 18)) < 0.2] = 0
    drawn = draw_poses(list(people), height, width)
    np.testing.assert_array_equal(drawn, plain_poses(list(people), height, width))
    assert drawn.any()


def test_frames_that_are_drawn_together_are_those_drawn_alone():
    """Of several numbers of people, one frame without any, in both precisions."""
    random = np.random.default_rng(3)
    for kind in (np.float32, np.float64):
        places = [random.uniform(-0.1, 1.1, (count, 18, 3)) * (90, 70, 1) for count in (2, 0, 5, 1)]
        frames = [list(people.astype(kind)) for people in places]
        together = pose_drawing.draw_poses(frames, 70, 90)
        np.testing.assert_array_equal(together, np.stack([draw_poses(people, 70, 90) for people in frames]))
        assert together.any((1, 2, 3)).tolist() == [True, False, True, True]
    assert pose_drawing.draw_poses([], 70, 90).shape == (0, 70, 90, 3)


def test_drawing_a_crowd_takes_milliseconds():
    """Five people at 256 x 256: 1 ms of one core, where drawing them limb by limb in Python took 110."""
    random = np.random.default_rng(0)
    people = list(random.uniform(0, 1, (5, 18, 3)) * (256, 256, 1))
    plain, drawn = (
        min(timeit.repeat(partial(draw, people, 256, 256), number=1, repeat=3, timer=time.process_time))
        for draw in (plain_poses, draw_poses)
    )
    assert drawn < plain / 20


def test_eight_frames_take_as_many_calls_as_one():
    """What is done in Python grows with the limbs of a frame, not with the frames."""
    random = np.random.default_rng(0)
    frames = [list(random.uniform(0, 1, (5, 18, 3)) * (256, 256, 1)) for _ in range(8)]
    one, eight = (made.calls_of(pose_drawing.draw_poses, frames[:count], 256, 256) for count in (1, 8))
    assert one < 1500 and eight < 1.2 * one
