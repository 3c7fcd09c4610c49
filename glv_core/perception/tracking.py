"""Objects that a text names, tracked through a clip: a detector finds them, a segmenter propagates them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch

from .appearance import box_looks, light_around, looks
from .boxes import Box, Detection, Detector, box_area, choose, mask_box, nms
from .cuts import Moment, moments
from .matching import Lost, Placed, iou_of, known_again, match, nested, not_covered
from .track import DOUBTED, DRIFTED, Track, mask_iou

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


@dataclass(frozen=True)
class _Past:
    """A frame whose result may still grow."""

    moment: Moment
    found: dict[int, TrackedInstance]


class Tracker:
    """Tracks objects through a clip.

    Objects are looked for in the first frame, at a cut, and when a mask suddenly grows, shrinks, lands elsewhere or
    looks different, and 1, 2, 4 ... frames after each; in every frame while none is seen; in every ``interval``-th
    frame; and when one gets lost, then and after 1, 2, 4 ... frames. A detection that fits an object that is followed
    belongs to it, and corrects its mask where it has drifted or leaked; unless it is something else in the same place.
    One that looks like a lost object, or is near where that was lost a moment ago, is that object again; any other is a
    new object, which is then followed backwards as well through the ``LOOK_BACK`` frames before, as far as the last
    cut, so that a detector that finds it late leaves no hole. What the detector misses is still followed, as long as
    nothing that it finds looks more like the object than what is followed in its name.

    A dissolve is a cut in its middle, at which nothing can be seen well: until then objects are followed without looks,
    and what the segmenter loses stays where it was; those of the shot after are looked for, and known again by their
    looks, in the first frame that is all of it, and followed back to the middle.

    Args:
        detector, segmenter: what finds and what propagates.
        interval: frames; 0 looks only when something is lost or changes suddenly.
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
        self._tracks: dict[int, Track] = {}
        self._before: deque[_Past] = deque()
        self._event = 0 if interval else -PATIENCE  # the frame since which looks are close together

    def track(self, frames: Iterable[torch.Tensor]) -> Iterator[list[TrackedInstance]]:
        """The objects of each frame ``h w 3`` uint8, in order of their ids.

        It is as many frames late as ``LOOK_BACK`` says, and as ``cuts.moments`` is.
        """
        for index, moment in enumerate(moments(frames)):
            self._before.append(_Past(moment, self._step(index, moment)))
            if len(self._before) > LOOK_BACK:
                yield _in_order(self._before.popleft().found)
        while self._before:
            yield _in_order(self._before.popleft().found)

    def _step(self, index: int, moment: Moment) -> dict[int, TrackedInstance]:
        frame, cut = moment.frame, moment.cut
        dissolved = cut and not moment.begins
        if cut:
            for track in self._tracks.values():
                track.elsewhere = True
        if moment.fading:
            return self._fading(moment)
        predicted = self._segmenter.step(frame) if self._tracks else {}
        found = self._seen(predicted)
        if dissolved:
            for track_id in found:
                self._tracks[track_id].doubted = True
        if self._doubt(frame, found) or cut:
            self._event = index
        if self._must_look(index, found):
            found = self._look(frame, found, cut)
            if any(self._tracks[track_id].guessed for track_id in found):
                self._event = index
            if dissolved:
                self._track_back(frame, found, {track_id: each.box for track_id, each in found.items()})
        if self._most:  # one that was lost may be back: the older ones stay
            found = {track_id: found[track_id] for track_id in sorted(found)[: self._most]}
        self._remember(found)
        return found

    def _fading(self, moment: Moment) -> dict[int, TrackedInstance]:
        """Objects in a dissolve: those of the shot before in its first half, and in its second none as yet."""
        here = self._before[-1].found if self._before and moment.fading == "out" else {}
        found = self._through(self._segmenter, moment.frame, here)
        self._remember(found)
        return found

    def _through(
        self, segmenter: Segmenter, frame: torch.Tensor, objects: Mapping[int, TrackedInstance]
    ) -> dict[int, TrackedInstance]:
        """Objects in the next frame of a dissolve; what the segmenter loses as it fades stays where it was."""
        seen = self._seen(segmenter.step(frame)) if objects else {}
        return {
            track_id: seen[track_id] if track_id in seen and mask_iou(seen[track_id].mask, each.mask) > 0.5 else each
            for track_id, each in objects.items()
        }

    def _remember(self, found: Mapping[int, TrackedInstance]) -> None:
        """Where each object is, or since when it is not seen."""
        for track_id, track in self._tracks.items():
            if track_id not in found:
                track.missing += 1
                continue
            track.missing, track.elsewhere, track.box = 0, False, found[track_id].box
            if not track.doubted:
                track.area = box_area(track.box)
        self._segmenter.forget([track_id for track_id, track in self._tracks.items() if track.missing == FORGET])

    def _seen(self, predicted: Mapping[int, MaskPrediction]) -> dict[int, TrackedInstance]:
        found = {}
        for track_id, each in predicted.items():
            box = mask_box(each.mask) if each.score >= self._score else None
            if box is None:
                continue
            found[track_id] = TrackedInstance(track_id, self._tracks[track_id].label, each.score, box, each.mask)
        return found

    def _doubt(self, frame: torch.Tensor, found: Mapping[int, TrackedInstance]) -> bool:
        """Whether a mask has changed so much since the last frame that it may have left its object."""
        doubt = False
        for track_id, each in found.items():
            track = self._tracks[track_id]
            if not track.doubted and not track.missing and track.has_changed(frame, each):
                track.doubted = doubt = True
        return doubt

    def _must_look(self, index: int, found: Mapping[int, TrackedInstance]) -> bool:
        if not found or (self._interval and index % self._interval == 0):
            return True
        if index - self._event < (self._interval or PATIENCE) and _doubling(index - self._event):
            return True
        waits = [track.missing for track_id, track in self._tracks.items() if track_id not in found]
        # Just lost, or 1, 2, 4 ... frames after that, and then from time to time, one look for all that are lost.
        if any(_doubling(wait) for wait in waits if wait <= PATIENCE):
            return True
        return index % PATIENCE == 0 and any(PATIENCE < wait < FORGET for wait in waits)

    def _look(self, frame: torch.Tensor, found: Mapping[int, TrackedInstance], cut: bool) -> dict[int, TrackedInstance]:
        """What is seen once the detector has looked: objects are confirmed, corrected, found again, or new."""
        detections = nms(self._detector.detect(frame[None])[0])
        matched, others = match(detections, found)
        kept, corrected = {}, {}
        for track_id, each in found.items():
            detection = matched.get(track_id)
            if detection is None:
                detection = self._claimed(frame, each, others, found)
                if detection is not None:
                    others.remove(detection)
                    corrected[track_id] = detection
                elif not self._tracks[track_id].plausible(frame, each, detections, cut):
                    continue
            elif not self._tracks[track_id].confirmed(frame, each, detection, cut):
                others.append(detection)
                continue
            elif self._drifted(each, detection, found):
                corrected[track_id] = detection
            kept[track_id] = each
            if detection is not None:
                self._tracks[track_id].doubted = self._tracks[track_id].guessed = False
                self._tracks[track_id].light = light_around(frame, detection.box)
        self._segmenter.forget([track_id for track_id in found if track_id not in kept])
        found = kept
        places = {track_id: corrected.get(track_id, each) for track_id, each in found.items()}
        others = not_covered(others, places)
        again = self._found_again(frame, others, found)
        still = self._still_there(frame, places | again)
        others = not_covered([each for each in others if not any(each is known for known in again.values())], still)
        room = max(0, self._most - len(found) - len(again)) if self._most else len(others)
        chosen = choose(others, room, self._order) if room else []
        new = {len(self._tracks) + 1 + index: each for index, each in enumerate(chosen)}
        for track_id, detection in new.items():
            self._tracks[track_id] = Track(
                detection.label,
                [box_looks(frame, detection.box)],
                light_around(frame, detection.box),
                detection.box,
            )
        boxes = {track_id: each.box for track_id, each in (still | corrected | again | new).items()}
        if not boxes:
            return found
        if len(new) == len(self._tracks):
            self._segmenter.step(frame)  # the first objects: it has not seen this frame
        prompted = self._seen(self._segmenter.add(boxes))
        for track_id in (new | again).keys() & prompted.keys():
            now = looks(frame, prompted[track_id].mask, prompted[track_id].box)
            if track_id in new:
                self._tracks[track_id].looks = [now]
            else:
                self._tracks[track_id].in_this_light(now, prompted[track_id].box, boxes[track_id])
        if not cut:
            self._track_back(frame, {k: prompted[k] for k in (new | again) if k in prompted}, boxes)
        return found | prompted

    def _claimed(
        self, frame: torch.Tensor, each: TrackedInstance, others: list[Detection], found: Mapping[int, TrackedInstance]
    ) -> Detection | None:
        """The detection in a mask, or around it, that is the object, where the mask has leaked or shrunk."""
        inside = [
            o
            for o in others
            if o.label == each.label
            and nested(o.box, each.box)
            # What is larger and holds several objects is a group.
            and (box_area(o.box) < box_area(each.box) or sum(nested(o.box, k.box) for k in found.values()) < 2)
        ]
        return self._tracks[each.id].claimed(frame, each, inside) if inside else None

    def _drifted(self, each: TrackedInstance, detection: Detection, found: Mapping[int, TrackedInstance]) -> bool:
        """Whether a mask is to be corrected: the detection lies elsewhere, and touches no other object."""
        alone = not any(iou_of(detection.box, o.box) > 0.05 for other, o in found.items() if other != each.id)
        needed = DOUBTED if self._tracks[each.id].doubted else DRIFTED
        return alone and iou_of(detection.box, each.box) < needed

    def _found_again(
        self, frame: torch.Tensor, detections: list[Detection], found: Mapping[int, TrackedInstance]
    ) -> dict[int, Detection]:
        lost = {
            track_id: Lost(track.label, track.looks, track.light, None if track.elsewhere else track.box, track.missing)
            for track_id, track in self._tracks.items()
            if track_id not in found
        }
        again = known_again(frame, detections, lost)
        for track_id, detection in again.items():
            self._tracks[track_id].light = light_around(frame, detection.box)
            self._tracks[track_id].doubted = self._tracks[track_id].guessed = False
        return again

    def _still_there(self, frame: torch.Tensor, places: Mapping[int, Placed]) -> dict[int, TrackedInstance]:
        """Objects that were lost in this very frame, of which only the segmenter says so."""
        boxes = {
            track_id: track.box
            for track_id, track in self._tracks.items()
            if track_id not in places and not track.missing and not track.elsewhere
        }
        if not boxes:
            return {}
        segmenter = self._segmenter.fresh()
        segmenter.step(frame)
        seen = self._seen(segmenter.add(boxes))
        return {
            each.id: each
            for each in not_covered(list(seen.values()), places)
            if self._tracks[each.id].is_still_there(frame, each)
        }

    def _track_back(self, frame: torch.Tensor, found: Mapping[int, TrackedInstance], boxes: Mapping[int, Box]) -> None:
        """Find objects that are in these boxes of this frame in those just before it, as far as they are there."""
        if not found or not self._before:
            return
        segmenter, left = self._segmenter.fresh(), dict(found)
        segmenter.step(frame)
        segmenter.add({track_id: boxes[track_id] for track_id in found})
        for past in reversed(self._before):
            frame, fading = past.moment.frame, bool(past.moment.fading)
            seen = self._through(segmenter, frame, left) if fading else self._seen(segmenter.step(frame))
            left = {
                k: seen[k]
                for k in left
                if k in seen and k not in past.found and self._tracks[k].was_there(frame, seen[k], past.found, fading)
            }
            if self._most:
                left = {k: left[k] for k in sorted(left)[: max(0, self._most - len(past.found))]}
            if not left:
                return
            past.found.update(left)
            if past.moment.begins:
                return


def _in_order(found: Mapping[int, TrackedInstance]) -> list[TrackedInstance]:
    return [found[track_id] for track_id in sorted(found)]


def _doubling(wait: int) -> bool:
    """Whether so many frames are 0, 1, 2, 4, 8 ..."""
    return wait & (wait - 1) == 0
