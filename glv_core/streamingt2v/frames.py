"""Which frames StreamingT2V makes in which chunk (arXiv 2403.14773): 16, then 8 more with every chunk.

A chunk renders the end of the one before once more, as its overlap; those frames are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ..streaming import Chunk, plan_chunks

#: Frames of a chunk, and those of them that it knows, as the checkpoints were trained.
CHUNK, OVERLAP = 16, 8


def chunked_length(num_frames: int, chunk: int = CHUNK, overlap: int = OVERLAP) -> int:
    """The longest length up to ``num_frames`` that whole chunks make; with 16 and 8 it is 8n + 8.

    Args:
        num_frames, chunk, overlap: in frames.

    Raises:
        ValueError: overlap not in ``1 ... chunk - 1``, or ``num_frames`` below a chunk.
    """
    if not 1 <= overlap < chunk:
        raise ValueError(
            f"overlap is {overlap} frames and chunk {chunk}; overlap must be at least 1 and below chunk. Lower overlap "
            "or raise chunk."
        )
    if num_frames < chunk:
        raise ValueError(
            f"num_frames is {num_frames} and chunk {chunk} frames; the first chunk is made whole. Raise num_frames to "
            f"{chunk} or more, or lower chunk."
        )
    hop = chunk - overlap
    return (num_frames - overlap) // hop * hop + overlap


def plan_frames(num_frames: int, chunk: int = CHUNK, overlap: int = OVERLAP) -> tuple[Chunk, ...]:
    """The chunks of a video of ``chunked_length(num_frames)`` frames; the first is the video that it starts from.

    A ``Chunk`` counts frames here, for StreamingT2V's latents have as many. Raises what ``chunked_length`` does.
    """
    return plan_chunks(chunked_length(num_frames, chunk, overlap), chunk, overlap)


def join_chunks(chunks: Iterable[torch.Tensor], overlap: int = OVERLAP) -> Iterator[torch.Tensor]:
    """What of every chunk is part of the video: all of the first, and what is behind the overlap of the others.

    Args:
        chunks: each ``t ...`` with time first.
        overlap: frames that every chunk but the first has in common with the one before.
    """
    for index, frames in enumerate(chunks):
        yield frames[overlap:] if index else frames
