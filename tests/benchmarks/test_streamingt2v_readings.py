"""What the benchmark of StreamingT2V reads, on drawn videos whose defects are known."""

import numpy as np
import pytest
import torch

from benchmarks.streamingt2v_readings import (
    at_and_inside,
    drift,
    flow_unevenness,
    object_flow,
    read_video,
    shape_overlap,
)
from glv_core.demo.clips import BACKGROUNDS, COLOURS, centred_scene, render
from glv_core.metrics_motion import warp_error

JOINS = range(16, 48, 8)
FRAMES = 48
SPEED = 3.0
PROMPT = "a red circle moving right on a white background"


def _drawn(places, shapes="circle", colour="red", background="white", fade=0.0):
    """Frames `t 64 64 3` with the object at a place along the middle row, and what is left of its colour."""
    shapes = [shapes] * len(places) if isinstance(shapes, str) else shapes
    frames = [
        render(centred_scene(shape, colour, background, "right", float(place) % 64), 1)[0]
        for shape, place in zip(shapes, places)
    ]
    video = torch.stack(frames).permute(0, 2, 3, 1).numpy()
    behind, own = np.array(BACKGROUNDS[background]), np.array(COLOURS[colour])
    cover = ((video - behind) @ (own - behind) / ((own - behind) @ (own - behind)))[..., None]
    kept = 1 - fade * np.linspace(0, 1, len(video)).reshape(-1, 1, 1, 1)
    return (behind + cover * (own * kept - behind)).astype(np.float32)


def _places(jump=0.0):
    """Where an object is that moves evenly and jumps at every join."""
    return np.arange(FRAMES) * SPEED + jump * sum(np.arange(FRAMES) >= join for join in JOINS) + 5.25


def _read(video, prompt=PROMPT):
    return read_video(video, JOINS, prompt)


def test_an_even_video_has_no_defect():
    found = _read(_drawn(_places()))
    assert found["velocity_ratio"] == pytest.approx(1, abs=0.01)
    assert found["speed_inside"] == pytest.approx(SPEED, abs=0.01)
    assert max(found["speed_error_at_joins"], found["speed_error_inside"]) < 0.05
    assert min(found["overlap_at_joins"], found["overlap_inside"]) > 0.99
    assert found["as_prompted"] == found["direction"] == 1
    assert _read(_drawn(_places()), PROMPT.replace("right", "left"))["direction"] == 0
    assert _read(_drawn(_places()), PROMPT.replace("right", "down"))["direction"] == 0
    assert max(found[name] for name in found if "drift" in name) < 0.1


@pytest.mark.parametrize("jump", [2.0, 5.0, -9.0])
def test_a_jump_at_joins_is_the_velocity_ratio(jump):
    found = _read(_drawn(_places(jump)))
    assert found["velocity_ratio"] == pytest.approx(abs(SPEED + jump) / SPEED, abs=0.02)
    assert found["speed_error_at_joins"] == pytest.approx(abs(jump), abs=0.05)
    assert found["speed_error_inside"] < 0.05


