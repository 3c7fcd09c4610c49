"""The window engine in a real ComfyUI."""

import pytest

from glv_core.windows import windows_for

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize("mask", [False, True])
def test_the_latent_in_host_memory_gives_the_same(inside, mask):
    result = inside("engine", "offload_latent", frames=13, mask=mask)
    assert result["difference"] < 1e-5
    assert [1, 16, 13, 4, 4] in result["moved"]


def test_stable_noise_of_a_longer_latent_starts_like_a_shorter_ones(inside):
    assert inside("engine", "stable_prefix") == 0


def test_a_single_window_in_host_memory_is_the_plain_result(inside):
    result = inside("engine", "offload_latent", frames=5, mask=False)
    assert result["difference"] < 1e-5 and [1, 16, 5, 4, 4] in result["moved"]
    assert inside("engine", "uses_windows", frames=5, offload_latent=True) is True
    assert inside("engine", "uses_windows", frames=5, offload_latent=False) is False


@pytest.mark.parametrize("prompt_blending", ["embeddings", "one_per_window"])
def test_mixing_keeps_apart_what_differs_in_more_than_the_prompt(inside, prompt_blending):
    assert inside("engine", "two_time_ranges", prompt_blending=prompt_blending) < 1e-5


@pytest.mark.parametrize("kind", ["independent", "stable", "shuffled", "repeated", "mixed"])
def test_the_noise_node_makes_what_the_sampler_makes(inside, kind):
    assert inside("engine", "noise_node", kind=kind) < 1e-5


def test_making_noise_changes_no_tensor_of_the_caller(inside):
    assert inside("engine", "given_noise_is_kept") is True


@pytest.mark.parametrize("sampler", ["euler", "dpm_2", "heun"])
def test_start_and_end_step(inside, sampler):
    result = inside("engine", "stepwise", sampler=sampler, split=3)
    assert result["difference"] < 1e-3 * max(1, result["scale"])


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpm_2", "dpmpp_2s_ancestral", "dpmpp_sde", "seeds_2"])
def test_every_evaluation_has_its_step_s_windows_and_one_noise_level(inside, sampler):
    result = inside("engine", "evaluations", sampler=sampler)
    sigmas, seen = result["sigmas"], result["evaluations"]
    for each in seen:
        begun = max(step for step in range(4) if sigmas[step] >= each["sigma"] * (1 - 1e-4))
        windows = windows_for("shifted", 13, 5, 2, begun)
        assert sorted(each["starts"]) == sorted(window.start for window in windows), each
        assert each["off"] < 0.08, each
    between = [each for each in seen if min(abs(each["sigma"] - sigma) for sigma in sigmas) > 1e-3]
    assert bool(between) == (sampler not in ("euler", "euler_ancestral"))


def test_only_windows_that_touch_a_transition_pay_for_two_prompts(inside):
    # Four windows of 5 latent frames; the fade of 8 frames around frame 38.5 mixes latent frame 10 alone, in window 3.
    assert sorted(inside("engine", "passes", prompt_blending="predictions")["rows"]) == [1, 1, 1, 2]
    for prompt_blending in ("embeddings", "embeddings_spherical", "one_per_window"):
        assert inside("engine", "passes", prompt_blending=prompt_blending)["rows"] == [1, 1, 1, 1]


def test_mixed_prompts_are_mixed_as_the_timeline_says(inside):
    assert inside("engine", "mixed_prompt_is_the_mix_of_embeddings") < 1e-5


def test_a_loop_has_no_special_place(inside):
    result = inside("engine", "loop_rotation")
    assert result["difference"] < 1e-4 * max(1, result["scale"])


@pytest.mark.parametrize(
    ("windows", "steps"),
    [
        ({}, 2),
        ({"schedule": "shifted", "overlap": 4}, 5),
        ({"schedule": "shifted", "closed_loop": True}, 3),
        ({"schedule": "uniform", "stride": 2}, 2),
        ({"prompt_blending": "embeddings"}, 2),
        ({"windows_per_forward": 2}, 1),
    ],
)
def test_the_plan_says_what_the_run_does(inside, windows, steps):
    plan = inside("engine", "plan", text="a | b | c", frames=77, steps=steps, **windows)
    assert plan["calls"] == plan["rows"]
    assert plan["floor"] == pytest.approx(steps * 20 / 5) and plan["ratio"] == pytest.approx(
        plan["calls"] / plan["floor"]
    )
    assert plan["peak"] == windows.get("windows_per_forward", 4)
    assert plan["image"][0] == 1 and plan["image"][2:] == [1200, 3]
    assert plan["saved"] == 1 and plan["text"].startswith("80 frames" if "closed_loop" in windows else "77 frames")


def test_the_preview_moves_while_the_model_runs_and_ends_with_it(inside):
    result = inside("engine", "moving_preview")
    # Three steps of four windows, a quarter of a second each: a picture a step, and some eight a second after that.
    assert result["shown"] > 6
    assert result["different"] >= 4
    assert result["threads"] == []


def test_a_decoded_loop_is_a_piece_of_the_endless_video(inside):
    result = inside("engine", "decoded_loop")
    assert result["frames"] == 64
    assert result["difference"] < 0.02
