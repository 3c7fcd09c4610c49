from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.co_denoise import CoDenoiseSettings, Phase, Stage, co_denoise, nearest_step
from glv_core.cost import run_cost
from glv_core.fusion import MERGES, select_window
from glv_core.window_schedules import SCHEDULES
from glv_core.windows import View, Window

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def affine_model(x):
    """A stand-in for a model that couples the frames of a window: each frame and the window's mean."""
    return [0.5 * x + 0.25 * x.mean(dim=2, keepdim=True), -x]


def host(x, order=None):
    def denoise_windows(windows):
        for index in order or range(len(windows)):
            window = windows[index]
            yield index, affine_model(select_window(x, window, 2))

    return denoise_windows


@pytest.fixture
def long_latent():
    return torch.randn(2, 3, 13, 4, 4, generator=torch.Generator().manual_seed(0))


def test_one_window_is_the_models_own_prediction(long_latent):
    merged = co_denoise(long_latent, 3, CoDenoiseSettings(16, 4), host(long_latent), num_outputs=2)
    for ours, expected in zip(merged, affine_model(long_latent), strict=True):
        assert torch.equal(ours, expected)


def test_several_windows_equal_a_sum_frame_by_frame(long_latent):
    merged = co_denoise(long_latent, 0, CoDenoiseSettings(5, 2, "static", "flat"), host(long_latent), num_outputs=2)
    starts = [0, 3, 6, 8]
    for output in range(2):
        for frame in range(13):
            holding = [s for s in starts if s <= frame < s + 5]
            values = [affine_model(long_latent[:, :, s : s + 5])[output][:, :, frame - s] for s in holding]
            assert torch.allclose(merged[output][:, :, frame], sum(values) / len(values), atol=1e-6)


def test_the_order_of_windows_does_not_matter(long_latent):
    settings = CoDenoiseSettings(5, 3)
    count = len(settings.windows(13, 2))
    forward = co_denoise(long_latent, 2, settings, host(long_latent), num_outputs=2)
    backward = co_denoise(long_latent, 2, settings, host(long_latent, list(range(count))[::-1]), num_outputs=2)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(forward, backward, strict=True))


def test_the_step_moves_shifted_windows(long_latent):
    settings = CoDenoiseSettings(5, 2, "shifted")
    first, second = (co_denoise(long_latent, s, settings, host(long_latent), num_outputs=2)[0] for s in (0, 1))
    assert not torch.allclose(first, second)


def test_the_input_is_not_changed(long_latent):
    before = long_latent.clone()
    co_denoise(long_latent, 0, CoDenoiseSettings(5, 2), host(long_latent), num_outputs=2)
    assert torch.equal(before, long_latent)


def test_a_stochastic_sampler_keeps_its_noise_level(long_latent):
    # Merging predictions and then adding one noise keeps sigma whatever the number of windows over a frame.
    # The model finds the clean latent, and is wrong by noise of its own in every window: Euler ancestral's step to the
    # next level has that level's noise in each latent frame only if weights sum to one and all windows see one x.
    generator = torch.Generator().manual_seed(1)
    sigma, sigma_next, eta = 4.0, 2.0, 1.0
    clean = torch.randn(1, 1, 40, 64, 64, generator=generator)
    x = clean + sigma * torch.randn(clean.shape, generator=generator)
    settings = CoDenoiseSettings(16, 12)

    def denoise_windows(windows):
        for index, window in enumerate(windows):
            part = clean[:, :, list(window.indices)]
            yield index, [part + 0.05 * torch.randn(part.shape, generator=generator)]

    [denoised] = co_denoise(x, 0, settings, denoise_windows)
    up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    down = (sigma_next**2 - up**2) ** 0.5
    stepped = x + (x - denoised) / sigma * (down - sigma) + up * torch.randn(x.shape, generator=generator)
    deviation = (stepped - clean).std(dim=(0, 1, 3, 4))
    assert (deviation / sigma_next - 1).abs().max() < 0.04


@pytest.mark.parametrize("returned", [[0, 1], [0, 1, 2, 2, 3], [0, 1, 2, 3, 4]])
def test_a_host_that_leaves_windows_out_or_repeats_them(long_latent, returned):
    def denoise_windows(windows):
        for index in returned:
            yield index, affine_model(long_latent[:, :, :5])

    with pytest.raises(RuntimeError, match=r"not denoised|twice"):
        co_denoise(long_latent, 0, CoDenoiseSettings(5, 2, "static"), denoise_windows, num_outputs=2)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_a_host_that_yields_too_few_or_too_many_outputs(long_latent, num_outputs):
    with pytest.raises(ValueError, match="argument 2"):
        co_denoise(long_latent, 0, CoDenoiseSettings(5, 2), host(long_latent), num_outputs=num_outputs)


