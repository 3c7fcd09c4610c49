"""Small video files of the kinds that phones, cameras, editors and broken downloads leave, made with PyAV.

A frame carries its number in the brightness of eight blocks, white at the top and black at the bottom, so that a lost,
doubled, turned or mirrored one is seen.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import torch

WIDTH, HEIGHT = 64, 48
RATE = 48_000  #: samples a second
MILLI = Fraction(1, 1000)


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """``h w 3`` uint8: a quarter of white, the number with its lowest bit on the left, a quarter of black."""
    bits = np.array([230 * (number >> bit & 1) + 10 for bit in range(8)], np.uint8)
    row = np.repeat(bits, width // 8)
    row = np.pad(row, (0, width - len(row)), mode="edge")
    image = np.repeat(row[None], height, 0)
    image[: height // 4], image[-(height // 4) :] = 245, 5
    return np.repeat(image[..., None], 3, 2)


def numbers(frames: torch.Tensor | Iterable[torch.Tensor]) -> list[int]:
    """The numbers that frames ``t h w 3`` carry; -1 for one that is not upright."""
    parts = [frames] if isinstance(frames, torch.Tensor) else list(frames)
    found = []
    for frame in torch.cat(parts).float():
        frame = frame / (255 if frame.max() > 1 else 1)
        quarter, block = frame.shape[0] // 4, frame.shape[1] // 8
        rows = frame[quarter + 2 : -quarter - 2, : 8 * block].mean(dim=(0, 2)).reshape(8, block).mean(1)
        upright = frame[: quarter - 2].mean() > 0.8 and frame[2 - quarter :].mean() < 0.2
        found.append(sum(int(value > 0.5) << bit for bit, value in enumerate(rows)) if upright else -1)
    return found


def tone(seconds: float, channels: int = 1) -> np.ndarray:
    """``channels samples``: a steady tone of 60 Hz, of each channel another loudness."""
    wave = np.sin(np.arange(int(seconds * RATE)) / RATE * 60 * 2 * np.pi, dtype=np.float32)
    return np.stack([wave * (0.7 - 0.08 * channel) for channel in range(channels)])


def clicks(seconds: float, every: float = 0.25) -> np.ndarray:
    """``1 samples``: silence with a click at every quarter of a second."""
    wave = np.zeros((1, int(seconds * RATE)), np.float32)
    for number in range(int(seconds / every)):
        at = int(number * every * RATE)
        wave[0, at : at + 96] = 0.9
    return wave


def write(
    path: Path,
    count: int = 24,
    rate: Fraction | int = 24,
    *,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    layout: str = "mono",
    images: Iterable[np.ndarray] | None = None,
    muxer: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    fields: str = "",
    tags: tuple[int, int, int] | None = None,
    metadata: dict[str, str] | None = None,
    data: bool = False,
    first: int = 0,
    **options: str,
) -> Path:
    """A file of numbered pictures, or of ``images``.

    Args:
        times: when each is shown, in ticks of ``time_base``; otherwise one after the other at ``rate``.
        fields: "tff" or "bff" for frames of two fields, of which the top or the bottom one is first.
        first: the time stamp of the first, in ticks of ``time_base``.
        data: whether there is a third stream that is neither; older PyAVs raise a ValueError.
    """
    rate = Fraction(rate)
    tick = time_base or 1 / rate
    if images is None:
        images = (picture(number, *size) for number in range(count if times is None else len(times)))
    with av.open(str(path), "w", options=muxer or {}) as container:
        container.metadata.update(metadata or {})
        video = container.add_stream(codec, rate=rate, options={**({"crf": "8"} if "x26" in codec else {}), **options})
        video.width, video.height = size
        video.pix_fmt = pixels
        video.time_base = video.codec_context.time_base = tick
        if codec in ("mpeg2video", "mpeg4", "mjpeg", "flv"):
            video.bit_rate = 3_000_000
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if tags:
            context = video.codec_context
            context.color_primaries, context.color_trc, context.colorspace = tags
            context.color_range = 1
        if fields:
            video.codec_context.flags |= 1 << 18  # field by field
        track = None if sound is None else container.add_stream(sound_codec, rate=RATE, layout=layout)
        extra = container.add_data_stream("bin_data") if data else None
        written = 0
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb48le" if image.dtype == np.uint16 else "rgb24")
            if pixels != "rgb24":
                full = pixels.startswith("yuvj")
                frame = frame.reformat(
                    format=pixels, dst_colorspace=tags[2] if tags else 5, src_color_range=2,
                    dst_color_range=2 if full or not pixels.startswith("yuv") else 1,
                )  # fmt: skip
            frame.pts = number + first if times is None else times[number] + first
            frame.time_base = tick
            container.mux(video.encode(_with_fields(frame, fields) if fields else frame))
            if track is not None:
                written = _sound(container, track, sound, written, float((frame.pts - first) * tick) + 0.1, layout)
            if extra is not None and number % 8 == 0:
                packet = av.Packet(b"\0" * 16)
                packet.stream, packet.pts, packet.dts, packet.time_base = extra, number, number, tick
                container.mux(packet)
        container.mux(video.encode())
        if track is not None:
            _sound(container, track, sound, written, 1e9, layout)
            container.mux(track.encode())
    return path


def _with_fields(frame: av.VideoFrame, fields: str) -> av.VideoFrame:
    graph = av.filter.Graph()
    begin = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(begin, graph.add("setfield", f"mode={fields}"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _sound(container, track, sound: np.ndarray, written: int, until: float, layout: str) -> int:
    while written < min(sound.shape[1], int(until * RATE)):
        block = np.ascontiguousarray(sound[:, written : written + 1024].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, written, Fraction(1, RATE)
        container.mux(track.encode(frame))
        written += frame.samples
    return written


def truncated(path: Path, source: Path, share: float) -> Path:
    """The first part of a file, as a download that broke off leaves it."""
    path.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])
    return path


def spoilt(path: Path, source: Path, kind: str, which: Iterable[int], size: int = 12) -> Path:
    """The file with bytes of some packets of its first stream of a kind overwritten, from the packet's middle on."""
    stored = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        stream = getattr(container.streams, kind)[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    at = 0
    places = []
    for packet in packets:
        at = stored.find(packet, at)
        assert at >= 0, "a packet does not lie whole in the file"
        places.append(at)
        at += len(packet)
    for number in which:
        begin, length = places[number], len(packets[number])
        count = min(size, length)
        stored[begin : begin + count] = b"\xff" * count
    path.write_bytes(bytes(stored))
    return path


def turned(path: Path, source: Path, matrix: tuple[int, int, int, int]) -> Path:
    """An mp4 or mov whose video track has the display matrix ``a b c d``, as phones write it."""
    stored = bytearray(source.read_bytes())
    at = stored.find(b"tkhd")
    version = stored[at + 4]
    place = at + 4 + 4 + (32 if version else 20) + 16
    one, w = 1 << 16, 1 << 30
    a, b, c, d = matrix
    stored[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, w)
    path.write_bytes(bytes(stored))
    return path
