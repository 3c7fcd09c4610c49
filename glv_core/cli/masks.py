"""What --mask names: words, or files where white is the mask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .errors import UserError

if TYPE_CHECKING:
    import torch

    from ..perception.packed_masks import PackedMasks
    from ..video_io import VideoClip

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".m4v", ".mpg", ".mpeg")


class MaskSource(Protocol):
    """Where masks come from; everything that can be checked without a model has been checked."""

    def masks(self, device: str) -> Iterator[torch.Tensor]:
        """Pieces ``t h w`` bool, for every frame or one for all. Networks run on ``device``."""


@dataclass(frozen=True)
class VideoMasks:
    """The masks of a video or an image; what is brighter than half is white."""

    clip: VideoClip

    def masks(self, device: str) -> Iterator[torch.Tensor]:
        """See ``MaskSource``."""
        return map(_white, self.clip.frames())


@dataclass(frozen=True)
class ImageMasks:
    """The masks of images, one for every frame; what is brighter than half is white."""

    paths: tuple[Path, ...]

    def masks(self, device: str) -> Iterator[torch.Tensor]:
        """See ``MaskSource``."""
        import numpy as np
        import torch
        from PIL import Image

        for path in self.paths:
            with Image.open(path) as image:
                yield _white(torch.from_numpy(np.array(image.convert("RGB")))[None])


@dataclass(frozen=True)
class DrawnMasks:
    """The objects of the demo model's world that a text names, read from pixels."""

    clip: VideoClip
    text: str

    def masks(self, device: str) -> Iterator[torch.Tensor]:
        """See ``MaskSource``; in the size of that world."""
        import numpy as np
        import torch

        from ..demo.clips import SIZE
        from ..demo.detector import object_masks
        from ..video_io import center_crop_resize

        for part in self.clip.frames():
            small = center_crop_resize(part, SIZE, SIZE).float() / 255
            yield torch.from_numpy(np.stack([mask for _, mask in object_masks(small, self.text)]))


@dataclass(frozen=True)
class GroundedMasks:
    """What a text names, found and followed by networks, with holes filled."""

    clip: VideoClip
    text: str
    detector: str
    segmenter: str

    def masks(self, device: str) -> Iterator[torch.Tensor]:
        """See ``MaskSource``."""
        from itertools import chain

        from ..hosts.transformers.grounded import GroundedObjects
        from ..perception.holes import fill_holes
        from ..perception.selection import union

        objects = GroundedObjects(self.text, self.detector, self.segmenter, device)
        frames = chain.from_iterable(self.clip.frames())
        for found in objects.track(frames):
            yield fill_holes(union(found, self.clip.height, self.clip.width)[None], FILLED)


FILLED = 400  #: pixels; smaller holes are filled


def mask_source(
    what: str, clip: VideoClip, *, drawn: bool, detector: str | None = None, segmenter: str | None = None
) -> MaskSource:
    """What ``--mask`` names.

    Args:
        what: words, or a path.
        clip: the video that is masked.
        drawn: whether words mean the demo model's world where no detector is given.
        detector, segmenter: ``--detector`` and ``--segmenter``.

    Raises:
        ValueError: a file is missing or has too few frames, or the words are none that can be found.
        UserError: a network is missing.
    """
    path = Path(what)
    if path.is_dir():
        return ImageMasks(_images(path, clip.num_frames))
    if path.is_file():
        return VideoMasks(_enough(path, clip))
    if path.suffix.lower() in (*IMAGES, *VIDEOS) or (os.sep in what and " " not in what.strip()):
        raise ValueError("there is no such file.")
    if drawn and detector is None and segmenter is None:
        import torch

        from ..demo.detector import object_masks

        object_masks(torch.zeros(1, 8, 8, 3), what)  # says what it does not know
        return DrawnMasks(clip, what)
    from ..perception.boxes import prompt_text

    prompt_text(what)
    for name, value, example in (
        ("detector", detector, "IDEA-Research/grounding-dino-tiny"),
        ("segmenter", segmenter, "facebook/sam2.1-hiera-small"),
    ):
        if value is None:
            raise UserError(
                f"--{name} is missing: words as --mask need one, such as the folder of {example}. Or give the mask as "
                "a video."
            )
    _check_networks(str(detector), str(segmenter))
    return GroundedMasks(clip, what, str(detector), str(segmenter))


def _check_networks(detector: str, segmenter: str) -> None:
    from ..hosts.transformers.grounded import DETECTORS, SEGMENTERS
    from ..hosts.transformers.loading import local_model

    for name, value, types in (("detector", detector, DETECTORS), ("segmenter", segmenter, SEGMENTERS)):
        try:
            local_model(value, list(types))
        except ValueError as error:
            raise UserError(f"--{name} {value}: {error}") from error


def fitted_masks(
    source: MaskSource,
    width: int,
    height: int,
    *,
    grow: int = 0,
    device: str = "cpu",
    on_frames: Callable[[int], None] | None = None,
) -> PackedMasks:
    """All masks of a source in this size; of other proportions, their middle.

    Args:
        source: see ``mask_source``.
        width, height: in pixels.
        grow: by so many pixels of this size; below 0 they are shrunk.
        device: for networks.
        on_frames: called with the number of masks that are done; an exception ends the run.
    """
    import torch

    from ..perception import mask_ops
    from ..perception.packed_masks import PackedMasks
    from ..video_io import center_crop_resize

    packed = PackedMasks(height, width)
    for part in source.masks(device):
        whole = part.cpu().to(torch.uint8)[..., None] * 255
        masks = center_crop_resize(whole, width, height)[..., 0] > 127
        packed.add(torch.stack([mask_ops.grow(mask, grow) for mask in masks]) if grow else masks)
        if on_frames is not None:
            on_frames(len(packed))
    return packed


def _white(frames: torch.Tensor) -> torch.Tensor:
    """Where frames ``t h w 3`` uint8 are brighter than half: ``t h w`` bool."""
    return frames.float().mean(-1) > 127.5


def _images(folder: Path, wanted: int) -> tuple[Path, ...]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not paths:
        raise ValueError(f"the folder holds no images ({', '.join(IMAGES)}).")
    _check_count(len(paths), wanted, "images")
    return tuple(paths if len(paths) == 1 else paths[:wanted])


def _enough(path: Path, clip: VideoClip) -> VideoClip:
    from .video import open_video

    found = open_video(path)
    if found.num_frames == 1:
        return found
    found = found.trimmed(fps=float(clip.fps))
    _check_count(found.num_frames, clip.num_frames, f"frames at {float(clip.fps):g} frames a second")
    return found.trimmed(num_frames=clip.num_frames)


def _check_count(count: int, wanted: int, what: str) -> None:
    if 1 != count < wanted:
        raise ValueError(
            f"it has {count} {what}, and {wanted} frames of the video are changed. Give one for each of them, one "
            "image for all, or lower --length."
        )


def white_on_black(masks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Masks ``t h w`` bool as images ``t h w 3`` uint8."""
    import torch

    return ((mask.to(torch.uint8) * 255)[..., None].expand(-1, -1, -1, 3) for mask in masks)
