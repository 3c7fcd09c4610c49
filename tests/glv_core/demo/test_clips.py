"""The generator of the demo world."""

from fractions import Fraction

import pytest
import torch

from glv_core.demo.clips import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    SHAPES,
    SIZE,
    SPEED,
    TEMPLATES,
    Scene,
    all_combinations,
    random_scene,
    render,
)


def test_render_gives_frames_in_range():
    frames = render(Scene("circle", "red", "white", "right", 20.0, 30.0), 5)
    assert frames.shape == (5, 3, SIZE, SIZE)
    assert frames.dtype == torch.float32
    assert frames.min() >= 0 and frames.max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_centre_and_corner_have_the_two_colours(shape):
    frame = render(Scene(shape, "blue", "gray", "up", 32.0, 32.0), 1)[0]
    assert torch.allclose(frame[:, 32, 32], torch.tensor(COLOURS["blue"]))
    assert torch.allclose(frame[:, 0, 0], torch.tensor(BACKGROUNDS["gray"]))


def test_shapes_cover_different_areas():
    areas = {}
    for shape in SHAPES:
        frame = render(Scene(shape, "red", "black", "up", 32.0, 32.0), 1)[0]
        areas[shape] = float((frame[0] - 0.02).sum() / (0.90 - 0.02))
    assert areas["square"] == pytest.approx(729, rel=0.02)
    assert areas["circle"] == pytest.approx(707, rel=0.02)
    assert areas["triangle"] == pytest.approx(434, rel=0.03)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_motion_is_a_roll_at_constant_speed(direction):
    speed = Fraction(SPEED)
    period = SIZE * speed.denominator  # the object has gone around a whole number of times
    frames = render(Scene("triangle", "cyan", "black", direction, 3.25, 61.5), period + 6)
    dx, dy = (int(step) for step in DIRECTIONS[direction])
    # After this many frames the object has moved by a whole number of pixels.
    stride, pixels = speed.denominator, speed.numerator
    for before, after in zip(frames[:-stride], frames[stride:], strict=True):
        assert torch.allclose(before.roll((pixels * dy, pixels * dx), (1, 2)), after, atol=2e-4)
    assert torch.allclose(frames[0], frames[period], atol=2e-4)


def test_start_continues_the_same_video():
    scene = Scene("square", "green", "white", "left", 10.0, 50.0)
    assert torch.equal(render(scene, 20)[7:], render(scene, 13, start=7))


def test_edges_are_soft():
    frame = render(Scene("circle", "red", "black", "up", 32.3, 31.8), 1)[0, 0]
    between = ((frame > 0.1) & (frame < 0.8)).sum()
    assert 30 < between < 140


def test_prompts_name_everything_in_every_template():
    for shape, colour, background, direction in all_combinations():
        scene = Scene(shape, colour, background, direction, 0.0, 0.0)
        for template in range(len(TEMPLATES)):
            prompt = scene.prompt(template)
            assert all(word in prompt for word in (shape, colour, background, direction))
    assert Scene("circle", "red", "white", "right", 0, 0).prompt() == "a red circle moving right on a white background"


def test_random_scenes_repeat_by_seed_and_vary():
    first = [random_scene(torch.Generator().manual_seed(3)) for _ in range(2)]
    assert first[0] == first[1]
    generator = torch.Generator().manual_seed(0)
    scenes = [random_scene(generator) for _ in range(400)]
    assert {scene.shape for scene in scenes} == set(SHAPES)
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert {scene.direction for scene in scenes} == set(DIRECTIONS)
    assert min(scene.x for scene in scenes) < 4 and max(scene.x for scene in scenes) > SIZE - 4


@pytest.mark.parametrize("field", ["shape", "colour", "background", "direction"])
def test_unknown_words_are_refused(field):
    words = {"shape": "circle", "colour": "red", "background": "white", "direction": "left", field: "plaid"}
    with pytest.raises(ValueError, match="plaid"):
        Scene(**words, x=0.0, y=0.0)
