"""Writing video files as the frames come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..partial import written_whole
from .audio import LAYOUTS, Audio
from .formats import COLOR_SPACES, CONTAINERS, FASTEST, VideoFormat
from .notes import tell

Frames = torch.Tensor | np.ndarray


def save_video(
    path: str | os.PathLike[str],
    frames: Frames | Iterable[Frames],
    fps: float,
    *,
    crf: float = 18,
    upscale: int = 1,
    container: str = "",
    codec: str = "",
    pixel_format: str = "yuv420p",
    color_space: str = "sRGB",
    audio: Audio | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a video file.

    The file appears under its name when it is whole: it is written under a temporary name beside it. An existing file
    is replaced. Of frames and sound only what is being written is held in memory.

    Args:
        path: the file; its folder must exist. Without ``container`` its name must end in ``.mp4``, ``.mov``, ``.mkv``
            or ``.webm``.
        frames: ``t h w c`` with 3 channels, float in 0..1 (clipped) or uint8; or an iterator of such chunks, of which
            only one is held at a time. Odd sizes are made even where the pixel format wants it, by repeating the last
            row or column.
        fps: frames per second, above 0 and at most ``FASTEST``.
        crf: quality, see ``VideoFormat``.
        upscale: enlarge so many times, by repeating pixels.
        container, codec, pixel_format, color_space: see ``VideoFormat``; the usual container is that of the name.
        audio: the sound; it is cut where the video ends.
        metadata: written into the file, each value as JSON: where an editor looks for its workflow.

    Returns:
        The path.

    Raises:
        ValueError: no frame, a wrong shape or changing sizes, or an option out of range.
        OSError: the file cannot be written.
    """
    path = Path(path).absolute()
    container = container or path.suffix.lower().removeprefix(".")
    if container not in CONTAINERS:
        endings = ", ".join(f".{name}" for name in CONTAINERS)
        raise ValueError(f"The video file is {path.name!r}; its name must end in .mp4 (or one of {endings}).")
    _check(fps, upscale)
    video_format = VideoFormat(container, codec, crf, pixel_format, color_space)
    with written_whole(path) as partial:
        images = _images(frames, upscale, video_format.deep, video_format.multiples, path.name)
        _write(partial, images, frame_rate(fps), video_format, audio, metadata or {})
    return path


