"""Keypoints that other nodes found."""

from __future__ import annotations

import numpy as np
import pytest

from glv_core.perception.controls.pose_drawing import KEYPOINTS
from glv_core.perception.controls.pose_keypoints import people_in


def frame(points, side=512):
    """One frame of one person with these places, x and y, of its first keypoints."""
    keypoints = np.zeros((len(KEYPOINTS), 3))
    keypoints[: len(points), :2], keypoints[: len(points), 2] = points, 1
    return {
        "canvas_width": side,
        "canvas_height": side,
        "people": [{"pose_keypoints_2d": keypoints.flatten().tolist()}],
    }


@pytest.mark.parametrize("edge", [0.9, 1.0, 1.01, 1.3, -0.02])
def test_shares_of_the_canvas_stay_shares_where_a_joint_is_just_outside(edge):
    [people] = people_in([frame([(0.5, 0.3), (0.2, 0.4), (0.3, 0.9), (edge, 0.5)])], 1, 512, 1024)
    np.testing.assert_allclose(people[0, :4, :2], [(512, 153.6), (204.8, 204.8), (307.2, 460.8), (1024 * edge, 256)])


@pytest.mark.parametrize(
    "points", [[(256, 154), (1, 1)], [(0.5, 0.4), (300, 20), (0.2, 0.1)], [(1.4, 1.6), (1.2, 1.9)]]
)
def test_pixels_are_pixels(points):
    [people] = people_in([frame(points)], 1, 512, 1024)
    np.testing.assert_allclose(people[0, : len(points), :2], np.array(points) * (2, 1))
