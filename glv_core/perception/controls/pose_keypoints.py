"""Poses that others have found: OpenPose's JSON, which ComfyUI's nodes hand on as POSE_KEYPOINT."""

from __future__ import annotations

from typing import Any

import numpy as np

from .pose_drawing import KEYPOINTS

NAME = "pose_keypoints"  #: the input, for errors
NEAR_SHARES = 1.5  #: sides of the canvas that a share may lie away from its middle
FARTHEST = 16  #: sides of the canvas that a keypoint may lie away from it


def people_in(frames: Any, num_frames: int, height: int, width: int, threshold: float = 0.0) -> list[np.ndarray]:
    """The people of every frame, ``p 18 3``: x and y in pixels of frames ``height`` by ``width``, and the score.

    Hands, feet and faces are left out, people without a body too. Keypoints that lie within 0..1, but for a few just
    outside, are shares of the canvas, as some nodes write them.

    Args:
        frames: for each frame a dict with ``canvas_width``, ``canvas_height`` and ``people``, each with
            ``pose_keypoints_2d``: x, y and score of 18 keypoints one after the other, in OpenPose's order.
        num_frames: how many there must be.
        threshold: keypoints with a lower score, and those with 0, are not seen: 0, 0, 0.

    Raises:
        ValueError: it is something else, of another number of frames, or has numbers that no image has.
    """
    if not isinstance(frames, list) or not all(isinstance(each, dict) and "people" in each for each in frames):
        raise ValueError(
            f"{NAME} is {type(frames).__name__}, not a list with the people of every frame. Connect POSE_KEYPOINT, as "
            "from SDPose or DWPose."
        )
    if len(frames) != num_frames:
        raise ValueError(
            f"{NAME} has {len(frames)} frames, the clip {num_frames}. Find the poses in the clip that is connected to "
            "images."
        )
    read = [(_canvas(frame, number), _bodies(frame["people"], number)) for number, frame in enumerate(frames)]
    seen = [bodies[bodies[..., 2] > 0, :2] for _, bodies in read]
    everything = np.concatenate(seen)
    shares = len(everything) > 0 and _are_shares(everything, min(canvas.min() for canvas, _ in read))
    result = []
    for number, (canvas, bodies) in enumerate(read):
        size = np.ones(2) if shares else canvas
        if (np.abs(seen[number]) > FARTHEST * size).any():
            raise ValueError(
                f"{NAME}: a keypoint of frame {number} lies at {np.abs(seen[number]).max():g}, far outside of its "
                f"canvas of {canvas[0]:g} x {canvas[1]:g}."
            )
        people = bodies.copy()
        people[..., :2] *= np.array([width, height]) / size
        people[(bodies[..., 2] <= 0) | (bodies[..., 2] < threshold)] = 0
        result.append(people[(people[..., 2] > 0).any(1)])
    return result


def _are_shares(places: np.ndarray, side: float) -> bool:
    """Whether places ``n 2`` are shares of canvases of which none has a shorter side."""
    if places.min() >= 0 and places.max() <= 1:
        return True
    near = np.abs(places - 0.5).max() <= NEAR_SHARES
    return near and side > 8 * NEAR_SHARES and np.mean((places >= 0) & (places <= 1)) > 0.5


def _canvas(frame: dict, number: int) -> np.ndarray:
    """Width and height that the keypoints of a frame are pixels of."""
    canvas = [frame.get("canvas_width"), frame.get("canvas_height")]
    if not all(isinstance(each, (int, float)) and 0 < each < np.inf for each in canvas):
        raise ValueError(f"{NAME}: frame {number} has no canvas_width and canvas_height above 0, but {canvas}.")
    return np.array(canvas, np.float64)


def _bodies(people: list[dict], number: int) -> np.ndarray:
    """``p 18 3``."""
    found = [each["pose_keypoints_2d"] for each in people if each.get("pose_keypoints_2d")]
    count = 3 * len(KEYPOINTS)
    if any(len(each) != count for each in found):
        lengths = sorted({len(each) for each in found})
        raise ValueError(
            f"{NAME}: frame {number} has pose_keypoints_2d of {lengths} numbers; it must be {count}: x, y and score of "
            f"{len(KEYPOINTS)} keypoints."
        )
    bodies = np.array(found, np.float64).reshape(-1, len(KEYPOINTS), 3)
    if not np.isfinite(bodies).all():
        raise ValueError(f"{NAME}: frame {number} has keypoints that are no numbers (NaN or infinite).")
    return bodies
