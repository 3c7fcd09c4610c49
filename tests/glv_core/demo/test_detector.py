"""The detector, on rendered clips and on frames that show nothing clear."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glv_core.demo.clips import DIRECTIONS, SPEED, TEMPLATES, Scene, all_combinations, render
from glv_core.demo.detector import agreement, agrees, expected, read_clip, read_frames


def _blur(frames):
    return F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="circular"), 3, 1)


def _noise(frames):
    generator = torch.Generator().manual_seed(5)
    return (frames + 0.05 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("spoil", [lambda frames: frames, _blur, _noise], ids=["clean", "blurred", "noisy"])
def test_every_combination_is_read(spoil):
    generator = torch.Generator().manual_seed(1)
    for number, words in enumerate(all_combinations()):
        x, y = (torch.rand(2, generator=generator) * 64).tolist()
        scene = Scene(*words, x, y)
        reading = read_clip(spoil(render(scene, 4)))
        assert reading.found == 1
        assert (reading.shape, reading.colour, reading.background, reading.direction) == words
        assert reading.velocity == pytest.approx([SPEED * step for step in DIRECTIONS[scene.direction]], abs=0.05)
        prompt = scene.prompt(number % len(TEMPLATES))
        assert agrees(reading, prompt)
        assert set(agreement(reading, prompt).values()) == {1.0}
        assert len(agreement(reading, prompt)) == 4


@pytest.mark.parametrize("shape", ["circle", "square", "triangle"])
@pytest.mark.parametrize("x,y", [(0.0, 0.0), (63.9, 20.5), (31.0, 0.4), (2.0, 62.0)])
def test_an_object_across_the_border_is_one_object(shape, x, y):
    reading = read_frames(render(Scene(shape, "yellow", "black", "up", x, y), 1))[0]
    assert reading.found and reading.shape == shape
    error = [(reading.x - x + 32) % 64 - 32, (reading.y - y + 32) % 64 - 32]
    # The triangle's centre of mass lies below the middle of its box.
    assert error == pytest.approx([0, 14 / 3 if shape == "triangle" else 0], abs=0.25)


def test_velocity_is_unwrapped_at_the_border():
    reading = read_clip(render(Scene("circle", "red", "white", "left", 5.0, 60.0), 61))
    assert reading.velocity == pytest.approx((-SPEED, 0.0), abs=0.02)
    assert max(abs(dx + SPEED) for dx, _ in reading.steps) < 0.1


def test_a_still_object_has_no_direction():
    reading = read_clip(render(Scene("circle", "red", "white", "left", 5.0, 60.0), 1).repeat(6, 1, 1, 1))
    assert reading.found == 1
    assert reading.velocity == pytest.approx((0, 0), abs=1e-9)
    assert reading.direction is None
    assert not agrees(reading, "a red circle moving left on a white background")


def test_both_layouts_and_numpy_are_read_alike():
    frames = render(Scene("square", "magenta", "gray", "down", 40.0, 12.0), 3)
    wanted = read_frames(frames)
    assert read_frames(frames.permute(0, 2, 3, 1)) == wanted
    assert read_frames(frames.permute(0, 2, 3, 1).numpy()) == wanted
    with pytest.raises(ValueError, match="frames"):
        read_frames(frames[0])


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_blank_frame_has_a_background_and_no_object(level):
    reading = read_frames(np.full((1, 64, 64, 3), level))[0]
    assert not reading.found
    assert reading.background == {0.0: "black", 0.5: "gray", 1.0: "white"}[level]
    assert reading.shape is reading.colour is reading.x is None


def test_noise_nonsense_and_nan_are_refused():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, 64, 64, generator=generator)
    assert not any(reading.found for reading in read_frames(noise))
    coarse = F.interpolate(torch.rand(4, 3, 8, 8, generator=generator), 64, mode="bilinear")
    assert not any(reading.found for reading in read_frames(coarse))
    assert not read_frames(np.full((1, 64, 64, 3), np.nan))[0].found
    assert read_clip(noise).direction is None and read_clip(noise).velocity is None


def test_two_objects_are_refused():
    one = render(Scene("circle", "red", "white", "up", 16.0, 16.0), 1)
    two = render(Scene("circle", "red", "white", "up", 46.0, 46.0), 1)
    assert not read_frames(torch.minimum(one, two))[0].found


def test_a_ghost_is_refused():
    one = render(Scene("square", "blue", "white", "up", 16.0, 16.0), 1)
    two = render(Scene("square", "blue", "white", "up", 46.0, 46.0), 1)
    assert not read_frames(torch.minimum(one, 0.5 + 0.5 * two))[0].found


def test_a_coloured_background_is_refused():
    frames = render(Scene("square", "blue", "white", "up", 16.0, 16.0), 1)
    frames[:, 2] *= 0.2
    assert not read_frames(frames)[0].found


def test_wrong_prompts_do_not_agree():
    reading = read_clip(render(Scene("circle", "red", "white", "right", 20.0, 20.0), 5))
    assert agrees(reading, "a red circle moving right on a white background")
    for wrong in (
        "a blue circle moving right on a white background",
        "a red square moving right on a white background",
        "a red circle moving left on a white background",
        "a red circle moving right on a black background",
    ):
        assert not agrees(reading, wrong)
        assert min(agreement(reading, wrong).values()) == 0


def test_expected_reads_the_words_of_a_prompt():
    assert expected("Red circle, on a GREY background going up") == {
        "colour": "red",
        "shape": "circle",
        "background": "gray",
        "direction": "up",
    }
    assert expected("a cat") == {}
    assert expected("a red and blue circle") == {"shape": "circle"}
    frame = read_frames(render(Scene("circle", "red", "white", "right", 20.0, 20.0), 1))[0]
    assert agrees(frame, "a red circle moving left on white")
