import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.fusion import MERGES, Accumulator, hann_weights, merge_weights, pyramid_weights
from glv_core.windows import SCHEDULES, Window, windows_for

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@st.composite
def plans(draw):
    window = draw(st.integers(1, 40))
    length = draw(st.integers(1, 200))
    overlap = draw(st.integers(0, window - 1))
    schedule = draw(st.sampled_from(sorted(SCHEDULES)))
    return length, windows_for(schedule, length, window, overlap, draw(st.integers(0, 20)))


@given(plans(), st.sampled_from(sorted(MERGES)))
def test_weights_are_positive_and_a_partition_of_unity(plan, merge):
    length, windows = plan
    total = np.zeros(length)
    for window, weights in zip(windows, merge_weights(merge, windows, length), strict=True):
        assert (weights > 0).all()
        total[window.start : window.stop] += weights.double().numpy()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(plans())
def test_a_frame_in_one_window_has_weight_exactly_one(plan):
    length, windows = plan
    counts = np.zeros(length, int)
    for window in windows:
        counts[list(window.frames)] += 1
    for window, weights in zip(windows, merge_weights("pyramid", windows, length), strict=True):
        alone = [k for k, frame in enumerate(window.frames) if counts[frame] == 1]
        assert (weights[alone] == 1).all()


def test_shapes_of_the_weights():
    assert pyramid_weights(5) == [1, 2, 3, 2, 1] and pyramid_weights(6) == [1, 2, 3, 3, 2, 1]
    assert hann_weights(4) == pytest.approx([0.14645, 0.85355, 0.85355, 0.14645], abs=1e-5)


@pytest.mark.parametrize("time_dim", [0, 2])
def test_merging_equals_a_dense_matrix(time_dim):
    # The oracle: stack the windows' predictions to one long vector a pixel, and multiply by one matrix.
    windows = [Window(0, 4), Window(2, 4), Window(5, 4)]
    length = 9
    generator = torch.Generator().manual_seed(0)
    shape = [2, 3, 2, 5, 5]
    shape[time_dim] = 4
    predictions = [torch.randn(shape, generator=generator) for _ in windows]
    matrix = np.zeros((length, 12))
    raw = [1, 2, 2, 1]
    for row, window in enumerate(windows):
        for k, frame in enumerate(window.frames):
            matrix[frame, row * 4 + k] = raw[k]
    matrix /= matrix.sum(1, keepdims=True)
    stacked = np.concatenate([np.moveaxis(p.numpy(), time_dim, 0) for p in predictions])
    expected = np.moveaxis(np.tensordot(matrix, stacked, 1), 0, time_dim)

    shape[time_dim] = length
    accumulator = Accumulator(torch.empty(shape), time_dim)
    for window, prediction, weights in zip(
        windows, predictions, merge_weights("pyramid", windows, length), strict=True
    ):
        accumulator.add(window, prediction, weights)
    np.testing.assert_allclose(accumulator.total.numpy(), expected, atol=1e-5)


def test_a_frame_that_no_window_covers_is_an_error():
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        merge_weights("flat", [Window(0, 4), Window(6, 4)], 10)


def test_an_unknown_merge():
    with pytest.raises(ValueError, match=r"'lumpy'\. Known: pyramid, hann, flat"):
        merge_weights("lumpy", [Window(0, 4)], 4)
