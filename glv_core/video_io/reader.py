"""Reading video files a few frames at a time."""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from .audio import FileAudio

BATCH = 16  #: frames
_WITHOUT_INDEX = ("mpeg",)  # after a seek the times of the first frames are guesses


@dataclass(frozen=True)
class VideoClip:
    """Frames of a video file, decoded when they are asked for.

    Made by ``open_clip``; ``trimmed`` gives a part. Times are seconds of the file, counted from its first frame.

    ``times``: when each frame of the file is shown, rising. ``fps``: frames per second of the clip, which may differ
    from the file's: frame ``k`` is then what the file shows at ``start + k / fps``.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    num_frames: int
    start: float
    has_audio: bool
    times: tuple[float, ...] = field(repr=False)
    first_time: float = 0.0  #: time stamp of the file's first frame
    source_fps: Fraction = Fraction(0)  #: the file's own

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    def trimmed(self, start: float = 0.0, num_frames: int | None = None, fps: float | None = None) -> VideoClip:
        """A part of this clip.

        Args:
            start: where it begins, in seconds of this clip.
            num_frames: its length in frames; None for all that is left.
            fps: its frames per second; None for those of this clip.

        Raises:
            ValueError: nothing is left, or a number out of range.
        """
        rate = self.fps if fps is None else Fraction(fps).limit_denominator(1001)
        if rate <= 0:
            raise ValueError(f"fps is {fps}; it must be above 0.")
        if start < 0:
            raise ValueError(f"start is {start} seconds; it must be 0 or more.")
        left = int(round((self.seconds - start) * float(rate), 6))
        if left < 1:
            raise ValueError(
                f"start is {start:g} seconds, and the video is {self.seconds:g} seconds long: nothing is left. "
                "Lower start."
            )
        if num_frames is not None and num_frames < 1:
            raise ValueError(f"The length is {num_frames} frames; it must be at least 1.")
        kept = left if num_frames is None else min(num_frames, left)
        return replace(self, fps=rate, num_frames=kept, start=self.start + start)

    def source_frames(self) -> Iterator[int]:
        """The file's frame number for every frame of the clip, not falling."""
        # At the file's own rate the nearest frame: time stamps jitter. At another, the one that is shown then, but for
        # the milliseconds that Matroska rounds to.
        own = self.fps == self.source_fps
        tolerance = 0.5 / float(self.fps) - 1e-6 if own else min(1e-3, 0.25 / float(self.fps))
        for number in range(self.num_frames):
            time = self.start + number / float(self.fps)
            yield max(0, bisect.bisect_right(self.times, time + tolerance) - 1)

    def frames(self, batch: int = BATCH) -> Iterator[torch.Tensor]:
        """The frames in order, in pieces ``t h w 3`` uint8 of at most ``batch``; each is decoded once.

        Raises:
            OSError: the file cannot be read to the end.
        """
        pictures: list[np.ndarray] = []
        for picture in self._pictures():
            pictures.append(picture)
            if len(pictures) == batch:
                yield torch.from_numpy(np.stack(pictures))
                pictures.clear()
        if pictures:
            yield torch.from_numpy(np.stack(pictures))

    def audio(self) -> FileAudio | None:
        """The sound of the clip; None if the file has none."""
        if not self.has_audio:
            return None
        return FileAudio(self.path, self.start + self.first_time, self.seconds)

    def _pictures(self) -> Iterator[np.ndarray]:
        wanted = self.source_frames()
        number = next(wanted, None)
        picture = None
        for at, frame in self._decoded(number or 0):
            if number is None:
                return
            if at < number:
                continue
            picture = _upright(frame)
            while number is not None and number <= at:
                yield picture
                number = next(wanted, None)
        while number is not None and picture is not None:  # the last frames of a file may be missing
            yield picture
            number = next(wanted, None)
        if picture is None and self.num_frames:
            raise OSError(f"{self.path}: no frame could be decoded.")

    def _decoded(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames with their numbers, from ``first`` or before it."""
        # Some files are sought by decoding time or coarsely, and lead past the frame: then from further back.
        for back in (1e-3, 2.0, 10.0, None) if first else (None,):
            with av.open(os.fspath(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if back is not None and container.format.name in _WITHOUT_INDEX:
                    back = None
                if back is not None:
                    seconds = max(0.0, self.times[first] - back) + self.first_time
                    container.seek(int(seconds / stream.time_base), stream=stream)
                frames = self._numbered(container.decode(stream))
                begin = next(frames, None)
                if begin is None or (begin[0] > first and back is not None):
                    continue
                yield begin
                yield from frames
                return

    def _numbered(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            for frame in frames:
                time = (0.0 if frame.time is None else frame.time) - self.first_time
                yield max(0, bisect.bisect_right(self.times, time + 1e-4) - 1), frame
        except av.error.FFmpegError as error:
            raise OSError(f"{self.path} is damaged: {error.strerror or error}") from error


def open_clip(path: str | os.PathLike[str]) -> VideoClip:
    """A whole video file as a clip; its packets are read once for their times, and its first frame is decoded.

    Raises:
        OSError: the file is missing, no video, or has no frames.
    """
    path = Path(path)
    state = path.stat()
    return _open_clip(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _open_clip(path: Path, _modified: int, _size: int) -> VideoClip:
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise OSError(f"{path} holds no video.")
            stream = container.streams.video[0]
            # Packets that an edit list hides are decoded for those after them, and are no frames.
            stamps = sorted(p.pts for p in container.demux(stream) if p.pts is not None and not p.is_discard)
            if not stamps:
                raise OSError(f"{path} holds no frames.")
            unit = float(stream.time_base)
            rate = Fraction(stream.average_rate or stream.guessed_rate or 24)
            width, height = stream.width, stream.height
            has_audio = bool(container.streams.audio)
        with av.open(os.fspath(path)) as container:
            first = next(container.decode(container.streams.video[0]), None)
    except av.error.FFmpegError as error:
        raise OSError(f"{path} is no video that can be read: {error.strerror or error}") from error
    if first is not None and abs(first.rotation) % 180 == 90:
        width, height = height, width
    times = tuple((stamp - stamps[0]) * unit for stamp in stamps)
    # What is shown lasts until the end of the last frame, however unevenly the frames are spaced.
    count = max(1, round((times[-1] + 1 / float(rate)) * float(rate)))
    return VideoClip(path, width, height, rate, count, 0.0, has_audio, times, stamps[0] * unit, rate)


def read_video(path: str | os.PathLike[str]) -> tuple[torch.Tensor, float]:
    """Read a whole video file.

    Returns:
        Frames ``t h w c`` uint8 and the frames per second.

    Raises:
        OSError: the file is missing or no video.
    """
    clip = open_clip(path)
    return torch.cat(list(clip.frames())), float(clip.fps)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """The picture as it is to be seen: phones store how they were held."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
