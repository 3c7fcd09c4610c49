import itertools
import math
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.window_schedules import SCHEDULES, Layout, bit_reversed_fraction, check_sizes, windows_for
from glv_core.windows import smallest_overlap

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

MOVING = ("shifted", "shifted_trimmed", "shifted_golden", "shifted_random", "uniform")


@st.composite
def sizes(draw):
    window = draw(st.integers(1, 64))
    return draw(st.integers(1, 512)), window, draw(st.integers(0, window - 1))


@settings(max_examples=400)
@given(
    sizes(), st.sampled_from(sorted(SCHEDULES)), st.integers(0, 60), st.integers(1, 9), st.booleans(), st.integers(0, 3)
)
def test_every_schedule_covers_every_frame_within_range_once_a_window(size, schedule, step, stride, loop, seed):
    length, window, overlap = size
    windows = windows_for(schedule, length, window, overlap, step, stride=stride, closed_loop=loop, seed=seed)
    trimmed = schedule == "shifted_trimmed"
    assert {w.length for w in windows[1:-1] if trimmed} <= {min(window, length)}
    assert trimmed or {w.length for w in windows} == {min(window, length)}
    assert all(-(-min(window, length) // 2) <= w.length <= window for w in windows)
    for w in windows:
        frames = list(w.indices)
        assert len(frames) == w.length
        assert len(set(frames)) == len(frames)
        assert min(frames) >= 0 and max(frames) < length
        assert loop or frames == sorted(frames)
        assert frames[0] == w.start and w.loop == (length if loop else 0)
        assert {(b - a) % length for a, b in itertools.pairwise(frames)} <= {w.stride % length}
    assert set().union(*(w.indices for w in windows)) == set(range(length))
    assert len(set(windows)) == len(windows)


@given(sizes(), st.sampled_from(sorted(set(SCHEDULES) - {"batched", "uniform"})), st.integers(0, 60), st.booleans())
def test_neighbours_share_at_least_the_overlap(size, schedule, step, loop):
    length, window, overlap = size
    windows = windows_for(schedule, length, window, overlap, step, closed_loop=loop)
    if len(windows) < 2 or length <= window:
        return
    ordered = sorted(windows, key=lambda w: w.start)
    pairs = list(itertools.pairwise(ordered))
    if loop:
        pairs.append((ordered[-1], ordered[0]))
    for a, b in pairs:
        distance = (b.start - a.start) % length if loop else b.start - a.start
        assert a.length - distance >= overlap


@settings(max_examples=300)
@given(
    st.sampled_from([2, 5, 15]), st.integers(0, 12), st.integers(0, 60), st.data(), st.sampled_from(sorted(SCHEDULES)),
    st.integers(0, 60), st.booleans(),
)  # fmt: skip
def test_windows_start_at_multiples_of_the_grain(grain, rest, more, data, schedule, step, loop):
    window = data.draw(st.integers(1, 6)) * grain + rest
    overlap = data.draw(st.integers(0, window - 1))
    length = (window // grain + 1 + more) * grain if loop else window + more * grain
    windows = windows_for(schedule, length, window, overlap, step, closed_loop=loop, grain=grain)
    assert not [w for w in windows if w.start % grain]
    assert set().union(*(w.indices for w in windows)) == set(range(length))
    assert not [w for w in windows if (min(window, length) - w.length) % grain]
    assert schedule == "shifted_trimmed" or {w.length for w in windows} == {min(window, length)}


@pytest.mark.parametrize(("length", "loop", "stride", "grain", "words"), [
    (48, False, 1, 5, "must divide their difference"), (48, True, 1, 5, "must divide the length of a closed loop"),
    (47, False, 2, 5, "need a stride of 1"), (47, False, 1, 2, "must divide their difference"),
    (48, False, 2, 2, "need a stride of 1"), (52, False, 1, 20, "Raise the window to 20"),
])  # fmt: skip
def test_what_the_grain_forbids(length, loop, stride, grain, words):
    with pytest.raises(ValueError, match=words):
        windows_for("shifted", length, 12, 2, 0, stride=stride, closed_loop=loop, grain=grain)


def test_a_grain_asks_nothing_of_a_loop_that_one_window_holds():
    # Half a hop of 10 is 5 latent frames; on the grain, half a loop of 12 is 5 too.
    for length in (11, 12):
        windows = windows_for("shifted", length, 12, 2, 1, closed_loop=True, grain=5)
        assert [(w.start, w.length) for w in windows] == [(5, length)]
        static = windows_for("static", length, 12, 2, 0, closed_loop=True, grain=5)
        assert [(w.start, w.length) for w in static] == [(0, length), (5, length)]


def test_sizes_without_a_stride_or_grain_are_those_of_neighbours():
    check_sizes(13, 4, 1)
    check_sizes(13, 4, 1, grain=3)


@given(sizes(), st.integers(0, 60), st.booleans())
def test_batched_windows_ignore_the_overlap(size, step, loop):
    length, window, overlap = size
    plain = windows_for("static", length, window, 0, step, closed_loop=loop)
    assert windows_for("batched", length, window, overlap, step, closed_loop=loop) == plain


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("length", "window", "stride"), [(42, 21, 2), (43, 21, 2), (63, 21, 3), (5, 1, 9), (6, 3, 2)])
def test_lanes_that_hold_just_one_window(schedule, loop, length, window, stride):
    windows = windows_for(schedule, length, window, window // 3, 3, stride=stride, closed_loop=loop)
    assert set().union(*(w.indices for w in windows)) == set(range(length))


@given(sizes())
def test_balanced_windows_are_as_few_as_can_be_and_equally_far_apart(size):
    length, window, overlap = size
    starts = sorted(w.start for w in windows_for("static_balanced", length, window, overlap, 0))
    if length <= window:
        assert starts == [0]
        return
    hops = {b - a for a, b in itertools.pairwise(starts)}
    assert max(hops) - min(hops) <= 1
    assert len(starts) == math.ceil((length - overlap) / (window - overlap))


@given(sizes(), st.sampled_from(sorted(SCHEDULES)), st.integers(0, 60))
def test_a_loop_takes_as_few_windows_as_cover_it(size, schedule, step):
    length, window, overlap = size
    windows = windows_for(schedule, length, window, overlap, step, closed_loop=True)
    if length > window:
        assert len(windows) == math.ceil(length / (window - (0 if schedule == "batched" else overlap)))


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts", "counts"),
    [
        (40, 20, 5, [0, 5, 10, 15, 20], "1x5 2x5 3x5 4x10 3x5 2x5 1x5"),
        (32, 16, 4, [0, 4, 8, 12, 16], "1x4 2x4 3x4 4x8 3x4 2x4 1x4"),
        (30, 15, 5, [0, 5, 10, 15], "1x5 2x5 3x10 2x5 1x5"),
    ],
)
def test_gen_l_videos_golden_windows(length, window, stride, starts, counts):
    windows = windows_for("static", length, window, window - stride, 0)
    assert [w.start for w in windows] == starts
    count = [sum(frame in w.indices for w in windows) for frame in range(length)]
    assert " ".join(f"{value}x{len(list(run))}" for value, run in itertools.groupby(count)) == counts


@pytest.mark.parametrize("length", [48, 60, 80])
def test_gen_l_videos_number_of_windows(length):
    # The maintainer's own correction of the paper: a video of N windows is S (N - 1) + M long.
    windows = windows_for("static", length, 16, 12, 0)
    assert 4 * (len(windows) - 1) + 16 == length


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"), [(24, 16, 11, [0, 5, 8]), (18, 16, 12, [0, 2]), (16, 16, 4, [0])]
)
def test_the_last_window_is_moved_left_to_cover_the_tail(length, window, overlap, starts):
    assert [w.start for w in windows_for("static", length, window, overlap, 0)] == starts


def test_shifted_windows_by_hand():
    # Hop 12; offsets 0, 6, 3, 9 in bit-reversed order; a window of its own at both ends.
    starts = [[w.start for w in windows_for("shifted", 64, 16, 4, step)] for step in range(4)]
    assert starts == [[0, 12, 24, 36, 48], [0, 6, 18, 30, 42, 48], [0, 3, 15, 27, 39, 48], [0, 9, 21, 33, 45, 48]]


def test_windows_moved_by_the_golden_ratio_by_hand():
    # 0.618 of the hop of 12 is 7.4, twice that is 1.236 hops, of which 2.8 are left, and thrice leaves 10.2.
    starts = [[w.start for w in windows_for("shifted_golden", 64, 16, 4, step)] for step in range(4)]
    assert starts == [[0, 12, 24, 36, 48], [0, 7, 19, 31, 43, 48], [0, 2, 14, 26, 38, 48], [0, 10, 22, 34, 46, 48]]


def test_balanced_windows_by_hand():
    # The last start is 34 and the hop 12 at most, so three hops of 34 / 3: 11.33 and 22.67, each moved left.
    assert [w.start for w in windows_for("static_balanced", 50, 16, 4, 0)] == [0, 11, 22, 34]


def test_strided_windows_by_hand():
    windows = windows_for("static", 12, 3, 1, 0, stride=2)
    assert [list(w.indices) for w in windows] == [[0, 2, 4], [4, 6, 8], [6, 8, 10], [1, 3, 5], [5, 7, 9], [7, 9, 11]]
    assert [(w.lane, w.place) for w in windows] == [(0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]


def test_looped_windows_by_hand():
    windows = windows_for("shifted", 10, 4, 1, 1, closed_loop=True)
    assert [list(w.indices) for w in windows] == [[1, 2, 3, 4], [3, 4, 5, 6], [6, 7, 8, 9], [8, 9, 0, 1]]


def test_strided_loop_by_hand():
    # Stride 4 and 6 latent frames have the common factor 2: two lanes, 0 4 2 and 1 5 3, each of which meets itself.
    windows = windows_for("static", 6, 2, 0, 0, stride=4, closed_loop=True)
    assert [list(w.indices) for w in windows] == [[0, 4], [4, 2], [1, 5], [5, 3]]
    assert [(w.lane, w.place, w.cells) for w in windows] == [(0, 0, 3), (0, 1, 3), (1, 0, 3), (1, 1, 3)]


def test_a_stride_that_is_too_large_is_lowered():
    assert {w.stride for w in windows_for("static", 33, 16, 4, 0, stride=8)} == {2}
    assert {w.stride for w in windows_for("static", 31, 16, 4, 0, stride=8)} == {1}


def test_uniform_windows_have_every_power_of_two_up_to_the_stride():
    assert {w.stride for w in windows_for("uniform", 64, 8, 2, 3, stride=5)} == {1, 2, 4}


@pytest.mark.parametrize("schedule", ["shifted", "static"])
def test_a_loop_that_one_window_holds(schedule):
    steps = [windows_for(schedule, 9, 16, 4, step, closed_loop=True) for step in range(2)]
    if schedule == "static":
        assert [list(w.indices) for w in steps[0]] == [[*range(9)], [4, 5, 6, 7, 8, 0, 1, 2, 3]]
        assert steps[0] == steps[1]
    else:
        assert [[list(w.indices) for w in step] for step in steps] == [[[*range(9)]], [[4, 5, 6, 7, 8, 0, 1, 2, 3]]]


@pytest.mark.parametrize(("length", "starts"), [(1, [0]), (2, [0, 1]), (15, [0, 7]), (16, [0, 8])])
def test_a_loop_of_any_length_up_to_the_window_is_covered_twice(length, starts):
    windows = windows_for("static", length, 16, 4, 0, closed_loop=True)
    assert [(w.start, w.length) for w in windows] == [(start, length) for start in starts]


@pytest.mark.parametrize("schedule", MOVING)
@pytest.mark.parametrize("loop", [False, True])
def test_moving_windows_move_their_boundaries_everywhere(schedule, loop):
    steps = [windows_for(schedule, 64, 16, 0, step, closed_loop=loop) for step in range(128)]
    starts = {w.start for windows in steps for w in windows if w.length == 16}
    assert starts == set(range(64 if loop else 49))


@given(sizes(), st.integers(0, 60))
def test_trimmed_ends_cost_no_more_and_share_the_overlap_or_are_half_a_window(size, step):
    """The same boundaries as ``shifted`` but at the ends, which are as long as they need to be."""
    length, window, overlap = size
    plain, trimmed = (
        sorted(windows_for(name, length, window, overlap, step), key=lambda w: w.start)
        for name in ("shifted", "shifted_trimmed")
    )
    assert len(plain) == len(trimmed) and trimmed[1:-1] == plain[1:-1]
    if len(plain) < 2:
        assert trimmed == plain
        return
    half = math.ceil(window / 2)
    for end, beside, whole in ((trimmed[0], trimmed[1], plain[0]), (trimmed[-1], trimmed[-2], plain[-1])):
        assert end.length <= whole.length
        shared = len(set(end.indices) & set(beside.indices))
        assert end.length == half or shared == overlap or len(plain) == 2 or end == whole


@given(st.integers(2, 8), st.integers(0, 30), st.integers(1, 12), st.integers(0, 60), st.data())
def test_ends_are_trimmed_by_the_grain(grain, rest, more, step, data):
    """The shortest ends whose lengths the grain allows, of half a window at least, that share the overlap."""
    window = grain + rest
    overlap = data.draw(st.integers(0, window - 1))
    length = window + more * grain
    plain, trimmed = (
        sorted(windows_for(name, length, window, overlap, step, grain=grain), key=lambda w: w.start)
        for name in ("shifted", "shifted_trimmed")
    )
    assert trimmed[1:-1] == plain[1:-1] and trimmed[0].start == 0 and trimmed[-1].stop == length
    legal = [each for each in range(window, 0, -grain) if each >= window / 2]

    def shortest(whole, shared):
        return min([each for each in legal if shared(each) >= overlap], default=whole.length)

    assert trimmed[0].length == shortest(plain[0], lambda each: each - plain[1].start)
    before = trimmed[-2].stop
    assert trimmed[-1].length == shortest(plain[-1], lambda each: before - (length - each))


def test_where_ends_cannot_be_trimmed_windows_are_those_of_shifted():
    for options in ({"closed_loop": True}, {"stride": 2}):
        for step in range(8):
            plain, trimmed = (windows_for(each, 64, 16, 4, step, **options) for each in ("shifted", "shifted_trimmed"))
            assert plain == trimmed


@pytest.mark.parametrize("schedule", sorted(set(SCHEDULES) - set(MOVING)))
def test_other_schedules_do_not_move(schedule):
    assert len({windows_for(schedule, 64, 16, 4, step) for step in range(20)}) == 1


def test_random_windows_depend_on_seed_and_step_alone():
    def starts(seed):
        return [tuple(w.start for w in windows_for("shifted_random", 64, 16, 4, step, seed=seed)) for step in range(8)]

    assert starts(1) == starts(1) != starts(2)
    assert len(set(starts(1))) > 3
    assert windows_for("shifted_random", 64, 16, 4, 3) == windows_for("shifted_random", 64, 16, 4, 3, seed=0)
    assert windows_for("shifted_random", 64, 16, 4, 3) != windows_for("shifted_random", 64, 16, 4, 3, seed=1)


@given(st.integers(0, 10), st.integers(1, 10))
def test_bit_reversal_spreads_any_power_of_two_of_steps_evenly(start, exponent):
    count = 2**exponent
    cells = {int(bit_reversed_fraction(step) * count) for step in range(start * count, (start + 1) * count)}
    assert cells == set(range(count))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("static", 20, 8, 8, 0), "overlap is 8 .* window 8"),
        (("shifted", 20, 8, -1, 0), "overlap is -1"),
        (("static", 0, 8, 2, 0), "has 0 latent frames"),
        (("static", 20, 0, 0, 0), "window is 0"),
        (("zigzag", 20, 8, 2, 0), "Unknown window schedule 'zigzag'. Known: shifted, "),
        (("static", 20, 8, 2, -1), "step is -1"),
    ],
)
def test_bad_values(arguments, words):
    with pytest.raises(ValueError, match=words):
        windows_for(*arguments)


