"""Which chunk makes which part of a streamed video.

A chunk is one run of the sampler. It begins with ``overlap`` latent frames that are known already (the end of what
there is) and adds the rest. StreamingT2V (arXiv 2403.14773) does the same with 16 frames and 8 of overlap.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """One chunk, in latent frames of the whole video.

    ``start``: its first latent frame, which is a known one where ``overlap`` is above 0. ``length``: latent frames that
    are sampled; the last chunk may reach beyond the end of the video, so that all have the length that suits the model.
    """

    index: int
    start: int
    length: int
    overlap: int

    @property
    def stop(self) -> int:
        """The latent frame after its last one."""
        return self.start + self.length

    @property
    def first_new(self) -> int:
        """The first latent frame that it adds."""
        return self.start + self.overlap


def plan_chunks(length: int, chunk: int, overlap: int, given: int = 0, grain: int = 1) -> tuple[Chunk, ...]:
    """The chunks of a video.

    Args:
        length: latent frames of the finished video, at least 1.
        chunk: latent frames of a chunk.
        overlap: latent frames of a chunk that are known; fewer where fewer are given.
        given: latent frames that there are already, from the start of the video.
        grain: chunks begin at multiples of it; where they would not, more is known, and less is new.

    Returns:
        The chunks in order; none where ``given`` is as long as the video. A longer video has the same chunks first.

    Raises:
        ValueError: a size out of range; overlap must be at least 1 and below chunk, all of which is on the grain.
    """
    if length < 1:
        raise ValueError(f"length is {length} latent frames; it must be at least 1.")
    if given < 0:
        raise ValueError(f"given is {given} latent frames; it must be 0 or more.")
    if not 1 <= overlap < chunk:
        raise ValueError(
            f"overlap is {overlap} latent frames and chunk {chunk}; overlap must be at least 1 and below "
            "chunk, because a chunk goes on from the end of the one before."
        )
    chunks: list[Chunk] = []
    done = given
    while done < length:
        known = min(overlap + (done - overlap) % grain, done)
        chunks.append(Chunk(len(chunks), done - known, chunk, known))
        done = chunks[-1].stop
    return tuple(chunks)


def chunk_seed(seed: int, index: int) -> int:
    """The seed of a chunk: 63 bits that depend on the video's seed and the chunk's index alone."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def ramp(overlap: int, share: float = 0.5) -> list[float]:
    """How much of a new prediction counts in each known latent frame: 0 at first, then rising.

    Args:
        overlap: known latent frames.
        share: the part of them over which it rises, 0 ... 1; 0 keeps all of them as they are.

    Returns:
        ``overlap`` values, rising from 0 towards 1; the first is 0, so that something is held.

    Raises:
        ValueError: share out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"blend is {share}; it must be 0 to 1.")
    rising = min(round(overlap * share), overlap - 1)
    return [max(0.0, (place - (overlap - 1 - rising)) / (rising + 1)) for place in range(overlap)]


def num_held(overlap: int, share: float) -> int:
    """How many of ``overlap`` known latent frames a ``ramp`` keeps as they are."""
    return ramp(overlap, share).count(0)
