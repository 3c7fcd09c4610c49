"""Masks without a memory: each frame on its own, and objects propagated by the place where they were last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, Protocol

import torch

from .boxes import Box, Detector, as_boxes, box_iou, choose, mask_box
from .tracking import MaskPrediction, TrackedInstance


class FrameSegmenter(Protocol):
    """Segments boxes of one frame."""

    def segment(self, frame: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
        """The objects in these boxes of a frame ``h w 3`` uint8: ``n h w`` bool."""


def per_frame(
    detector: Detector,
    segmenter: FrameSegmenter,
    batches: Iterable[torch.Tensor],
    most: int = 2,
    order: Literal["best", "first"] = "first",
) -> Iterator[list[TrackedInstance]]:
    """Gen-L-Video's way: nothing is tracked, and objects are numbered by their order in the frame.

    Args:
        detector, segmenter: what finds and what segments.
        batches: frames ``t h w 3`` uint8; the detector gets a batch at once.
        most, order: how many detections of a frame count, and which, see ``choose``.
    """
    for batch in batches:
        for frame, detections in zip(batch, detector.detect(batch), strict=True):
            chosen = choose(detections, most, order)
            masks = segmenter.segment(frame, [each.box for each in chosen]) if chosen else []
            yield [
                TrackedInstance(index, each.label, each.score, each.box, mask)
                for index, (each, mask) in enumerate(zip(chosen, masks, strict=True), 1)
            ]


class BoxPropagator:
    """Makes a ``tracking.Segmenter`` of a segmenter of single frames: an object's box moves on as it moved before.

    A model with a memory of the object tracks it better, above all behind others.
    """

    def __init__(self, segmenter: FrameSegmenter) -> None:
        self._segmenter = segmenter
        self._frame: torch.Tensor | None = None
        self._boxes: dict[int, tuple[Box, Box]] = {}  # in the last two frames

    def step(self, frame: torch.Tensor) -> dict[int, MaskPrediction]:
        self._frame = frame
        height, width = frame.shape[:2]
        expected = {}
        for object_id, (before, last) in self._boxes.items():
            moved = [2 * b - a for a, b in zip(before, last, strict=True)]
            # Of what has left the image, the last place stays.
            inside = min(moved[2], width) - max(moved[0], 0) > 1 and min(moved[3], height) - max(moved[1], 0) > 1
            expected[object_id] = tuple(moved) if inside else last
        return self._predicted(expected)

    def add(self, boxes: Mapping[int, Box]) -> dict[int, MaskPrediction]:
        for object_id, box in boxes.items():
            self._boxes[object_id] = (box, box)
        return self._predicted(boxes, first=True)

    def forget(self, ids: Iterable[int]) -> None:
        for object_id in ids:
            self._boxes.pop(object_id, None)

    def fresh(self) -> BoxPropagator:
        return BoxPropagator(self._segmenter)

    def _predicted(self, expected: Mapping[int, Box], first: bool = False) -> dict[int, MaskPrediction]:
        if not expected:
            return {}
        predicted = {}
        masks = self._segmenter.segment(self._frame, list(expected.values()))
        for (object_id, box), mask in zip(expected.items(), masks, strict=True):
            at = mask_box(mask)
            # Sure as far as the object is where it was expected.
            score = 0.0 if at is None else 1.0 if first else float(box_iou(as_boxes([box]), as_boxes([at])))
            predicted[object_id] = MaskPrediction(mask, score)
            if at is not None and score >= 0.5:
                self._boxes[object_id] = (at if first else self._boxes[object_id][1], at)
        return predicted
