"""COCO's keypoints as OpenPose's, and people over time."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import people as made

from glv_core.perception.controls.keypoints import COCO_KEYPOINTS, openpose_from_coco, steady_people
from glv_core.perception.controls.pose_drawing import KEYPOINTS


def test_coco_to_openpose():
    people = np.zeros((2, 17, 3))
    people[..., 0] = np.arange(17) * 10
    people[..., 1] = np.arange(17) * 100 + 1
    people[..., 2] = 0.9
    people[1, 5, 2] = 0.2  # the left shoulder is not sure, so there is no neck
    result = openpose_from_coco(people, 0.3)
    for name in KEYPOINTS:
        if name != "neck":
            number = COCO_KEYPOINTS.index(name)
            np.testing.assert_allclose(
                result[0, KEYPOINTS.index(name)], (number * 10, number * 100 + 1, 0.9), rtol=1e-6
            )
    np.testing.assert_allclose(result[0, 1], (55, 551, 0.9), rtol=1e-6)
    assert not result[1, 1].any() and not result[1, KEYPOINTS.index("left shoulder")].any()
    assert openpose_from_coco(np.zeros((0, 17, 3)), 0.3).shape == (0, 18, 3)


def walk(num_frames: int, start: float, speed: float) -> np.ndarray:
    """A person of three keypoints, ``t 3 3``."""
    result = np.ones((num_frames, 3, 3), np.float32)
    result[..., 0] = start + speed * np.arange(num_frames)[:, None] + (0, 5, 0)
    result[..., 1] = (0, 20, 40)
    return result


def test_nothing_to_do_changes_nothing():
    frames = [each[None] for each in walk(5, 0, 3)]
    assert all(a is b for a, b in zip(steady_people(frames), frames))


def test_a_short_gap_is_a_straight_line_and_a_long_one_is_held():
    truth = walk(30, 0, 2)
    frames = [each[None].copy() for each in truth]
    for number in (5, 6, 7):
        frames[number][0, 1] = 0
    for number in range(15, 22):
        frames[number][0, 2] = 0
    result = np.stack(steady_people(frames, hold=3))[:, 0]
    np.testing.assert_allclose(result[:15], truth[:15], rtol=1e-5)
    np.testing.assert_allclose(result[15:18, 2, :2], [truth[14, 2, :2]] * 3)
    assert not result[18:22, 2, 2].any()
    np.testing.assert_allclose(result[22:], truth[22:])


def test_a_person_who_is_lost_comes_back_and_one_who_leaves_goes():
    truth = walk(20, 0, 1)
    frames = [each[None] for each in truth]
    nobody = np.zeros((0, 3, 3), np.float32)
    frames[8:10] = [nobody, nobody]
    frames[15:] = [nobody] * 5
    result = steady_people(frames, hold=2)
    assert [len(each) for each in result] == [1] * 17 + [0] * 3
    np.testing.assert_allclose(np.concatenate(result[:15]), truth[:15], rtol=1e-5)
    np.testing.assert_allclose(result[16][0], truth[14])


def test_a_keypoint_that_is_never_seen_stays_away():
    frames = [each[None].copy() for each in walk(6, 0, 1)]
    for each in frames:
        each[0, 1] = 0
    for hold, smoothing in ((2, 0.0), (0, 1.0), (2, 1.0)):
        result = np.stack(steady_people(frames, hold, smoothing))[:, 0]
        assert not result[:, 1].any() and (result[:, [0, 2], 2] == 1).all()


def test_people_who_cross_keep_their_own_line():
    """With positions averaged over time, a swap would show as a jump to the other's line."""
    left, right = walk(41, 0, 2), walk(41, 80, -2)
    right[..., 1] += 30
    frames = [np.stack(pair if number % 2 else pair[::-1]) for number, pair in enumerate(zip(left, right))]
    result = steady_people(frames, smoothing=1.0)
    for number in range(3, 38):
        ordered = sorted(result[number], key=lambda each: each[0, 1])
        np.testing.assert_allclose(ordered[0], left[number], atol=1e-3)
        np.testing.assert_allclose(ordered[1], right[number], atol=1e-3)


def test_smoothing_calms_and_does_not_lag():
    truth = walk(60, 0, 2)
    noise = np.random.default_rng(0).normal(0, 2, truth[..., :2].shape)
    shaken = truth.copy()
    shaken[..., :2] += noise
    result = np.stack(steady_people([each[None] for each in shaken], smoothing=2.0))[:, 0]
    error = (result - truth)[5:-5, :, :2]
    assert error.std() < 0.45 * noise.std()
    assert abs(error.mean()) < 0.3


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="hold"):
        steady_people([], hold=-1)
    with pytest.raises(ValueError, match="smoothing"):
        steady_people([], smoothing=-1.0)
    assert steady_people([], hold=2) == []


@pytest.mark.parametrize("speed", [8.0, 30.0, 60.0])  # the person is 40 pixels tall
def test_a_fast_person_is_drawn_once(speed):
    truth = walk(12, 0, speed)
    result = steady_people([each[None] for each in truth], hold=3)
    assert [len(each) for each in result] == [1] * 12
    np.testing.assert_allclose(np.concatenate(result), truth)


def test_who_speeds_up_is_followed_at_the_last_speed():
    """Steps of 18, 36, 54 pixels: the third is more than a person's size, and 18 more than the second."""
    truth = np.concatenate([walk(1, start, 0) for start in (0, 18, 54, 108)])
    frames = [each[None] for each in truth]
    frames.insert(3, np.zeros((0, 3, 3), np.float32))
    frames[4][0, :, 0] += 36  # one frame missing on the way
    result = steady_people(frames, hold=1)
    assert [len(each) for each in result] == [1] * 5
    np.testing.assert_allclose(result[3][0, :, 0], (truth[2, :, 0] + frames[4][0, :, 0]) / 2)


def test_a_false_person_of_one_frame_is_not_held():
    frames = [each[None] for each in walk(10, 0, 2)]
    frames[4] = np.concatenate([frames[4], walk(1, 500, 0)])
    assert [len(each) for each in steady_people(frames, hold=3)] == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]
    assert [len(each) for each in steady_people([walk(1, 0, 0), *[frames[0][:0]] * 3], hold=3)] == [1, 0, 0, 0]


def test_who_is_lost_is_not_held_beside_somebody_new():
    """A jump that is too far to follow: the same person, most likely."""
    frames = [each[None] for each in (*walk(5, 0, 1), *walk(5, 300, 1))]
    assert [len(each) for each in steady_people(frames, hold=3)] == [1] * 10
    nobody = frames[0][:0]
    frames[5:7] = [nobody, nobody]
    assert [len(each) for each in steady_people(frames, hold=3)] == [1] * 10


def test_a_crowd_is_followed_with_few_calls():
    """Eight people take 2.4 times the calls of one, where each pair of a track and a frame took 11 times."""

    def clip(count: int) -> list[np.ndarray]:
        stands = np.stack([made.standing(300 * number, 0, 20) for number in range(count)])
        return [stands + np.array([frame % 3, frame % 2, 0]) for frame in range(24)]

    one, eight = (made.calls_of(steady_people, clip(count), 3, 1.0) for count in (1, 8))
    assert eight < 4 * one
