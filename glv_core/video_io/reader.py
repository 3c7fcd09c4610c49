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
from .decoder import PLAIN, UNKNOWN_MATRIX, Decoding, image_of, numbered_frames
from .formats import COLOR_SPACES
from .index import read_contents
from .notes import tell
from .tone import tone_map
from .writer import frame_rate

BATCH = 16  #: frames


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
    decoding: Decoding = PLAIN  #: how the decoder's frames become these
    notes: tuple[str, ...] = ()  #: what is to be told about the file, in sentences
    tone_mapped: str = ""  #: the colour space of the file, of which these frames are the SDR

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file at the file's own rate."""
        if self.start or self.tone_mapped or not self._at_own_rate:
            return False
        return self.num_frames == _count(self.times, self.fps)

    def as_sdr(self) -> VideoClip:
        """This clip in sRGB: of HLG and PQ tone mapped, see ``tone_map``."""
        if self.color_space in ("", "sRGB"):
            return self
        return replace(self, color_space="sRGB", tone_mapped=self.color_space)

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
        rate = self.fps if fps is None else frame_rate(fps)
        if not 0 <= start < float("inf"):
            raise ValueError(f"start is {start} seconds; it must be a number of 0 or more.")
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
        # Not rgb48: of ten bits FFmpeg 8.0 makes it without its green.
        form = "gbrp16le" if self.tone_mapped or (deep and self.bit_depth > 8) else "rgb24"

        def together(images: list[np.ndarray]) -> torch.Tensor:
            if self.tone_mapped:
                pieces = (torch.from_numpy(image.astype(np.float32)) / 65535 for image in images)
                return torch.stack([tone_map(piece, self.tone_mapped, deep) for piece in pieces])
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
        return FileAudio(self.path, self.start + self.first_time, self.seconds, self.decoding.in_order)

    def _images(self, form: str) -> Iterator[np.ndarray]:
        space = self.tone_mapped or self.color_space
        matrix = COLOR_SPACES[space][2] if space else UNKNOWN_MATRIX

        def image(frame: av.VideoFrame) -> np.ndarray:
            return image_of(frame, form, (self.width, self.height), self.decoding.turn, matrix)

        wanted = self.source_frames()
        number = next(wanted, None)
        before: av.VideoFrame | None = None
        missing: list[int] = []
        for first in dict.fromkeys((number or 0, 0)):  # from the beginning where all of a part is damaged
            for at, frame in numbered_frames(self.path, first, self.times, self.first_time, self.decoding):
                while number is not None and number <= at:
                    shown = image(frame if number == at or before is None else before)
                    same = number
                    while number == same:
                        if number < at:
                            missing.append(number)
                        yield shown
                        number = next(wanted, None)
                if number is None:
                    break
                before = frame
            if number is None or before is not None:
                break
        if number is not None:
            if before is None:
                raise OSError(f"{self.path}: no frame could be decoded.")
            shown = image(before)
            while number is not None:
                missing.append(number)
                yield shown
                number = next(wanted, None)
        self._tell_missing(missing)

    def _tell_missing(self, numbers: list[int]) -> None:
        if numbers:
            tell(
                f"{self.path.name} is damaged: {len(set(numbers))} of its frames cannot be decoded, the first at "
                f"{self.times[numbers[0]]:.2f} seconds; for each the image before it is shown."
            )


def open_clip(path: str | os.PathLike[str]) -> VideoClip:
    """A whole video file as a clip, see ``read_contents``; a file is looked into once, until it changes.

    Raises:
        OSError: the file is missing, no video, or has no frames.
    """
    path = Path(path).absolute()  # FFmpeg takes what is before a colon in a bare name for a protocol
    state = path.stat()
    return _open_clip(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _open_clip(path: Path, _modified: int, _size: int) -> VideoClip:
    held = read_contents(path)
    return VideoClip(
        path, held.width, held.height, held.rate, _count(held.times, held.rate), 0.0, held.has_audio, held.times,
        held.first_time, held.rate, held.time_base, held.bit_depth, held.color_space, held.decoding, held.notes,
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
