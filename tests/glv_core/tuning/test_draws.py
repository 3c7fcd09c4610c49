"""What a step of tuning sees."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glv_core.tuning import TuningOptions, draws_of_step, window_starts
from glv_core.tuning.draws import share_at


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60), st.integers(1, 6))
def test_windows_start_at_multiples_and_reach_the_end(extra, window, stride, grain):
    length, stride = window + extra - 1, min(stride, window)
    starts = window_starts(length, window, stride, grain)
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert all(start % stride == 0 for start in starts[:-1])
    assert length - grain < starts[-1] + window <= length or starts[-1] % stride == 0
    if grain == 1:
        assert starts[-1] + window == length
        assert {frame for start in starts for frame in range(start, start + window)} == set(range(length))


def test_the_papers_own_windows():
    assert window_starts(32, 16, 4) == [0, 4, 8, 12, 16]
    assert window_starts(18, 16, 4) == [0, 2]  # Gen-L-Video leaves two frames out
    with pytest.raises(ValueError, match="Lower window to 5"):
        window_starts(5, 6, 1)


def test_a_step_draws_the_same_again_and_another_step_does_not():
    options = TuningOptions(10, 8, 4, batch=3, seed=7)
    drawn = [draws_of_step(options, 40, step) for step in range(40)]
    assert drawn == [draws_of_step(options, 40, step) for step in range(40)]
    assert len({draw.seed for step in drawn for draw in step}) == 120
    longer = TuningOptions(500, 8, 4, batch=3, seed=7)
    assert drawn == [draws_of_step(longer, 40, step) for step in range(40)]
    assert drawn != [draws_of_step(TuningOptions(10, 8, 4, batch=3, seed=8), 40, step) for step in range(40)]


def test_shares_are_as_they_are_asked_for():
    options = TuningOptions(1, 8, 4, batch=4, text_drop=0.1, clip_drop=0.4)
    drawn = [draw for step in range(2000) for draw in draws_of_step(options, 40, step)]
    assert sum(not draw.text for draw in drawn) / len(drawn) == pytest.approx(0.1, abs=0.01)
    assert sum(not draw.clip for draw in drawn) / len(drawn) == pytest.approx(0.4, abs=0.015)
    starts = Counter(draw.start for draw in drawn)
    assert set(starts) == set(range(0, 33, 4))
    assert max(starts.values()) < 1.2 * min(starts.values())


@given(st.integers(1, 8), st.integers(0, 50))
def test_a_batch_sees_the_whole_range_of_noise(batch, step):
    drawn = draws_of_step(TuningOptions(1, 8, 4, batch=batch), 40, step)
    assert [int(draw.share * batch) for draw in drawn] == list(range(batch))


def test_only_given_starts_are_drawn():
    options = TuningOptions(1, 8, 4, batch=4)
    assert {draw.start for step in range(30) for draw in draws_of_step(options, 40, step, [4, 20])} == {4, 20}


def test_a_share_may_end_as_the_papers_does():
    assert [share_at([(200, 0.4), (300, 0.1)], step) for step in (0, 199, 200, 299, 300)] == [0.4, 0.4, 0.1, 0.1, 0.0]
    assert share_at(0.3, 10_000) == 0.3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"rank": -1}, "rank is -1"),
        ({"stride": 9}, "stride is 9 .* window 8"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"text_drop": 1.0}, "text_drop is 1"),
        ({"clip_drop": 1.2}, "clip_drop is 1.2"),
        ({"clip_drop": ((10, -0.1),)}, "clip_drop is -0.1"),
        ({"identifiers": "lora"}, "Known: none, bank, continuous"),
        ({"keep": -1.0}, "keep is -1"),
    ],
)
def test_bad_values_say_what_to_do(changed, words):
    with pytest.raises(ValueError, match=words):
        TuningOptions(**{"steps": 1, "window": 8, "stride": 4, **changed})