def save_images(
    folder: str | os.PathLike[str],
    frames: Frames | Iterable[Frames],
    fps: float,
    *,
    upscale: int = 1,
    audio: Audio | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a folder of PNG files, ``000000.png`` and on, and its sound as ``audio.wav``.

    Args:
        folder: it is made; files in it with these names are replaced.
        frames, upscale, audio: as for ``save_video``. Odd sizes stay.
        fps: says where the sound ends.
        metadata: text of the first image, each value as JSON.

    Returns:
        The images.

    Raises:
        ValueError: no frame, a wrong shape or changing sizes, or an option out of range.
        OSError: the files cannot be written.
    """
    _check(fps, upscale)
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(_images(frames, upscale, False)):
        text = PngInfo()
        for name, value in (metadata or {}).items() if number == 0 else ():
            text.add_text(name, json.dumps(value))
        paths.append(folder / f"{number:06}.png")
        Image.fromarray(image).save(paths[-1], pnginfo=text, compress_level=4)
    if not paths:
        raise ValueError("There are no frames to save.")
    if audio is not None:
        with av.open(os.fspath(folder / "audio.wav"), "w") as container:
            track = _AudioTrack(container, "pcm_s16le", audio)
            track.write_until(len(paths) / frame_rate(fps))
            track.close()
    return paths


def frame_rate(fps: float) -> Fraction:
    """The frame rate of a file for so many frames per second: 23.976 is 24000/1001.

    Raises:
        ValueError: it is not above 0 and at most ``FASTEST``.
    """
    if not 1 / 1001 <= fps <= FASTEST:
        raise ValueError(f"fps is {fps}; it must be above 0 and at most {FASTEST}.")
    return Fraction(fps).limit_denominator(1001)


def _check(fps: float, upscale: int) -> None:
    frame_rate(fps)
    if upscale < 1:
        raise ValueError(f"upscale is {upscale}; it must be a whole number of at least 1.")


def _images(
    frames: Frames | Iterable[Frames], upscale: int, deep: bool, multiples: tuple[int, int] = (1, 1), name: str = ""
) -> Iterator[np.ndarray]:
    """Single images ``h w 3``, uint8 or (deep) uint16, enlarged, all of one size.

    ``multiples``: what width and height are multiples of; the last column and row are repeated, and ``name`` is told.
    """
    chunks = [frames] if isinstance(frames, (torch.Tensor, np.ndarray)) else frames
    size = None
    for chunk in chunks:
        if chunk.ndim != 4 or chunk.shape[-1] != 3:
            raise ValueError(f"Frames have the shape {tuple(chunk.shape)}; expected t h w c with 3 channels.")
        for frame in chunk:
            image = _whole_numbers(frame, deep)
            is_first, size = size is None, size or image.shape
            if image.shape != size:
                raise ValueError(f"A frame is {image.shape[:2]} and the first was {size[:2]}; all must be equal.")
            if upscale > 1:
                image = image.repeat(upscale, axis=0).repeat(upscale, axis=1)
            height, width = image.shape[:2]
            more = (-height % multiples[1], -width % multiples[0])
            if any(more) and is_first:
                tell(
                    f"{name}: its images are {width} x {height}, and its codec and pixel format want sides of even "
                    f"length: it is {width + more[1]} x {height + more[0]}, the last column or row repeated."
                )
            yield np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge") if any(more) else image


def _whole_numbers(frame: Frames, deep: bool) -> np.ndarray:
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().cpu()
        frame = (frame.float() if frame.is_floating_point() else frame).numpy()
    if frame.dtype == np.uint8:
        return frame.astype(np.uint16) * 257 if deep else frame
    if not np.isfinite(frame).all():
        raise ValueError(
            "The images have values that are no numbers (NaN or infinite), as a VAE or model gives that overflows in "
            "16 bits. Make them again with ComfyUI's --fp32-vae, or the model in 32 bits."
        )
    most, kind = (65535.0, np.uint16) if deep else (255.0, np.uint8)
    return (np.clip(frame, 0.0, 1.0) * most).round().astype(kind)


def _write(
    path: Path,
    images: Iterator[np.ndarray],
    rate: Fraction,
    video_format: VideoFormat,
    audio: Audio | None,
    metadata: Mapping[str, Any],
) -> None:
    first = next(images, None)
    if first is None:
        raise ValueError("There are no frames to save.")
    video_format.check_size(first.shape[1], first.shape[0])
    movable = {"movflags": "+faststart+use_metadata_tags"} if video_format.container in ("mp4", "mov") else {}
    muxer = {"mkv": "matroska"}.get(video_format.container, video_format.container)
    primaries, transfer, matrix = COLOR_SPACES[video_format.color_space]
    with av.open(os.fspath(path), "w", format=muxer, options=movable) as container:
        for name, value in metadata.items():
            container.metadata[name] = json.dumps(value)
        stream = container.add_stream(video_format.encoder, rate=rate, options=video_format.options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = video_format.pixel_format
        if video_format.codec == "h265" and video_format.container in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # what Apple's players want
        # Say which yuv this is: players guess from the size otherwise, and guess differently.
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = primaries, transfer, matrix
        context.color_range = 1  # limited
        track = None if audio is None else _AudioTrack(container, video_format.audio_encoder, audio)
        source = "rgb48le" if video_format.deep else "rgb24"
        reformatter = VideoReformatter()  # a frame's own would be made anew for each
        for number, image in enumerate(chain([first], images)):
            frame = av.VideoFrame.from_ndarray(image, format=source)
            frame = reformatter.reformat(frame, format=video_format.pixel_format, dst_colorspace=matrix)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
            if track is not None:
                track.write_until((number + 1) / rate)
        rest = stream.encode()
        if video_format.codec == "h265" and number < 2:
            for packet in rest:  # of fewer images than x265 looks ahead it leaves this time to chance
                packet.dts = packet.pts
        container.mux(rest)
        if track is not None:
            track.close()


class _AudioTrack:
    """Sound in a file that is being written, kept in step with its images."""

    def __init__(self, container: Any, encoder: str, audio: Audio) -> None:
        self._container = container
        self._blocks = audio.blocks()
        self._rate = audio.sample_rate
        self._layout = LAYOUTS[audio.channels]
        # The encoder resamples to a rate that it knows.
        known = sorted(av.Codec(encoder, "w").audio_rates or [self._rate])
        rate = next((each for each in known if each >= self._rate), known[-1])
        self._stream = container.add_stream(encoder, rate=rate, layout=self._layout)
        self._written = 0  # samples
        self._left: np.ndarray | None = None

    def write_until(self, seconds: Fraction) -> None:
        """Write the sound up to this time."""
        end = round(seconds * self._rate)
        while self._written < end:
            block = self._left if self._left is not None else next(self._blocks, None)
            if block is None:
                return
            if not block.shape[1]:
                self._left = None
                continue
            now, later = block[:, : end - self._written], block[:, end - self._written :]
            self._left = later if later.shape[1] else None
            samples = np.ascontiguousarray(now.T).reshape(1, -1)  # eight channels apart are more than PyAV takes
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
            self._container.mux(self._stream.encode(frame))
            self._written += now.shape[1]

    def close(self) -> None:
        """Write what the encoder holds back."""
        if self._written:
            self._container.mux(self._stream.encode())
