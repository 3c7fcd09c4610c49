import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core import fusion
from glv_core.fusion import MERGES, Accumulator, merge_weights, select_window
from glv_core.window_schedules import SCHEDULES, windows_for
from glv_core.windows import View, Window

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

CUTS = ("random_cut", "random_cut_paper")
ONE_SPEAKS = (*CUTS, "earliest")  # in every latent frame


@st.composite
def plans(draw, longest=512, loop=None):
    window = draw(st.integers(1, 64))
    length = draw(st.integers(1, longest))
    overlap = draw(st.integers(0, window - 1))
    schedule = draw(st.sampled_from(sorted(SCHEDULES)))
    step, stride = draw(st.integers(0, 20)), draw(st.integers(1, 5))
    return length, windows_for(
        schedule,
        length,
        window,
        overlap,
        step,
        stride=stride,
        closed_loop=loop if loop is not None else draw(st.booleans()),
    )


@settings(max_examples=300)
@given(plans(), st.sampled_from(sorted(MERGES)), st.integers(0, 3), st.integers(0, 3))
def test_weights_are_a_partition_of_unity(plan, merge, step, seed):
    length, windows = plan
    total = np.zeros(length)
    for window, weights in zip(windows, merge_weights(merge, windows, length, step, seed), strict=True):
        assert weights.shape == (window.length,)
        assert (weights > 0).all() or (merge in ONE_SPEAKS and (weights >= 0).all())
        np.add.at(total, list(window.indices), weights.double().numpy())
    np.testing.assert_allclose(total, 1, atol=1e-6)


@settings(max_examples=150)
@given(plans(120), st.sampled_from(sorted(set(MERGES) - set(CUTS))))
def test_a_dense_matrix_gives_the_same(plan, merge):
    # The oracle: one matrix from all windows' frames to the frames of the video, by least squares with the weights'
    # roots, which is what merging minimises.
    length, windows = plan
    raw = MERGES[merge](windows, 0, 0)
    rows = sum(w.length for w in windows)
    pick, root, row = np.zeros((rows, length)), np.zeros(rows), 0
    for window, weights in zip(windows, raw, strict=True):
        for frame, weight in zip(window.indices, weights, strict=True):
            pick[row, frame], root[row] = 1, weight**0.5
            row += 1
    predictions = np.random.default_rng(0).standard_normal(rows)
    expected = np.linalg.lstsq(pick * root[:, None], predictions * root, rcond=None)[0]

    accumulator = Accumulator(torch.zeros(length, dtype=torch.float64), 0)
    row = 0
    for window, weights in zip(windows, merge_weights(merge, windows, length), strict=True):
        accumulator.add(window, torch.from_numpy(predictions[row : row + window.length]), weights)
        row += window.length
    np.testing.assert_allclose(accumulator.total.numpy(), expected, atol=1e-5)


def moved(window, start):
    """A window of a closed loop at another start, with its lane and its place along it counted out."""
    lane = start % math.gcd(window.stride, window.loop)
    along = [(lane + cell * window.stride) % window.loop for cell in range(window.cells)]
    return replace(window, start=start, lane=lane, place=along.index(start))


@settings(max_examples=150)
@given(plans(200, True), st.sampled_from(sorted(set(MERGES) - set(ONE_SPEAKS))), st.integers(1, 300))
def test_turning_a_loop_changes_nothing(plan, merge, turn):
    length, windows = plan
    turned = [moved(w, (w.start + turn) % length) for w in windows]
    for a, b in zip(merge_weights(merge, windows, length), merge_weights(merge, turned, length), strict=True):
        torch.testing.assert_close(a, b)


@given(plans(200), st.sampled_from(sorted(MERGES)))
def test_the_order_of_windows_does_not_matter(plan, merge):
    length, windows = plan
    backward = merge_weights(merge, windows[::-1], length)[::-1]
    for a, b in zip(merge_weights(merge, windows, length), backward, strict=True):
        torch.testing.assert_close(a, b)


@given(plans())
def test_a_frame_in_one_window_has_weight_exactly_one(plan):
    length, windows = plan
    counts = Counter(frame for window in windows for frame in window.indices)
    for window, weights in zip(windows, merge_weights("pyramid", windows, length), strict=True):
        alone = [k for k, frame in enumerate(window.indices) if counts[frame] == 1]
        assert (weights[alone] == 1).all()


def test_shapes_of_the_weights():
    assert fusion.flat_weights(3) == [1, 1, 1]
    assert fusion.pyramid_weights(5) == [1, 2, 3, 2, 1] and fusion.pyramid_weights(6) == [1, 2, 3, 3, 2, 1]
    assert fusion.squared_weights(5) == [1, 4, 9, 4, 1]
    assert fusion.hann_weights(4) == pytest.approx([0.14645, 0.85355, 0.85355, 0.14645], abs=1e-5)
    assert fusion.gaussian_weights(7)[3] == 1
    assert fusion.gaussian_weights(7)[0] == pytest.approx(np.exp(-0.5 * (3 / (7 / 6)) ** 2))
    assert fusion.relative_weights(5) == pytest.approx([0.01, 0.50125, 1, 0.50125, 0.01], abs=1e-4)
    assert fusion.relative_weights(1) == [1]


def test_earliest_hears_the_window_that_begins_first():
    weights = fusion.earliest([Window(4, 6), Window(0, 6), Window(8, 6)])
    assert weights == [[0, 0, 1, 1, 1, 1], [1] * 6, [0, 0, 1, 1, 1, 1]]


def test_linear_in_overlap_ramps_only_where_there_is_a_neighbour():
    weights = fusion.linear_in_overlap([Window(0, 6), Window(4, 6), Window(8, 6)])
    assert weights[0] == pytest.approx([1, 1, 1, 1, 2 / 3, 1 / 3])
    assert weights[1] == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    assert weights[2] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


