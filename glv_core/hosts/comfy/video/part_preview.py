"""A small video of the part of a file that is loaded, for the node that loads it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import comfy.model_management
import torch

from ....video_io import VideoClip, listening, save_video

LONGEST_SIDE = 384  #: pixels
MOST_FRAMES = 240  #: of a longer part the beginning and the end are shown
CRF = 28

log = logging.getLogger(__name__)


def part_preview(clip: VideoClip, folder: Path) -> Path | None:
    """The file of a preview: all frames of a clip, or the first and the last of a long one; as SDR, without sound.

    It is made once for a part of a file in the state that the file has.

    Returns:
        The file in ``folder``; None where it cannot be made, and the log says so: what is wrong with the clip is said
        by what needs its frames.
    """
    state = clip.path.stat()
    made_of = (clip.path, state.st_mtime_ns, state.st_size, clip.start, clip.num_frames, clip.fps)
    path = folder / f"long_video_part_{hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]}.mp4"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with listening():  # what is told of the file's frames is told where they are needed
            return save_video(path, _small(clip.as_sdr()), float(clip.fps), crf=CRF)
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:  # whatever it is, the clip itself is open
        log.info("There is no preview of %s: %s", clip.path.name, error)
        return None


def _small(clip: VideoClip) -> Iterator[torch.Tensor]:
    scale = min(1.0, LONGEST_SIDE / max(clip.height, clip.width))
    size = [max(2, 2 * round(side * scale / 2)) for side in (clip.height, clip.width)]
    for part in _shown(clip):
        for frames in part.frames(batch=1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            images = frames.movedim(-1, 1)
            if list(images.shape[2:]) != size:
                # In whole numbers, which takes a twentieth of the time.
                images = torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
            yield images.movedim(1, -1)


def _shown(clip: VideoClip) -> list[VideoClip]:
    if clip.num_frames <= MOST_FRAMES:
        return [clip]
    half = MOST_FRAMES // 2
    return [clip.trimmed(0.0, half), clip.trimmed(float((clip.num_frames - half) / clip.fps), half)]
