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
from .formats import COLOR_SPACES, TRANSFERS

BATCH = 16  #: frames
_UNKNOWN = 2  # a matrix, as files say it
_WITHOUT_INDEX = ("mpeg",)  # after a seek the times of the first frames are guesses


@dataclass(frozen=True)
class VideoClip:
    """Frames of a video file, decoded when they are asked for.

    Made by ``open_clip``; ``trimmed`` and ``cut`` give a part. Times are seconds of the file, counted from its first
    frame.

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
    time_base: Fraction = Fraction(1, 1_000_000)  #: seconds that a tick of the file's time stamps lasts
    bit_depth: int = 8  #: bits of a colour
    color_space: str = ""  #: one of ``COLOR_SPACES``; empty where the file does not say

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file at the file's own rate."""
        return not self.start and self._at_own_rate and self.num_frames == _count(self.times, self.fps)

    @property
    def _at_own_rate(self) -> bool:
        return self.fps == self.source_fps

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

    def cut(self, start: float = 0.0, duration: float | None = None) -> VideoClip:
        """The frames that are shown from a time on, and before another.

        The first is the first that begins at ``start`` or after it, the last begins before ``start + duration``. Where
        the file's own frames are kept, their time stamps decide, to the tick; the sound begins with the first frame.

        Args:
            start: in seconds of this clip; below 0 is before its first frame.
            duration: in seconds; None or 0 for all that is left.

        Raises:
            ValueError: no frame begins in this time, or the duration is below 0.
        """
        if duration is not None and not duration >= 0:
            raise ValueError(f"The duration is {duration} seconds; it must be 0 or more.")
        first = self._first_from(start)
        end = self._first_from(start + duration) if duration else self.num_frames
        if end <= first:
            until = f"{start + duration:g} seconds" if duration else "its end"
            raise ValueError(
                f"The part of the video from {start:g} seconds to {until} has no frame; the video is {self.seconds:g} "
                "seconds long. Choose another part."
            )
        return replace(self, num_frames=end - first, start=self.start + float(first / self.fps))

    def _first_from(self, time: float) -> int:
        """The number of the first frame that begins at this time of the clip or after it; ``num_frames`` if none."""
        stamp = int((self.first_time + self.start + time) / float(self.time_base))  # as the host rounds it

        def begins_from_then(number: int) -> bool:
            due = self.start + float(number / self.fps)
            shown = self.times[self._source_frame(number)]
            if self._at_own_rate and abs(shown - due) < 0.5 / float(self.fps):
                return round((self.first_time + shown) / float(self.time_base)) >= stamp
            return due >= self.start + time - 1e-6

        return bisect.bisect_left(range(self.num_frames), True, key=begins_from_then)

    def source_frames(self) -> Iterator[int]:
        """The file's frame number for every frame of the clip, not falling."""
        return map(self._source_frame, range(self.num_frames))

    def _source_frame(self, number: int) -> int:
        # At the file's own rate the nearest frame: time stamps jitter. At another, the one that is shown then, but for
        # the milliseconds that Matroska rounds to.
        rate = float(self.fps)
        tolerance = 0.5 / rate - 1e-6 if self._at_own_rate else min(1e-3, 0.25 / rate)
        return max(0, bisect.bisect_right(self.times, self.start + number / rate + tolerance) - 1)

    def frames(self, batch: int = BATCH, deep: bool = False) -> Iterator[torch.Tensor]:
        """The frames in order, in pieces ``t h w 3`` of at most ``batch``; each is decoded once.

        Args:
            batch: frames of a piece.
            deep: float32 in 0..1 with all the bits of the file, in place of uint8.

        Raises:
            OSError: the file cannot be read to the end.
        """
        form = "rgb48le" if deep and self.bit_depth > 8 else "rgb24"

        def together(images: list[np.ndarray]) -> torch.Tensor:
            stacked = torch.from_numpy(np.stack(images, dtype=np.float32 if deep else None, casting="unsafe"))
            return stacked.div_(np.iinfo(images[0].dtype).max) if deep else stacked

        images: list[np.ndarray] = []
        for image in self._images(form):
            images.append(image)
            if len(images) == batch:
                yield together(images)
                images.clear()
        if images:
            yield together(images)

    def audio(self) -> FileAudio | None:
        """The sound of the clip; None if the file has none."""
        if not self.has_audio:
            return None
        return FileAudio(self.path, self.start + self.first_time, self.seconds)

    def _images(self, form: str) -> Iterator[np.ndarray]:
        matrix = COLOR_SPACES[self.color_space][2] if self.color_space else _UNKNOWN
        wanted = self.source_frames()
        number = next(wanted, None)
        image = None
        for at, frame in self._decoded(number or 0):
            if number is None:
                return
            if at < number:
                continue
            image = _upright(frame, form, matrix)
            while number is not None and number <= at:
                yield image
                number = next(wanted, None)
        while number is not None and image is not None:  # the last frames of a file may be missing
            yield image
            number = next(wanted, None)
        if image is None and self.num_frames:
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
            tick = Fraction(stream.time_base)
            unit = float(tick)
            rate = Fraction(stream.average_rate or stream.guessed_rate or 24)
            width, height = stream.width, stream.height
            has_audio = bool(container.streams.audio)
            context = stream.codec_context
            components = context.format.components if context.format else ()
            bit_depth = max((component.bits for component in components), default=8)
            color_space = TRANSFERS.get(int(context.color_trc or 0), "")
        with av.open(os.fspath(path)) as container:
            first = next(container.decode(container.streams.video[0]), None)
    except av.error.FFmpegError as error:
        raise OSError(f"{path} is no video that can be read: {error.strerror or error}") from error
    if first is not None and abs(first.rotation) % 180 == 90:
        width, height = height, width
    times = tuple((stamp - stamps[0]) * unit for stamp in stamps)
    return VideoClip(
        path, width, height, rate, _count(times, rate), 0.0, has_audio, times, stamps[0] * unit, rate,
        tick, bit_depth, color_space,
    )  # fmt: skip


def _count(times: tuple[float, ...], rate: Fraction) -> int:
    """Frames at this rate: what is shown lasts until the end of the last frame, however unevenly they are spaced."""
    return max(1, round((times[-1] + 1 / float(rate)) * float(rate)))


def read_video(path: str | os.PathLike[str]) -> tuple[torch.Tensor, float]:
    """Read a whole video file.

    Returns:
        Frames ``t h w c`` uint8 and the frames per second.

    Raises:
        OSError: the file is missing or no video.
    """
    clip = open_clip(path)
    return torch.cat(list(clip.frames())), float(clip.fps)


def _upright(frame: av.VideoFrame, form: str, usual_matrix: int = _UNKNOWN) -> np.ndarray:
    """The image as it is to be seen: phones store how they were held. By its own matrix and range, if it says any."""
    ours = {}
    if frame.format.name.startswith(("yuv", "nv", "p0")):
        matrix, full = int(frame.colorspace), 2 if frame.format.name.startswith("yuvj") else 0
        matrix = usual_matrix if matrix == _UNKNOWN else matrix
        # Older PyAVs look at these only if they are given, and only if the target's are others; RGB has none.
        ours = {"src_colorspace": matrix, "dst_colorspace": 5 if matrix == 1 else 1,
                "src_color_range": int(frame.color_range) or full, "dst_color_range": 2}  # fmt: skip
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format=form, **ours), frame.rotation // 90))
