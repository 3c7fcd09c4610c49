"""Frames and masks in the size of a latent's pixels, a few at a time, as the host's own nodes resize them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.utils
import torch

from ....video_io import VideoClip, rechunk
from ..video.frame_source import FrameSource

BATCH = 16  #: frames at a time


@dataclass(frozen=True)
class Size:
    """Pixels to which frames and masks are brought. Of other proportions their middle is taken."""

    width: int
    height: int

    def fit(self, images: torch.Tensor) -> torch.Tensor:
        """``t c h w`` to ``t c height width``."""
        return comfy.utils.common_upscale(images, self.width, self.height, "bilinear", "center")


def pieces(
    source: FrameSource | None, size: Size, length: int, keeps_last: bool = False
) -> Iterator[torch.Tensor]:  # fmt: skip
    """``length`` frames ``t height width 3`` in 0..1, at most ``BATCH`` at a time, all but the last piece of that many.

    Behind the last frame of the source, or without one, they are mid grey, or with ``keeps_last`` that frame.
    """

    def resized() -> Iterator[torch.Tensor]:
        left, last = length, torch.full((1, size.height, size.width, 3), 0.5)
        if source is not None:
            for part in _images(source):
                comfy.model_management.throw_exception_if_processing_interrupted()
                part = part[:left]
                if len(part):
                    part = size.fit(part.movedim(-1, 1)).movedim(1, -1)
                    last = part[-1:] if keeps_last else last
                    yield part
                left -= len(part)
                if not left:
                    return
        for start in range(0, left, BATCH):
            yield last.expand(min(BATCH, left - start), -1, -1, -1)

    yield from rechunk(resized(), BATCH, BATCH, keep_rest=True)


def _images(source: FrameSource) -> Iterator[torch.Tensor]:
    """Frames ``t h w 3`` float in 0..1 with all the bits that they have."""
    if isinstance(source.frames, VideoClip):
        yield from source.frames.frames(BATCH, deep=True)
    else:
        yield from source.images(BATCH)


@dataclass(frozen=True)
class Masks:
    """Masks of a video in a size, made when they are asked for; behind the last one everything is masked.

    ``masks``: ``t h w`` in 0..1, or None for all masked. ``holds``: the only mask there is counts for every frame
    before ``length``. ``keeps_last``: frames from ``length`` on have the mask of the one before.
    """

    masks: torch.Tensor | None
    size: Size
    holds: bool = False
    length: int = 0
    keeps_last: bool = False

    def at(self, frames: Sequence[int]) -> torch.Tensor:
        """The masks of some frames: ``t 1 height width``."""
        made = torch.ones(len(frames), 1, self.size.height, self.size.width)
        if self.masks is None:
            return made
        if self.keeps_last:
            frames = [min(frame, self.length - 1) for frame in frames]
        if self.holds and len(self.masks) == 1:
            made[[place for place, frame in enumerate(frames) if frame < self.length]] = self._fit(self.masks)
            return made
        known = [place for place, frame in enumerate(frames) if frame < len(self.masks)]
        if known:
            made[known] = self._fit(self.masks[[frames[place] for place in known]])
        return made

    def _fit(self, masks: torch.Tensor) -> torch.Tensor:
        return self.size.fit(masks[:, None].float().cpu())


def masks_of(masks: torch.Tensor, name: str) -> torch.Tensor:
    """A MASK as ``t h w``.

    Raises:
        ValueError: it has another shape, or none; ``name`` is the input.
    """
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or not masks.numel():
        raise ValueError(f"{name} has the shape {tuple(masks.shape)}; it must be masks 't h w'.")
    return masks
