"""Objects that a text names, tracked through a clip: a detector finds them, a segmenter propagates them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from .appearance import color_histogram, similarity
from .boxes import Box, Detection, Detector, as_boxes, box_iou, box_overlap, choose, mask_box, nms

MATCH = 0.3  #: intersection over union from which a detection is an object that is already tracked
DRIFTED = 0.5  #: below this one, the object's mask is corrected by the detection
OTHERWISE = 0.85  #: below this intersection over union, what has another label is another object
SAME = 0.8  #: the part of a smaller box in a larger one from which it is no other object
SIMILAR = 0.5  #: similarity of colors, 0..1, from which a new detection may be a lost object
LOOK_BACK = 16  #: frames that are kept to track a newly found object backwards
PATIENCE = 32  #: frames between looks for a lost object, at most
FORGET = 256  #: frames after which the segmenter no longer looks for a lost object


@dataclass(frozen=True)
class MaskPrediction:
    """An object in a frame, as the segmenter sees it."""

    mask: torch.Tensor  #: ``h w`` bool
    score: float  #: 0..1, how sure it is that the object is there


class Segmenter(Protocol):
    """Propagates objects from frame to frame."""

    def step(self, frame: torch.Tensor) -> dict[int, MaskPrediction]:
        """Go to the next frame ``h w 3`` uint8: where the known objects are in it."""

    def add(self, boxes: Mapping[int, Box]) -> dict[int, MaskPrediction]:
        """In the frame of the last ``step``, these objects are in these boxes; known ones are corrected."""

    def forget(self, ids: Iterable[int]) -> None:
        """Propagate these objects no longer; unknown ones are no error."""

    def fresh(self) -> Segmenter:
        """Another one that knows no objects."""


@dataclass(frozen=True)
class TrackedInstance:
    """An object in a frame, with the number that it keeps through the clip."""

    id: int
    label: str
    score: float
    box: Box
    mask: torch.Tensor = field(repr=False)  #: ``h w`` bool


@dataclass
class _Track:
    label: str
    histogram: torch.Tensor
    missing: int = 0  # frames since it was seen


class Tracker:
    """Tracks objects through a clip.

    Objects are looked for in the first frame, in every frame while none is seen, in every ``interval``-th frame, and
    when one gets lost: in that frame and then after 1, 2, 4 ... frames. A detection that fits an object that is
    followed belongs to it, and corrects its mask where it has drifted; one that looks like a lost object is that object
    again; any other is a new object, which is then followed backwards as well through the ``LOOK_BACK`` frames before,
    so that a detector that finds it late leaves no hole. What the detector misses is still followed, as long as nothing
    else that it finds looks more like the object than what is followed in its name.

    Args:
        detector, segmenter: what finds and what propagates.
        interval: frames; 0 looks only when something is lost.
        most, order: so many objects at a time at most (0: all), and which of those found together, see ``choose``.
        score: the segmenter's score from which an object counts as seen.
    """

    def __init__(
        self,
        detector: Detector,
        segmenter: Segmenter,
        interval: int = 30,
        most: int = 0,
        order: Literal["best", "first"] = "best",
        score: float = 0.5,
    ) -> None:
        self._detector, self._segmenter = detector, segmenter
        self._interval, self._most, self._order, self._score = interval, most, order, score
        self._tracks: dict[int, _Track] = {}
        self._before: deque[tuple[torch.Tensor, dict[int, TrackedInstance]]] = (
            deque()
        )  # frames whose result may still grow

    def track(self, frames: Iterable[torch.Tensor]) -> Iterator[list[TrackedInstance]]:
        """The objects of each frame ``h w 3`` uint8, in order of their ids; up to ``LOOK_BACK`` frames late."""
        for index, frame in enumerate(frames):
            found = self._step(index, frame)
            self._before.append((frame, found))
            if len(self._before) > LOOK_BACK:
                yield _in_order(self._before.popleft()[1])
        while self._before:
            yield _in_order(self._before.popleft()[1])

    def _step(self, index: int, frame: torch.Tensor) -> dict[int, TrackedInstance]:
        predicted = self._segmenter.step(frame) if self._tracks else {}
        found = self._seen(frame, predicted)
        if self._must_look(index, found):
            found = self._look(frame, found)
        if self._most:  # one that was lost may be back: the older ones stay
            found = {track_id: found[track_id] for track_id in sorted(found)[: self._most]}
        for track_id, track in self._tracks.items():
            track.missing = 0 if track_id in found else track.missing + 1
        self._segmenter.forget([track_id for track_id, track in self._tracks.items() if track.missing == FORGET])
        return found

    def _seen(self, frame: torch.Tensor, predicted: Mapping[int, MaskPrediction]) -> dict[int, TrackedInstance]:
        found = {}
        for track_id, each in predicted.items():
            box = mask_box(each.mask) if each.score >= self._score else None
            if box is None:
                continue
            found[track_id] = TrackedInstance(track_id, self._tracks[track_id].label, each.score, box, each.mask)
        return found

    def _must_look(self, index: int, found: Mapping[int, TrackedInstance]) -> bool:
        if not found or (self._interval and index % self._interval == 0):
            return True
        waits = [track.missing for track_id, track in self._tracks.items() if track_id not in found]
        # Just lost, or 1, 2, 4 ... frames after that, and then from time to time.
        return any(wait & (wait - 1) == 0 if wait <= PATIENCE else wait % PATIENCE == 0 for wait in waits)

    def _look(self, frame: torch.Tensor, found: Mapping[int, TrackedInstance]) -> dict[int, TrackedInstance]:
        """What is seen once the detector has looked: objects are confirmed, corrected, found again, or new."""
        detections = nms(self._detector.detect(frame[None])[0])
        matched, others = self._matched(detections, found)
        found = {
            track_id: each
            for track_id, each in found.items()
            if self._plausible(frame, each, track_id in matched, others)
        }
        corrected = {}
        for track_id, detection in matched.items():
            if _alone(detection, found, track_id) and _iou(detection.box, found[track_id].box) < DRIFTED:
                corrected[track_id] = detection.box
        again = self._found_again(frame, others, found)
        others = [each for each in others if not any(each is known for known in again.values())]
        room = max(0, self._most - len(found) - len(again)) if self._most else len(others)
        chosen = choose(others, room, self._order) if room else []
        new = {len(self._tracks) + 1 + index: each for index, each in enumerate(chosen)}
        for track_id, detection in new.items():
            self._tracks[track_id] = _Track(detection.label, _box_histogram(frame, detection.box))
        boxes = corrected | {track_id: each.box for track_id, each in (again | new).items()}
        if not boxes:
            return found
        if len(new) == len(self._tracks):
            self._segmenter.step(frame)  # the first objects: it has not seen this frame
        prompted = self._seen(frame, self._segmenter.add(boxes))
        for track_id in new:
            if track_id in prompted:
                self._tracks[track_id].histogram = color_histogram(frame, prompted[track_id].mask)
        self._track_back(frame, {track_id: boxes[track_id] for track_id in (new | again) if track_id in prompted})
        return found | prompted

    def _plausible(self, frame: torch.Tensor, each: TrackedInstance, confirmed: bool, others: list[Detection]) -> bool:
        """Whether a mask still lies on its object: the detector says so, or it looks like it, or nothing else does."""
        track = self._tracks[each.id]
        now = color_histogram(frame, each.mask)
        like = similarity(now, track.histogram)
        if confirmed or like >= SIMILAR:
            track.histogram = torch.lerp(track.histogram, now, 0.2 if confirmed else 0.05)
            return True
        rivals = [similarity(_box_histogram(frame, o.box), track.histogram) for o in others if o.label == track.label]
        return max(rivals, default=0.0) <= max(like, SIMILAR)

    def _matched(
        self, detections: list[Detection], found: Mapping[int, TrackedInstance]
    ) -> tuple[dict[int, Detection], list[Detection]]:
        """Detections of objects that are seen, by the objects' ids, and those that are of none."""
        ids = list(found)
        boxes = as_boxes([each.box for each in detections]), as_boxes([found[track_id].box for track_id in ids])
        iou, overlap = box_iou(*boxes), box_overlap(*boxes)
        same_label = torch.tensor(
            [[found[k].label == each.label for k in ids] for each in detections], dtype=torch.bool
        )
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
        # What is left over is new only where no object of its kind lies already.
        others = [
            detections[row]
            for row in sorted(left)
            if not any(
                iou[row, column] > MATCH
                or (overlap[row, column] > SAME and found[track_id].label == detections[row].label)
                for column, track_id in enumerate(ids)
            )
        ]
        return matched, others

    def _found_again(
        self, frame: torch.Tensor, detections: list[Detection], found: Mapping[int, TrackedInstance]
    ) -> dict[int, Detection]:
        """Lost objects that detections look like, each of the same label and the most similar colors.

        Where there is one of each, they need be only half as similar.
        """
        lost = {track_id: track for track_id, track in self._tracks.items() if track_id not in found}
        pairs = [
            (similarity(_box_histogram(frame, each.box), track.histogram), track_id, index)
            for index, each in enumerate(detections)
            for track_id, track in lost.items()
            if track.label == each.label
        ]
        needed = SIMILAR / 2 if len(lost) == 1 and len(detections) == 1 else SIMILAR
        again: dict[int, Detection] = {}
        taken = set()
        for like, track_id, index in sorted(pairs, key=lambda pair: -pair[0]):
            if like >= needed and track_id not in again and index not in taken:
                again[track_id] = detections[index]
                taken.add(index)
        return again

    def _track_back(self, frame: torch.Tensor, boxes: Mapping[int, Box]) -> None:
        """Find objects that were detected in this frame in the frames just before it, as far as they are there."""
        left = set(boxes)
        if not left or not self._before:
            return
        segmenter = self._segmenter.fresh()
        segmenter.step(frame)
        segmenter.add(boxes)
        for past, found in reversed(self._before):
            seen = self._seen(past, segmenter.step(past))
            left = {track_id for track_id in left if track_id in seen and track_id not in found}
            if self._most:
                left = set(sorted(left)[: max(0, self._most - len(found))])
            if not left:
                return
            found.update({track_id: seen[track_id] for track_id in left})


def _in_order(found: Mapping[int, TrackedInstance]) -> list[TrackedInstance]:
    return [found[track_id] for track_id in sorted(found)]


def _iou(a: Box, b: Box) -> float:
    return float(box_iou(as_boxes([a]), as_boxes([b])))


def _alone(detection: Detection, found: Mapping[int, TrackedInstance], track_id: int) -> bool:
    """Whether a detection touches no other object, so that it can only mean this one."""
    return not any(_iou(detection.box, each.box) > 0.05 for other, each in found.items() if other != track_id)


def _box_histogram(frame: torch.Tensor, box: Box) -> torch.Tensor:
    """The colors in the middle of a box, where the object most likely is."""
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    x, y = (right - left) * 0.2, (bottom - top) * 0.2
    mask = torch.zeros(height, width, dtype=torch.bool)
    rows = slice(max(0, int(top + y)), max(1, int(bottom - y + 1)))
    mask[rows, max(0, int(left + x)) : max(1, int(right - x + 1))] = True
    return color_histogram(frame, mask)
