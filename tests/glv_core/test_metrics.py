"""Seam metrics against numbers worked out by hand and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glv_core import metrics
from glv_core.metrics import (
    RunningDifferences,
    frame_differences,
    seam_ratio,
    seam_ratio_of,
    window_boundaries,
)
from glv_core.timeline import Compression, Timebase
from glv_core.windows import Window


def steps(*sizes: float) -> np.ndarray:
    """A video whose frames are flat and whose neighbours differ by these amounts."""
    return np.cumsum([0.0, *sizes])[:, None, None, None] * np.ones((1, 4, 5, 3))


def test_differences_are_the_mean_over_pixels():
    frames = np.random.default_rng(0).random((6, 4, 5, 3))
    expected = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(frame_differences(frames), expected, rtol=1e-6)
    np.testing.assert_allclose(frame_differences(torch.tensor(frames).permute(0, 3, 1, 2)), expected, rtol=1e-6)


def test_differences_of_bytes_do_not_wrap_around():
    frames = torch.tensor([250, 5], dtype=torch.uint8)[:, None, None, None].expand(2, 2, 2, 3)
    assert frame_differences(frames).tolist() == [245.0]
    assert frame_differences(frames.numpy()).tolist() == [245.0]


def test_ratio_by_hand():
    video = steps(1, 1, 3, 1, 1, 5, 1)  # steps to frames 1 ... 7
    assert seam_ratio(video, [3, 6]) == pytest.approx((3 + 5) / 2)
    assert seam_ratio(torch.tensor(video), [3]) == pytest.approx(3 / (10 / 6))


def test_a_boundary_may_have_several_steps():
    video = steps(1, 1, 3, 5, 1, 1, 7, 9)
    assert seam_ratio(video, [3], span=2) == pytest.approx(4 / (20 / 6))
    assert seam_ratio(video, [3, 7], span=2) == pytest.approx((3 + 5 + 7 + 9) / 4)
    assert seam_ratio(video, [8], span=4) == pytest.approx(9 / (19 / 7))  # cut off at the end of the video


def test_a_video_that_passes_by_has_the_same_ratio():
    video = np.random.default_rng(0).random((20, 4, 5, 3)).astype(np.float32)
    running = RunningDifferences()
    passed = list(running.watch(iter([video[:7], torch.tensor(video[7:8]), video[8:]])))
    assert [len(piece) for piece in passed] == [7, 1, 12]
    np.testing.assert_allclose(running.values, frame_differences(video), rtol=1e-6)
    ratio = seam_ratio(video, [5, 9], [(12, 13)], 2)
    assert seam_ratio_of(running.values, [5, 9], [(12, 13)], 2) == pytest.approx(ratio)


def test_ratio_of_an_even_video_is_one():
    assert seam_ratio(steps(*[2] * 9), [4, 5]) == pytest.approx(1.0)


def test_excluded_frames_count_nowhere():
    video = steps(1, 1, 4, 1, 9, 9, 1)
    assert seam_ratio(video, [3, 5], exclude=[(5, 5)]) == pytest.approx(4 / 1)
    # The range 5 ... 5 takes out the steps to frame 5 and to frame 6, and no other.
    assert seam_ratio(video, [3, 7], exclude=[(5, 5)]) == pytest.approx(((4 + 1) / 2) / 1)


def test_ratio_where_nothing_moves():
    assert seam_ratio(np.zeros((5, 2, 2, 3)), [2]) == 1.0
    assert seam_ratio(steps(0, 2, 0, 0), [2]) == math.inf


@pytest.mark.parametrize(
    ("boundaries", "exclude", "words"),
    [([], [], "at a boundary"), ([3], [(3, 3)], "at a boundary"), ([1, 2, 3, 4], [], "away from"), ([0], [], r"\[0\]")],
)
def test_nothing_to_compare_is_an_error(boundaries, exclude, words):
    with pytest.raises(ValueError, match=words):
        seam_ratio(steps(1, 1, 1, 1), boundaries, exclude)


def test_a_video_needs_frames():
    with pytest.raises(ValueError, match="expected t h w c"):
        frame_differences(np.zeros((0, 2, 2, 3)))


def test_boundaries_are_frames_inside_the_video():
    windows = [Window(0, 4), Window(2, 4), Window(5, 4)]
    # Causal, 4 frames a latent frame: latent frame 2 begins at frame 5, 4 at 13, 5 at 17, 6 at 21; 9 is the end.
    assert window_boundaries(windows, Timebase(33, 8, Compression.causal(4))) == [5, 13, 17, 21]
    assert window_boundaries(windows, Timebase(9, 8)) == [2, 4, 5, 6]
    assert window_boundaries([Window(0, 9)], Timebase(33, 8, Compression.causal(4))) == []


def test_the_ring_of_a_mask_is_counted_out():
    """A square of 4x4 in 12x12 pixels: by distances in steps to its pixels and to those outside."""
    mask = np.zeros((12, 12), bool)
    mask[4:8, 4:8] = True
    inside = np.argwhere(mask)
    outside = np.argwhere(~mask)
    for width in (1, 2):
        ring = metrics._ring(mask, width)
        for y in range(12):
            for x in range(12):
                other = outside if mask[y, x] else inside
                assert ring[y, x] == (np.abs(other - (y, x)).sum(1).min() <= width)


def test_flicker_in_the_ring_by_hand():
    masks = np.zeros((3, 12, 12))
    masks[:, 4:8, 4:8] = 1
    source, edited = np.zeros((3, 12, 12, 3)), np.zeros((3, 12, 12, 3))
    source[1], edited[1] = 0.5, 0.5
    assert metrics.ring_flicker(edited, source, masks, 2) == 1
    edited[1] = 0.75
    assert metrics.ring_flicker(edited, source, masks, 2) == pytest.approx(1.5)
    edited[1] = 0.5
    edited[:, 0], edited[2, 5, 5] = np.random.default_rng(0).random((3, 12, 3)), 1  # far from the edge
    assert metrics.ring_flicker(edited, source, masks, 1) == 1
    edited[2, 4, 4] = 0.5  # a corner of the square does not go back with the rest
    assert metrics.ring_flicker(edited, source, masks, 1) < 1
    assert metrics.ring_flicker(torch.tensor(edited), torch.tensor(source), torch.tensor(masks), 1) < 1
    assert metrics.ring_flicker(edited, source * 0, masks, 1) == math.inf
    assert metrics.ring_flicker(source * 0, source * 0, masks, 1) == 1


@pytest.mark.parametrize("masks", [np.zeros((3, 12, 12)), np.ones((2, 12, 12)), np.ones((3, 8, 8))])
def test_masks_without_a_ring_or_of_another_video(masks):
    with pytest.raises(ValueError, match=r"edge|same frames"):
        metrics.ring_flicker(np.zeros((3, 12, 12, 3)), np.zeros((3, 12, 12, 3)), masks, 2)
