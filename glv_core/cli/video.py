"""Videos that the command line reads."""

from __future__ import annotations

from pathlib import Path

from ..video_io import VideoClip, open_clip, tell


def open_video(path: Path) -> VideoClip:
    """A video as models are shown it, HDR tone mapped; what is to be told about it is said on stderr.

    Raises:
        OSError: it is missing, no video, or has no frames.
    """
    clip = open_clip(path)
    tell(*clip.notes)
    return clip.as_sdr()