@pytest.mark.parametrize(
    ("sigma", "step"), [(1.0, 0), (0.99995, 0), (0.8, 0), (0.75, 1), (0.6, 1), (0.5, 2), (0.2, 2), (0.0, 2), (1.2, 0)]
)
def test_the_step_of_an_evaluation(sigma, step):
    assert nearest_step(sigma, [1.0, 0.75, 0.5, 0.0]) == step


def test_a_sigma_belongs_to_a_step_that_it_misses_by_a_ten_thousandth():
    # What a sampler computes may lie a little above the level of its step: by a share, however small the level.
    for level in (80.0, 0.75, 0.002):
        sigmas = [100.0, level, 0.0]
        assert nearest_step(level * 1.00009, sigmas) == 1 and nearest_step(level * 1.00011, sigmas) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((5, 5), "overlap must be 0 or more and below"),
        ((0, 0), "window is 0"),
        ((5, 1, "x"), "Unknown window schedule 'x'"),
        ((5, 1, "static", "x"), "Unknown merge 'x'"),
        ((5, 1, "static", "flat", -1), "windows_per_forward is -1"),
    ],
)
def test_bad_settings(arguments, words):
    with pytest.raises(ValueError, match=words):
        CoDenoiseSettings(*arguments)


def starts(settings, step, num_steps=20, length=64):
    return [(w.start, w.stride) for w in settings.windows(length, step, num_steps)]


def test_phases_begin_at_their_share_of_the_steps():
    settings = CoDenoiseSettings(
        16, 8, "static", "pyramid", stride=2,
        phases=(Phase(0.75, merge="random_cut"), Phase(0.25, schedule="shifted", overlap=0, stride=1)),
    )  # fmt: skip
    assert starts(settings, 4) == starts(CoDenoiseSettings(16, 8, "static", stride=2), 4)
    for step in (5, 14, 15):
        assert starts(settings, step) == starts(CoDenoiseSettings(16, 0, "shifted"), step)
    assert [settings.at(step, 20).merge for step in (14, 15, 19)] == ["pyramid", "random_cut", "random_cut"]
    windows = settings.windows(64, 15, 20)
    assert {float(w) for each in settings.weights(windows, 64, 15, 20) for w in each} == {0.0, 1.0}
    assert {float(w) for each in settings.weights(windows, 64, 15, 40) for w in each} != {0.0, 1.0}


def test_a_phase_changes_nothing_that_it_does_not_name():
    settings = CoDenoiseSettings(16, 8, "static", "flat", 3, 2, True, 7, (), "embeddings", 1)
    for phase in (Phase(0), Phase(1)):
        assert phase.apply(settings) == settings
    changed = CoDenoiseSettings(20, 4, "shifted", "hann", 3, 1, True, 7, (), "attention", 1)
    assert Phase(0.5, "shifted", 4, 1, "hann", 20, "attention").apply(settings) == changed


def test_the_settings_of_a_step_have_no_phases():
    settings = CoDenoiseSettings(16, 8, phases=(Phase(0.5, overlap=0),))
    assert [settings.at(step, 4) for step in (0, 1)] == [CoDenoiseSettings(16, 8)] * 2
    assert [settings.at(step, 4) for step in (2, 3)] == [CoDenoiseSettings(16, 0)] * 2


def test_a_phase_begins_on_time_though_its_share_of_the_steps_is_a_little_too_large():
    assert 0.07 * 100 > 7
    settings = CoDenoiseSettings(16, 8, phases=(Phase(0.07, overlap=0),))
    assert [settings.at(step, 100).overlap for step in (6, 7)] == [8, 0]


