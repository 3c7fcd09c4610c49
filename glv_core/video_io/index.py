"""What a video file holds, counted rather than believed: its frames, when each is shown, and what is wrong with it.

The packets are read once, without decoding, and the first of them decoded. Where as many frames come out as went in,
and nothing says that the file was cut off, the packets are taken at their word; else the part in question is decoded:
the end of a file that was cut off, or all of one whose packets are no frames.
"""

from __future__ import annotations

import bisect
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from .decoder import Decoding, animated_times, decoded, packets, turn_of
from .formats import TRANSFERS

HEAD = 16  #: packets that are decoded to see what they are
#: Rates of which an uneven file gets the slowest that holds all of its frames.
USUAL = [Fraction(n) for n in (10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60)]
SLOWEST, FASTEST = Fraction(1, 10), 1000  #: frames per second that a file is believed to have
_LOOSE = ("avi",)  # of frames that were reordered the times are wrong


@dataclass(frozen=True)
class Contents:
    """See ``VideoClip``, whose fields these are."""

    width: int
    height: int
    rate: Fraction
    times: tuple[float, ...]
    first_time: float
    time_base: Fraction
    has_audio: bool
    bit_depth: int
    color_space: str
    decoding: Decoding
    notes: tuple[str, ...]


@dataclass
class _Packets:
    """Packets of the video in the order in which they are stored, without those that are hidden."""

    shown: list[int | None]  # ticks
    stored: list[int | None]
    keys: list[bool]
    hidden: int = 0
    end: float = 0.0  # of video and sound, in seconds
    damaged: bool = False  # the last of them


def read_contents(path: Path) -> Contents:
    """Look into a file.

    Raises:
        OSError: it is no video, or has no frames that can be decoded.
    """
    animated = animated_times(path) if path.suffix.lower() == ".webp" else None
    if animated is not None:
        return _animated(path, *animated)
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise OSError(f"{path} holds no video.")
            return _look(path, container)
    except av.error.FFmpegError as error:
        raise OSError(f"{path} is no video that can be read: {error.strerror or error}") from error


def _look(path: Path, container: Any) -> Contents:
    stream = container.streams.video[0]
    found = _packets(container, stream)
    tick = Fraction(stream.time_base)
    with av.open(os.fspath(path)) as again:
        head, expected, first = _head(again)
        written = again.streams.video[0].codec_context.framerate  # what the images themselves say
    if first is None:
        raise OSError(f"{path} holds no frames that can be decoded.")
    stamps, in_order = _stamps(found, container.format.name, Fraction(written or _announced(stream)), tick)
    notes = []
    held = len(stamps)
    if head != expected:  # packets are no frames
        stamps, in_order = _counted(path, stamps)
    elif found.damaged or _cut_off(container, stream, found, held):
        stamps = _end_decoded(path, stamps, in_order, found, tick)
    if not stamps:
        raise OSError(f"{path} holds no frames that can be decoded.")
    notes += _told(path, container, stream, found, len(stamps))
    times = tuple((stamp - stamps[0]) * float(tick) for stamp in stamps)
    rate = frame_rate_of(times, [stream.average_rate, stream.guessed_rate])
    notes += _uneven(path, times, rate)
    context = stream.codec_context
    components = context.format.components if context.format else ()
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    decoding = Decoding(in_order, first.interlaced_frame, aspect if 1 / 8 < aspect < 8 else Fraction(1), turn_of(first))
    if decoding.interlaced:
        notes.append(f"{path.name} is interlaced: every frame is made whole from its first field (bwdif).")
    if decoding.aspect != 1:
        wide, high = decoding.square(stream.width, stream.height)
        notes.append(
            f"{path.name} has pixels that are not square ({aspect.numerator}:{aspect.denominator}); its "
            f"{stream.width} x {stream.height} are read as {wide} x {high}."
        )
    color_space = TRANSFERS.get(int(context.color_trc or 0), "")
    if color_space not in ("", "sRGB"):
        kind = "HLG" if color_space == "HDR" else "PQ"
        notes.append(f"{path.name} is HDR ({kind}); models are shown it tone mapped to SDR.")
    return Contents(
        *decoding.size(stream.width, stream.height), rate, times, float(stamps[0] * tick), tick,
        bool(container.streams.audio), max((component.bits for component in components), default=8),
        color_space, decoding, tuple(notes),
    )  # fmt: skip


