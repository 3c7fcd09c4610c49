"""What a video file holds, counted rather than believed: its frames, when each is shown, and what is wrong with it.

The packets are read once, without decoding, and the first of them decoded. Where as many frames come out as went in,
and nothing says that the file was cut off, the packets are taken at their word. Else what is in question is decoded:
the end of a file that was cut off, or all of one whose packets are no frames. Packets before its first key frame are no
frames of a file.
"""

from __future__ import annotations

import bisect
import math
import os
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from .decoder import ANEW, Decoding, animated_times, decoded, packets, turn_of
from .formats import FASTEST, TRANSFERS

HEAD = 16  #: packets that are decoded to see what they are
#: Rates of which an uneven file gets the slowest that holds all of its frames.
USUAL = [Fraction(n) for n in (10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60)]
SLOWEST = Fraction(1, 10)  #: frames per second that a file is believed to have
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

    shown: list[int | None] = field(default_factory=list)  # ticks
    stored: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: int = 0
    end: float = 0.0  # of video and sound, in seconds
    is_damaged: bool = False  # the last of them


@dataclass
class _Head:
    """The first packets of a video, and what comes out of them."""

    packets: list[int | None] = field(default_factory=list)  # ticks
    frames: list[int | None] = field(default_factory=list)
    first: av.VideoFrame | None = None
    interlaced: bool = False
    rate: Fraction | None = None  # which the images themselves tell

    def begin(self) -> int | None:
        """When the first frame is shown, if packets without a frame all lie before it; else None."""
        shown, frames = ([each for each in found if each is not None] for found in (self.packets, self.frames))
        if not frames or (len(shown), len(frames)) != (len(self.packets), len(self.frames)):
            return None
        return frames[0] if frames == sorted(each for each in shown if each >= frames[0]) else None


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
    if stream.codec_context is None:
        raise OSError(
            f"{path} has video of a kind that this PyAV cannot decode. Convert it first, to H.264 for example."
        )
    found = _packets(container, stream)
    tick = Fraction(stream.time_base)
    with av.open(os.fspath(path)) as again:
        head = _head(again)
    first = head.first
    stamps, in_order = _stamps(found, container.format.name, head.rate or _average(stream), tick)
    lacking = _lacking(container, stream, found)
    begin = None if in_order else head.begin()
    if len(head.frames) != len(head.packets) and begin is None:
        stamps, in_order = _counted(path, stamps)
    elif found.is_damaged or lacking:
        stamps = _end_decoded(path, stamps, in_order, found)
    if begin is not None:
        stamps = stamps[bisect.bisect_left(stamps, begin) :]
    if first is None or not stamps:
        raise OSError(f"{path} holds no frames that can be decoded.")
    times = tuple((stamp - stamps[0]) * float(tick) for stamp in stamps)
    rate = frame_rate_of(times, [stream.average_rate, stream.guessed_rate])
    context = stream.codec_context
    components = context.format.components if context.format else ()
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    decoding = Decoding(in_order, head.interlaced, aspect if 1 / 8 < aspect < 8 else Fraction(1), turn_of(first))
    color_space = TRANSFERS.get(int(context.color_trc or 0), "")
    has_sound = bool(container.streams.audio) and container.streams.audio[0].codec_context is not None
    notes = []
    if container.streams.audio and not has_sound:
        notes.append(f"{path.name} has sound of a kind that this PyAV cannot decode, and is silent.")
    if lacking:
        there = f"{len(stamps)} can be decoded" if "frames" in lacking else f"{found.end:.2f} are there"
        notes.append(f"{path.name} is cut off: it announces {lacking}, and {there}.")
    elif found.is_damaged:
        notes.append(f"{path.name} is cut off at {found.end:.2f} seconds, within a packet.")
    notes += _uneven(path, times, rate)
    if decoding.interlaced:
        notes.append(f"{path.name} is interlaced: every frame is made whole from its first field (bwdif).")
    if decoding.aspect != 1:
        wide, high = decoding.square(stream.width, stream.height)
        notes.append(
            f"{path.name} has pixels that are not square ({aspect.numerator}:{aspect.denominator}); its "
            f"{stream.width} x {stream.height} are read as {wide} x {high}."
        )
    if color_space not in ("", "sRGB"):
        kind = "HLG" if color_space == "HDR" else "PQ"
        notes.append(f"{path.name} is HDR ({kind}); models are shown it tone mapped to SDR.")
    return Contents(
        *decoding.size(stream.width, stream.height), rate, times, float(stamps[0] * tick), tick,
        has_sound, max((component.bits for component in components), default=8),
        color_space, decoding, tuple(notes),
    )  # fmt: skip


