"""Skeletons in OpenPose's colours, as ControlNet's pose annotator draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .drawing import disc_points, ellipse_points, put

KEYPOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
    "right ear", "left ear",
)  # fmt: skip
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  #: pairs of keypoints that are joined  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  #: RGB of the keypoints, and of the limbs in their order  # fmt: skip
LIMB_WIDTH = 4  #: pixels to each side


def draw_poses(people: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Skeletons on black, ``h w 3`` uint8.

    First all joints as discs of radius 4, then limb after limb: an ellipse between its joints, 4 pixels to each side,
    laid over the image with weight 0.6.

    Args:
        people: for each ``18 3``: x and y in pixels and a score; a score of 0 or less is a keypoint not seen. Order
            and names: ``KEYPOINTS``.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    for keypoint, colour in enumerate(COLOURS):
        for person in people:
            if person[keypoint, 2] > 0:
                put(canvas, disc_points(int(person[keypoint, 0]), int(person[keypoint, 1])), colour)
    for (first, second), colour in zip(LIMBS, COLOURS, strict=False):
        for person in people:
            if person[first, 2] > 0 and person[second, 2] > 0:
                _draw_limb(canvas, person[first, :2], person[second, :2], colour)
    return canvas


def _draw_limb(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int]) -> None:
    centre = (start + end) / 2
    (x, y) = (float(each) for each in start - end)
    points = ellipse_points(
        (int(centre[0]), int(centre[1])), (int(math.hypot(x, y) / 2), LIMB_WIDTH), int(math.degrees(math.atan2(y, x)))
    )
    height, width = canvas.shape[:2]
    inside = (points >= 0).all(1) & (points[:, 0] < width) & (points[:, 1] < height)
    columns, rows = points[inside].T
    canvas[rows, columns] = np.rint(canvas[rows, columns] * 0.4 + np.array(colour) * 0.6).astype(np.uint8)
