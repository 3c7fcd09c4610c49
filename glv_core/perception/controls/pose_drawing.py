"""Skeletons in OpenPose's colours, as ControlNet's pose annotator draws them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .drawing import disc_spans, ellipse_spans, span_places

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
_COLOURS = np.array(COLOURS, np.uint8)
_LAID_OVER = np.rint(np.arange(256) * 0.4 + _COLOURS[..., None] * 0.6).astype(np.uint8)  # each over 0..255
_FIRST, _SECOND = np.array(LIMBS).T
LIMB_WIDTH = 4  #: pixels to each side


def draw_poses(frames: Sequence[Sequence[np.ndarray]], height: int, width: int) -> np.ndarray:
    """Skeletons on black, ``t h w 3`` uint8.

    First all joints as discs of radius 4, then limb after limb: an ellipse between its joints, 4 pixels to each side,
    laid over the image with weight 0.6.

    Args:
        frames: of each its people, ``18 3``: x and y in pixels and a score; a score of 0 or less is a keypoint not
            seen. Order and names: ``KEYPOINTS``.
    """
    canvas = np.zeros((len(frames), height, width, 3), np.uint8)
    frame = np.repeat(np.arange(len(frames)), [len(people) for people in frames])
    if len(frame):
        # The first person of every frame, then the second of each: what follows one another in a frame stays in order,
        # and limbs that are drawn at once lie in different frames.
        rank = np.concatenate([np.arange(len(people)) for people in frames])
        seen = np.stack([person for people in frames for person in people])
        order = np.argsort(rank, kind="stable")
        rank, frame, seen = rank[order], frame[order], seen[order]
        there = seen[..., 2] > 0
        keypoint, person = there.T.nonzero()
        discs = disc_spans(np.trunc(seen[person, keypoint, :2]).astype(np.int64))
        places, begins = span_places(discs, frame[person], height, width)
        places *= 3
        planes = [canvas.reshape(-1)[channel:] for channel in range(3)]
        colours = np.repeat(_COLOURS[keypoint].T, np.diff(begins), 1)
        for plane, colour in zip(planes, colours, strict=True):
            plane[places] = colour
        limb, person = (there[:, _FIRST] & there[:, _SECOND]).T.nonzero()
        start, end = seen[person, _FIRST[limb], :2], seen[person, _SECOND[limb], :2]
        places, begins = span_places(_limb_spans(start, end), frame[person], height, width)
        places *= 3
        new = (np.diff(limb, prepend=-1) | np.diff(rank[person], prepend=-1)).nonzero()[0]
        for first, last in pairwise([*new, len(limb)]):
            part = places[begins[first] : begins[last]]
            for plane, laid_over in zip(planes, _LAID_OVER[limb[first]], strict=True):
                plane[part] = laid_over.take(plane.take(part))
    return canvas


def _limb_spans(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Ellipses between joints ``n 2``, ``r 4``, see ``ellipse_spans``."""
    x, y = (start - end).T.astype(np.float64)
    half_axes = np.stack([np.trunc(np.hypot(x, y) / 2).astype(np.int64), np.full(len(x), LIMB_WIDTH)], 1)
    degrees = np.trunc(np.degrees(np.arctan2(y, x))).astype(np.int64)
    return ellipse_spans(np.trunc((start + end) / 2).astype(np.int64), half_axes, degrees)
