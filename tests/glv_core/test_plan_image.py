"""The window plan's image: what is said in it, and what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.plan_image import COLORS, INK, LEFT, PAPER, PLAIN, RIGHT, WIDTH, Plan, draw_plan, facts, pack, shorten
from glv_core.prompts import parse_schedule
from glv_core.timeline import Compression, Timebase
from glv_core.video_models import LTX_2, MINIMAX_H3
from glv_core.windows import Window

WAN = Compression.causal(4)
DEMO = Timebase(161, 16, WAN)
SETTINGS = CoDenoiseSettings(16, 6)
PROMPTS = "a red circle | a green square | a blue triangle"


def schedule(text: str = PROMPTS, timebase: Timebase = DEMO, **options):
    return parse_schedule(text, num_frames=timebase.num_frames, fps=timebase.fps, **options)


def pixels(image) -> np.ndarray:
    return np.asarray(image)


def count(image, color) -> int:
    return int((pixels(image) == color).all(axis=-1).sum())


def test_the_numbers_in_the_text():
    first, second, third = facts(Plan(CoDenoiseSettings(16, 6, "static"), DEMO, None, 20))
    assert first == "161 frames, 10.06 s at 16 fps, 41 latent frames"
    assert second == "static windows of 61 frames (16 latent), overlap 24 (6 latent), pyramid merge"
    # Windows 0-16, 10-26, 20-36, 25-41: 4 * 16 / 41 latent frames.
    assert third == "4 windows a step, 80 in 20 steps: 1.56 times the latent frames of the video"


@pytest.mark.parametrize(
    ("length", "settings", "kind", "said"),
    [
        # Windows of 57 latents (192 frames) start at multiples of 5: 45 apart, where 39 frames asked for 46.
        (217, CoDenoiseSettings(57, 11, grain=5), MINIMAX_H3.compression, "overlap 39 (12 latent)"),
        (217, CoDenoiseSettings(57, 11, "static_balanced", grain=5), MINIMAX_H3.compression, "overlap 56 (17 latent)"),
        (95, CoDenoiseSettings(16, 3), LTX_2.compression, "overlap 24 (3 latent)"),
        # Windows 0-16 and 4-20 share 12, whatever was asked for.
        (20, CoDenoiseSettings(16, 3, "static"), LTX_2.compression, "overlap 96 (12 latent)"),
        (40, CoDenoiseSettings(16, 6, "batched"), WAN, "overlap 0 (0 latent)"),
        (10, CoDenoiseSettings(16, 6), WAN, "overlap 0 (0 latent)"),
        # Four windows of 16 on a loop of 40 are 10 apart.
        (40, CoDenoiseSettings(16, 4, "static", closed_loop=True), WAN, "overlap 24 (6 latent)"),
        (40, CoDenoiseSettings(16, 6, "static", phases=(Phase(0.5, overlap=2),)), WAN, "overlap 24 (6 latent)"),
    ],
)
def test_the_overlap_is_that_of_the_windows(length, settings, kind, said):
    assert said in facts(Plan(settings, Timebase.of_latent(length, 24, kind), None, 8))[1]


def test_a_moving_schedule_says_how_many_windows_at_least_and_at_most():
    assert facts(Plan(SETTINGS, DEMO, None, 20))[2].startswith("4 to 5 windows a step, 87 in 20 steps")


def test_windows_of_several_lengths_are_said_as_they_come():
    phases = (Phase(0.5, window=9), Phase(0.75, overlap=0), Phase(0.9, window=41))
    settings = CoDenoiseSettings(16, 6, "static", phases=phases)
    assert "static windows of 61 then 33 then 161 frames (16 then 9 then 41 latent), " in facts(
        Plan(settings, DEMO, None, 20)
    )[1]  # fmt: skip
    plan = Plan(settings, DEMO, None, 4)  # in which no step begins with the last phase
    assert "static windows of 61 then 33 frames (16 then 9 latent), " in facts(plan)[1]
    assert [name for name, _ in plan.shown()] == ["step 1", "step 3", "step 4"]


def test_a_short_video_has_one_window_of_its_own_length():
    lines = facts(Plan(SETTINGS, Timebase(21, 16, WAN), None, 3))
    assert "windows of 21 frames (6 latent)" in lines[1]
    assert lines[2].startswith("1 window a step, 3 in 3 steps: 1.00 times")


def test_lanes_hold_windows_that_do_not_touch():
    windows = [Window(start, 4) for start in range(0, 14, 2)]
    lanes = pack(windows)
    assert len(lanes) == 2
    assert sorted(number for lane in lanes for number in lane) == list(range(7))
    for lane in lanes:
        frames = [frame for number in lane for frame in windows[number].indices]
        assert len(frames) == len(set(frames))


def test_moving_schedules_show_the_first_steps_and_others_one():
    assert [name for name, _ in Plan(SETTINGS, DEMO, None, 20).shown()] == ["step 1", "step 2", "step 3", "step 4"]
    assert [name for name, _ in Plan(SETTINGS, DEMO, None, 2).shown()] == ["step 1", "step 2"]
    assert [name for name, _ in Plan(CoDenoiseSettings(16, 6, "static"), DEMO, None, 9).shown()] == ["every step"]


@pytest.mark.parametrize("frames", [81, 161, 2400])
def test_images_are_1200_wide_and_of_sensible_height(frames):
    image = draw_plan(SETTINGS, Timebase(frames, 16, WAN), None, 20)
    assert image.width == 1200
    assert 150 < image.height < 1000


def test_every_part_is_drawn_where_it_belongs():
    image = draw_plan(CoDenoiseSettings(16, 6, "static"), DEMO, schedule(transition="hard"), 20)
    array = pixels(image)
    plot = WIDTH - LEFT - RIGHT
    for number, third in enumerate((0.15, 0.5, 0.85)):
        column = array[:, LEFT + round(plot * third)]
        assert (column == COLORS[number]).all(axis=-1).sum() > 20, f"prompt {number} is not at {third} of the width"
        for other in {0, 1, 2} - {number}:
            assert not (column == COLORS[other]).all(axis=-1).any()
    assert (array[:, -RIGHT // 2] == PAPER).all(), "something is drawn in the right margin"
    assert count(image, INK) > 200


def test_transitions_are_gradients():
    hard = draw_plan(SETTINGS, DEMO, schedule(transition="hard"), 1)
    soft = draw_plan(SETTINGS, DEMO, schedule(transition_frames=24), 1)
    mixed = tuple((a + b) // 2 for a, b in zip(COLORS[0], COLORS[1], strict=True))

    def near(image):
        return int((np.abs(pixels(image).astype(int) - mixed).max(axis=-1) < 6).sum())

    assert near(soft) > near(hard) + 50


def test_the_filling_is_the_merge_weight():
    areas = {
        merge: count(draw_plan(CoDenoiseSettings(16, 8, "static", merge), DEMO, None, 1), PLAIN)
        for merge in ("flat", "pyramid", "hann")
    }
    # All are partitions of unity, so the areas are nearly equal; the shapes are not.
    assert max(areas.values()) < 1.25 * min(areas.values())
    images = [draw_plan(CoDenoiseSettings(16, 8, "static", merge), DEMO, None, 1).tobytes() for merge in areas]
    assert len(set(images)) == 3


def test_text_is_shortened_to_its_width():
    assert shorten("a cat", 500, 15) == "a cat"
    short = shorten("a very long prompt about a cat", 80, 15)
    assert short.endswith("…")
    assert "a very long prompt about a cat".startswith(short[:-1])
    assert shorten("a cat", 3, 15) == ""


def test_many_prompts_are_listed_in_part():
    text = "\n".join(f"{number * 10}: prompt {number}" for number in range(30))
    timebase = Timebase(300, 16, WAN)
    image = draw_plan(SETTINGS, timebase, schedule(text, timebase, transition_frames=2), 1)
    assert image.height < 900


def test_a_run_has_a_step():
    with pytest.raises(ValueError, match="steps is 0"):
        draw_plan(SETTINGS, DEMO, None, 0)