def test_linear_in_overlap_across_a_loop_point():
    windows = [Window(0, 6, 1, 8), Window(4, 6, 1, 8)]
    weights = fusion.linear_in_overlap(windows)
    assert weights[0] == weights[1] == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])


@pytest.mark.parametrize(("merge", "places"), [("random_cut", 4), ("random_cut_paper", 5)])
def test_random_cuts_are_uniform_and_go_from_left_to_right(merge, places):
    windows = [Window(0, 8), Window(4, 8), Window(8, 8)]
    cuts = Counter()
    for step in range(2000):
        left, middle, right = merge_weights(merge, windows, 16, step, 5)
        assert set(left.tolist() + middle.tolist() + right.tolist()) <= {0.0, 1.0}
        for before, after in ((left, middle), (middle, right)):
            first = int(before[4:].sum())
            assert before[4:].tolist() == [1.0] * first + [0.0] * (4 - first)
            assert after[:4].tolist() == [0.0] * first + [1.0] * (4 - first)
            cuts[first] += 1
    assert set(cuts) == set(range(places))
    assert all(abs(count - 4000 / places) < 5 * (4000 / places) ** 0.5 for count in cuts.values())


def test_random_cuts_with_much_overlap_are_those_of_writing_chunk_after_chunk():
    # StreamingT2V's own way: chunks are written from left to right, each from its cut on.
    import random

    windows = [Window(start, 8) for start in range(0, 13, 2)]
    for step in range(50):
        draw = random.Random(f"3/{step}/0")
        buffer = [0] * 20
        for number, window in enumerate(windows):
            cut = draw.randrange(6) if number else 0
            for frame in window.indices[cut:]:
                buffer[frame] = number
        weights = merge_weights("random_cut", windows, 20, step, 3)
        ours = [next(n for n, w in enumerate(windows) if f in w.indices and weights[n][f - w.start]) for f in range(20)]
        assert ours == buffer


@pytest.mark.parametrize("merge", CUTS)
def test_random_cuts_are_those_of_step_0_and_seed_0_unless_they_are_given(merge):
    windows = [Window(start, 16) for start in range(0, 41, 8)]

    def weights(*step_and_seed):
        return [each.tolist() for each in merge_weights(merge, windows, 56, *step_and_seed)]

    def raw(*step_and_seed):
        return MERGES[merge](windows, *step_and_seed)

    for cuts in (weights, raw):
        assert cuts() == cuts(0) == cuts(0, 0)
        assert cuts(0, 0) != cuts(1, 0) and cuts(0, 0) != cuts(0, 1) and cuts(1, 0) != cuts(0, 1)


def test_random_cuts_around_a_loop_point():
    windows = windows_for("static", 12, 6, 2, 0, closed_loop=True)
    seen = {
        tuple(map(tuple, (w.tolist() for w in merge_weights("random_cut", windows, 12, step)))) for step in range(99)
    }
    assert len(seen) == 8  # three boundaries with two places each, one of them across the loop point


@pytest.mark.parametrize("time_dim", [0, 2])
@pytest.mark.parametrize("windows", [
    [Window(0, 4), Window(2, 4), Window(5, 4)],
    [Window(0, 4, 2), Window(2, 4, 2), Window(1, 4, 2)],
    [Window(0, 5, 1, 9), Window(4, 5, 1, 9), Window(7, 5, 1, 9)],
])  # fmt: skip
def test_merging_equals_a_matrix(time_dim, windows):
    generator = torch.Generator().manual_seed(0)
    size = windows[0].length
    shape = [2, 3, 2, 5, 5]
    shape[time_dim] = size
    predictions = [torch.randn(shape, generator=generator) for _ in windows]
    matrix = np.zeros((9, size * len(windows)))
    raw = {4: [1, 2, 2, 1], 5: [1, 2, 3, 2, 1]}[size]
    for row, window in enumerate(windows):
        for k, frame in enumerate(window.indices):
            matrix[frame, row * size + k] = raw[k]
    matrix /= matrix.sum(1, keepdims=True)
    stacked = np.concatenate([np.moveaxis(p.numpy(), time_dim, 0) for p in predictions])
    expected = np.moveaxis(np.tensordot(matrix, stacked, 1), 0, time_dim)

    shape[time_dim] = 9
    accumulator = Accumulator(torch.empty(shape), time_dim)
    for window, prediction, weights in zip(windows, predictions, merge_weights("pyramid", windows, 9), strict=True):
        accumulator.add(window, prediction, weights)
    np.testing.assert_allclose(accumulator.total.numpy(), expected, atol=1e-5)


def test_taking_a_window():
    x = torch.arange(20).reshape(2, 10)
    assert select_window(x, Window(3, 4), 1).tolist() == [[3, 4, 5, 6], [13, 14, 15, 16]]
    assert select_window(x, Window(3, 4), 1).data_ptr() == x[:, 3:].data_ptr()
    assert select_window(x, Window(1, 3, 3), 1).tolist() == [[1, 4, 7], [11, 14, 17]]
    assert select_window(x, Window(8, 3, 1, 10), 1).tolist() == [[8, 9, 0], [18, 19, 10]]
    assert select_window(x, View(Window(3, 2), 1), 1).tolist() == [[0, 3, 4], [10, 13, 14]]


def test_a_frame_that_no_window_covers_is_an_error():
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        merge_weights("flat", [Window(0, 4), Window(6, 4)], 10)


def test_an_unknown_merge():
    with pytest.raises(ValueError, match=r"'lumpy'\. Known: pyramid, hann, flat"):
        merge_weights("lumpy", [Window(0, 4)], 4)
