"""A VIDEO of ComfyUI whose frames are read when they are needed."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
from comfy_api.latest import Input, InputImpl, Types

from ....partial import written_whole
from ....video_io import (
    COLOR_SPACES,
    CONTAINERS,
    ENCODERS,
    Audio,
    VideoClip,
    VideoFormat,
    Waveform,
    open_clip,
    read_audio,
    save_video,
    tone_map,
)

_USUAL_CRF = {"h264": 18, "h265": 18, "av1": 30, "vp9": 30}  # about as good as each other


class LongVideo(Input.Video):
    """A part of a video file as a VIDEO that every node accepts; this pack's nodes read it a few frames at a time."""

    def __init__(self, clip: VideoClip) -> None:
        self.clip = clip

    def get_components(self) -> Types.VideoComponents:
        """All frames in memory, for nodes that need them so: float in 0..1, with all the bits of the file."""
        images, done = None, 0
        for part in self.clip.frames(deep=True):
            if images is None:
                images = torch.empty(self.clip.num_frames, *part.shape[1:])
            images[done : done + len(part)] = part
            done += len(part)
        sound = self.clip.audio()
        audio = None
        if sound is not None:
            waveform = read_audio(sound)
            if waveform.shape[1]:
                audio = {"waveform": waveform[None], "sample_rate": sound.sample_rate}
        return Types.VideoComponents(images=images, audio=audio, frame_rate=self.clip.fps)

    def as_trimmed(
        self, start_time: float | None = None, duration: float | None = None, strict_duration: bool = False
    ) -> LongVideo | None:
        """A part of it; nothing is decoded.

        Args:
            start_time: seconds from its start, below 0 from its end.
            duration: seconds; None or 0 for all that is left.
            strict_duration: a part that is shorter will not do.

        Returns:
            The part; None where nothing is left, or less than a strict duration.
        """
        start = start_time or 0.0
        if start < 0:
            start = max(0.0, self.clip.seconds + start)
        if strict_duration and duration and self.clip.seconds - start < duration - 1e-6:
            return None
        try:
            return LongVideo(self.clip.cut(start, duration))
        except ValueError:
            return None

    def get_active_trim_window(self) -> tuple[float, float]:
        """Start and duration in seconds within ``get_stream_source``, which holds this part and nothing else."""
        return 0.0, 0.0

    def get_stream_source(self) -> Any:
        """The file's path if this is all of it, else a buffer with the part as mp4."""
        return str(self.clip.path) if self.clip.is_whole else super().get_stream_source()

    def save_to(
        self,
        path: Any,
        format: Any = "auto",
        codec: Any = "auto",
        metadata: dict | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
    ) -> None:
        """Write it to a file, a few frames at a time; a whole file is written by the host, which may copy its streams.

        Args:
            path: a path, or a file that is open for writing.
            format: a container; "auto" for what the path's name says, else mp4.
            codec: one that the container may hold; "auto" for h264, in webm av1.
            metadata: written into the file, each value as JSON.
            bit_depth: 8, or 10 (which HDR has at least); None for the video's own.
            crf: quality, see ``VideoFormat``; None for the usual one.
            color_space: "sRGB", "HDR" or "HDR PQ"; None for the video's own. Pixels are not converted.

        Raises:
            ValueError: a wrong value, or the video says that its colours are in another space.
            OSError: the file cannot be read or written.
        """
        container, codec = getattr(format, "value", format), getattr(codec, "value", codec)
        options = {"bit_depth": bit_depth, "crf": crf, "color_space": color_space}
        options = {name: value for name, value in options.items() if value is not None}
        if isinstance(path, (str, os.PathLike)):
            self._save(Path(path), container, codec, metadata, options)
            return
        suffix = f".{container}"
        if container == "auto":
            suffix = self.clip.path.suffix if self._is_copied("auto", codec, options) else ".mp4"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"video{suffix}"
            self._save(file, container, codec, metadata, options)
            with file.open("rb") as written:
                shutil.copyfileobj(written, path)

    def _save(self, path: Path, container: str, codec: str, metadata: dict | None, options: dict[str, Any]) -> None:
        chosen = self._format(path, container, codec, **options)
        if self._save_by_host(path, container, codec, metadata, options):
            return
        frames = self.clip.frames(deep=chosen.deep)
        if color_space := options.get("color_space"):  # where the file does not say which its pixels are in
            frames = replace(self.clip, color_space=color_space).frames(deep=chosen.deep)
        save_video(
            path, frames, float(self.clip.fps), crf=chosen.crf, container=chosen.container,
            codec=chosen.codec, pixel_format=chosen.pixel_format, color_space=chosen.color_space,
            audio=self.clip.audio(), metadata=metadata,
        )  # fmt: skip

    def _format(
        self, path: Path, container: str, codec: str, bit_depth: int | None = None, crf: float | None = None,
        color_space: str | None = None,
    ) -> VideoFormat:  # fmt: skip
        """What the arguments of ``save_to`` stand for."""
        if container not in ("auto", *CONTAINERS):
            raise ValueError(f"format is {container!r}; it must be auto or one of {', '.join(CONTAINERS)}.")
        if codec not in ("auto", *ENCODERS):
            raise ValueError(f"codec is {codec!r}; it must be auto or one of {', '.join(ENCODERS)}.")
        if bit_depth not in (None, 8, 10, self.clip.bit_depth):
            raise ValueError(f"bit_depth is {bit_depth!r}; it must be 8 or 10.")
        if color_space is not None and color_space not in COLOR_SPACES:
            raise ValueError(f"color_space is {color_space!r}; it must be one of {', '.join(COLOR_SPACES)}.")
        own = self.clip.color_space
        if color_space is not None and own and color_space != own:
            raise ValueError(
                f"color_space is {color_space}, and the video is {own}, which is not converted. Use {own}."
            )
        if container == "auto":
            ending = path.suffix.lower().removeprefix(".")
            container = ending if ending in CONTAINERS else "mp4"
        if codec == "auto":
            codec = "av1" if container == "webm" else "h264"
        space = color_space or self.get_color_space()
        deep = space != "sRGB" or (bit_depth or self.clip.bit_depth) > 8
        pixel_format = "yuv420p10le" if deep else "yuv420p"
        return VideoFormat(container, codec, _USUAL_CRF[codec] if crf is None else crf, pixel_format, space)

    def _save_by_host(
        self, path: Path, container: str, codec: str, metadata: dict | None, options: dict[str, Any]
    ) -> bool:
        """Let the host write the whole file, unless it cannot, or would load all frames for it: whether it did."""
        takes = inspect.signature(InputImpl.VideoFromFile.save_to).parameters
        if not self.clip.is_whole or any(name not in takes for name in options):
            return False
        if container not in [each.value for each in Types.VideoContainer]:
            return False
        if codec not in [each.value for each in Types.VideoCodec]:
            return False
        # Hosts without crf load all frames, and none knows of turns, fields, and pixels that are not square.
        encodes = "crf" in takes and self.clip.decoding.is_plain and self._has_all_stamps()
        if not encodes and not self._is_copied(container, codec, options):
            return False
        try:
            with written_whole(path) as partial:
                InputImpl.VideoFromFile(str(self.clip.path)).save_to(
                    str(partial), format=Types.VideoContainer(container), codec=Types.VideoCodec(codec),
                    metadata=metadata, **options,
                )  # fmt: skip
        except (ValueError, av.error.FFmpegError):  # streams that the container, or a size that the encoder cannot hold
            return False
        return True

    def _is_copied(self, container: str, codec: str, options: dict[str, Any]) -> bool:
        """Whether it is written with the streams of the file as they are."""
        if not self.clip.is_whole or options or not self._has_all_stamps():
            return False
        with av.open(os.fspath(self.clip.path)) as file:
            names = file.format.name.split(",")
            stored = file.streams.video[0].codec_context.codec.canonical_name
        return ("matroska" if container == "mkv" else container) in ("auto", *names) and codec in ("auto", stored)

    def _has_all_stamps(self) -> bool:
        """Whether the host can copy it: it leaves out packets without a decoding time, with which Matroska begins."""
        with av.open(os.fspath(self.clip.path)) as file:
            return next(file.demux(file.streams.video[0])).dts is not None

    def get_container_format(self) -> str:
        """What ``get_stream_source`` is, as FFmpeg names it."""
        if not self.clip.is_whole:
            return "mp4"
        with av.open(os.fspath(self.clip.path)) as file:
            return file.format.name

    def get_bit_depth(self) -> int:
        """Bits of a colour in the file."""
        return self.clip.bit_depth

    def get_color_space(self) -> str:
        """ "sRGB", "HDR" (HLG) or "HDR PQ"."""
        return self.clip.color_space or "sRGB"

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
    """The clip of a VIDEO that lies in a file, whichever node loaded and trimmed it; None for one in memory.

    Raises:
        ValueError: it is trimmed to nothing.
        OSError: the file cannot be read.
    """
    if isinstance(video, LongVideo):
        return video.clip
    path = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if not isinstance(path, str):
        return None
    clip = open_clip(path)
    if hasattr(video, "get_active_trim_window"):
        start, duration = video.get_active_trim_window()  # by the file's time stamps
        return clip.cut(start - clip.first_time, duration) if start or duration else clip
    if hasattr(video, "as_trimmed") and video.get_duration() != InputImpl.VideoFromFile(path).get_duration():
        return None  # trimmed, and only the host knows where
    return clip