def test_the_settings_of_a_run_s_steps():
    settings = CoDenoiseSettings(16, 4, phases=(Phase(0.75, window=8), Phase(0.25, window=24, overlap=0)))
    base, long, short = CoDenoiseSettings(16, 4), CoDenoiseSettings(24, 0), CoDenoiseSettings(8, 0)
    assert settings.each() == settings.each(Stage.whole(4)) == (base, long, short)
    assert settings.each(Stage(1, 2, 4)) == (long,) and settings.each(Stage(3, 1, 4)) == (short,)
    assert settings.each(Stage(2, 0, 4)) == (long,)
    assert CoDenoiseSettings(16, 4).each() == (base,)
    at_once = CoDenoiseSettings(16, 4, phases=(Phase(0.0, window=3, overlap=0), Phase(0.5, window=16)))
    assert at_once.each() == (CoDenoiseSettings(3, 0), CoDenoiseSettings(16, 0))


def test_what_is_cut():
    assert [CoDenoiseSettings(5, 2).cuts(length) for length in (4, 5, 6)] == [False, False, True]
    assert CoDenoiseSettings(5, 2, closed_loop=True).cuts(4)


@st.composite
def phased(draw):
    """Settings with phases of any windows that hold their overlap."""
    window = draw(st.integers(1, 24))
    phases, sizes = [], [(window, draw(st.integers(0, window - 1)))]
    starts = st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0])
    for start in sorted(draw(st.lists(starts, max_size=4, unique=True))):
        window = draw(st.integers(1, 24))
        sizes.append((window, draw(st.integers(0, window - 1))))
        schedule = draw(st.sampled_from([None, *SCHEDULES]))
        phases.append(Phase(start, schedule, sizes[-1][1], draw(st.sampled_from([None, 1, 3])), window=window))
    rest = {"closed_loop": draw(st.booleans()), "seed": draw(st.integers(0, 3))}
    return CoDenoiseSettings(*sizes[0], draw(st.sampled_from(sorted(SCHEDULES))), phases=tuple(phases), **rest), sizes


@given(phased(), st.integers(1, 80), st.integers(1, 12), st.sampled_from(sorted(set(MERGES) - {"earliest"})))
def test_every_step_of_every_phase_covers_the_video_with_weights_that_sum_to_one(drawn, length, num_steps, merge):
    settings, sizes = replace(drawn[0], merge=merge), drawn[1]
    counts = []
    for step in range(num_steps):
        begun = sum(phase.start * num_steps <= step for phase in settings.phases)
        windows = settings.windows(length, step, num_steps)
        lengths = {window.length for window in windows}
        assert lengths == {min(sizes[begun][0], length)} or settings.at(step, num_steps).schedule == "shifted_trimmed"
        total = torch.zeros(length)
        for window, weight in zip(windows, settings.weights(windows, length, step, num_steps), strict=True):
            assert len(set(window.indices)) == window.length
            total[list(window.indices)] += weight
        torch.testing.assert_close(total, torch.ones(length))
        counts.append(len(windows))
    assert settings.window_counts(length, Stage.whole(num_steps)) == counts
    cost = run_cost(settings, length, num_steps)
    assert cost.windows == cost.evaluations == sum(counts)
    assert max(each.window for each in settings.each(Stage.whole(num_steps))) >= max(
        sizes[sum(phase.start * num_steps <= step for phase in settings.phases)][0] for step in range(num_steps)
    )


def test_a_step_whose_window_holds_all_is_the_model_s_own_prediction(long_latent):
    settings = CoDenoiseSettings(5, 2, phases=(Phase(0.5, window=13),))
    for step, same in ((0, False), (1, True)):
        merged = co_denoise(long_latent, step, settings, host(long_latent), num_outputs=2, num_steps=2)
        expected = affine_model(long_latent)
        assert [torch.equal(*pair) for pair in zip(merged, expected, strict=True)] == [same, same]


def test_a_run_has_one_step_unless_it_says_more(long_latent):
    # Step 1 of one is past three quarters of the steps, step 1 of two is not.
    settings = CoDenoiseSettings(5, 0, "static", "random_cut", phases=(Phase(0.75, overlap=2, merge="flat"),))
    assert [w.start for w in settings.windows(13, 1)] == [0, 3, 6, 8]
    assert [w.start for w in settings.windows(13, 1, 2)] == [0, 5, 8]
    windows = settings.windows(13, 1)
    assert settings.weights(windows, 13, 1)[0].tolist() == [1, 1, 1, 0.5, 0.5]
    assert set(settings.weights(windows, 13, 1, 2)[0].tolist()) == {0, 1}
    default, one, two = (
        co_denoise(long_latent, 1, settings, host(long_latent), num_outputs=2, **steps)[0]
        for steps in ({}, {"num_steps": 1}, {"num_steps": 2})
    )
    assert torch.equal(default, one) and not torch.equal(default, two)