def test_a_bad_stride():
    with pytest.raises(ValueError, match="stride is 0"):
        windows_for("static", 20, 8, 2, 0, stride=0)


def test_a_layout_is_open_and_of_neighbours_unless_it_says_more():
    assert Layout(12, 4, 1) == Layout(12, 4, 1, step=0, stride=1, closed_loop=False, seed=0, grain=1)
    with pytest.raises(FrozenInstanceError):
        Layout(12, 4, 1).step = 1


def test_an_open_window_knows_no_loop():
    assert {window.loop for window in windows_for("static", 20, 8, 2, 0)} == {0}
    assert {window.loop for window in windows_for("static", 8, 8, 2, 0)} == {0}
    assert {window.loop for window in windows_for("static", 20, 8, 2, 0, closed_loop=True)} == {20}


def test_a_loop_that_one_window_holds_is_seen_twice_half_a_loop_apart():
    assert [list(w.indices) for w in windows_for("static", 6, 8, 2, 0, closed_loop=True)] == [
        [0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2],
    ]  # fmt: skip
    assert len(windows_for("static", 8, 8, 2, 0, closed_loop=True)) == 2
    assert [list(w.indices) for w in windows_for("static", 1, 8, 2, 0, closed_loop=True)] == [[0]]
    assert len(windows_for("static", 2, 8, 2, 0, closed_loop=True)) == 2


def test_the_golden_ratio_moves_windows_by_hand():
    """Hop 12; the fractions of step * 0.618...: 0, 0.618, 0.236, 0.854 are 0, 7, 2 and 10 latent frames."""
    starts = [[w.start for w in windows_for("shifted_golden", 64, 16, 4, step)][1] for step in range(4)]
    assert starts == [12, 7, 2, 10]


@given(sizes(), st.sampled_from(["shifted", "shifted_random", "static", "static_balanced"]), st.integers(0, 9))
def test_the_smallest_overlap_is_what_neighbours_share(size, schedule, step):
    length, window, overlap = size
    windows = sorted(windows_for(schedule, length, window, overlap, step), key=lambda each: each.start)
    shared = [len({*one.indices} & {*other.indices}) for one, other in itertools.pairwise(windows)]
    assert smallest_overlap(windows[::-1]) == min(shared, default=0)
