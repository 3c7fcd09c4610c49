"""From a clip to control images, a few frames at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from PIL import Image

from ....perception.controls.resample import control_size, resample, resize_frames
from ..video.frame_source import FrameSource
from ..video.memory_mapped import memory_mapped_zeros
from .control_models import CONTROLS, FINISHED, SMALLEST
from .control_pieces import ClipSize

HINT_TIMINGS = ("stretch", "frame by frame")
_SOFT = ("hed", "depth", "normal")  # shades between what is known make sense
_PREVIEW = 512  # pixels
_IMAGE_EVERY = 0.25  # seconds


def make_control(
    source: FrameSource, kind: str, options: dict[str, Any], short_side: int, multiple: int, piece: int
) -> torch.Tensor:
    """Control images of a clip, ``t h w 3`` in 0..1.

    Args:
        source: the clip.
        kind: of ``CONTROLS``, with its ``options``, among them what is connected for it.
        short_side, multiple: see ``control_size``.
        piece: frames at a time.

    Raises:
        ValueError: an option is out of range, a model is missing, or the images are too small for it.
    """
    height, width = control_size(source.height, source.width, short_side, multiple)
    if min(height, width) < SMALLEST.get(kind, 1):
        raise ValueError(
            f"The images are {width} x {height} pixels, and {kind} needs at least {SMALLEST[kind]} on each side. "
            "Raise short_side."
        )
    size = ClipSize(source.num_frames, height, width, piece, source.height * source.width)
    control = CONTROLS[kind](**options)
    output = _Output(size, passes=1 if any(name in options for name in FINISHED) else 2)
    device = comfy.model_management.get_torch_device()

    def frames() -> Iterator[torch.Tensor]:
        for part in source.batches(piece):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield resize_frames(part.to(device), height, width)
            output.count(len(part))

    for part in control(frames(), size):
        output.add(part.cpu() / 255)
    return output.frames


def fit_hint(
    hint: FrameSource, source: FrameSource, kind: str, timing: str, short_side: int, multiple: int, piece: int
) -> torch.Tensor:
    """A ready control video with as many frames as the clip and in its control size, ``t h w 3`` in 0..1.

    Args:
        timing: ``stretch``: over the whole clip, frames repeated or left out; ``frame by frame``: frame k for frame k,
            the last one held, what is more left out.
        kind: images with only some colours are resized without new ones.
    """
    height, width = control_size(source.height, source.width, short_side, multiple)
    output = _Output(ClipSize(source.num_frames, height, width, piece), passes=1)
    grows = min(height, width) > min(hint.height, hint.width)
    method = ("linear" if grows else "area") if kind in _SOFT else "nearest"
    for part in _retimed(hint, source.num_frames, timing, piece):
        output.add(resample(part, height, width, method))
    return output.frames


def _retimed(hint: FrameSource, num_frames: int, timing: str, piece: int) -> Iterator[torch.Tensor]:
    """Pieces of the hint, ``num_frames`` frames in all."""
    if timing == "stretch":
        wanted = [(2 * number + 1) * hint.num_frames // (2 * num_frames) for number in range(num_frames)]
    else:
        wanted = [min(number, hint.num_frames - 1) for number in range(num_frames)]
    first = done = 0
    for part in hint.images(piece):
        comfy.model_management.throw_exception_if_processing_interrupted()
        here = []
        while done < num_frames and wanted[done] < first + len(part):
            here.append(wanted[done] - first)
            done += 1
        for start in range(0, len(here), piece):
            yield part[here[start : start + piece]]
        first += len(part)
        if done == num_frames:
            return


class _Output:
    """The result, the progress bar and its image.

    Args:
        passes: of which the bar tells; reading is one of two.
    """

    def __init__(self, size: ClipSize, passes: int) -> None:
        self.frames = memory_mapped_zeros((size.num_frames, size.height, size.width, 3))
        self._done = self._counted = 0
        self._shown = -_IMAGE_EVERY
        self._total = passes * size.num_frames
        self._bar = comfy.utils.ProgressBar(self._total)

    def count(self, frames: int, image: Any = None) -> None:
        """So many more frames are through a pass."""
        self._counted += frames
        self._bar.update_absolute(self._counted, self._total, image)

    def add(self, part: torch.Tensor) -> None:
        """The next images, ``t h w`` or ``t h w 3``."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        end = self._done + len(part)
        self.frames[self._done : end] = part[..., None] if part.ndim == 3 else part
        self._done = end
        self.count(len(part), self._image(end - 1))

    def _image(self, frame: int) -> Any:
        """A finished frame as the host's progress takes it, now and then."""
        now = time.monotonic()
        if now - self._shown < _IMAGE_EVERY:
            return None
        self._shown = now
        return "JPEG", Image.fromarray((self.frames[frame] * 255).round().to(torch.uint8).numpy()), _PREVIEW
