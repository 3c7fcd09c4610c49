"""Boxes of objects in a frame, and the text that a grounded detector reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

Box = tuple[float, float, float, float]  #: left, top, right, bottom in pixels; right and bottom are outside
ORDERS = ("best", "first")


@dataclass(frozen=True)
class Detection:
    """Something that a detector found in a frame."""

    box: Box
    score: float  #: 0..1
    label: str


class Detector(Protocol):
    """Finds what a text names."""

    def detect(self, frames: torch.Tensor) -> list[list[Detection]]:
        """What is in each of the frames ``t h w 3`` (0..1), in the detector's own order."""


def prompt_text(text: str) -> str:
    """The text as Grounding DINO reads it: lower case, phrases that end with a full stop.

    Raises:
        ValueError: there is no text.
    """
    words = text.lower().strip()
    if not words.strip(" ."):
        raise ValueError("text is empty; name what the mask shall cover, e.g. 'sunglasses' or 'man. dog.'")
    return words if words.endswith(".") else words + "."


def phrases(text: str) -> list[str]:
    """The things that a text names, one by one: ``man. dog.`` is man and dog."""
    return [phrase for phrase in (part.strip() for part in prompt_text(text).split(".")) if phrase]


def closest_phrase(label: str, named: Sequence[str]) -> str:
    """Which of the named things a detector's label means: a label may be a part of a phrase, or run over two."""
    words = set(label.split())
    shared = [len(words & set(phrase.split())) / len(set(phrase.split())) for phrase in named]
    best = max(range(len(named)), key=shared.__getitem__, default=None)
    return label if best is None or not shared[best] else named[best]


def cxcywh_to_xyxy(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Centre, width and height ``n 4`` in parts of the image to left, top, right, bottom ``n 4`` in pixels."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], -1)
    return corners * corners.new_tensor([width, height, width, height])


def box_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes ``n 4`` and ``m 4``: ``n m``; 0 for boxes without area."""
    shared = _shared_area(a, b)
    union = _area(a)[:, None] + _area(b) - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-12), 0.0)


def box_overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The part of the smaller box that lies in the other, for boxes ``n 4`` and ``m 4``: ``n m``."""
    smaller = torch.minimum(_area(a)[:, None], _area(b))
    return torch.where(smaller > 0, _shared_area(a, b) / smaller.clamp(min=1e-12), 0.0)


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def _shared_area(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    corner = torch.maximum(a[:, None, :2], b[None, :, :2])
    return (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - corner).clamp(min=0).prod(2)


def box_area(box: Box) -> float:
    """Pixels of a box; 0 for one that is turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def as_boxes(boxes: Sequence[Box]) -> torch.Tensor:
    """Boxes as a tensor ``n 4``."""
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def mask_box(mask: torch.Tensor) -> Box | None:
    """The smallest box around a mask ``h w``; None for an empty one."""
    columns, rows = mask.any(0).nonzero(), mask.any(1).nonzero()
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def choose(found: Sequence[Detection], most: int, order: Literal["best", "first"]) -> list[Detection]:
    """At most ``most`` detections (0: all): those with the best scores, or the first in the detector's order."""
    if order == "best":
        found = sorted(found, key=lambda each: -each.score)
    return list(found[:most] if most else found)


def nms(found: Sequence[Detection], overlap: float = 0.7, otherwise: float = 0.95) -> list[Detection]:
    """Non-maximum suppression: of boxes that overlap by more (intersection over union), the one with the best score.

    Boxes with different labels must overlap by more than ``otherwise``: a coat is not the person in it. The order
    stays.
    """
    iou = box_iou(boxes := as_boxes([each.box for each in found]), boxes)
    kept: list[int] = []
    for number in sorted(range(len(found)), key=lambda index: -found[index].score):
        if not any(
            iou[number, other] > (overlap if found[number].label == found[other].label else otherwise) for other in kept
        ):
            kept.append(number)
    return [found[number] for number in sorted(kept)]
