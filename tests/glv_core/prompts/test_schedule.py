"""The schedule itself: weights against an oracle, what is active, what cannot be."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.prompts import PromptSchedule, PromptScheduleError, Segment, Transition
from glv_core.prompts.schedule import HARD, name_prompt

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)


def two(kind: str, frames: float) -> PromptSchedule:
    """a until frame 10, then b, of 20 frames."""
    return PromptSchedule((Segment(0, 10, "a"), Segment(10, 20, "b", Transition(kind, frames))), 20, 10)


@st.composite
def schedules(draw: st.DrawFn) -> PromptSchedule:
    num_frames = draw(st.integers(1, 200))
    starts = sorted(draw(st.sets(st.integers(1, num_frames - 1), max_size=6))) if num_frames > 1 else []
    bounds = [0, *starts, num_frames]
    lengths = [end - start for start, end in pairwise(bounds)]
    # A share of every segment goes to the transition at its start, what is left to the one at its end.
    shares = [draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in lengths]
    segments = []
    for index, length in enumerate(lengths):
        kind = draw(st.sampled_from(["hard", "linear", "ease"]))
        left = (1 - shares[index - 1]) * lengths[index - 1] if index > 1 else lengths[0]
        half = min(left, shares[index] * length)
        transition = Transition("hard") if kind == "hard" or index == 0 else Transition(kind, 2 * half)
        segments.append(Segment(bounds[index], bounds[index + 1], draw(st.sampled_from("abc")), transition))
    return PromptSchedule(tuple(segments), num_frames, draw(st.sampled_from([8.0, 23.976, 24.0])))


def oracle(schedule: PromptSchedule, frame: float) -> list[Fraction]:
    """Weights as differences of "how far have we come into segment i", in exact arithmetic."""
    at = Fraction(min(max(frame, 0), schedule.num_frames - 1))

    def come(segment: Segment) -> Fraction:
        begin = Fraction(segment.start) - Fraction(segment.transition.frames) / 2
        if segment.transition.frames == 0:
            return Fraction(int(at >= begin))
        u = max(Fraction(0), min(Fraction(1), (at - begin) / Fraction(segment.transition.frames)))
        return u if segment.transition.kind == "linear" else 3 * u**2 - 2 * u**3

    steps = [Fraction(1), *(come(segment) for segment in schedule.segments[1:]), Fraction(0)]
    return [step - after for step, after in pairwise(steps)]


frames = st.one_of(st.integers(-5, 210), st.integers(-40, 1700).map(lambda n: n / 8), st.floats(-10, 300))


@SETTINGS
@given(schedules(), frames)
def test_weights_equal_the_oracle(schedule: PromptSchedule, frame: float) -> None:
    weights = schedule.weights(frame)
    assert weights == pytest.approx([float(weight) for weight in oracle(schedule, frame)], abs=1e-12)


@SETTINGS
@given(schedules(), frames)
def test_weights_are_a_partition_between_two_neighbours(schedule: PromptSchedule, frame: float) -> None:
    weights = schedule.weights(frame)
    seen = [index for index, weight in enumerate(weights) if weight > 0]
    assert len(weights) == len(schedule.segments)
    assert min(weights) >= 0
    assert sum(weights) == 1.0
    assert len(seen) == 1 or (len(seen) == 2 and seen[1] == seen[0] + 1)


@pytest.mark.parametrize(
    ("kind", "frames", "expected"),
    [
        ("hard", 0, {8: 0, 9: 0, 9.99: 0, 10: 1, 11: 1}),
        ("linear", 0, {9.99: 0, 10: 1}),
        ("linear", 4, {8: 0, 9: 0.25, 9.5: 0.375, 10: 0.5, 11: 0.75, 12: 1, 13: 1}),
        ("ease", 4, {8: 0, 9: 0.15625, 10: 0.5, 11: 0.84375, 12: 1}),
        ("linear", 20, {0: 0, 1: 0.05, 10: 0.5, 19: 0.95}),
    ],
)
def test_weights_of_each_kind_by_hand(kind: str, frames: float, expected: dict[float, float]) -> None:
    schedule = two(kind, frames)
    for frame, share in expected.items():
        assert schedule.weights(frame) == pytest.approx((1 - share, share), abs=1e-12), frame


@pytest.mark.parametrize(
    ("transition", "expected"),
    [
        (Transition(), {-1: 0, -1e-9: 0, 0: 1, 1: 1}),
        (Transition("linear", 4), {-3: 0, -2: 0, -1: 0.25, 0: 0.5, 1: 0.75, 2: 1, 3: 1}),
        (Transition("ease", 4), {-3: 0, -2: 0, -1: 0.15625, 0: 0.5, 1: 0.84375, 2: 1, 3: 1}),
    ],
)
def test_progress_of_a_transition_by_hand(transition: Transition, expected: dict[float, float]) -> None:
    assert {offset: transition.progress(offset) for offset in expected} == expected


def test_prompts_are_named_once_in_order_of_appearance() -> None:
    segments = tuple(Segment(start, start + 1, prompt) for start, prompt in enumerate("bacab"))
    assert PromptSchedule(segments, 5, 24).prompts == ("b", "a", "c")


def test_what_a_schedule_is_made_of_cannot_be_changed() -> None:
    schedule = two("linear", 4)
    for value, name in (
        (schedule, "fps"),
        (schedule.segments[0], "start"),
        (schedule.segments[1].transition, "frames"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, 1.0)


def test_weights_clamp_to_the_video() -> None:
    schedule = two("linear", 20)
    assert schedule.weights(-7) == schedule.weights(0) == (1.0, 0.0)
    assert schedule.weights(25) == schedule.weights(19) == schedule.weights(math.inf)
    assert schedule.weights(19)[1] == pytest.approx(0.95)


def test_touching_transitions_share_a_segment_without_overlap() -> None:
    segments = (
        Segment(0, 5, "a"),
        Segment(5, 15, "b", Transition("linear", 10)),
        Segment(15, 20, "c", Transition("linear", 10)),
    )
    schedule = PromptSchedule(segments, 20, 24)
    assert schedule.weights(10) == (0.0, 1.0, 0.0)
    assert schedule.weights(9) == pytest.approx((0.1, 0.9, 0.0))
    assert schedule.weights(11) == pytest.approx((0.0, 0.9, 0.1))


def test_first_transition_is_normalised_and_equal_prompts_are_kept() -> None:
    segments = (Segment(0, 10, "a", Transition("ease", 4)), Segment(10, 20, "a", Transition("linear", 4)))
    schedule = PromptSchedule(segments, 20, 24)
    assert schedule.segments[0].transition == Transition("hard", 0)
    assert [segment.prompt for segment in schedule.segments] == ["a", "a"]
    assert schedule.weights(10) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Transition("fade", 3), "hard, linear, ease"),
        (lambda: Transition("linear", -1), "-1 frames"),
        (lambda: Transition("ease", math.nan), "number"),
        (lambda: Transition("ease", math.inf), "number"),
        (lambda: Transition("hard", 2), "no length"),
        (lambda: Segment(5, 5, "a"), "from frame 5 to 5"),
        (lambda: Segment(-1, 5, "a"), "from frame -1"),
        (lambda: Segment(0, math.nan, "a"), "number"),
        (lambda: Segment(0, 5, None), "NoneType"),
        (lambda: PromptSchedule((), 5, 24), "at least one"),
        (lambda: PromptSchedule((Segment(0, 5, "a"),), 0, 24), "at least 1 frame"),
        (lambda: PromptSchedule((Segment(0, 5, "a"),), 5.0, 24), "whole number"),
        (lambda: PromptSchedule((Segment(0, 5, "a"),), 5, 0), "above 0"),
        (lambda: PromptSchedule((Segment(0, 5, "a"),), 5, math.nan), "number"),
        (lambda: PromptSchedule((Segment(0, 5, "a"),), 6, 24), "whole video"),
        (lambda: PromptSchedule((Segment(1, 5, "a"),), 5, 24), "whole video"),
        (lambda: PromptSchedule((Segment(0, 2, "a"), Segment(3, 5, "b")), 5, 24), "must meet"),
        (lambda: two("linear", 20.1), "'a' lasts 10 frames"),
        (lambda: two("linear", 4).weights(math.nan), "NaN"),
    ],
)
def test_what_cannot_be(build, says: str) -> None:
    with pytest.raises(PromptScheduleError, match=says):
        build()


def test_overlapping_transitions_name_the_segment() -> None:
    segments = (
        Segment(0, 10, "a"),
        Segment(10, 16, "the short one", Transition("linear", 6)),
        Segment(16, 30, "c", Transition("ease", 8)),
    )
    with pytest.raises(PromptScheduleError, match=r"'the short one' lasts 6 frames.* 7 of them"):
        PromptSchedule(segments, 30, 24)


def test_a_hard_cut_is_all_or_nothing_at_its_boundary():
    assert [HARD.progress(offset) for offset in (-0.5, 0, 0.5)] == [0, 1, 1]


def test_messages_name_a_prompt_by_its_first_words():
    assert name_prompt("  a  red\nfox ") == "the prompt 'a red fox'"
    assert name_prompt("x" * 40) == f"the prompt '{'x' * 40}'"
    assert name_prompt("x" * 41) == f"the prompt '{'x' * 39}…'"
