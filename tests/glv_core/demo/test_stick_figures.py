"""Stick figures of drawn objects: joints where the outline is by its own formula, on a torus, from pixels alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.demo.clips import COLOURS, SIZE, Scene, render
from glv_core.demo.stick_figures import CORNERS, draw_figures, figures_in, stick_figures
from glv_core.perception.controls.pose_drawing import KEYPOINTS, draw_poses


def square(x: float, y: float, side: int) -> np.ndarray:
    """A square with its centre at x, y, over the borders."""
    columns, rows = ((np.arange(SIZE) + 0.5 - each + SIZE / 2) % SIZE - SIZE / 2 for each in (x, y))
    return (np.abs(columns)[None] < side / 2) & (np.abs(rows)[:, None] < side / 2)


def joints(figure: np.ndarray) -> dict[str, tuple[float, float]]:
    return {KEYPOINTS[k]: (x, y) for k, (x, y, score) in enumerate(figure) if score > 0}


@given(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(4, 12).map(lambda half: 2 * half))
@settings(max_examples=60, deadline=None)
def test_a_square_has_its_centre_and_its_corners(x, y, side):
    figures = stick_figures(square(x, y, side).astype(float))
    found = [joints(each) for each in figures]
    for each in found:
        assert each.keys() == {"neck", *CORNERS}
        off = (np.subtract(each["neck"], (x, y)) + SIZE / 2) % SIZE - SIZE / 2
        assert np.abs(off).max() < 1e-6
        for name, (right, down) in CORNERS.items():
            corner = side / 2 - 0.5  # the middle of the outermost pixel
            assert each[name] == pytest.approx((each["neck"][0] + right * corner, each["neck"][1] + down * corner))
    inside = [each for each in found if min(each["neck"]) >= 0 and max(each["neck"]) < SIZE - 1e-6]
    assert len(inside) == 1  # the object itself; the others are its copies


@pytest.mark.parametrize("background", ["black", "white", "gray"])
@pytest.mark.parametrize("colour", list(COLOURS))
def test_neither_colour_nor_background_is_in_the_figure(colour, background):
    def drawn(colour, background):
        return render(Scene("triangle", colour, background, "right", 40.0, 30.0), 3)

    ours, black = (figures_in(drawn(*words)) for words in ((colour, background), ("green", "black")))
    for frame, other in zip(ours, black, strict=True):
        assert len(frame) == len(other) == 1
        assert np.abs(frame[0] - other[0]).max() < 1


def test_shapes_have_limbs_of_their_own():
    limbs = {}
    for shape in ("circle", "square", "triangle"):
        ((figure,),) = figures_in(render(Scene(shape, "red", "white", "right", 30.0, 30.0), 1))
        found = joints(figure)
        limbs[shape] = np.array([np.subtract(found[name], found["neck"]) for name in CORNERS])
    assert np.abs(limbs["triangle"][:2, 0]).max() < 2 and limbs["triangle"][:2, 1].max() < -8  # both at its tip
    assert np.linalg.norm(limbs["square"], axis=1).min() > np.linalg.norm(limbs["circle"], axis=1).max() + 1


def test_an_object_on_the_border_is_drawn_on_both_sides():
    crossing = square(0, 20, 16)
    image = draw_figures(crossing[None].astype(float))[0]
    moved = draw_figures(square(32, 20, 16)[None].astype(float))[0]
    assert image[:, :8].any() and image[:, -8:].any() and not image[:, 12:-12].any()
    rolled = torch.roll(image, 32, 1).float()
    assert (rolled - moved.float()).abs().mean() < 6  # but for the rounding of pixels


def test_nothing_is_nothing():
    assert stick_figures(np.zeros((SIZE, SIZE))) == []
    assert figures_in(torch.full((2, 3, SIZE, SIZE), 0.5)) == [[], []]
    assert not draw_poses([[]], SIZE, SIZE).any()