def test_another_shape_at_joins_is_the_overlap():
    shapes = [("circle", "square")[max(0, frame - 8) // 8 % 2] for frame in range(FRAMES)]
    found = _read(_drawn(_places(), shapes))
    # A circle of radius 15 and a square of 27 pixels: by how much of a fine grid both cover.
    y, x = np.mgrid[-20:20:0.05, -20:20:0.05]
    circle, square = np.hypot(x, y) < 15, np.maximum(abs(x), abs(y)) < 13.5
    wanted = (circle & square).sum() / (circle | square).sum()
    assert found["overlap_at_joins"] == pytest.approx(wanted, abs=0.02) and wanted < 0.9
    assert found["overlap_inside"] > 0.99
    assert found["as_prompted"] == pytest.approx(shapes.count("circle") / FRAMES)


@pytest.mark.parametrize("fade", [0.1, 0.25])
def test_a_colour_that_fades_is_the_drift(fade):
    found = _read(_drawn(_places(), fade=fade))
    assert found["colour_drift"] == pytest.approx(100 * fade, rel=0.05)
    assert found["colour_drift_per_100"] == pytest.approx(100 * fade * 100 / (FRAMES - 1), rel=0.05)
    assert found["size_drift"] < 1


def test_a_thing_that_grows_is_the_drift_of_its_size():
    y, x = np.mgrid[:64, :64] + 0.5
    radii = np.sqrt(12.0**2 * np.linspace(1, 1.2, FRAMES))
    cover = np.clip(0.5 - (np.hypot(x - 32, y - 32) - radii[:, None, None]), 0, 1)[..., None]
    found = _read(np.ones(3) + cover * (np.array(COLOURS["red"]) - np.ones(3)))
    assert found["size_drift"] == pytest.approx(20, rel=0.05)
    assert found["colour_drift"] < 1


def test_frames_without_an_object_are_left_out_but_for_the_prompt():
    video = _drawn(_places())
    video[20:24] = BACKGROUNDS["white"]
    found = _read(video)
    assert found["as_prompted"] == pytest.approx(1 - 4 / FRAMES)
    assert found["velocity_ratio"] == pytest.approx(1, abs=0.01) and found["colour_drift"] < 0.1
    assert found["overlap_inside"] < 0.95  # a shape that is gone has none
    nothing = _read(np.full_like(video, 0.98))
    assert nothing["as_prompted"] == 0 and np.isnan(nothing["velocity_ratio"]) and np.isnan(nothing["colour_drift"])


def test_means_of_steps_and_lines_by_hand():
    assert at_and_inside(np.array([1.0, np.nan, 3.0, 8.0]), [3, 4]) == (5.5, 1.0)
    assert drift(np.array([[10.0], [np.nan], [14.0]])) == pytest.approx(40)
    cover = np.zeros((64, 64))
    cover[10:20, 10:20] = 1
    half = np.zeros((64, 64))
    half[40:50, 50:55] = 1
    assert shape_overlap(cover, half) == pytest.approx(0.5)
    assert shape_overlap(np.zeros((8, 8)), np.zeros((8, 8))) == 0


@pytest.mark.parametrize("way", [(3, 0), (-3, 0), (0, 7), (-2, -11)])
def test_the_flow_is_that_of_the_thing(way):
    frame = torch.from_numpy(_drawn([60.0])[0]) * 255  # half across the edge
    moved = frame.roll((way[1], way[0]), (0, 1))
    flow = object_flow(frame, moved)
    thing = (frame - frame[0, 0]).abs().amax(-1) > 255 * 0.2
    assert torch.equal(flow, thing[..., None] * torch.tensor(way, dtype=torch.float32)) and 300 < thing.sum() < 800
    assert not object_flow(frame, frame).any()


@pytest.mark.parametrize("way", [0.25, 2.6, -1.5])
def test_the_flow_is_known_to_a_part_of_a_pixel(way):
    before, after = (torch.from_numpy(_drawn([place])[0]) * 255 for place in (30.0, 30.0 + way))
    moved = object_flow(before, after)[32, 30]
    assert moved[0].item() == pytest.approx(way, abs=0.05) and moved[1] == 0


def test_the_warp_error_sees_a_thing_that_changes():
    """In the paper's variant, of an object that does not cross the edges."""
    even = _drawn(np.arange(8) * SPEED + 20)
    odd = _drawn(np.arange(8) * SPEED + 20, ["circle", "triangle"] * 4)
    errors = [warp_error(video, object_flow, "paper", size=None).value for video in (even, odd)]
    assert errors[0] < 1 and errors[1] > 20 * errors[0]


def test_a_jump_is_unevenness_of_the_flow_at_joins():
    video = _drawn(_places(2.0))
    share = float(np.mean(np.abs(video - video[:, :1, :1]).max(-1) > 0.2))
    assert flow_unevenness(video, JOINS) == pytest.approx(2 * share, rel=0.02)
    assert flow_unevenness(_drawn(_places()), JOINS) < 0.02
