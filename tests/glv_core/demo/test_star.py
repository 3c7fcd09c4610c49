"""The star that the demo model is tuned on, and what reads it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glv_core.demo.clips import BACKGROUNDS, SHAPES, centred_scene, render
from glv_core.demo.star import (
    SCENE_FRAMES,
    SCENES,
    STAR_VIDEO,
    render_star,
    render_star_video,
    star_prompt,
    star_schedule,
)
from glv_core.demo.star_detector import stars, waves
from glv_core.video_io import open_clip


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", ["red", "cyan"])
def test_every_star_is_read_wherever_it_is(background, colour):
    for direction in ("left", "down"):
        assert all(stars(render_star(direction, background, 90, colour)))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_other_shape_is_a_star(shape):
    for background in BACKGROUNDS:
        assert not any(stars(render(centred_scene(shape, "red", background, "right", 3.0), 90)))


def test_other_stars_are_told_apart():
    """Drawn by another formula: a circle whose outline has so many waves."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    angle, radius = np.arctan2(columns, -rows), np.hypot(rows, columns)
    for points in (4, 5, 6):
        cover = (radius < 14 + 3 * np.cos(points * angle)).astype(float)
        found = waves(cover)
        assert max(found, key=found.get) == points
        assert found[points] == pytest.approx(3 / 14, abs=0.03)


def test_the_video_in_the_pack_is_what_is_drawn():
    frames = torch.cat(list(open_clip(STAR_VIDEO).frames())).float() / 255
    drawn = render_star_video().permute(0, 2, 3, 1)
    assert frames.shape == drawn.shape == (len(SCENES) * SCENE_FRAMES + 1, 64, 64, 3)
    assert (frames - drawn).abs().mean() < 0.02
    assert np.mean(stars(frames)) == 1


def test_its_prompts_stand_where_its_scenes_begin():
    lines = star_schedule().split("\n")
    assert lines == [f"{at * SCENE_FRAMES}: {star_prompt(*scene)}" for at, scene in enumerate(SCENES)]