def frames_of(video: Any, deep: bool = False) -> Iterator[torch.Tensor]:
    """Frames of any VIDEO in pieces ``t h w 3``, of one in a file only a few are held.

    They are uint8, of a VIDEO in memory float in 0..1; float32 with all their bits if ``deep``.
    """
    clip = clip_of(video)
    if clip is not None:
        return clip.frames(deep=deep)
    return (part[..., :3] for part in video.get_components().images.split(16))


def sdr_frames_of(video: Any) -> Iterator[torch.Tensor]:
    """Frames of any VIDEO as models are shown them: pieces ``t h w 3`` float in 0..1, with HDR tone mapped."""
    clip = clip_of(video)
    if clip is not None:
        return clip.as_sdr().frames(deep=True)
    space = color_space_of(video)
    return (part if space == "sRGB" else tone_map(part, space) for part in frames_of(video))


def rate_of(video: Any) -> float:
    """Frames per second of any VIDEO."""
    clip = clip_of(video)
    return float(video.get_frame_rate() if clip is None else clip.fps)


def sound_of(video: Any) -> Audio | None:
    """The sound of any VIDEO, of one in a file read as it is needed; None where it has none."""
    clip = clip_of(video)
    if clip is not None:
        return clip.audio()
    stored = video.get_components().audio
    return None if stored is None else Waveform(stored["waveform"], stored["sample_rate"])


def color_space_of(video: Any) -> str:
    """The colour space of any VIDEO, one of ``COLOR_SPACES``; sRGB where nothing is said."""
    clip = clip_of(video)
    if clip is not None:
        return clip.color_space or "sRGB"
    said = video.get_color_space() if hasattr(video, "get_color_space") else ""
    return said if said in COLOR_SPACES else "sRGB"
