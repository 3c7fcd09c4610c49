"""Keypoints of people: ViTPose (Xu et al., 2022, arXiv 2204.12484) on the boxes of a person detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...perception.controls.keypoints import COCO_KEYPOINTS, openpose_from_coco

POSE_MODELS = ("vitpose",)  #: types in config.json
POSE_CLASS = "VitPoseForPoseEstimation"
DETECTORS = ("rt_detr", "rt_detr_v2", "d_fine", "detr", "conditional_detr", "deformable_detr", "yolos")
DETECTOR_CLASS = "AutoModelForObjectDetection"
FILES = ("preprocessor_config.json",)
PEOPLE_PER_FORWARD = 16


class PersonDetector:
    """Where people are in frames.

    Args:
        model, processor: of one of ``DETECTORS``, with a class ``person``.
        threshold: how sure it must be of a person.

    Raises:
        ValueError: the model knows no people.
    """

    def __init__(self, model: Any, processor: Any, threshold: float = 0.5) -> None:
        self._model, self._processor, self._threshold = model, processor, threshold
        names = {str(name).lower(): int(number) for number, name in model.config.id2label.items()}
        if "person" not in names:
            raise ValueError(
                "person_detector knows no 'person'. Choose one that was trained on COCO, such as PekingU/rtdetr_r50vd."
            )
        self._person = names["person"]

    def boxes(self, frames: torch.Tensor) -> list[list[list[float]]]:
        """Left, top, width and height of the people in each of the frames ``t h w 3`` uint8."""
        inputs = self._processor(images=list(frames.movedim(-1, 1)), return_tensors="pt").to(self._model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        outputs = self._model(**inputs)
        sizes = [tuple(frames.shape[1:3])] * len(frames)
        found = self._processor.post_process_object_detection(
            outputs, threshold=self._threshold, target_sizes=sizes
        )  # fmt: skip
        limit = torch.tensor([frames.shape[2], frames.shape[1]] * 2)
        result = []
        for each in found:
            corners = each["boxes"][each["labels"] == self._person].float().cpu().clamp(min=0).minimum(limit)
            boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
            result.append(boxes[(boxes[:, 2:] >= 1).all(1)].tolist())
        return result


class PoseEstimator:
    """The people in frames, as OpenPose's 18 keypoints.

    Args:
        model, processor: ViTPose with 17 COCO keypoints.
        boxes: finds the people, see ``PersonDetector.boxes``.
        keypoint_threshold: how sure ViTPose must be of a keypoint.

    Raises:
        ValueError: the model knows other keypoints.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        boxes: Callable[[torch.Tensor], list[list[list[float]]]],
        keypoint_threshold: float = 0.3,
    ) -> None:
        self._model, self._processor, self._boxes = model, processor, boxes
        self._keypoint_threshold = keypoint_threshold
        if model.config.num_labels != len(COCO_KEYPOINTS):
            raise ValueError(
                f"pose_model knows {model.config.num_labels} keypoints; it must know COCO's {len(COCO_KEYPOINTS)}. "
                "Choose another, such as usyd-community/vitpose-base-simple."
            )

    def people(self, frames: torch.Tensor) -> list[np.ndarray]:
        """For each of the frames ``t h w 3`` uint8 ``p 18 3``: x, y in pixels and score."""
        boxes = self._boxes(frames)
        result: list[list[np.ndarray]] = [[] for _ in boxes]
        wanted = [(number, box) for number, found in enumerate(boxes) for box in found]
        for start in range(0, len(wanted), PEOPLE_PER_FORWARD):
            part = wanted[start : start + PEOPLE_PER_FORWARD]
            for (number, _), person in zip(part, self._keypoints(frames, part), strict=True):
                result[number].append(person)
        coco = [np.stack(people) if people else np.zeros((0, len(COCO_KEYPOINTS), 3)) for people in result]
        return [openpose_from_coco(people, self._keypoint_threshold) for people in coco]

    def _keypoints(self, frames: torch.Tensor, part: list[tuple[int, list[float]]]) -> list[np.ndarray]:
        """``17 3`` for each of the boxes, which go with a frame's number."""
        images = [frames[number].cpu().numpy() for number, _ in part]
        boxes = [[box] for _, box in part]
        inputs = self._processor(images=images, boxes=boxes, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        experts = {}
        if getattr(self._model.config.backbone_config, "num_experts", 1) > 1:
            experts["dataset_index"] = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)  # COCO
        outputs = self._model(pixel_values=pixels, **experts)
        outputs.heatmaps = outputs.heatmaps.float()
        found = self._processor.post_process_pose_estimation(outputs, boxes=boxes)
        return [
            torch.cat([each["keypoints"], each["scores"].reshape(-1, 1)], 1).numpy() for (each,) in found
        ]  # fmt: skip
