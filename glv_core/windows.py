"""What is denoised together: windows, of latent frames, tiles, of each frame, and what the model is shown of both.

Windows hold neighbouring latent frames of a video, or every ``stride``-th one. Latent frames that lie ``stride`` apart
form a *lane*: an open video has ``stride`` lanes that do not touch; in a closed loop a lane runs around until it meets
itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Window:
    """``length`` latent frames from ``start``, ``stride`` apart, denoised in one forward pass.

    In a closed loop of ``loop`` latent frames counting goes on at 0 after the last one; 0 is an open video. ``lane``
    and ``place``, where it starts in its lane, follow from the rest; a schedule has them at hand.
    """

    start: int
    length: int
    stride: int = 1
    loop: int = 0
    lane: int = field(default=0, compare=False)
    place: int = field(default=-1, compare=False)  # -1: as ``start`` says, in a lane of neighbouring latent frames

    def __post_init__(self) -> None:
        if self.place < 0:
            object.__setattr__(self, "place", self.start)

    @property
    def cells(self) -> int:
        """Latent frames in its lane of a closed loop; 0 in an open video."""
        return self.loop // math.gcd(self.stride, self.loop) if self.loop else 0

    @property
    def stop(self) -> int:
        """One past the last latent frame; beyond ``loop`` where the window crosses the loop point."""
        return self.start + (self.length - 1) * self.stride + 1

    @cached_property
    def indices(self) -> Sequence[int]:
        """Its latent frames, in the order in which the model sees them."""
        indices = range(self.start, self.stop, self.stride)
        return tuple(index % self.loop for index in indices) if self.wraps else indices

    @property
    def wraps(self) -> bool:
        """Whether the window crosses the loop point."""
        return 0 < self.loop < self.stop

    @property
    def is_slice(self) -> bool:
        """Whether its latent frames are neighbours in memory, ``start`` to ``stop``."""
        return (self.stride == 1 or self.length == 1) and not self.wraps

    @property
    def centre(self) -> float:
        """The middle of the window on the latent's time axis; in a closed loop in 0 ... ``loop``."""
        centre = self.start + (self.length - 1) * self.stride / 2
        return centre % self.loop if self.loop else centre


@dataclass(frozen=True)
class Tile:
    """A part of a frame, in latent pixels.

    ``top``, ``left``, ``height``, ``width``: where it lies. ``frame``: height and width of the frame. ``weights``: how
    much it counts in each of its pixels, ``h w``; those of all tiles of a frame sum to 1 in every pixel.
    """

    top: int
    left: int
    height: int
    width: int
    frame: tuple[int, int]
    weights: torch.Tensor = field(compare=False)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """This part of a tensor ``... h w`` of the frame, at its own scale; a view."""
        rows, columns = (
            slice(start * side // whole, -(-(start + length) * side // whole))
            for start, length, side, whole in (
                (self.top, self.height, tensor.shape[-2], self.frame[0]),
                (self.left, self.width, tensor.shape[-1], self.frame[1]),
            )
        )
        return tensor[..., rows, columns]

    @property
    def share(self) -> float:
        """How much of the frame it counts for; those of all tiles sum to 1."""
        return float(self.weights.sum()) / (self.frame[0] * self.frame[1])


@dataclass(frozen=True)
class View:
    """What the model is shown of a video: the latent frames of a window, behind another one or alone.

    ``lead``: how many latent frames stand in front, 0 or 1, and ``before`` which; what the model says of them is thrown
    away. ``guides``: which of the guides that lie behind the video in the latent, from ``first_guide`` on, stand behind
    the window's; ``guided`` is for each the latent frame that it guides. ``tile``: which part of the frames; None is
    all of them.
    """

    window: Window
    lead: int = 0
    guides: tuple[int, ...] = ()
    guided: tuple[int, ...] = ()
    first_guide: int = 0
    tile: Tile | None = None
    before: int = 0

    @property
    def length(self) -> int:
        """Latent frames, with those in front and behind."""
        return self.lead + self.window.length + len(self.guides)

    @cached_property
    def video(self) -> Sequence[int]:
        """Its latent frames of the video, in the order in which the model sees them."""
        return (self.before, *self.window.indices) if self.lead else self.window.indices

    @cached_property
    def indices(self) -> Sequence[int]:
        """Its latent frames, guides too, in the order in which the model sees them."""
        return (*self.video, *(self.first_guide + guide for guide in self.guides)) if self.guides else self.video

    @property
    def is_slice(self) -> bool:
        """Whether its latent frames are neighbours in memory."""
        joined = not self.lead or self.before == self.window.start - 1
        return joined and not self.guides and self.window.is_slice

    @property
    def start(self) -> int:
        """The first latent frame that the model sees."""
        return self.before if self.lead else self.window.start


def smallest_overlap(windows: Iterable[Window]) -> int:
    """The fewest latent frames that a window of a step shares with the next one in its lane; 0 if none has a next."""
    lanes: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        lanes.setdefault((window.stride, window.lane), []).append(window)
    shared = []
    for lane in lanes.values():
        lane.sort(key=lambda window: window.place)
        shared += [before.length - (after.place - before.place) for before, after in pairwise(lane)]
        if lane[0].cells and len(lane) > 1:
            shared.append(lane[-1].length - (lane[0].cells + lane[0].place - lane[-1].place))
    return max(0, min(shared, default=0))
