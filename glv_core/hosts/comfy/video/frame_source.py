"""Frames for nodes that look at a video: from a VIDEO, of which a few at a time are read, or from an IMAGE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ....video_io import VideoClip, tone_map
from .long_video import clip_of, color_space_of


@dataclass(frozen=True)
class FrameSource:
    """``num_frames`` images of ``height`` by ``width`` pixels, which can be read again and again."""

    num_frames: int
    height: int
    width: int
    frames: VideoClip | torch.Tensor
    name: str = "images"  #: of the input, for errors

    def batches(self, size: int = 16) -> Iterator[torch.Tensor]:
        """The frames in order, at most ``size`` at a time: ``t h w 3`` uint8, an IMAGE rounded to it.

        Raises:
            ValueError: a frame of an IMAGE that comes next has NaN or infinite values.
        """
        if isinstance(self.frames, torch.Tensor):
            for part in self._parts(size):
                yield (part * 255).round_().clamp_(0, 255).to(torch.uint8)
            return
        yield from self.frames.frames(size)

    def images(self, size: int = 16) -> Iterator[torch.Tensor]:
        """The same as ``t h w 3`` float in 0..1, an IMAGE as it is."""
        if isinstance(self.frames, torch.Tensor):
            yield from self._parts(size)
            return
        for part in self.frames.frames(size):
            yield part.float() / 255

    def _parts(self, size: int) -> Iterator[torch.Tensor]:
        for start in range(0, self.num_frames, size):
            part = self.frames[start : start + size, ..., :3].float()
            if not torch.stack(part.aminmax()).isfinite().all():
                good = part.isfinite().flatten(1).all(1)
                raise ValueError(
                    f"{self.name} has values that are no numbers in frame {start + int(good.int().argmin())} (NaN or "
                    "infinite), as a VAE or model gives that overflows in 16 bits. Make these images again with "
                    "ComfyUI's --fp32-vae, or the model in 32 bits."
                )
            yield part


def frame_source(images: Any, name: str = "images") -> FrameSource:
    """The frames of an IMAGE ``t h w c`` or of a VIDEO.

    A VIDEO in a file is read on demand; one in memory is an IMAGE. HDR is tone mapped.

    Raises:
        ValueError: there are no frames, or the IMAGE has no colours; ``name`` is the input.
    """
    if not isinstance(images, torch.Tensor):
        clip = clip_of(images)
        if clip is not None:
            return FrameSource(clip.num_frames, clip.height, clip.width, clip.as_sdr(), name)
        space, images = color_space_of(images), images.get_components().images
        images = images if space == "sRGB" else tone_map(images[..., :3], space)
    if images.ndim != 4 or images.shape[-1] < 3:
        raise ValueError(
            f"{name} has the shape {tuple(images.shape)}; it must be images 't h w 3'. For a MASK use Convert Mask "
            "to Image."
        )
    if not images.numel():
        raise ValueError(f"{name} has no frames. Connect a video or images.")
    return FrameSource(images.shape[0], images.shape[1], images.shape[2], images, name)
