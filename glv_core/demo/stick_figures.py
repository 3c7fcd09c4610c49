"""Stick figures of the drawn world: what stands in for people where a video is steered by poses.

An object has five joints, its centre and its outermost points towards the four corners of the frame, and four limbs
between them.  They are told as five of OpenPose's keypoints, so that everything that holds, smooths and draws poses
serves them too.  The limbs of a square, a triangle and a circle differ; colour and background are not in them.
"""

from __future__ import annotations

import numpy as np
import torch

from ..perception.controls.pose_drawing import KEYPOINTS, draw_poses
from .detector import centred, find_covers

CORNERS = {
    "right shoulder": (-1, -1), "left shoulder": (1, -1), "right hip": (-1, 1), "left hip": (1, 1),
}  #: which keypoint lies towards which corner, as signs of x and y; the neck is the centre  # fmt: skip
MIN_PIXELS = 20  #: an object covers at least so many
_NEAR = 1.0  # pixels: what is so near to the outermost point counts with it


def stick_figures(cover: np.ndarray) -> list[np.ndarray]:
    """The figure of one object, ``18 3`` for each time that it is seen: x and y in pixels and a score of 1 or 0.

    Args:
        cover: how much of each pixel the object covers, 0..1, ``h w``. Frames are a torus: where a figure crosses the
            border it is told again on the other side, with joints outside of the frame.
    """
    height, width = cover.shape
    if (cover > 0.5).sum() < MIN_PIXELS:
        return []
    around, shift = centred(cover)
    y, x = np.mgrid[:height, :width] + 0.5
    total = around.sum()
    joints = {"neck": ((around * x).sum() / total, (around * y).sum() / total)}
    solid = around > 0.5
    for name, (right, down) in CORNERS.items():
        along = np.where(solid, right * x + down * y, -np.inf)
        far = along > along.max() - _NEAR
        joints[name] = (x[far].mean(), y[far].mean())
    figure = np.zeros((len(KEYPOINTS), 3))
    for name, (at_x, at_y) in joints.items():
        figure[KEYPOINTS.index(name)] = at_x - shift[1], at_y - shift[0], 1
    used = figure[:, 2] > 0
    seen = []
    for down in (-height, 0, height):
        for right in (-width, 0, width):
            copy = figure.copy()
            copy[used, :2] += right, down
            points = copy[used]
            if ((points >= 0) & (points < (width, height, np.inf))).all(1).any():
                seen.append(copy)
    return seen


def figures_in(frames: torch.Tensor | np.ndarray) -> list[list[np.ndarray]]:
    """The figures of each of the frames ``t 3 h w`` or ``t h w 3``, values 0..1; see ``stick_figures``."""
    return [stick_figures(cover) for cover in find_covers(frames)]


def draw_figures(covers: np.ndarray) -> torch.Tensor:
    """Figures of objects that cover ``t h w``, drawn on black, ``t h w 3`` uint8."""
    height, width = covers.shape[1:]
    return torch.from_numpy(draw_poses([stick_figures(cover) for cover in covers], height, width))
