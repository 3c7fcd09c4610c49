"""Time: frames, latent frames and seconds of one video.

A *frame* is a picture of the video. A *latent frame* is one step of the latent's time axis. Video VAEs compress time:
one latent frame holds ``temporal_compression`` frames. A *causal* VAE encodes the first frame alone, so that latent
frame 0 holds one frame and each later one holds ``temporal_compression``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return value


@dataclass(frozen=True)
class Timebase:
    """The clock of one video: its length and how the latent's time axis relates to its frames.

    Args:
        num_frames: length of the video in frames, at least 1.
        fps: frames per second, above 0.
        temporal_compression: frames per latent frame, at least 1 (Wan and Hunyuan 4, Mochi 6, LTX 8, images 1).
        causal: whether latent frame 0 holds one frame only. Without temporal compression it makes no difference.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    num_frames: int
    fps: float
    temporal_compression: int = 1
    causal: bool = True

    def __post_init__(self) -> None:
        _whole("num_frames", self.num_frames, 1)
        _whole("temporal_compression", self.temporal_compression, 1)
        if not (isinstance(self.fps, (int, float)) and math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps!r}; it must be a number above 0.")

    @classmethod
    def from_latent_frames(
        cls, num_latent_frames: int, fps: float, temporal_compression: int = 1, causal: bool = True
    ) -> Timebase:
        """The timebase of the video that a latent of ``num_latent_frames`` decodes to."""
        latent_frames = _whole("num_latent_frames", num_latent_frames, 1)
        frames = latent_frames * temporal_compression - (temporal_compression - 1 if causal else 0)
        return cls(frames, fps, temporal_compression, causal)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.fps

    @property
    def num_latent_frames(self) -> int:
        """Latent frames that hold all frames; a last one that is only partly filled counts."""
        return self.latent_length(self.num_frames)

    def latent_length(self, num_frames: int) -> int:
        """Latent frames of a clip of ``num_frames`` that starts where a clip may start (81 frames of Wan -> 21)."""
        lead = 1 if self.causal else 0
        return math.ceil((_whole("num_frames", num_frames, 1) - lead) / self.temporal_compression) + lead

    def latent_span(self, num_frames: float) -> int:
        """Latent frames of a stretch inside the video (an overlap): the nearest number, and at least 1 above 0."""
        return max(math.floor(num_frames / self.temporal_compression + 0.5), int(num_frames > 0))

    def frames_of(self, latent_frame: int) -> range:
        """The frames that one latent frame holds, not clipped at the end of the video."""
        compression = self.temporal_compression
        if not self.causal:
            return range(latent_frame * compression, (latent_frame + 1) * compression)
        if latent_frame == 0:
            return range(0, 1)
        return range((latent_frame - 1) * compression + 1, latent_frame * compression + 1)

    def centre_of(self, latent_frame: int) -> float:
        """Position of a latent frame on the timeline: the mean of its frames' numbers, within the video."""
        frames = self.frames_of(latent_frame)
        return min((frames[0] + frames[-1]) / 2, self.num_frames - 1.0)


@dataclass(frozen=True)
class Place:
    """Where a latent that is sampled alone lies in a longer video, whose prompts it follows.

    ``start``: the latent frame of the video that its first one is; what lies before the video or behind it sees the
    prompts of the first or last latent frame. ``num_latent_frames``: of the whole video.
    """

    start: int
    num_latent_frames: int

    def timebase(self, fps: float, temporal_compression: int) -> Timebase:
        """The clock of the whole video."""
        return Timebase.from_latent_frames(self.num_latent_frames, fps, temporal_compression)

    def frames(self, length: int) -> list[int]:
        """Latent frames of the video that a latent of ``length`` shows, in order."""
        last = self.num_latent_frames - 1
        return [min(max(frame, 0), last) for frame in range(self.start, self.start + length)]
