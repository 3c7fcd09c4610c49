from dataclasses import FrozenInstanceError

import pytest

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.cost import run_cost
from glv_core.prompts import PromptTrack, parse_schedule
from glv_core.timeline import Compression


@pytest.mark.parametrize(("overlap", "ratio"), [(8, 1.75), (12, 3.25), (0, 1.0)])
def test_cost_of_static_windows(overlap, ratio):
    cost = run_cost(CoDenoiseSettings(16, overlap, "static"), 64, 20)
    assert cost.ratio == pytest.approx(ratio)
    assert (cost.windows, cost.minimum, cost.peak_batch) == (round(80 * ratio), 80, 4)


def test_a_single_window_costs_the_minimum():
    cost = run_cost(CoDenoiseSettings(16, 4), 10, 20)
    assert (cost.ratio, cost.windows, cost.peak_batch) == (1, 20, 1)
    with pytest.raises(FrozenInstanceError):
        cost.windows = 1


def test_with_a_causal_anchor_every_window_but_the_first_costs_one_latent_frame_more():
    plain, anchored = (run_cost(CoDenoiseSettings(16, 0, "static", causal_anchor=on), 64, 20) for on in (False, True))
    assert anchored.ratio == pytest.approx(plain.ratio + 3 / 64)
    assert (anchored.windows, anchored.evaluations) == (plain.windows, plain.evaluations)


def test_cost_with_phases_is_that_of_each_for_its_steps():
    settings = CoDenoiseSettings(16, 12, "static", phases=(Phase(0.5, overlap=0),))
    assert run_cost(settings, 64, 20).ratio == pytest.approx((3.25 + 1) / 2)


def test_the_minimum_of_a_phase_is_that_of_its_own_windows():
    settings = CoDenoiseSettings(16, 0, "static", phases=(Phase(0.25, window=8), Phase(0.75, window=80)))
    cost = run_cost(settings, 64, 4)
    assert (cost.windows, cost.minimum, cost.ratio) == (4 + 8 + 8 + 1, 4 + 8 + 8 + 1, 1)


def test_prompts_count_in_phases_that_blend_predictions():
    schedule = parse_schedule("0: a\n36 [hard]: b", num_frames=64, fps=8)
    track = PromptTrack.of(schedule, 64, Compression())
    for first, then, evaluations in (("predictions", "embeddings", 5 + 4 * 3), ("attention", "predictions", 4 + 5 * 3)):
        phases = (Phase(0.25, prompt_blending=then),)
        settings = CoDenoiseSettings(16, 0, "static", prompt_blending=first, phases=phases)
        assert run_cost(settings, 64, 4, track).evaluations == evaluations


@pytest.mark.parametrize(("blending", "evaluations"), [
    ("predictions", 5), ("embeddings", 4), ("one_per_window", 4), ("attention", 4),
])  # fmt: skip
def test_a_window_counts_for_every_prompt_that_it_is_denoised_with(blending, evaluations):
    # Windows 0-15, 16-31, 32-47, 48-63, and a change at frame 36 of 64: the third one sees both prompts.
    schedule = parse_schedule("0: a\n36 [hard]: b", num_frames=64, fps=8)
    settings = CoDenoiseSettings(16, 0, "static", prompt_blending=blending)
    cost = run_cost(settings, 64, 1, PromptTrack.of(schedule, 64, Compression()))
    assert (cost.windows, cost.evaluations) == (4, evaluations)


def test_the_batch_is_what_settings_allow():
    assert run_cost(CoDenoiseSettings(8, 0, "static", windows_per_forward=6), 64, 1).peak_batch == 6
