import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.windows import SCHEDULES, Window, bit_reversed_fraction, forward_cost, static_windows, windows_for

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@st.composite
def sizes(draw):
    window = draw(st.integers(1, 64))
    return draw(st.integers(1, 512)), window, draw(st.integers(0, window - 1))


@given(sizes(), st.sampled_from(sorted(SCHEDULES)), st.integers(0, 60))
def test_every_schedule_covers_every_frame_within_range_once_a_window(size, schedule, step):
    length, window, overlap = size
    windows = windows_for(schedule, length, window, overlap, step)
    assert {w.length for w in windows} == {min(window, length)}
    for w in windows:
        frames = list(w.frames)
        assert len(set(frames)) == len(frames)
        assert min(frames) >= 0 and max(frames) < length
    assert set().union(*(w.frames for w in windows)) == set(range(length))
    assert list(windows) == sorted(windows, key=lambda w: w.start)
    assert len(set(windows)) == len(windows)


@given(sizes(), st.sampled_from(sorted(SCHEDULES)), st.integers(0, 60))
def test_neighbours_share_at_least_the_overlap(size, schedule, step):
    length, window, overlap = size
    windows = windows_for(schedule, length, window, overlap, step)
    assert all(a.stop - b.start >= overlap for a, b in itertools.pairwise(windows))


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [(40, 20, 5, [0, 5, 10, 15, 20]), (32, 16, 4, [0, 4, 8, 12, 16]), (30, 15, 5, [0, 5, 10, 15])],
)
def test_gen_l_videos_golden_windows(length, window, stride, starts):
    assert [w.start for w in static_windows(length, window, window - stride)] == starts


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"), [(24, 16, 11, [0, 5, 8]), (18, 16, 12, [0, 2]), (16, 16, 4, [0])]
)
def test_the_last_window_is_moved_left_to_cover_the_tail(length, window, overlap, starts):
    assert [w.start for w in static_windows(length, window, overlap)] == starts


def test_shifted_windows_by_hand():
    # Stride 12; offsets 0, 6, 3, 9 in bit-reversed order; a window of its own at both ends.
    starts = [[w.start for w in windows_for("shifted", 64, 16, 4, step)] for step in range(4)]
    assert starts == [[0, 12, 24, 36, 48], [0, 6, 18, 30, 42, 48], [0, 3, 15, 27, 39, 48], [0, 9, 21, 33, 45, 48]]


def test_shifted_windows_move_their_boundaries_everywhere():
    starts = {w.start for step in range(16) for w in windows_for("shifted", 64, 16, 0, step)}
    assert starts == set(range(49))


@given(st.integers(0, 10), st.integers(1, 10))
def test_bit_reversal_spreads_any_power_of_two_of_steps_evenly(start, exponent):
    count = 2**exponent
    cells = {int(bit_reversed_fraction(step) * count) for step in range(start * count, (start + 1) * count)}
    assert cells == set(range(count))


@pytest.mark.parametrize(("overlap", "cost"), [(8, 1.75), (12, 3.25), (0, 1.0)])
def test_cost_of_static_windows(overlap, cost):
    assert forward_cost("static", 64, 16, overlap, 20) == pytest.approx(cost)


def test_cost_of_a_single_window_is_the_floor():
    assert forward_cost("shifted", 10, 16, 4, 20) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("static", 20, 8, 8, 0), "overlap is 8 .* window 8"),
        (("shifted", 20, 8, -1, 0), "overlap is -1"),
        (("static", 0, 8, 2, 0), "has 0 latent frames"),
        (("static", 20, 0, 0, 0), "window is 0"),
        (("zigzag", 20, 8, 2, 0), "Unknown window schedule 'zigzag'. Known: shifted, static"),
        (("static", 20, 8, 2, -1), "step is -1"),
    ],
)
def test_bad_values(arguments, words):
    with pytest.raises(ValueError, match=words):
        windows_for(*arguments)


def test_window_frames():
    assert list(Window(3, 4).frames) == [3, 4, 5, 6] and Window(3, 4).stop == 7
