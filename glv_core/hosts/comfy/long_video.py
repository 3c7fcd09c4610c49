"""A VIDEO of ComfyUI whose frames are read when they are needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import Input, InputImpl, Types

from ...video_io import VideoClip, open_clip, read_audio, save_video


class LongVideo(Input.Video):
    """A part of a video file as a VIDEO that every node accepts; this pack's nodes read it a few frames at a time."""

    def __init__(self, clip: VideoClip) -> None:
        self.clip = clip

    def get_components(self) -> Types.VideoComponents:
        """All frames in memory, for nodes that need them so."""
        images = torch.cat([part.float() / 255 for part in self.clip.frames()])
        sound = self.clip.audio()
        audio = None
        if sound is not None:
            waveform = read_audio(sound)
            if waveform.shape[1]:
                audio = {"waveform": waveform[None], "sample_rate": sound.sample_rate}
        return Types.VideoComponents(images=images, audio=audio, frame_rate=self.clip.fps)

    def save_to(self, path: Any, format: Any = "auto", codec: Any = "auto", metadata: dict | None = None) -> None:
        """Write the part to a file or a buffer as mp4, a few frames at a time."""
        if isinstance(path, str):
            self._write(path, metadata)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "video.mp4"
            self._write(str(file), metadata)
            with file.open("rb") as written:
                shutil.copyfileobj(written, path)

    def _write(self, path: str, metadata: dict | None) -> None:
        save_video(path, self.clip.frames(), float(self.clip.fps), audio=self.clip.audio(), metadata=metadata)

    def get_container_format(self) -> str:
        """What ``save_to`` writes."""
        return "mp4"

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height."""
        return self.clip.width, self.clip.height

    def get_duration(self) -> float:
        """Seconds."""
        return self.clip.seconds

    def get_frame_count(self) -> int:
        """Frames."""
        return self.clip.num_frames

    def get_frame_rate(self) -> Fraction:
        """Frames per second."""
        return self.clip.fps


def clip_of(video: Any) -> VideoClip | None:
    """The clip of a VIDEO that lies in a file, whichever node loaded it; None for one in memory."""
    if isinstance(video, LongVideo):
        return video.clip
    if isinstance(video, InputImpl.VideoFromFile) and isinstance(video.get_stream_source(), str):
        return open_clip(video.get_stream_source())
    return None


def frames_of(video: Any) -> Iterator[torch.Tensor]:
    """Frames of any VIDEO in pieces ``t h w 3``, uint8 or float in 0..1; of one in a file, only a few are held."""
    clip = clip_of(video)
    if clip is not None:
        return clip.frames()
    return (part[..., :3] for part in video.get_components().images.split(16))
