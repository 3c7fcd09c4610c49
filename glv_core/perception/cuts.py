"""Where a clip is cut: neither what moves in front of a camera nor the camera's own motion nor light is a cut."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .appearance import looks, similarity

_HEIGHT, _WIDTH = 24, 32  # of the images that are compared
_PLAIN = 0.02  # standard deviation, of 1, below which an image shows nothing
ALIKE = 0.85  #: frames whose looks are more similar are of one shot
MOVED = 0.6  #: of what differs between unrelated images, what may be left when one is laid on the other


class CutFinder:
    """Tells of each frame whether a new shot begins with it.

    It does where the colors have changed and the frame does not fit on the one before, moved as a camera may have moved
    and whatever the light. Frames that show nothing, all black or white, are passed over.
    """

    def __init__(self) -> None:
        self._before: tuple[torch.Tensor, torch.Tensor] | None = None

    def push(self, frame: torch.Tensor) -> bool:
        """Whether the frame ``h w 3`` uint8 begins another shot than the one before; not for the first."""
        image = F.interpolate(frame.movedim(-1, 0)[None].float(), (_HEIGHT, _WIDTH), mode="area")[0].cpu()
        if float((image - image.mean((1, 2), keepdim=True)).square().mean().sqrt()) < _PLAIN * 255:
            return False
        small = image / image.mean((1, 2), keepdim=True).clamp(min=1) - 1  # colored light falls on all of it
        spread = float(small.square().mean().sqrt())
        whole = looks(image.movedim(0, -1), torch.ones(_HEIGHT, _WIDTH, dtype=torch.bool), (0, 0, _WIDTH, _HEIGHT))
        now, before = (small / spread, whole), self._before
        self._before = now
        return before is not None and similarity(whole, before[1]) < ALIKE and _left(now[0], before[0]) > MOVED


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