def _packets(container: Any, stream: Any) -> _Packets:
    found = _Packets()
    for packet in packets(container, stream, *container.streams.audio[:1]):
        if packet.pts is not None:
            found.end = max(found.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if not packet.size:
            continue
        found.is_damaged = bool(packet.is_corrupt)
        if packet.stream.index != stream.index:
            continue
        if packet.is_discard:  # an edit list hides it; it is decoded for those after it
            found.hidden += 1
            continue
        found.shown.append(packet.pts)
        found.stored.append(packet.dts)
        found.keys.append(packet.is_keyframe)
    return found


def _head(container: Any) -> _Head:
    stream = container.streams.video[0]
    head = _Head()

    def decode(packet: Any) -> None:
        with suppress(av.error.FFmpegError):
            for frame in stream.codec_context.decode(packet):
                head.frames.append(frame.pts)
                head.first = head.first or frame
                head.interlaced |= frame.interlaced_frame

    for packet in packets(container, stream):
        if not packet.size or (len(head.packets) >= HEAD and head.first is not None):
            break
        if not packet.is_discard:
            head.packets.append(packet.pts)
        decode(packet)
    decode(None)
    head.rate = stream.codec_context.framerate if not any(head.packets) else None
    return head


def _average(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 24)


def _stamps(found: _Packets, container: str, rate: Fraction, tick: Fraction) -> tuple[list[int], bool]:
    """Rising times in ticks, one for every frame, and whether frames have to be numbered as they come."""
    stamps = _going_on(found, ANEW / tick) or found.shown
    known = sorted(each for each in stamps if each is not None)
    if len(known) == len(stamps) == len(set(known)) and container not in _LOOSE:
        return known, stamps is not found.shown
    known = sorted({each for each in (found.stored if container in _LOOSE else found.shown) if each is not None})
    return _filled(known, len(found.shown), rate, tick), True


def _going_on(found: _Packets, back: float) -> list[int | None]:
    """Times that go on where they begin anew, at least ``back`` before; nothing where they do not."""
    stamps: list[int | None] = []
    offset, last, step = 0, None, 0
    for shown, stored in zip(found.shown, found.stored, strict=True):
        if shown is None or stored is None:
            return []
        if last is not None and stored + offset < last - back:
            offset = last + step - stored
        elif last is not None:
            step = stored + offset - last
        last = stored + offset
        stamps.append(shown + offset)
    return stamps if offset else []


def _filled(known: list[int], count: int, rate: Fraction, tick: Fraction) -> list[int]:
    """So many times: those that are known are of the last frames, before them there is one after the other."""
    step = max(Fraction(1), 1 / rate / tick)
    known = known[-count:] if count else []
    first = known[0] if known else round(count * step)
    return [first - round((count - len(known) - number) * step) for number in range(count - len(known))] + known


def _counted(path: Path, stamps: list[int]) -> tuple[list[int], bool]:
    """The times of the frames that come out of the decoder, which reads all of the file."""
    try:
        found, rate, tick = _decoded_stamps(path, "AUTO")
    except av.error.FFmpegError:  # threads for frames lose those beside a damaged one
        found, rate, tick = _decoded_stamps(path, "SLICE")
    known = [each for each in found if each is not None]
    if len(known) == len(found) and all(one < other for one, other in pairwise(known)):
        return known, False
    if len(known) < len(found) <= len(stamps):  # two packets may be one frame
        return stamps[:: len(stamps) // len(found)][: len(found)], True
    return _filled(sorted(set(known)), len(found), rate, tick), True


def _decoded_stamps(path: Path, threads: str) -> tuple[list[int | None], Fraction, Fraction]:
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        found = [frame.pts for frame in decoded(container, stream, skip_damaged=threads == "SLICE")]
        return found, _average(stream), Fraction(stream.time_base)


def _lacking(container: Any, stream: Any, found: _Packets) -> str:
    """How much the file announces, in words, if it holds less; else nothing."""
    kinds = container.format.name.split(",")
    if "mp4" in kinds and stream.frames > len(found.shown) + found.hidden:
        return f"{stream.frames - found.hidden} frames"
    if "avi" in kinds:
        seconds = float(stream.frames * stream.time_base)
    else:  # of other files it is a guess
        seconds = (container.duration or 0) / av.time_base if {"mov", "matroska", "flv"} & set(kinds) else 0.0
    return f"{seconds:.2f} seconds" if seconds > found.end + 0.25 + 2 / float(_average(stream)) else ""


def _end_decoded(path: Path, stamps: list[int], in_order: bool, found: _Packets) -> list[int]:
    """The times without those of frames from the last key frame on that cannot be decoded."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        if in_order:
            return stamps[: sum(1 for _ in decoded(container, stream))]
        keys = [at for at, key in zip(found.shown, found.keys, strict=True) if key and at is not None]
        if len(keys) > 1:
            container.seek(keys[-1], stream=stream)
        end = sorted({frame.pts for frame in decoded(container, stream) if frame.pts is not None})
    begin = (end or keys[1:][-1:] or [keys[0] if keys else 0])[0]
    return stamps[: bisect.bisect_left(stamps, begin)] + end


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
        remedy = f" At {math.ceil(1 / apart)} all are kept." if 1 / apart <= FASTEST else ""
        return [
            f"{path.name} has {len(times)} images at uneven times; left out for want of a place at {float(rate):.5g} "
            f"frames a second: {len(times) - shown}.{remedy}"
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
