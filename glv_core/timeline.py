"""Time: frames, latent frames and seconds.

A *frame* is an image of the video. A *latent frame* is one step of the latent's time axis. Video VAEs compress time: a
latent frame holds several frames. How many is the ``Compression`` of a VAE; how long a video is, and how fast it plays,
is its ``Timebase``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

UNITS = ("frames", "seconds")  #: of a length that a user gives


def frames_in(length: float, unit: str, fps: float) -> int:
    """A length, measured in one of ``UNITS``, in whole frames: the nearest number."""
    return round(length * fps) if unit == "seconds" else round(length)


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return value


@dataclass(frozen=True)
class Compression:
    """How many frames the latent frames of a VAE hold.

    Args:
        pattern: frames of the latent frames one after the other, over and over: ``(4,)``, or ``(1, 4, 4, 4, 4)``.
        first: frames of the first latent frame where it is encoded apart (1 in a causal VAE); 0 where it is not.
        rest: latent frames of a clip beyond whole rounds of a pattern; models know no other clips.

    Raises:
        ValueError: a latent frame without frames, or a rest that is a round or more.
    """

    pattern: tuple[int, ...] = (1,)
    first: int = 0
    rest: int = 0

    def __post_init__(self) -> None:
        if not self.pattern:
            raise ValueError("pattern is empty; it needs the frames of at least one latent frame.")
        for frames in self.pattern:
            _whole("Frames in a latent frame", frames, 1)
        _whole("first", self.first, 0)
        if not 0 <= self.rest < len(self.pattern):
            raise ValueError(f"rest is {self.rest}; it must be 0 or more and below the pattern's {len(self.pattern)}.")

    @classmethod
    def causal(cls, ratio: int) -> Compression:
        """The first latent frame holds one frame, every other one ``ratio``: Wan and Hunyuan 4, Mochi 6, LTX 8."""
        return cls((ratio,), int(ratio != 1))

    @property
    def ratio(self) -> float:
        """Frames in a latent frame, on average, the first left out; whole where all are alike."""
        mean = sum(self.pattern) / len(self.pattern)
        return int(mean) if mean == int(mean) else mean

    @property
    def grain(self) -> int:
        """Clips of latent frames look alike to the model only where they begin at multiples of this."""
        return len(self.pattern)

    def whole_clip(self, num_latent_frames: int) -> int:
        """The latent frames of the shortest clip of at least so many."""
        return num_latent_frames + (self.rest - num_latent_frames) % self.grain

    def num_frames_of_clip(self, num_frames: int) -> int:
        """Frames of the longest clip of at most so many; 1 where there is none."""
        longest = self.num_latent_frames(num_frames)
        while longest > 1 and (self.whole_clip(longest) != longest or self.num_frames(longest) > num_frames):
            longest -= 1
        return self.num_frames(longest)

    def num_frames(self, num_latent_frames: int) -> int:
        """Frames that so many latent frames decode to."""
        _whole("num_latent_frames", num_latent_frames, 1)
        rounds, rest = divmod(num_latent_frames - bool(self.first), len(self.pattern))
        return self.first + rounds * sum(self.pattern) + sum(self.pattern[:rest])

    def num_latent_frames(self, num_frames: int) -> int:
        """Latent frames of a clip of so many frames (81 of Wan: 21); a last one that is only partly filled counts."""
        rest = _whole("num_frames", num_frames, 1) - self.first
        rounds, rest = divmod(max(rest, 0), sum(self.pattern))
        count = bool(self.first) + rounds * len(self.pattern)
        for frames in self.pattern:
            if rest <= 0:
                break
            rest -= frames
            count += 1
        return count

    def latent_span(self, num_frames: float) -> int:
        """Latent frames of a stretch inside a video (an overlap): the nearest number, and at least 1 above 0."""
        return max(math.floor(num_frames / self.ratio + 0.5), int(num_frames > 0))

    def overlap(self, num_frames: int) -> int:
        """Latent frames that a clip can know of the one before, nearest to so many frames."""
        if not self.rest:
            return self.latent_span(num_frames)
        above = self.whole_clip(self.num_latent_frames(num_frames))
        below = above - self.grain
        return below if below > 0 and 2 * num_frames < self.num_frames(below) + self.num_frames(above) else above

    def frame_span(self, num_latent_frames: int) -> float:
        """Frames of a stretch of latent frames inside a video, on average; a whole number where it is one."""
        return num_latent_frames * self.ratio

    def frames_of(self, latent_frame: int) -> range:
        """The frames that one latent frame holds."""
        start = self.num_frames(latent_frame) if latent_frame else 0
        return range(start, self.num_frames(latent_frame + 1))


@dataclass(frozen=True)
class Timebase:
    """The clock of one video.

    Args:
        num_frames: length of the video in frames, at least 1.
        fps: frames per second, above 0.
        compression: how its latent frames hold its frames; an image VAE's by default, one each.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    num_frames: int
    fps: float
    compression: Compression = Compression()

    def __post_init__(self) -> None:
        _whole("num_frames", self.num_frames, 1)
        if not (isinstance(self.fps, (int, float)) and math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps!r}; it must be a number above 0.")

    @classmethod
    def of_latent(cls, num_latent_frames: int, fps: float, compression: Compression = Compression()) -> Timebase:
        """The clock of the video that ``num_latent_frames`` decode to."""
        return cls(compression.num_frames(num_latent_frames), fps, compression)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.fps

    @property
    def num_latent_frames(self) -> int:
        """Latent frames that hold all frames; a last one that is only partly filled counts."""
        return self.compression.num_latent_frames(self.num_frames)

    def frames_of(self, latent_frame: int) -> range:
        """The frames that one latent frame holds, not clipped at the end of the video."""
        return self.compression.frames_of(latent_frame)

    def centre_of(self, latent_frame: int) -> float:
        """Position of a latent frame on the timeline: the mean of its frames' indices, within the video."""
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

    def indices(self, length: int) -> list[int]:
        """Latent frames of the video that a latent of ``length`` shows, in order."""
        last = self.num_latent_frames - 1
        return [min(max(index, 0), last) for index in range(self.start, self.start + length)]
