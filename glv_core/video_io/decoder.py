"""The frames of a video file in order, upright, progressive and with square pixels, whatever is damaged."""

from __future__ import annotations

import bisect
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from PIL import Image, ImageSequence

from .notes import tell

UNKNOWN_MATRIX = 2  #: as files say it
ANEW = 0.5  #: seconds by which time stamps go back where another recording begins in a file
_WITHOUT_INDEX = ("mpeg",)  # after a seek the times of the first frames are guesses


@dataclass(frozen=True)
class Turn:
    """How stored images are turned to be seen: the axes exchanged, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    def __bool__(self) -> bool:
        return self.transposed or self.left_right or self.up_down

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An image ``h w c`` as it is to be seen."""
        image = image.swapaxes(0, 1) if self.transposed else image
        return image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


UPRIGHT = Turn()


def turn_of(frame: av.VideoFrame) -> Turn:
    """The display matrix of a frame, as far as it is quarter turns and mirrors."""
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
    if not b and not c:
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0) if not a and not d else UPRIGHT


@dataclass(frozen=True)
class Decoding:
    """How the decoder's frames become the images of a clip.

    ``in_order``: frames are numbered as they come, for their time stamps are missing or wrong. ``interlaced``: their
    fields are of two moments, and are made whole (bwdif). ``aspect``: width of a pixel to its height. ``turn``: how
    they were held. ``animated_image``: Pillow reads the file.
    """

    in_order: bool = False
    interlaced: bool = False
    aspect: Fraction = Fraction(1)
    turn: Turn = UPRIGHT
    animated_image: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether they are the images."""
        return self == PLAIN

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image, of those of a stored one."""
        width, height = self.square(width, height)
        return (height, width) if self.turn.transposed else (width, height)

    def square(self, width: int, height: int) -> tuple[int, int]:
        """The stored size with square pixels: the short side of a pixel is stretched, so that nothing is lost."""
        if self.aspect > 1:
            return max(1, round(width * self.aspect)), height
        return width, max(1, round(height / self.aspect))


PLAIN = Decoding()


def numbered_frames(
    path: Path, first: int, times: Sequence[float], first_time: float, decoding: Decoding
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The decoder's frames with their numbers, from ``first`` or before it; damaged ones may be missing.

    ``times``: when each is shown, in seconds from ``first_time``, the first one's time stamp.
    """
    if decoding.animated_image:
        yield from enumerate(_animated(path))
        return
    if decoding.interlaced:
        yield from _deinterlaced(_numbered(path, first, times, first_time, decoding.in_order))
        return
    yield from _numbered(path, first, times, first_time, decoding.in_order)


def _numbered(
    path: Path, first: int, times: Sequence[float], first_time: float, in_order: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    last = first - 1
    try:
        for last, frame in _read(path, first, times, first_time, in_order, "AUTO"):
            yield last, frame
        if last >= len(times) - 1:
            return
    except av.error.FFmpegError:
        pass
    # Something is damaged, and threads for frames lose those beside it, some without a word: on from there without.
    for number, frame in _read(path, last + 1, times, first_time, in_order, "SLICE"):
        if number > last:
            yield number, frame


def _read(
    path: Path, first: int, times: Sequence[float], first_time: float, in_order: bool, threads: str
) -> Iterator[tuple[int, av.VideoFrame]]:
    # Some files are sought by decoding time or coarsely, and lead past the frame: then from further back.
    for back in (1e-3, 2.0, 10.0, None) if first and not in_order else (None,):
        with av.open(os.fspath(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = threads
            if container.format.name in _WITHOUT_INDEX:
                back = None
            if back is not None:
                seconds = max(0.0, times[min(first, len(times) - 1)] - back) + first_time
                container.seek(int(seconds / stream.time_base), stream=stream)
            last = -1
            for frame in decoded(container, stream, skip_damaged=threads == "SLICE"):
                number = last + 1
                if not in_order and frame.time is not None:
                    number = max(0, bisect.bisect_right(times, frame.time - first_time + 1e-4) - 1)
                if last < 0 and number > first and back is not None:
                    break
                last = number
                yield number, frame
            if last >= 0 or back is None:
                return


def decoded(container: Any, stream: Any, skip_damaged: bool = True) -> Iterator[av.VideoFrame]:
    """The frames of a stream in the order in which they are shown.

    Raises:
        FFmpegError: one is damaged, and such are not to be skipped.
    """
    for packet in packets(container, stream):
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            if not skip_damaged:
                raise


def packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of streams up to the end, or to where the file cannot be read on."""
    found = container.demux(*streams)
    while True:
        try:
            packet = next(found, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _deinterlaced(frames: Iterator[tuple[int, av.VideoFrame]]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames that are marked as interlaced are made of one field and what its neighbours say of the other."""
    graph: Any = None
    waiting: deque[int] = deque()

    def ready() -> Iterator[tuple[int, av.VideoFrame]]:
        while waiting:
            try:
                frame = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield waiting.popleft(), frame

    kind = None
    for number, frame in frames:
        if kind != (kind := (frame.width, frame.height, frame.format.name)):
            if graph is not None:
                graph.push(None)
                yield from ready()
            graph = _deinterlacer(frame)
        waiting.append(number)
        graph.push(frame)
        yield from ready()
    if graph is not None:
        graph.push(None)
        yield from ready()


def _deinterlacer(frame: av.VideoFrame) -> Any:
    graph = av.filter.Graph()
    begin = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    middle = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(begin, middle, graph.add("buffersink")).configure()
    return graph


def image_of(
    frame: av.VideoFrame, form: str, size: tuple[int, int], turn: Turn, usual_matrix: int = UNKNOWN_MATRIX
) -> np.ndarray:
    """The image ``h w 3`` as it is to be seen, by its own matrix and range, if it says any.

    ``size``: its width and height, to which a frame is scaled whose pixels are not square, or in whose file the size
    changes.
    """
    ours: dict[str, Any] = {}
    if frame.format.name.startswith(("yuv", "nv", "p0")):
        matrix, full = int(frame.colorspace), 2 if frame.format.name.startswith("yuvj") else 0
        matrix = usual_matrix if matrix == UNKNOWN_MATRIX else matrix
        # Older PyAVs look at these only if they are given, and only if the target's are others; RGB has none.
        ours = {"src_colorspace": matrix, "dst_colorspace": 5 if matrix == 1 else 1,
                "src_color_range": int(frame.color_range) or full, "dst_color_range": 2}  # fmt: skip
    width, height = size[::-1] if turn.transposed else size
    if (width, height) != (frame.width, frame.height):
        ours.update(width=width, height=height, interpolation="BICUBIC")
    return np.ascontiguousarray(turn.apply(frame.to_ndarray(format=form, **ours)))


def _animated(path: Path) -> Iterator[av.VideoFrame]:
    with Image.open(path) as file:
        try:
            for image in ImageSequence.Iterator(file):
                yield av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
        except (OSError, EOFError, ValueError) as error:
            tell(f"{path.name} is damaged: {error}")


def animated_times(path: Path) -> tuple[list[float], tuple[int, int]] | None:
    """When each image of an animated WebP is shown, in seconds, and its width and height; None for other files."""
    try:
        with Image.open(path) as file:
            if file.format != "WEBP":
                return None
            times, at = [], 0.0
            for image in ImageSequence.Iterator(file):
                image.load()
                times.append(at)
                at += max(1, image.info.get("duration", 100)) / 1000
            return times, file.size
    except (OSError, ValueError):
        return None
