"""Control images of poses: who finds the people, and drawing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ....demo.stick_figures import figures_in
from ....perception.controls.keypoints import steady_people
from ....perception.controls.openpose import decode_people, network_input
from ....perception.controls.pose_drawing import draw_poses
from ....perception.controls.pose_keypoints import people_in
from ...transformers import pose as pose_models
from .annotators import load_annotator
from .control_pieces import ClipSize, Control, Pieces
from .grounding_models import DEMO_DETECTOR
from .host_rtdetr import HostRtDetr
from .vision_models import load_auto, use_together

_PIXELS = 2**17  # that are drawn at a time, so that what is being drawn stays near the processor


def pose_control(
    detector: dict[str, Any],
    hold: int,
    smoothing: float,
    rtdetr_model: Any = None,
    pose_keypoints: Any = None,
    keypoint_score: float = 0.0,
) -> Control:
    """Skeletons, of OpenPose's own network or of ViTPose, of poses that are there, or stick figures of the demo model's
    objects.

    Args:
        detector: its name and its options; not looked at where there are poses.
        hold, smoothing: see ``steady_people``.
        rtdetr_model: the host's RT-DETR, which finds the people for ViTPose.
        pose_keypoints: POSE_KEYPOINT of the clip; of these, keypoints count from ``keypoint_score`` on.
    """
    options = dict(detector)
    name = options.pop("detector")
    if pose_keypoints is not None:
        if rtdetr_model is not None:
            raise ValueError("rtdetr_model and pose_keypoints are connected. Disconnect one: poses need no detector.")

        def find(_frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
            yield people_in(pose_keypoints, size.num_frames, size.height, size.width, keypoint_score)

    elif name == "vitpose":
        find = _vitpose(**options, rtdetr_model=rtdetr_model)
    elif rtdetr_model is not None:
        raise ValueError(
            f"rtdetr_model is connected, but detector is {name!r}. Choose the detector 'vitpose', for which it finds "
            "the people, or disconnect it."
        )
    else:
        find = {"openpose": _openpose, DEMO_DETECTOR: _drawn_figures}[name]()

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        people = [each for piece in find(frames, size) for each in piece]
        people = steady_people(people, hold, smoothing)
        count = max(1, _PIXELS // (size.height * size.width))
        for start in range(0, len(people), count):
            yield torch.from_numpy(draw_poses(people[start : start + count], size.height, size.width))

    return control


def _openpose() -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    model = load_annotator("openpose")

    def find(frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
        model.use(size.memory("openpose"))
        for piece in frames:
            values, inner = network_input(piece)
            fields, heat = model.model(values)
            yield [
                decode_people(each, field, inner, size.height, size.width)
                for each, field in zip(heat, fields, strict=True)
            ]

    return find


def _vitpose(
    pose_model: str,
    person_detector: str,
    person_threshold: float,
    keypoint_threshold: float,
    allow_download: bool,
    pose_model_id: str = "",
    person_detector_id: str = "",
    rtdetr_model: Any = None,
) -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    types = dict.fromkeys(pose_models.POSE_MODELS, pose_models.POSE_CLASS)
    pose_name, person_name = pose_model_id.strip() or pose_model, person_detector_id.strip() or person_detector
    model = load_auto(pose_name, types, pose_models.FILES, allow_download, "pose_model", (torch.float16,))
    if rtdetr_model is not None:
        detector = HostRtDetr(rtdetr_model, "person", person_threshold)
        boxes = detector.boxes
    else:
        types = dict.fromkeys(pose_models.DETECTORS, pose_models.DETECTOR_CLASS)
        detector = load_auto(person_name, types, pose_models.FILES, allow_download, "person_detector")
        boxes = pose_models.PersonDetector(detector.model, detector.processor, person_threshold).boxes
    people = pose_models.PoseEstimator(model.model, model.processor, boxes, keypoint_threshold)

    def find(frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
        use_together([model, detector], size.memory("transformers"))
        return map(people.people, frames)

    return find


def _drawn_figures() -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    return lambda frames, _size: (figures_in(piece.float() / 255) for piece in frames)
