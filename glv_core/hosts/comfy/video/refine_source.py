"""The video that is to be refined, in the size that it is refined at: encoded a few frames at a time, bars and all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.utils
import torch

from ....streamingt2v.square import Placement, fit_into, place
from ....tiles import PATCH
from .encode_video import encode_frames
from .frame_source import FrameSource, frame_source

FITS = ("crop", "bars")


@dataclass(frozen=True)
class RefineSource:
    """A video to refine.

    ``samples``: of a LATENT, of the whole canvas. ``where``: the frames in it, in pixels; ``scale``: pixels to a latent
    pixel.
    """

    samples: torch.Tensor
    where: Placement
    scale: int

    def without_bars(self, samples: torch.Tensor) -> torch.Tensor:
        """The part of samples ``... h w`` of the canvas that is no bar."""
        top, left, bottom, right = (
            edge // self.scale
            for edge in (
                self.where.top, self.where.left, self.where.top + self.where.height, self.where.left + self.where.width,
            )
        )  # fmt: skip
        return samples[..., top:bottom, left:right].clone()


def encode_to_refine(vae: Any, video: Any, width: int, height: int, fit: str) -> RefineSource:
    """Encode a VIDEO or an IMAGE for refining.

    Args:
        vae: of the model.
        video: what is to be refined.
        width, height: of the canvas in pixels; where one is 0 it goes with the other, both: those of the video.
        fit: of ``FITS``, for a video of another shape.

    Raises:
        ValueError: the video has no frames, or a size is not the VAE's.
    """
    source = frame_source(video, "video")
    scale = int(vae.spacial_compression_encode())
    canvas = _canvas(source, width, height, scale)
    where = Placement(*canvas, 0, 0, *canvas)
    if fit == "bars":
        where = _on_latent_grid(place(source.width, source.height, canvas), scale)

    def frames() -> Any:
        for part in source.images():
            if fit == "bars":
                yield fit_into(part, where)
            elif canvas != (source.width, source.height):
                yield comfy.utils.common_upscale(part.movedim(-1, 1), *canvas, "lanczos", "center").movedim(1, -1)
            else:
                yield part

    return RefineSource(encode_frames(vae, frames(), source.num_frames), where, scale)


def _canvas(source: FrameSource, width: int, height: int, scale: int) -> tuple[int, int]:
    unit = scale * PATCH
    for name, value in (("width", width), ("height", height)):
        if value % scale:
            raise ValueError(f"{name} is {value}; this VAE needs a multiple of {scale}. Use {_nearest(value, scale)}.")
    if not width and not height:
        return _nearest(source.width, unit), _nearest(source.height, unit)
    if not height:
        return width, _nearest(source.height * width / source.width, unit)
    if not width:
        return _nearest(source.width * height / source.height, unit), height
    return width, height


def _nearest(size: float, multiple: int) -> int:
    return max(multiple, round(size / multiple) * multiple)


def _on_latent_grid(where: Placement, scale: int) -> Placement:
    """The same place with its edges between latent pixels."""
    width, height = (max(side - side % scale, scale) for side in (where.width, where.height))
    left = (where.canvas_width - width) // 2 // scale * scale
    top = (where.canvas_height - height) // 2 // scale * scale
    return replace(where, width=width, height=height, left=left, top=top)