def test_windows_are_counted_step_by_step():
    settings = CoDenoiseSettings(16, 8, "static", phases=(Phase(0.5, overlap=0),))
    assert settings.window_counts(64, Stage.whole(4)) == [7, 7, 4, 4]
    assert settings.window_counts(64, Stage.whole(1)) == settings.window_counts(64, Stage.whole(0)) == [7]


def test_what_windows_are_shown_behind():
    settings = CoDenoiseSettings(4, 1, causal_anchor=True)
    assert settings.view(Window(0, 4)) == View(Window(0, 4)) and settings.view(Window(3, 2, 2)) == View(Window(3, 2, 2))
    assert list(settings.view(Window(3, 4)).indices) == [2, 3, 4, 5, 6]
    assert list(settings.view(Window(6, 4, 1, 8)).indices) == [5, 6, 7, 0, 1]
    whole = Window(6, 8, 1, 8)  # a loop that it holds
    assert settings.view(whole) == View(whole)


def test_the_defaults_of_the_settings():
    plain = CoDenoiseSettings(
        16, 4, "shifted_trimmed", "pyramid", windows_per_forward=0, stride=1, closed_loop=False, seed=0, phases=(),
        prompt_blending="predictions", grain=1,
    )  # fmt: skip
    assert CoDenoiseSettings(16, 4) == plain and plain.largest_batch == 4
    assert CoDenoiseSettings(1, 0, grain=2).grain == 2
    for value, name in ((plain, "window"), (Phase(0.5), "start")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, 1)


def test_the_seed_moves_what_is_drawn():
    drawn = [CoDenoiseSettings(16, 8, "shifted_random", "random_cut", seed=seed) for seed in (1, 2)]
    assert starts(drawn[0], 3) != starts(drawn[1], 3)
    windows = CoDenoiseSettings(16, 8, "static").windows(64, 0)
    weights = [torch.cat(settings.weights(windows, 64, 0)) for settings in drawn]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("settings", [
    CoDenoiseSettings(5, 2, "shifted", closed_loop=True), CoDenoiseSettings(4, 1, "static", stride=3),
    CoDenoiseSettings(5, 2, "uniform", "linear_in_overlap", stride=2, closed_loop=True),
    CoDenoiseSettings(5, 3, "static_balanced", "random_cut"),
])  # fmt: skip
def test_any_windows_equal_a_sum_frame_by_frame(long_latent, settings):
    merged = co_denoise(long_latent, 1, settings, host(long_latent), num_outputs=2)
    windows = settings.windows(13, 1)
    weights = settings.weights(windows, 13, 1)
    for output in range(2):
        for frame in range(13):
            value = 0
            for window, weight in zip(windows, weights, strict=True):
                if frame in window.indices:
                    place = list(window.indices).index(frame)
                    part = long_latent[:, :, list(window.indices)]
                    value = value + weight[place] * affine_model(part)[output][:, :, place]
            assert torch.allclose(merged[output][:, :, frame], value, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"prompt_blending": "x"}, "Unknown prompt_blending 'x'. Known: predictions, "),
        ({"phases": (Phase(0.5, overlap=5),)}, "overlap is 5 .* window 5"),
        ({"phases": (Phase(0.5, schedule="x"),)}, "Unknown window schedule 'x'"),
        ({"phases": (Phase(0.5, prompt_blending="x"),)}, "Unknown prompt_blending 'x'"),
        ({"phases": (Phase(0.5, window=1),)}, "overlap is 1 .* window 1"),
        ({"phases": (Phase(0.7, overlap=3), Phase(0.5, window=3))}, "overlap is 3 .* window 3"),
    ],
)
def test_bad_options(arguments, words):
    with pytest.raises(ValueError, match=words):
        CoDenoiseSettings(5, 1, **arguments)


def test_a_phase_starts_within_the_run():
    with pytest.raises(ValueError, match=r"starts at 1\.5"):
        Phase(1.5)


