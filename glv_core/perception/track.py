"""What is known of one object that is tracked, and whether what is followed in its name is still the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from .appearance import box_looks, light_around, likeness, looks, same_light
from .boxes import Box, Detection, box_area
from .matching import DIFFERENT, SIMILAR, Placed, iou_of

DRIFTED = 0.5  #: below this intersection over union, an object's mask is corrected by the detection
DOUBTED = 0.75  #: the same for a mask that has changed suddenly
JUMP = 2.5  #: a mask whose box grows or shrinks so many times in a frame has changed suddenly


class Masked(Placed, Protocol):
    """What has a mask as well."""

    @property
    def mask(self) -> torch.Tensor: ...


@dataclass
class Track:
    """One object; all methods take frames ``h w 3`` uint8."""

    label: str
    looks: list[torch.Tensor]  #: and in other light, as lately
    light: torch.Tensor  #: around it, when a detection last confirmed it
    box: Box  #: where it was last
    area: float = 0.0  #: of its box, before it changed suddenly; 0 if it has not been seen yet
    missing: int = 0  #: frames since it was seen
    elsewhere: bool = False  #: there was a cut since then
    doubted: bool = False  #: its mask has changed suddenly, and no detection has said that it is right
    guessed: bool = False  #: only its place says that it is there, in light that has changed

    def learn(self, now: torch.Tensor, share: float) -> None:
        """It looks like this now, and so the looks that are most like it change a little."""
        nearest = max(range(len(self.looks)), key=lambda index: likeness(now, [self.looks[index]]))
        self.looks[nearest] = torch.lerp(self.looks[nearest], now, share)

    def in_this_light(self, now: torch.Tensor, at: Box, detected: Box) -> None:
        """It looks like this for now, and as before when the light is as before; if the mask there is on the object."""
        if now.any() and likeness(now, self.looks) < DIFFERENT and iou_of(at, detected) >= DOUBTED:
            self.looks[1:] = [now]

    def has_changed(self, frame: torch.Tensor, each: Masked) -> bool:
        """Whether a mask has changed so much since the last frame that it may have left the object."""
        if not self.area:
            return False
        if _times(box_area(each.box), self.area) >= JUMP:
            return True
        needed = DIFFERENT if iou_of(each.box, self.box) else SIMILAR
        if likeness(looks(frame, each.mask, each.box), self.looks) >= needed:
            return False
        return same_light(light_around(frame, each.box), self.light)

    def confirmed(self, frame: torch.Tensor, each: Masked, detection: Detection, cut: bool) -> bool:
        """Whether a detection in the object's place is the object, and nothing else that has taken its place."""
        now = looks(frame, each.mask, each.box)
        needed = SIMILAR if cut else DIFFERENT
        if not now.any():
            return True  # in the dark
        if likeness(now, self.looks) >= needed:
            self.learn(now, 0.2)
        elif likeness(box_looks(frame, detection.box), self.looks) < needed:
            if cut or same_light(light_around(frame, detection.box), self.light):
                return False
            self.in_this_light(now, each.box, detection.box)
        return True

    def plausible(self, frame: torch.Tensor, each: Masked, detections: Sequence[Detection], cut: bool) -> bool:
        """Whether a mask that no detection confirms lies on the object: it looks like it, or nothing else does."""
        now = looks(frame, each.mask, each.box)
        like = likeness(now, self.looks)
        if like >= SIMILAR:
            self.learn(now, 0.05)
            self.guessed = False
            return True
        if self.guessed:
            return False
        rivals = [likeness(box_looks(frame, o.box), self.looks) for o in detections if o.label == self.label]
        return not cut and not (self.doubted and rivals) and max(rivals, default=0.0) <= SIMILAR

    def claimed(self, frame: torch.Tensor, each: Masked, inside: Sequence[Detection]) -> Detection | None:
        """Which of the detections in a mask or around it is the object, if the mask has leaked or shrunk."""
        likes = [likeness(box_looks(frame, each.box), self.looks) for each in inside]
        best = max(range(len(inside)), key=likes.__getitem__)
        clearly = likes[best] > likeness(looks(frame, each.mask, each.box), self.looks) + 0.1
        fits = _times(box_area(inside[best].box), self.area) < _times(box_area(each.box), self.area)
        right = likes[best] >= DIFFERENT and (clearly or (self.doubted and fits))
        return inside[best] if right else None

    def is_still_there(self, frame: torch.Tensor, each: Masked) -> bool:
        """Whether what lies in the object's last place is the object; in other light its place says so, once."""
        fits, now = iou_of(each.box, self.box), looks(frame, each.mask, each.box)
        if fits < DRIFTED or likeness(now, self.looks) >= SIMILAR:
            return fits >= DRIFTED
        if self.guessed or fits < DOUBTED or not now.any() or same_light(light_around(frame, each.box), self.light):
            return False
        self.guessed = True
        return True

    def was_there(self, past: torch.Tensor, each: Masked, found: Mapping[int, Masked], fading: bool = False) -> bool:
        """Whether what is followed back into a frame is the object, and none of those that were found there.

        What is fading in looks like itself and what was there before.
        """
        if any(mask_iou(each.mask, other.mask) > 0.5 for other in found.values()):
            return False
        if fading or not same_light(light_around(past, each.box), self.light):
            return True
        return likeness(looks(past, each.mask, each.box), self.looks) >= DIFFERENT


def mask_iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union of two masks ``h w`` bool."""
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def _times(a: float, b: float) -> float:
    """How many times one area is the other, 1 or more."""
    return max(a, b) / max(min(a, b), 1e-6)
