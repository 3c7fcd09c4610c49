"""Segment Anything (Kirillov et al., 2023) of transformers: boxes of a frame, and all its regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from ...perception.boxes import Box, box_iou

MODELS = {"sam": "SamModel"}
FILES = ("preprocessor_config.json|processor_config.json",)
ENLARGED = 16  #: so many masks at most are in the size of the frame at a time
_STABILITY_OFFSET = 1.0
_REGION_OVERLAP = 0.7


@dataclass(frozen=True)
class Regions:
    """Regions of a frame; their masks are kept as small as the model makes them."""

    logits: torch.Tensor = field(repr=False)  #: ``n h w``
    scores: torch.Tensor  #: ``n``, 0..1
    areas: torch.Tensor  #: ``n``, pixels of the frame
    boxes: torch.Tensor  #: ``n 4``, left, top, right, bottom in pixels
    full_size: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)  #: logits in the size of the frame

    def __len__(self) -> int:
        return len(self.logits)

    def masks(self, order: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """The masks ``h w`` bool of the frame one after the other: all of them, or those with these numbers."""
        order = torch.arange(len(self)) if order is None else order
        for part in order.split(ENLARGED):
            yield from self.full_size(self.logits[part]) > 0


class SamSegmenter:
    """Segments single frames.

    Args:
        model, processor: a SamModel and its SamProcessor.
        prompts_per_forward: so many points of ``regions`` share a pass of the mask decoder.
    """

    def __init__(self, model: Any, processor: Any, prompts_per_forward: int = 64) -> None:
        self._model, self._processor = model, processor
        self._prompts = prompts_per_forward

    def segment(self, frame: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
        """The objects in these boxes of a frame ``h w 3`` uint8: ``n h w`` bool, one mask a box."""
        inputs = self._inputs(frame, input_boxes=[[list(box) for box in boxes]])
        prompts = inputs["input_boxes"].to(self._model.device, self._model.dtype)
        outputs = self._model(image_embeddings=self._embeddings(inputs), input_boxes=prompts, multimask_output=False)
        parts = outputs.pred_masks[0][:, 0].split(ENLARGED)
        return torch.cat([self._full_size(part, inputs) > 0 for part in parts])

    def regions(
        self,
        frame: torch.Tensor,
        points_per_side: int = 32,
        quality: float = 0.88,
        stability: float = 0.95,
        on_prompts: Callable[[int, int], None] | None = None,
    ) -> Regions:
        """All regions of a frame, as SAM's automatic mask generator finds them with its default settings.

        Args:
            frame: ``h w 3`` uint8.
            points_per_side: points are asked for in a grid of so many by so many; each gives up to three masks.
            quality: a mask counts if the model thinks its intersection over union is higher.
            stability: a mask counts if this part of it stays when the threshold moves by 1.
            on_prompts: called with the points that are done and all points.

        Returns:
            The regions, the best first; there may be none.
        """
        height, width = frame.shape[:2]
        at = (torch.arange(points_per_side) + 0.5) / points_per_side
        points = torch.stack(torch.meshgrid(at * width, at * height, indexing="xy"), -1).reshape(-1, 2)
        inputs = self._inputs(frame, input_points=[[[point] for point in points.tolist()]])
        embeddings, grid = self._embeddings(inputs), inputs["input_points"].to(self._model.dtype)
        kept: list[Regions] = []
        for start in range(0, grid.shape[1], self._prompts):
            part = grid[:, start : start + self._prompts].to(self._model.device)
            outputs = self._model(image_embeddings=embeddings, input_points=part, multimask_output=True)
            scores = outputs.iou_scores[0].flatten().float()
            good = scores > quality
            kept.append(self._steady(outputs.pred_masks[0].flatten(0, 1)[good], scores[good], inputs, stability))
            if on_prompts is not None:
                on_prompts(min(start + self._prompts, grid.shape[1]), grid.shape[1])
        logits, scores, areas, boxes = (
            torch.cat([getattr(each, name) for each in kept]) for name in ("logits", "scores", "areas", "boxes")
        )
        best = _distinct(boxes, scores)
        return Regions(logits[best], scores[best], areas[best], boxes[best], partial(self._full_size, inputs=inputs))

    def _steady(self, logits: torch.Tensor, scores: torch.Tensor, inputs: Any, stability: float) -> Regions:
        """Those of the masks ``n h w`` that are steady and not empty, measured in the size of the frame."""
        keep, areas, boxes = [], [], []
        for part in logits.split(ENLARGED):
            full = self._full_size(part, inputs)
            steady, masks = _stability(full) > stability, full > 0
            areas.append(masks.flatten(1).sum(1))
            keep.append(steady & (areas[-1] > 0))
            boxes.append(_boxes(masks))
        kept = torch.cat(keep)
        # The small masks are kept as the model gave them: enlarged again, they are the same to the bit.
        parts = (logits, scores, torch.cat(areas), torch.cat(boxes))
        return Regions(*(part[kept].cpu() for part in parts), partial(self._full_size, inputs=inputs))

    def _inputs(self, frame: torch.Tensor, **prompts: Any) -> Any:
        return self._processor(images=frame.movedim(-1, 0), return_tensors="pt", **prompts)

    def _embeddings(self, inputs: Any) -> torch.Tensor:
        return self._model.get_image_embeddings(inputs["pixel_values"].to(self._model.device, self._model.dtype))

    def _full_size(self, logits: torch.Tensor, inputs: Any) -> torch.Tensor:
        """Logits ``n h w`` of the model in the size of the frame, without the padding."""
        padded = self._processor.image_processor.pad_size
        inside = inputs["reshaped_input_sizes"][0].tolist()
        logits = logits.to(self._model.device).float()[:, None]
        logits = F.interpolate(logits, (padded["height"], padded["width"]), mode="bilinear")
        logits = logits[..., : inside[0], : inside[1]]
        return F.interpolate(logits, tuple(inputs["original_sizes"][0].tolist()), mode="bilinear")[:, 0]


def _stability(logits: torch.Tensor) -> torch.Tensor:
    """How much of each mask ``n h w`` stays when the threshold moves: intersection over union of the two."""
    inner = (logits > _STABILITY_OFFSET).flatten(1).sum(1)
    outer = (logits > -_STABILITY_OFFSET).flatten(1).sum(1)
    return inner / outer.clamp(min=1)


def _distinct(boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Numbers of the masks that are no double of a better one, by their boxes ``n 4``, the best first."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    left = torch.ones(len(order), dtype=torch.bool)
    for place in range(len(order)):  # one row at a time: with many points, all against all are billions
        if left[place]:
            left[place + 1 :] &= box_iou(boxes[place : place + 1], boxes[place + 1 :])[0] <= _REGION_OVERLAP
    return order[left]


def _boxes(masks: torch.Tensor) -> torch.Tensor:
    """The boxes ``n 4`` around masks ``n h w``; those of empty ones mean nothing."""
    columns, rows = masks.any(1).byte(), masks.any(2).byte()
    left, top = columns.argmax(1), rows.argmax(1)
    right, bottom = columns.shape[1] - columns.flip(1).argmax(1), rows.shape[1] - rows.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], 1).float()