@pytest.mark.parametrize(
    ("shares", "stage"),
    [
        ([0, 0.25, 0.5, 0.75, 1], Stage(0, 4, 4)),
        ([0, 0.25, 0.5], Stage(0, 2, 4)),
        ([0.5, 0.75, 1], Stage(2, 2, 4)),
        ([0.25, 0.5, 0.75], Stage(1, 2, 4)),
        ([0.75, 1], Stage(3, 1, 4)),
        ([0, 0.01, 0.05, 1], Stage(0, 3, 3)),  # unequal steps over all of it
        ([0.1, 0.3, 0.5], Stage(0, 2, 5)),  # half a step in: the even number
        ([0.4, 0.5, 0.6, 0.9], Stage(2, 3, 6)),
        ([0.3, 0.3], Stage(0, 1, 1)),  # no step at all
        ([1.0], Stage(0, 1, 1)),
    ],
)
def test_the_stage_of_a_run_by_its_shares_of_the_noise(shares, stage):
    assert Stage.of_shares(shares) == stage


@pytest.mark.parametrize("start", [-0.01, 1.01])
def test_a_phase_starts_within_the_schedule(start):
    assert Phase(0).start == 0 and Phase(1).start == 1
    with pytest.raises(ValueError, match=f"A phase starts at {start}; it must be a share of the steps, 0 to 1"):
        Phase(start)


@pytest.mark.parametrize(
    ("sigma", "step"),
    [(2.0, 0), (1.99, 0), (1.00009, 1), (1.0002, 0), (1.0, 1), (0.99995, 1), (0.5, 2), (0.1, 2), (9.0, 0)],
)
def test_the_step_of_a_noise_level_allows_for_rounding(sigma, step):
    """A ten-thousandth above a level is that level; the last one, 0, is no step."""
    assert nearest_step(sigma, [2.0, 1.0, 0.5, 0.0]) == step


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True).map(sorted))
def test_a_stage_lies_in_its_schedule(shares):
    stage = Stage.of_shares(shares)
    assert stage.count == len(shares) - 1 and 0 <= stage.first <= stage.total - stage.count


@given(total=st.integers(1, 60), data=st.data())
def test_runs_that_share_a_schedule_are_found_again(total, data):
    first = data.draw(st.integers(0, total - 1))
    count = data.draw(st.integers(1, total - first))
    shares = [step / total for step in range(first, first + count + 1)]
    assert Stage.of_shares(shares) == Stage(first, count, total)
    assert Stage.whole(total) == Stage(0, total, total) and Stage.whole(0) == Stage(0, 1, 1)


@given(total=st.integers(1, 40), data=st.data())
def test_the_steps_before_a_share_are_those_in_which_a_phase_has_not_begun(total, data):
    """Counted with a phase that begins there; of two runs that share a schedule together as of one."""
    share = data.draw(st.one_of(st.integers(0, total).map(lambda step: step / total), st.floats(0, 1)))
    settings = CoDenoiseSettings(16, 4, phases=(Phase(share, overlap=1),))
    expected = sum(settings.at(step, total).overlap == 4 for step in range(total))
    split = data.draw(st.integers(0, total))
    first, second = Stage(0, split, total), Stage(split, total - split, total)
    assert Stage.whole(total).steps_before(share) == expected
    assert first.steps_before(share) == min(split, expected)
    assert first.steps_before(share) + second.steps_before(share) == expected


def test_steps_before_a_share_by_hand():
    assert [Stage.whole(4).steps_before(share) for share in (0, 0.01, 0.25, 0.26, 0.95, 1)] == [0, 1, 1, 2, 4, 4]
    assert [Stage(4, 4, 8).steps_before(share) for share in (0.5, 0.6, 0.63, 1)] == [0, 1, 2, 4]
    assert 0.28 * 25 > 7 and Stage.whole(25).steps_before(0.28) == 7


def test_a_phase_begins_with_its_step():
    settings = CoDenoiseSettings(16, 4, phases=(Phase(0.75, overlap=1), Phase(0.25, overlap=2)))
    assert [settings.at(step, 4).overlap for step in range(4)] == [4, 2, 2, 1]
    assert [settings.at(step, 3).overlap for step in range(3)] == [4, 2, 2]  # 0.25 of 3 steps is behind the first


def test_the_windows_of_two_stages_are_those_of_one():
    settings = CoDenoiseSettings(16, 4, "shifted", phases=(Phase(0.5, overlap=12),))
    whole = settings.window_counts(64, Stage.whole(8))
    assert whole[0] != whole[-1]
    assert settings.window_counts(64, Stage(0, 3, 8)) + settings.window_counts(64, Stage(3, 5, 8)) == whole
    assert settings.window_counts(64, Stage(0, 0, 1)) == []
