"""What a video file can be: containers, codecs, pixel formats, colour spaces, and which go together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import av

from ..limits import LARGEST_SIDE

FASTEST = 1000  #: frames per second

#: Container -> the codecs it may hold, the usual first.
CONTAINERS: dict[str, tuple[str, ...]] = {
    "mp4": ("h264", "h265", "av1"),
    "mov": ("h264", "h265"),
    "mkv": ("h264", "h265", "av1", "vp9"),
    "webm": ("vp9", "av1"),
}
#: Codec -> (encoder, worst crf, options that every file gets).
ENCODERS: dict[str, tuple[str, int, dict[str, str]]] = {
    "h264": ("libx264", 51, {}),
    "h265": ("libx265", 51, {"x265-params": "log-level=error"}),
    "av1": ("libsvtav1", 63, {"preset": "8"}),
    "vp9": ("libvpx-vp9", 63, {"b:v": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"}),
}
#: x265 writes beyond its memory where a side is shorter than one of its blocks.
SHORTEST_SIDE = {"h265": 64}
PIXEL_FORMATS = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le")
#: Colour space -> the numbers (ITU-T H.273) of its primaries, transfer and matrix that a file is tagged with.
COLOR_SPACES: dict[str, tuple[int, int, int]] = {
    "sRGB": (1, 1, 1),  # BT.709
    "HDR": (9, 18, 9),  # BT.2020 with HLG
    "HDR PQ": (9, 16, 9),  # BT.2020 with PQ
}
#: Number of a transfer -> the colour space of a file that is tagged with it; of others it is not known.
TRANSFERS = {1: "sRGB", 13: "sRGB", 18: "HDR", 16: "HDR PQ"}


@dataclass(frozen=True)
class VideoFormat:
    """How a video file is written.

    Args:
        container: one of ``CONTAINERS``.
        codec: one that the container may hold; empty for its usual one.
        crf: quality, 0 (lossless, or nearly) to 51 (h264, h265) or 63 (av1, vp9).
        pixel_format: one of ``PIXEL_FORMATS`` that the encoder knows.
        color_space: one of ``COLOR_SPACES``; pixels are taken to be in it and are not converted. HDR needs 10 bits.

    Raises:
        ValueError: the values do not go together, or this machine's PyAV lacks the encoder.
    """

    container: str = "mp4"
    codec: str = ""
    crf: float = 18
    pixel_format: str = "yuv420p"
    color_space: str = "sRGB"

    def __post_init__(self) -> None:
        if self.container not in CONTAINERS:
            raise ValueError(f"Unknown video format {self.container!r}. Known: {', '.join(CONTAINERS)}.")
        codecs = CONTAINERS[self.container]
        if not self.codec:
            object.__setattr__(self, "codec", codecs[0])
        if self.codec not in codecs:
            raise ValueError(f"codec is {self.codec}, which {self.container} cannot hold. Use {' or '.join(codecs)}.")
        encoder, worst, _ = ENCODERS[self.codec]
        if not isinstance(self.crf, (int, float)) or not 0 <= self.crf <= worst:
            raise ValueError(f"crf is {self.crf}; for {self.codec} it must be 0 (best) to {worst}.")
        try:
            known = [each.name for each in av.Codec(encoder, "w").video_formats or ()]
        except (ValueError, av.error.FFmpegError) as error:
            raise ValueError(f"This PyAV has no encoder for {self.codec} ({encoder}). Use another codec.") from error
        if self.pixel_format not in known:
            usable = [name for name in PIXEL_FORMATS if name in known]
            raise ValueError(f"{self.codec} cannot store {self.pixel_format}. Use {' or '.join(usable)}.")
        if self.color_space not in COLOR_SPACES:
            raise ValueError(f"color_space is {self.color_space!r}. Known: {', '.join(COLOR_SPACES)}.")
        if self.color_space != "sRGB" and not self.deep:
            raise ValueError(
                f"color_space is {self.color_space}, which needs 10 bits, and pixel_format is {self.pixel_format}. Use "
                f"{with_ten_bits(self.pixel_format)}."
            )

    def check_size(self, width: int, height: int) -> None:
        """Check that images of this size can be written.

        Raises:
            ValueError: they are too small for the codec, or larger than any.
        """
        if max(width, height) > LARGEST_SIDE:
            raise ValueError(
                f"The images are {width} x {height}; a video file holds at most {LARGEST_SIDE} pixels a side. Make "
                "them smaller, or lower upscale."
            )
        least = SHORTEST_SIDE.get(self.codec, 1)
        if min(width, height) < least:
            raise ValueError(
                f"The images are {width} x {height}; {self.codec} needs {least} pixels a side. Use another codec, or "
                "enlarge them."
            )

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        return ENCODERS[self.codec][0]

    @property
    def options(self) -> dict[str, str]:
        """FFmpeg's options for the encoder."""
        return {"crf": f"{self.crf:g}", **ENCODERS[self.codec][2]}

    @property
    def deep(self) -> bool:
        """Whether a colour has more than 8 bits."""
        return "10" in self.pixel_format

    @property
    def multiples(self) -> tuple[int, int]:
        """What width and height must be multiples of: pixels that share a colour."""
        wide = 1 if "444" in self.pixel_format else 2
        return wide, 2 if "420" in self.pixel_format else 1

    @property
    def audio_encoder(self) -> str:
        """FFmpeg's name of the audio encoder that goes with the container."""
        return "libopus" if self.container == "webm" else "aac"


def with_ten_bits(pixel_format: str) -> str:
    """The pixel format of the same kind whose colours have 10 bits."""
    return pixel_format if "10" in pixel_format else f"{pixel_format}10le"


def video_format_for(container: str, codec: str, crf: float, pixel_format: str, color_space: str) -> VideoFormat:
    """A format that can store a video of this colour space: HDR gets the 10 bit pixel format of the same kind.

    Args:
        container, codec, crf, pixel_format, color_space: see ``VideoFormat``.

    Raises:
        ValueError: the values do not go together; of a codec without 10 bits the message names one that has them.
    """
    usual = VideoFormat(container, codec, crf, pixel_format)
    if color_space == "sRGB":
        return usual
    wanted = with_ten_bits(pixel_format)
    try:
        return VideoFormat(container, usual.codec, crf, wanted, color_space)
    except ValueError as error:
        raise ValueError(
            f"video is {color_space}, which needs 10 bits, and codec is {usual.codec}, which cannot store {wanted}. "
            f"{_remedy(container, wanted, color_space)}"
        ) from error


def _remedy(container: str, pixel_format: str, color_space: str) -> str:
    """Which codec of the container can store it, in another pixel format if need be."""
    for kind in (pixel_format, with_ten_bits(PIXEL_FORMATS[0])):
        for codec in CONTAINERS[container]:
            with suppress(ValueError):
                VideoFormat(container, codec, 0, kind, color_space)
                return f"Use {codec}{'' if kind == pixel_format else f' with pixel_format {kind}'}."
    return "Use another format."
