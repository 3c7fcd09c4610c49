"""Writing and reading video files with PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Colorspace

Frames = torch.Tensor | np.ndarray


def save_video(
    path: str | os.PathLike[str], frames: Frames | Iterable[Frames], fps: float, *, crf: int = 18, upscale: int = 1
) -> Path:
    """Write an H.264 file (mp4, yuv420p).

    The file appears under its name when it is whole: it is written under a temporary name beside it. An existing file
    is replaced.

    Args:
        path: the file; its folder must exist and its name end in ``.mp4``, ``.mov`` or ``.mkv``.
        frames: ``t h w c`` with 3 channels, float in 0..1 (clipped) or uint8; or an iterator of such chunks, of which
            only one is held at a time. Odd sizes are made even by repeating the last row or column.
        fps: frames per second, above 0.
        crf: quality, 0 (lossless) to 51.
        upscale: enlarge so many times, by repeating pixels.

    Returns:
        The path.

    Raises:
        ValueError: no frame, a wrong shape or changing sizes, or an option out of range.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        raise ValueError(f"The video file is {path.name!r}; its name must end in .mp4, .mov or .mkv.")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; it must be above 0.")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf is {crf}; it must be 0 (lossless) to 51.")
    if upscale < 1:
        raise ValueError(f"upscale is {upscale}; it must be a whole number of at least 1.")
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        _write(partial, _pictures(frames, upscale), Fraction(fps).limit_denominator(1001), crf)
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return path


def read_video(path: str | os.PathLike[str]) -> tuple[torch.Tensor, float]:
    """Read a whole video file.

    Returns:
        Frames ``t h w c`` uint8 and the frames per second.

    Raises:
        OSError: the file is missing or no video.
    """
    with av.open(os.fspath(path)) as container:
        if not container.streams.video:
            raise OSError(f"{path} holds no video.")
        stream = container.streams.video[0]
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        return torch.stack(frames), float(stream.average_rate)


def _pictures(frames: Frames | Iterable[Frames], upscale: int) -> Iterator[np.ndarray]:
    """Single pictures ``h w 3`` uint8, enlarged, with even sides, all of one size."""
    chunks = [frames] if isinstance(frames, (torch.Tensor, np.ndarray)) else frames
    size = None
    for chunk in chunks:
        if chunk.ndim != 4 or chunk.shape[-1] != 3:
            raise ValueError(f"Frames have the shape {tuple(chunk.shape)}; expected t h w c with 3 channels.")
        for frame in chunk:
            picture = _bytes(frame)
            size = size or picture.shape
            if picture.shape != size:
                raise ValueError(f"A frame is {picture.shape[:2]} and the first was {size[:2]}; all must be equal.")
            picture = picture.repeat(upscale, axis=0).repeat(upscale, axis=1)
            height, width = picture.shape[:2]
            yield np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _bytes(frame: Frames) -> np.ndarray:
    if isinstance(frame, torch.Tensor):
        frame = frame.detach().cpu()
        frame = (frame.float() if frame.is_floating_point() else frame).numpy()
    if frame.dtype == np.uint8:
        return frame
    return (np.clip(frame, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def _write(path: Path, pictures: Iterator[np.ndarray], rate: Fraction, crf: int) -> None:
    first = next(pictures, None)
    if first is None:
        raise ValueError("There are no frames to save.")
    with av.open(os.fspath(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        # Say which yuv this is: players guess from the size otherwise, and guess differently.
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        stream.codec_context.color_range = 1
        for picture in _chain(first, pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode())


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