def _packets(container: Any, stream: Any) -> _Packets:
    found = _Packets([], [], [])
    streams = [stream, *container.streams.audio[:1]]
    for packet in packets(container, *streams):
        if packet.size:
            found.damaged = bool(packet.is_corrupt)
        if packet.pts is not None:
            found.end = max(found.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index or not packet.size:
            continue
        if packet.is_discard:  # an edit list hides it; it is decoded for those after it
            found.hidden += 1
            continue
        found.shown.append(packet.pts)
        found.stored.append(packet.dts)
        found.keys.append(packet.is_keyframe)
    return found


def _head(container: Any) -> tuple[int, int, av.VideoFrame | None]:
    """How many frames the first packets give, how many they should, and the first frame that can be decoded."""
    stream = container.streams.video[0]
    first, count, expected = None, 0, 0

    def count_in(packet: Any) -> None:
        nonlocal first, count
        try:
            for frame in stream.codec_context.decode(packet):
                first, count = first or frame, count + 1
        except av.error.FFmpegError:
            pass

    for packet in packets(container, stream):
        if not packet.size:
            break
        expected += not packet.is_discard
        count_in(packet)
        if expected >= HEAD and first is not None:
            break
    count_in(None)
    return count, expected, first


def _announced(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 24)


def _stamps(found: _Packets, container: str, rate: Fraction, tick: Fraction) -> tuple[list[int], bool]:
    """Rising times in ticks, one for every frame, and whether frames have to be numbered as they come."""
    known = sorted(each for each in found.shown if each is not None)
    if len(known) == len(found.shown) == len(set(known)) and container not in _LOOSE:
        return known, False
    known = sorted({each for each in (found.stored if container in _LOOSE else found.shown) if each is not None})
    return _filled(known, len(found.shown), rate, tick), True


def _filled(known: list[int], count: int, rate: Fraction, tick: Fraction) -> list[int]:
    """So many times: those that are known are of the last frames, before them there is one after the other."""
    step = max(Fraction(1), 1 / rate / tick)
    known = known[-count:] if count else []
    first = known[0] if known else round(count * step)
    return [first - round((count - len(known) - number) * step) for number in range(count - len(known))] + known


def _counted(path: Path, stamps: list[int]) -> tuple[list[int], bool]:
    """The times of the frames that come out of the decoder, which reads all of the file."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        found = [frame.pts for frame in decoded(container, stream)]
        rate, tick = _announced(stream), Fraction(stream.time_base)
    if None not in found and all(one < other for one, other in pairwise(found)):
        return found, False
    known = sorted({each for each in found if each is not None})
    if len(known) < len(found) and len(stamps) >= len(found):  # two packets may be one frame
        return stamps[:: len(stamps) // len(found)][: len(found)], True
    return _filled(known, len(found), rate, tick), True


def _cut_off(container: Any, stream: Any, found: _Packets, held: int) -> bool:
    """Whether the file announces more than it holds."""
    if "mp4" in container.format.name.split(",") and stream.frames > held + found.hidden:
        return True
    return _lacks_seconds(container, stream, found)


def _lacks_seconds(container: Any, stream: Any, found: _Packets) -> bool:
    """Whether more than the last frames are missing of the length that the file announces."""
    return _seconds(container, stream) > found.end + 0.25 + 2 / float(_announced(stream))


def _seconds(container: Any, stream: Any) -> float:
    """The length that the file itself announces; 0 where it does not."""
    kind = container.format.name.split(",")[0]
    if kind == "avi":
        return float(stream.frames * stream.time_base)
    return (container.duration or 0) / av.time_base if kind in ("mov", "matroska", "flv") else 0.0


def _end_decoded(path: Path, stamps: list[int], in_order: bool, found: _Packets, tick: Fraction) -> list[int]:
    """The times without those of frames from the last key frame on that cannot be decoded."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        if in_order:
            return stamps[: sum(1 for _ in decoded(container, stream))]
        keys = [at for at, key in zip(found.shown, found.keys, strict=True) if key and at is not None]
        if len(keys) > 1:
            container.seek(keys[-1], stream=stream)
        end = sorted({frame.pts for frame in decoded(container, stream) if frame.pts is not None})
    begin = end[0] if end else keys[-1] if len(keys) > 1 else stamps[0]
    return stamps[: bisect.bisect_left(stamps, begin)] + end


def _told(path: Path, container: Any, stream: Any, found: _Packets, count: int) -> list[str]:
    if "mp4" in container.format.name.split(",") and stream.frames > count + found.hidden:
        return [
            f"{path.name} is cut off: it announces {stream.frames - found.hidden} frames, and {count} can be decoded."
        ]
    if _lacks_seconds(container, stream, found):
        seconds = _seconds(container, stream)
        return [f"{path.name} is cut off: it announces {seconds:.2f} seconds, and {found.end:.2f} are there."]
    return [f"{path.name} is cut off at {found.end:.2f} seconds, within a packet."] if found.damaged else []


def frame_rate_of(times: tuple[float, ...], announced: list[Any]) -> Fraction:
    """A rate at which every frame is shown, if there is one.

    Of frames that are even, but for jitter, theirs: the announced one if it fits. Of uneven ones one on whose grid they
    lie, the announced one first, or the slowest of ``USUAL`` that has a place for each. Where none has, that with most.

    Args:
        times: of the frames in seconds, rising from 0.
        announced: rates that the file gives, the likelier first; zero or None where it does not.
    """
    given = [Fraction(rate) for rate in announced if rate and SLOWEST <= rate <= FASTEST]
    if len(times) < 2 or not times[-1]:
        return given[0] if given else Fraction(24)
    mean = Fraction((len(times) - 1) / times[-1]).limit_denominator(1001)
    for rate in [*given, mean]:
        if rate >= SLOWEST and _places(times, rate) == list(range(len(times))):
            return rate
    grids = [rate for rate in [*given, *USUAL] if rate <= USUAL[-1] and _off_grid(times, rate) < 0.1]
    return max([*grids, *USUAL], key=lambda rate: len(set(_places(times, rate))))


def _off_grid(times: tuple[float, ...], rate: Fraction) -> float:
    """How far at most a frame lies from its place, in frames."""
    return max(abs(time * float(rate) - place) for time, place in zip(times, _places(times, rate), strict=True))


def _places(times: tuple[float, ...], rate: Fraction) -> list[int]:
    """The frame of a video of this rate from which on each is shown, as ``VideoClip`` shows them."""
    return [math.ceil((time + 1e-6) * float(rate) - 0.5) for time in times]


def _uneven(path: Path, times: tuple[float, ...], rate: Fraction) -> list[str]:
    places = _places(times, rate)
    shown, length = len(set(places)), places[-1] + 1
    if shown < len(times):
        apart = min(second - first for first, second in pairwise(times))
        return [
            f"{path.name} has {len(times)} images at uneven times; {len(times) - shown} of them have no place at "
            f"{float(rate):.5g} frames a second and are left out. At {1 / apart:.5g} all are kept."
        ]
    if length > len(times):
        return [
            f"{path.name} has {len(times)} images at uneven times; at {float(rate):.5g} frames a second all are kept, "
            f"some for several of its {length} frames."
        ]
    return []


def _animated(path: Path, times: list[float], size: tuple[int, int]) -> Contents:
    if not times:
        raise OSError(f"{path} holds no frames.")
    rate = frame_rate_of(tuple(times), [])
    return Contents(
        *size, rate, tuple(times), 0.0, Fraction(1, 1000), False, 8, "", Decoding(animated_image=True),
        tuple(_uneven(path, tuple(times), rate)),
    )  # fmt: skip
