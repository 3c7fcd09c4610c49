"""The step cache against an Euler sampler of stand-in models whose predictions are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.co_denoise import CoDenoiseSettings, co_denoise_streams
from glv_core.fusion import MERGES, select_window
from glv_core.step_cache import StepCache, StepCacheSettings
from glv_core.streams import Stream
from glv_core.window_schedules import SCHEDULES

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
STEPS, LENGTH = 20, 24
MUCH = 1e6
WINDOWS = CoDenoiseSettings(8, 2)


def noise(seed=0, length=LENGTH):
    return torch.randn(1, 3, length, 2, 2, generator=torch.Generator().manual_seed(seed))


class Host:
    """Evaluates windows of a model ``predict(x, step) -> outputs`` and counts them by step."""

    def __init__(self, predict, cache=None, windows=WINDOWS, steps=STEPS):
        self.predict, self.cache, self.windows, self.steps = predict, cache, windows, steps
        self.computed = {}

    def __call__(self, x, step):
        outputs = self.predict(x, step)
        self.computed[step] = []

        def denoise_windows(windows):
            for index, window in enumerate(windows):
                self.computed[step].append(window)
                yield index, [[select_window(output, window, 2)] for output in outputs]

        merged = co_denoise_streams(
            [x], step, self.windows, denoise_windows, num_outputs=len(outputs), num_steps=self.steps, cache=self.cache
        )
        return [only for (only,) in merged]

    def sample(self, x):
        """Euler from noise level 1 to 0, on the first output with guidance of 2 over the second."""
        for step in range(self.steps):
            sigma, following = 1 - step / self.steps, 1 - (step + 1) / self.steps
            positive, negative = self(x, step)
            x = x + (following - sigma) / sigma * (x - (2 * positive - negative))
        return x


def curved(x, step):
    """Predictions that change from step to step, and with what is seen."""
    return [torch.tanh(x) + step / 10, x.mean(dim=2, keepdim=True) - 0.5 * x]


def straight(x, step):
    """A constant velocity for each output, on the path that guidance takes."""
    sigma, both = 1 - step / STEPS, [noise(5), noise(6)]
    guided = 2 * both[0] - both[1]
    return [x - sigma * guided + (guided - each) * 0.5 for each in both]


def test_threshold_0_is_bit_identical_to_no_cache():
    without, with_ = Host(curved), Host(curved, StepCache(StepCacheSettings(0, 0, 1)))
    assert torch.equal(without.sample(noise()), with_.sample(noise()))
    assert with_.computed == without.computed


def test_steps_of_a_constant_velocity_are_exact_and_only_the_first_and_last_are_computed():
    without, with_ = Host(straight), Host(straight, StepCache(StepCacheSettings(1e-3)))
    torch.testing.assert_close(with_.sample(noise()), without.sample(noise()), rtol=0, atol=1e-5)
    assert [step for step, windows in with_.computed.items() if windows] == [0, 1, 2, 19]
    assert with_.computed[0] == without.computed[0] and with_.computed[19] == without.computed[19]


@given(
    st.sampled_from(list(SCHEDULES)), st.sampled_from(list(MERGES)), st.sampled_from([1, 2]), st.booleans(),
    st.integers(9, 30),
)  # fmt: skip
@settings(max_examples=40)
def test_the_cache_lies_in_the_video_and_not_in_windows(schedule, merge, stride, loop, length):
    """Wherever the windows of a later step are, all that is used again is what was merged before."""
    windows = CoDenoiseSettings(8, 2, schedule, merge, stride=stride, closed_loop=loop, seed=3)
    host = Host(curved, StepCache(StepCacheSettings(MUCH, 0, 1)), windows)
    x = noise(1, length)
    before = [host(x, step) for step in range(2)][-1]
    for step in (2, 3, 7):
        for again, known in zip(host(x, step), before, strict=True):
            torch.testing.assert_close(again, known, rtol=0, atol=1e-5)
        assert host.computed[step] == []


def test_each_window_decides_by_what_it_holds():
    def half(x, step):
        target = torch.zeros_like(x)
        target[:, :, : LENGTH // 2] = step
        return [target]

    host = Host(half, StepCache(StepCacheSettings(0.1, 0, 1)), CoDenoiseSettings(8, 0, "static"))
    for step in range(6):
        host(noise(), step)
    assert [[window.start for window in host.computed[step]] for step in range(6)] == [[0, 8, 16]] * 2 + [[0, 8]] * 4


@pytest.mark.parametrize("first", [0.1, -0.1])
def test_a_prediction_is_used_again_while_its_change_is_below_the_threshold(first):
    """It moves by 0.1 in the first step, with noise of 2 around it: 0.05 a step."""

    def moving(x, step):
        return [torch.full_like(x, min(step, 1) * first), torch.zeros_like(x)]

    x = torch.full_like(noise(), 2 + first)
    for threshold, reused in ((0.04, 0), (0.06, 1), (0.14, 2), (0.16, 3)):
        host = Host(moving, StepCache(StepCacheSettings(threshold, 0, 1)))
        for step in range(6):
            host(x, step)
        assert next(step for step in range(2, 6) if host.computed[step]) == 2 + reused


def test_what_is_merged_of_new_and_old_is_as_old_as_its_parts():
    """Two windows share half of their frames; one moves and is computed, the other is not."""

    def left(x, step):
        target = torch.zeros_like(x)
        target[:, :, :4] = 10 * step
        return [target]

    cache = StepCache(StepCacheSettings(0.2, 0, 1))
    host = Host(left, cache, CoDenoiseSettings(8, 4, "static", "flat"))
    for step in range(3):
        host(noise(1, 12), step)
    assert [window.start for window in host.computed[2]] == [0]
    (track,) = cache._tracks
    assert track.place.tolist() == [2.0] * 4 + [1.5] * 4 + [1.0] * 4


@pytest.mark.parametrize("still", [True, False])
def test_a_window_is_computed_where_any_of_its_streams_moves(still):
    sound, computed = torch.randn(1, 2, 2 * LENGTH, 4, generator=torch.Generator().manual_seed(3)), []
    stream = Stream.proportional(2 * LENGTH, LENGTH, 2)
    cache = StepCache(StepCacheSettings(0.1, 0, 1), [stream])

    def denoise_windows(windows):
        for index, window in enumerate(windows):
            computed.append(step)
            part = select_window(sound, stream.part(window), 2) * 0 + (0 if still else step)
            yield index, [[select_window(noise() * 0, window, 2), part]]

    for step in range(4):
        merged = co_denoise_streams(
            [noise(), sound], step, WINDOWS, denoise_windows, [stream], cache=cache, num_steps=9
        )
        assert [tuple(each.shape) for each in merged[0]] == [tuple(noise().shape), tuple(sound.shape)]
    assert set(computed) == ({0, 1} if still else {0, 1, 2, 3})


def test_what_the_leader_computes_is_computed():
    leader, follower = StepCache(StepCacheSettings(0.01, 0, 1)), StepCache(StepCacheSettings(MUCH, 0, 1))
    leading, following = Host(curved, leader), Host(curved, follower)
    for step in range(4):
        leading(noise(), step)
        follower.leader = leader
        following(noise(), step)
    assert following.computed == leading.computed and following.computed[3]


def test_values_out_of_range_are_named():
    for threshold in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"step_cache is {threshold}; use 0 \(off\) or more"):
            StepCacheSettings(threshold)
    for shares in ((-0.1, 0.5), (0.5, 0.4), (0, 1.1)):
        with pytest.raises(ValueError, match=f"starts at {shares[0]:g} and ends at {shares[1]:g}; use shares"):
            StepCacheSettings(0.1, *shares)
