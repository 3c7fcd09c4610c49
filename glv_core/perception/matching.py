"""Which detections are which objects: by place, by looks, and by both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch

from .appearance import box_looks, light_around, likeness, same_light
from .boxes import Box, Detection, as_boxes, box_area, box_iou, box_overlap

MATCH = 0.3  #: intersection over union from which a detection is an object that is already tracked
OTHERWISE = 0.85  #: below this intersection over union, what has another label is another object
SAME = 0.8  #: the part of a smaller box in a larger one from which it is no other object
SIMILAR = 0.75  #: similarity of looks, 0..1, from which a detection anywhere may be a lost object
ALONE = 0.6  #: the same where there is only one of each
DIFFERENT = 0.4  #: below this one, what lies in an object's place in the same light is something else
MOMENT = 16  #: frames in which the place of a lost object comes to count for nothing
SIZES = 2.5  #: boxes whose areas are further apart are not of the same object a moment later


class Placed(Protocol):
    """What has a label and a box."""

    @property
    def label(self) -> str: ...

    @property
    def box(self) -> Box: ...


Seen = TypeVar("Seen", bound=Placed)


@dataclass(frozen=True)
class Lost:
    """What is known of an object that is not seen."""

    label: str
    looks: Sequence[torch.Tensor] = field(repr=False)
    light: torch.Tensor  #: around it, see ``light_around``
    box: Box | None  #: where it was last; None where that says nothing
    missing: int  #: frames since it was seen


def match(detections: Sequence[Detection], found: Mapping[int, Placed]) -> tuple[dict[int, Detection], list[Detection]]:
    """Detections of objects that are seen, by the objects' ids, and those that are left over."""
    ids = list(found)
    iou = box_iou(as_boxes([each.box for each in detections]), as_boxes([found[track_id].box for track_id in ids]))
    same_label = torch.tensor([[found[k].label == each.label for k in ids] for each in detections], dtype=torch.bool)
    iou = torch.where(same_label.reshape(iou.shape) | (iou >= OTHERWISE), iou, 0.0)
    matched: dict[int, Detection] = {}
    left = set(range(len(detections)))
    for flat in torch.argsort(iou.flatten(), descending=True, stable=True).tolist():
        row, column = divmod(flat, len(ids))
        if iou[row, column] < MATCH:
            break
        if row in left and ids[column] not in matched:
            matched[ids[column]] = detections[row]
            left.remove(row)
    return matched, [detections[row] for row in sorted(left)]


def not_covered(seen: Sequence[Seen], found: Mapping[int, Placed]) -> list[Seen]:
    """Those detections or objects that lie where no object of their kind lies already."""
    return [
        each
        for each in seen
        if not any(
            (iou_of(each.box, other.box) > MATCH or nested(each.box, other.box))
            if other.label == each.label
            else iou_of(each.box, other.box) >= OTHERWISE
            for other in found.values()
        )
    ]


def known_again(frame: torch.Tensor, detections: Sequence[Detection], lost: Mapping[int, Lost]) -> dict[int, Detection]:
    """Lost objects that detections of the same label are, by looks and by place: those that fit best.

    Near the place where an object was lost a moment ago looks count for less, and in other light for nothing at first.
    """
    pairs = []
    for index, each in enumerate(detections):
        seen, light = box_looks(frame, each.box), light_around(frame, each.box)
        for track_id, track in lost.items():
            if track.label != each.label:
                continue
            like = likeness(seen, track.looks)
            needed = ALONE if len(lost) == 1 and len(detections) == 1 and track.box is not None else SIMILAR
            near = _nearness(track, each.box)
            if near:
                least = DIFFERENT if seen.any() and same_light(light, track.light) else 0.0
                needed = min(needed, least + (SIMILAR - least) * track.missing / MOMENT)
            if like >= needed:
                pairs.append((like + near, track_id, index))
    again: dict[int, Detection] = {}
    taken = set()
    for _, track_id, index in sorted(pairs, key=lambda pair: -pair[0]):
        if track_id not in again and index not in taken:
            again[track_id] = detections[index]
            taken.add(index)
    return again


def iou_of(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    return float(box_iou(as_boxes([a]), as_boxes([b])))


def nested(a: Box, b: Box) -> bool:
    """Whether the smaller of two boxes lies all but wholly in the other."""
    return float(box_overlap(as_boxes([a]), as_boxes([b]))) > SAME


def _nearness(lost: Lost, box: Box) -> float:
    """1 in the very place where an object was lost, 0 where it cannot have come to in the meantime."""
    if lost.box is None or lost.missing >= MOMENT:
        return 0.0
    size = (box_area(lost.box) ** 0.5 + box_area(box) ** 0.5) / 2
    areas = sorted((box_area(lost.box), box_area(box)))
    if areas[1] > SIZES * areas[0]:
        return 0.0
    middles = as_boxes([lost.box, box]).unflatten(1, (2, 2)).mean(1)
    away = float((middles[0] - middles[1]).norm())
    return max(0.0, 1 - away / (size * (0.75 + 0.25 * lost.missing)))
