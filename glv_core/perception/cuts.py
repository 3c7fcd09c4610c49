"""Where a shot ends: neither what moves in front of a camera nor the camera's own motion nor light is a cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from .appearance import looks, similarity

LONGEST = 24  #: frames of a dissolve, at most: a second of a film
LATE = LONGEST + 2  #: frames, so that a dissolve is known from its start
_HEIGHT, _WIDTH = 24, 32  # of the images that are compared
_PLAIN = 0.02  # standard deviation, of 1, below which an image shows nothing
ALIKE = 0.85  #: frames whose looks are more similar are of one shot
MOVED = 0.6  #: of what differs between unrelated images, what may be left when one is laid on the other
MOVED_IN_MIX = 0.45  #: the same where the frames between are mixes, as those of what moves are not
REST = 0.7  #: of the change from frame to frame in a dissolve, how much there may be before and after
MIXED = 0.25  #: how far frames of a dissolve may be from mixes of its ends, of what the ends differ
_LEAP = 0.45  # the largest part of a dissolve in one frame


class CutFinder:
    """Tells of each frame whether a new shot begins with it.

    It does where the colors have changed and the frame does not fit on the one before, moved as a camera may have moved
    and whatever the light. Frames that show nothing, all black or white, are passed over.
    """

    def __init__(self) -> None:
        self._before: _View | None = None

    def push(self, frame: torch.Tensor) -> bool:
        """Whether the frame ``h w 3`` uint8 begins another shot than the one before; not for the first."""
        return self.push_small(_small(frame))

    def push_small(self, image: torch.Tensor) -> bool:
        """The same of a frame as it is compared."""
        now, before = _view(image), self._before
        if now is None:
            return False
        self._before = now
        return before is not None and _differ(now, before)


@dataclass(frozen=True)
class Moment:
    """A frame and where in its shot it is."""

    frame: torch.Tensor  #: ``h w 3`` uint8
    cut: bool = False  #: another shot than before; after a dissolve, the first frame that is all of it
    begins: bool = False  #: nothing in the frames before is of its shot; in a dissolve, the first frame of ``in``
    fading: Literal["", "out", "in"] = ""  #: in a dissolve: whether more of the shot before or after is seen


def moments(frames: Iterable[torch.Tensor]) -> Iterator[Moment]:
    """Frames ``h w 3`` uint8 with cuts and dissolves, up to ``LATE`` frames late.

    A dissolve is told by what it is: frames that lie one after another on the straight line between two that are of
    different shots, as far as a mix of moving images does, and none before and after.
    """
    cuts, waiting, images = CutFinder(), deque[Moment](), deque[torch.Tensor](maxlen=LATE + 2)
    ended = 0  # the index in images of the first frame that no dissolve before has
    for frame in frames:
        if len(waiting) == LATE:
            yield waiting.popleft()
        if len(images) == images.maxlen:
            ended = max(0, ended - 1)
        image = _small(frame)
        cut = cuts.push_small(image)
        waiting.append(Moment(frame, cut, cut))
        images.append(image)
        ended = _marked(waiting, images, ended)
    yield from waiting


@dataclass(frozen=True)
class _View:
    image: torch.Tensor  # without its light
    looks: torch.Tensor


def _small(frame: torch.Tensor) -> torch.Tensor:
    """``3 h w`` float, 0..255."""
    return F.interpolate(frame.movedim(-1, 0)[None].float(), (_HEIGHT, _WIDTH), mode="area")[0].cpu()


def _view(image: torch.Tensor) -> _View | None:
    """An image as it is compared, unless it shows nothing."""
    if float((image - image.mean((1, 2), keepdim=True)).square().mean().sqrt()) < _PLAIN * 255:
        return None
    small = image / image.mean((1, 2), keepdim=True).clamp(min=1) - 1  # colored light falls on all of it
    whole = looks(image.movedim(0, -1), torch.ones(_HEIGHT, _WIDTH, dtype=torch.bool), (0, 0, _WIDTH, _HEIGHT))
    return _View(small / float(small.square().mean().sqrt()), whole)


def _differ(a: _View, b: _View, moved: float = MOVED) -> bool:
    """Whether two images are of different shots."""
    return similarity(a.looks, b.looks) < ALIKE and _left(a.image, b.image) > moved


def _left(a: torch.Tensor, b: torch.Tensor) -> float:
    """What no shift explains of how two images ``c h w`` differ: 0 for the same, 1 for what is unrelated."""
    least = 1.0
    for down in range(-_HEIGHT // 4, _HEIGHT // 4 + 1):
        for across in range(-_WIDTH // 2 + 2, _WIDTH // 2 - 1):
            one = a[:, max(0, down) : _HEIGHT + min(0, down), max(0, across) : _WIDTH + min(0, across)]
            two = b[:, max(0, -down) : _HEIGHT + min(0, -down), max(0, -across) : _WIDTH + min(0, -across)]
            one, two = one - one.mean((1, 2), keepdim=True), two - two.mean((1, 2), keepdim=True)
            power = float((one.square().sum() + two.square().sum()).sqrt())
            least = min(least, float((one - two).square().sum().sqrt()) / max(power, 1e-6))
    return least


def _marked(waiting: deque[Moment], images: deque[torch.Tensor], ended: int) -> int:
    """Mark the dissolve that was over one frame before the last; gives ``ended`` after that."""
    end = len(images) - 2
    found = _dissolve(torch.stack(list(images)).flatten(1), ended) if end - ended >= 3 else None
    if found is None:
        return ended
    start, middle = found
    behind = len(waiting) - len(images)
    for index in range(start + 1, end):
        fading: Literal["out", "in"] = "out" if index < middle else "in"
        waiting[index + behind] = Moment(waiting[index + behind].frame, False, index == middle, fading)
    waiting[end + behind] = Moment(waiting[end + behind].frame, True)
    return end


def _dissolve(images: torch.Tensor, first: int) -> tuple[int, int] | None:
    """A dissolve that is over in the last but one of some images ``t d``.

    Gives the last frame before it, which is ``first`` or later, and the first frame of its second half.
    """
    end = len(images) - 2
    away = images - images[end]
    products = (away @ away.T).double()  # of where frames lie, seen from the end
    squares, jumps = products.diagonal(), images.diff(dim=0).norm(dim=1)
    for start in range(end - 3, max(first, end - LONGEST - 1, 1) - 1, -1):
        whole = squares[start]
        if whole < images.shape[1] * (_PLAIN * 255) ** 2:
            continue
        path = 1 - products[start] / whole  # 0 at the start, 1 at the end
        aside = (squares / whole - (1 - path).square()).clamp(min=0).sqrt()
        steps, slack = path[start : end + 1].diff(), 0.5 / (end - start)
        if aside[start:end].max() > MIXED or steps.min() < -slack or steps.max() > _LEAP:
            continue
        if min(steps[0], steps[-1]) < 0.2 * slack or path[start - 1] < -slack or path[end + 1] > 1 + slack:
            continue  # it begins or ends elsewhere
        if max(jumps[start - 1], jumps[end]) > REST * jumps[start:end].mean():
            continue  # what moves is the camera
        views = [_view(images[index].view(3, _HEIGHT, _WIDTH)) for index in (start, end)]
        if views[0] is not None and views[1] is not None and _differ(views[0], views[1], MOVED_IN_MIX):
            return start, start + int((path[start : end + 1] > 0.5).nonzero()[0])
    return None
