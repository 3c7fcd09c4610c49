"""How the streams of a streamed video lie on its latent frames: which elements of each are a chunk's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..timeline import Compression
from .plan import Chunk


@dataclass(frozen=True)
class Clock:
    """The video's own: an element is a latent frame.

    ``time_dim``: the axis of time. ``margin``: elements before a chunk that its sampler is given as well, as far as
    there are any.
    """

    time_dim: int = 2
    margin: int = 0

    def length(self, num_latent_frames: int) -> int:
        """The elements of a clip of so many latent frames."""
        return num_latent_frames

    def part(self, chunk: Chunk) -> range:
        """The elements of a chunk: as many as of any clip of its length, up to the end of its last latent frame."""
        stop = self.length(chunk.stop)
        return range(stop - self.length(chunk.length), stop)

    def before(self, chunk: Chunk) -> int:
        """How many elements before a chunk its sampler is given as well."""
        return min(self.margin, self.part(chunk).start)

    def known(self, stream: torch.Tensor, filled: int, chunk: Chunk) -> torch.Tensor:
        """What a chunk knows of a stream that is there up to an element, with what stands before the chunk."""
        start = self.part(chunk).start - self.before(chunk)
        stop = min(filled, self.part(chunk).stop)
        return stream.narrow(self.time_dim, start, stop - start).clone()

    def without_margin(self, known: torch.Tensor, chunk: Chunk) -> torch.Tensor:
        """What is known of a chunk, of what ``known`` gives."""
        before = self.before(chunk)
        return known.narrow(self.time_dim, before, known.shape[self.time_dim] - before)

    def put(self, stream: torch.Tensor, chunk: Chunk, latents: torch.Tensor) -> None:
        """Write what a chunk made into a stream, as far as that goes."""
        part = self.part(chunk)
        count = min(part.stop, stream.shape[self.time_dim]) - part.start
        stream.narrow(self.time_dim, part.start, count).copy_(latents.narrow(self.time_dim, 0, count))


@dataclass(frozen=True)
class SoundClock(Clock):
    """Sound's: ``per_frame`` elements for each frame of the video, rounded.

    A chunk is a clip of its own, and its first latent frame may hold fewer frames in a clip than in the video; so it is
    its end that is on the clock.
    """

    per_frame: float = 1.0
    compression: Compression = field(default_factory=Compression)

    def length(self, num_latent_frames: int) -> int:
        """The elements of a clip of so many latent frames."""
        return round(self.per_frame * self.compression.num_frames(num_latent_frames)) if num_latent_frames else 0


def lengths_of(streams: Sequence[torch.Tensor], clocks: Sequence[Clock]) -> list[int]:
    """The elements of each stream."""
    return [stream.shape[clock.time_dim] for stream, clock in zip(streams, clocks, strict=True)]
