"""StreamingT2V's measures on videos that are moved by known amounts, and against loops over single pixels."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.metrics_motion import (
    content_changes,
    cuts_of,
    flow_spread,
    pull_along,
    push_along,
    scene_cuts,
    warp_error,
)


def no_flow(left, right):
    raise AssertionError("the flow was asked for")


def there_and_back(*flows: torch.Tensor):
    """A flow function that says these, one after the other."""
    waiting = list(flows)
    return lambda left, right: waiting.pop(0)


def panning(num_frames: int, right: int, down: int, height=12, width=14, seed=0) -> np.ndarray:
    """A view that moves over a large random picture, so that what is in it moves ``right`` and ``down`` every frame."""
    far = np.random.default_rng(seed).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    at = [(100 - down * k, 100 - right * k) for k in range(num_frames)]
    return np.stack([far[y : y + height, x : x + width] for y, x in at])


def constant(value: tuple[float, float], height=12, width=14) -> torch.Tensor:
    return torch.tensor(value).expand(height, width, 2)


@pytest.mark.parametrize("motion", [(2, 0), (0, -3), (-1, 2), (5, 5)])
def test_pure_translation_has_no_error(motion):
    video = panning(4, *motion)
    way = constant([float(each) for each in motion])
    result = warp_error(video, lambda left, right: way, size=None)
    assert result == (0.0, 3, 0)
    result = warp_error(video, there_and_back(*[way, -way] * 3), "paper", size=None)
    assert result == (0.0, 3, 0)
    wrong = warp_error(video, lambda left, right: -way, size=None)
    assert wrong.value > 1


def test_released_by_hand():
    # Red, green and blue alike. A pixel of 10 moves onto one of 40, and nothing falls where it was.
    left, right = np.array([[10, 20, 30]]), np.array([[0, 40, 33]])
    video = np.stack([left, right]).astype(np.uint8)[..., None].repeat(3, -1)
    flow = torch.tensor([[[1.0, 0], [5, 0], [0, 0]]])
    error = ((40 - 10) ** 2 + (33 - 30) ** 2) / 2
    assert warp_error(video, lambda *_: flow, size=None).value == pytest.approx(error / (9.5 * 2))


def test_paper_by_hand():
    left, right = np.array([[10, 20, 30, 40]]), np.array([[7, 12, 26, 90]])
    video = np.stack([left, right]).astype(np.uint8)[..., None].repeat(3, -1)
    there = torch.tensor([[[1.0, 0], [0.5, 0], [0, 0], [1, 0]]])
    back = torch.tensor([[[0.0, 0], [-1, 0], [9, 0], [0, 0]]])
    # Pixel 0 reads 12. Pixel 1 reads halfway between 12 and 26, where the way back is 4: occluded. So is pixel 2, whose
    # way back is 9. Pixel 3 leaves the frame.
    error, squares = (12 - 10) ** 2, (1 + 0.25 + 0 + 1) / 4
    assert warp_error(video, there_and_back(there, back), "paper", size=None).value == pytest.approx(error / squares)


@pytest.mark.parametrize(
    ("left_over", "is_seen"), [(0.0, True), (0.7, True), (0.75, False), (-0.7, True), (-0.75, False)]
)
def test_what_does_not_come_back_is_occluded(left_over, is_seen):
    """The squared length of there and back together is at most half a pixel and a hundredth of both of them."""
    video = panning(2, 3, 1)
    there, back = constant((1.0, 0.0)), constant((left_over - 1, 0.0))
    value = warp_error(video, there_and_back(there, back), "paper", size=None).value
    assert math.isnan(value) != is_seen


def push_by_loops(frame: np.ndarray, flow: np.ndarray):
    moved, known = np.zeros_like(frame), np.zeros(frame.shape[:2], bool)
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            to_x, to_y = round(float(x + flow[y, x, 0])), round(float(y + flow[y, x, 1]))
            if 0 <= to_x < frame.shape[1] and 0 <= to_y < frame.shape[0]:
                moved[to_y, to_x], known[to_y, to_x] = frame[y, x], True
    return moved, known


def pull_by_loops(frame: np.ndarray, flow: np.ndarray):
    height, width = frame.shape[:2]
    pulled, inside = np.zeros_like(frame), np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            at_x, at_y = x + flow[y, x, 0], y + flow[y, x, 1]
            inside[y, x] = 0 <= at_x <= width - 1 and 0 <= at_y <= height - 1
            for row in range(height):
                for column in range(width):
                    share = max(0, 1 - abs(row - at_y)) * max(0, 1 - abs(column - at_x))
                    pulled[y, x] += share * frame[row, column]
    return pulled, inside


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.5, 1, 3]))
def test_warping_is_that_of_loops(seed, height, width, size):
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (height, width, 3)).astype(np.float32)
    flow = (random.normal(size=(height, width, 2)) * size * 4).round().astype(np.float32) / 4
    moved, known = push_along(torch.tensor(frame), torch.tensor(flow))
    expected = push_by_loops(frame, flow)
    np.testing.assert_array_equal(moved.numpy(), expected[0])
    np.testing.assert_array_equal(known.numpy(), expected[1])
    pulled, inside = pull_along(torch.tensor(frame), torch.tensor(flow))
    expected = pull_by_loops(frame, flow)
    np.testing.assert_array_equal(inside.numpy(), expected[1])
    np.testing.assert_allclose(pulled.numpy()[expected[1]], expected[0][expected[1]], atol=1e-3)


def test_scores_are_means_over_pairs():
    video = panning(3, 1, 0)
    flows = [constant((2.0, 0.0)), constant((0.0, 3.0))]
    singles = [warp_error(video[k : k + 2], lambda *_, k=k: flows[k], size=None).value for k in range(2)]
    both = warp_error(video, there_and_back(*flows), size=None)
    assert both.value == pytest.approx(sum(singles) / 2) and both.num_pairs == 2
    # The paper's is a quotient of two means: the pair that moves more counts less.
    flows = [flows[0], -flows[0], flows[1], -flows[1]]
    parts = [
        warp_error(video[k : k + 2], there_and_back(*flows[2 * k : 2 * k + 2]), "paper", size=None).value
        for k in range(2)
    ]
    seen = [12 * 12, 9 * 14]  # pixels whose flow stays inside
    squared = [4.0, 9.0]
    errors = [part * square for part, square in zip(parts, squared)]
    expected = np.average(errors, weights=seen) / np.mean(squared)
    assert warp_error(video, there_and_back(*flows), "paper", size=None).value == pytest.approx(expected)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_a_still_video_has_no_score(variant):
    video = panning(3, 0, 0)
    result = warp_error(video, lambda *_: constant((0.0, 0.0)), variant, size=None)
    assert math.isnan(result.value) and result[1:] == (2, 2)


def test_still_pairs_are_left_out_and_counted():
    video = panning(3, 1, 0)
    moving, still = constant((2.0, 0.0)), constant((0.0, 0.0))
    alone = warp_error(video[1:], there_and_back(moving), size=None)
    both = warp_error(video, there_and_back(still, moving), size=None)
    assert both.value == alone.value and both[1:] == (2, 1)
    paper = warp_error(video, there_and_back(still, still, moving, -moving), "paper", size=None)
    assert math.isfinite(paper.value) and paper.num_still == 1


def test_a_flow_out_of_the_frame_has_no_error():
    video = panning(2, 1, 0)
    assert warp_error(video, lambda *_: constant((99.0, 0.0)), size=None).value == 0
    assert math.isnan(warp_error(video, lambda *_: constant((99.0, 0.0)), "paper", size=None).value)


def test_floats_are_the_levels_of_an_eight_bit_file():
    video = panning(3, 2, 1)
    flow = lambda *_: constant((2.0, 0.0))  # noqa: E731
    floats = torch.tensor(video).float() / 255
    assert warp_error(video, flow, size=None) == warp_error(floats, flow, size=None)
    np.testing.assert_array_equal(content_changes(video), content_changes(floats))


def test_frames_are_brought_to_a_size_first():
    seen = []

    def flow(left, right):
        seen.append(left)
        return torch.ones(*left.shape[:2], 2)

    video = panning(2, 2, 1, 12, 14)
    warp_error(video, flow)
    warp_error(video, flow, size=(6, 7))
    assert [tuple(each.shape) for each in seen] == [(720, 720, 3), (6, 7, 3)]
    assert torch.equal(seen[0], seen[0].round()) and seen[0].max() > 1
    # Halving takes the mean of the four pixels in the middle of which it looks.
    means = video[0].astype(float).reshape(6, 2, 7, 2, 3).mean((1, 3))
    assert np.abs(seen[1].numpy() - means).max() <= 0.5


def test_spread_of_motion():
    lengths = [1.0, 5.0, 1.0, 1.0]
    flows = [constant((0.6 * each, 0.8 * each)) for each in lengths]
    assert flow_spread(panning(5, 1, 0), there_and_back(*flows)) == pytest.approx(np.std(lengths))
    assert flow_spread(panning(5, 1, 0), lambda *_: constant((3.0, 4.0))) == 0


def hsv_by_colorsys(colour) -> list[float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*(each / 255 for each in colour))
    return [hue * 180, saturation * 255, value * 255]


def test_changes_are_those_of_hue_saturation_and_value():
    colours = np.random.default_rng(0).integers(0, 256, (2, 300, 3), dtype=np.uint8)
    colours[:, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [7, 7, 7]]
    hsv = np.array([[hsv_by_colorsys(colour) for colour in row] for row in colours])
    # Whole numbers, and a hue that is nearly a full turn is that of the start.
    hsv = np.floor(hsv + 0.5)
    hsv[..., 0] %= 180
    expected = np.abs(hsv[1] - hsv[0]).mean()
    changes = content_changes(colours[:, None])
    assert changes[0] == 0 and changes[1] == pytest.approx(expected, abs=0.3)


def changes_with(peaks: dict[int, float], num_frames=60, rest=1.0) -> np.ndarray:
    changes = np.full(num_frames, rest)
    for index, value in peaks.items():
        changes[index] = value
    return changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (changes_with({30: 40.0}), [30]),
        (changes_with({30: 14.9}), []),  # too small
        (changes_with({30: 15.0}), [30]),
        (changes_with({30: 40.0}, rest=13.4), []),  # less than three times its neighbours
        (changes_with({30: 40.2}, rest=13.4), [30]),
        (changes_with({30: 40.0, 31: 40.0}), [30]),  # 40 to (1 + 1 + 40 + 1) / 4 is 3.7 for both, and one is near
        (changes_with({30: 60.0, 31: 80.0}), [31]),  # of two neighbours the one that stands out
        (changes_with({14: 40.0}), []),  # too near the start
        (changes_with({15: 40.0}), [15]),
        (changes_with({20: 40.0, 34: 40.0}), [20]),  # 14 frames after a cut
        (changes_with({20: 40.0, 35: 40.0}), [20, 35]),
        (changes_with({57: 40.0}), [57]),
        (changes_with({58: 40.0}), []),  # without two frames behind it
        (changes_with({30: 40.0}, rest=0.0), [30]),  # between stills
        (changes_with({30: 14.0}, rest=0.0), []),
        (np.zeros(60), []),
        (np.full(3, 99.0), []),
    ],
)
def test_cuts_by_hand(changes, expected):
    assert cuts_of(changes) == expected


def test_cuts_of_a_video():
    random = np.random.default_rng(1)
    scenes = [np.full((length, 8, 8, 3), colour, np.uint8) for length, colour in ((20, 10), (25, 200), (30, 60))]
    video = np.concatenate(scenes) + random.integers(0, 3, (75, 8, 8, 3), dtype=np.uint8)
    video = video // np.array([1, 2, 3], np.uint8)  # some colour, so that hue and saturation are steady
    assert scene_cuts(video) == [20, 45]
    assert scene_cuts(torch.tensor(video)) == [20, 45]
    fade = np.linspace(0, 255, 75).astype(np.uint8)[:, None, None, None].repeat(3, -1).repeat(8, 1).repeat(8, 2)
    assert scene_cuts(fade) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: warp_error(np.zeros((3, 4, 4, 3)), no_flow, "mine"), "'mine'. Known: released, paper"),
        (lambda: warp_error(np.zeros((1, 4, 4, 3)), no_flow), "t of 2 or more"),
        (lambda: warp_error(np.zeros((3, 4, 4)), no_flow), r"shape \(3, 4, 4\); expected t h w 3"),
        (lambda: flow_spread(np.zeros((1, 4, 4, 3)), no_flow), "t of 2 or more"),
        (lambda: scene_cuts(np.zeros((0, 4, 4, 3))), "t of 1 or more"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
