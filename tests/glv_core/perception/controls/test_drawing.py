"""Lines, discs, ellipses and skeletons against pixels that OpenCV 4.14 draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.perception.controls import drawing
from glv_core.perception.controls.drawing import disc_points, draw_lines, ellipse_points, line_points
from glv_core.perception.controls.pose_drawing import COLOURS, KEYPOINTS, LIMBS, draw_poses

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
    assert {tuple(point) for point in disc_points(5, 2).tolist()} == wanted


@pytest.mark.parametrize(
    ("arguments", "rows"), [(((20, 20), (12, 4), 30), SLANTED), (((15, 21), (7, 4), -65), STEEP)]
)  # fmt: skip
def test_ellipses(arguments, rows):
    points = {tuple(point) for point in ellipse_points(*arguments).tolist()}
    assert points == {(x, y) for y, first, last in rows for x in range(first, last + 1)}


@pytest.mark.parametrize("centre", [(20, 20), (21, 20), (20, 21), (-7, 33)])
def test_a_flat_ellipse_moves_with_its_centre(centre):
    points = ellipse_points(centre, (6, 4), 0)
    assert (points.min(0) - centre).tolist() == [-6, -4]
    assert (points.max(0) - centre).tolist() == [6, 4]


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


def test_memory_of_ellipses_is_small():
    drawing._ellipse_around.cache_clear()
    for length in range(400, 800):
        drawing.ellipse_points((1000, 1000), (length, 4), 30)
    info = drawing._ellipse_around.cache_info()
    kept = drawing._ellipse_around((0, 0), (799, 4), 30).nbytes
    assert info.currsize * kept < 20 * 2**20
