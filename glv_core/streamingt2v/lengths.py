"""How a video is cut into chunks for randomized blending, StreamingT2V's refinement (arXiv 2403.14773).

At every step all chunks are denoised, and where two overlap one is heard up to a random frame and the other from there:
the merges ``random_cut`` and ``random_cut_paper`` of ``fusion``. Here is where the chunks lie, which does not change
from step to step, and how many frames are refined at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..window_schedules import windows_for
from ..windows import Window
from .frames import chunked_length

#: Up to this many frames a video is refined in one pass by the README, without blending.
SINGLE_PASS = 80


@dataclass(frozen=True)
class Chunking:
    """How long chunks are and how much neighbours share, in frames. Without overlap there is one chunk only.

    Raises:
        ValueError: chunk below 1, or overlap not in ``0 ... chunk - 1``.
    """

    chunk: int
    overlap: int

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk} frames; it must be at least 1.")
        if not 0 <= self.overlap < self.chunk:
            raise ValueError(
                f"overlap is {self.overlap} frames and chunk {self.chunk}; overlap must be 0 or more and below chunk. "
                "Lower overlap or raise chunk."
            )


def trimmed_length(num_frames: int, chunking: Chunking) -> int:
    """How many frames of a video are refined where the tail that whole chunks leave over is dropped, as released.

    Raises:
        ValueError: the chunk is longer than the video, or shorter with no overlap.
    """
    chunk, overlap = chunking.chunk, chunking.overlap
    if chunk > num_frames:
        raise ValueError(
            f"chunk is {chunk} frames and the video has {num_frames}; with the tail trimmed nothing would be left. "
            f"Lower chunk to {num_frames} or less, or cover all frames."
        )
    if chunk == num_frames:
        return num_frames
    _check_overlap(num_frames, chunking)
    return chunked_length(num_frames, chunk, overlap)


def _trim(num_frames: int, chunking: Chunking) -> int:
    return trimmed_length(num_frames, chunking)


def _cover(num_frames: int, chunking: Chunking) -> int:
    if chunking.chunk < num_frames:
        _check_overlap(num_frames, chunking)
    return num_frames


def _check_overlap(num_frames: int, chunking: Chunking) -> None:
    if not chunking.overlap:
        raise ValueError(
            f"overlap is 0 frames, chunk {chunking.chunk} and the video has {num_frames}; several chunks must overlap "
            f"to be blended. Raise overlap to 1 or more, or chunk to {num_frames} for a single pass."
        )


#: What is done about a tail that whole chunks leave over: how many frames are refined. ``cover`` refines all of them,
#: the last chunk moved left so that it ends with the video and shares more with its neighbour; ``trim`` drops the tail.
LENGTH_POLICIES: dict[str, Callable[[int, Chunking], int]] = {"cover": _cover, "trim": _trim}


def chunk_windows(num_frames: int, chunking: Chunking, policy: str = "cover") -> tuple[Window, ...]:
    """The chunks of a video, in order. One alone covers a video that is no longer than it.

    Args:
        num_frames: of the video, 1 or more.
        chunking: what ``chunking_for`` says, or the user.
        policy: a name in ``LENGTH_POLICIES``.

    Returns:
        Windows whose last one ends with the refined part of the video; fit for ``fusion.merge_weights``.

    Raises:
        ValueError: unknown policy, a video without frames, chunks without overlap, or, trimming, a chunk longer than
            the video.
    """
    if policy not in LENGTH_POLICIES:
        raise ValueError(f"Unknown length policy {policy!r}. Known: {', '.join(LENGTH_POLICIES)}.")
    if num_frames < 1:
        raise ValueError(f"The video has {num_frames} frames; it needs at least 1.")
    length = LENGTH_POLICIES[policy](num_frames, chunking)
    return windows_for("static", length, chunking.chunk, chunking.overlap, 0)


def chunk_starts(num_frames: int, chunking: Chunking, policy: str = "cover") -> list[int]:
    """The first frame of each chunk, in order; raises what ``chunk_windows`` does.

    StreamingSVD refines these key frames as a clip of their own, and then each chunk by its key frame.
    """
    return [window.start for window in chunk_windows(num_frames, chunking, policy)]


#: Chunk and overlap from some length on, longest first; a video shorter than all of them is refined in one pass.
#: ``auto`` is the README of the first release, ``readme`` the later one, ``paper`` what paper and released code use;
#: ``streaming_svd`` is StreamingSVD's with randomized blending, by I2VGen-XL.
PRESETS: dict[str, tuple[tuple[int, Chunking], ...]] = {
    "auto": ((600, Chunking(112, 32)), (SINGLE_PASS + 1, Chunking(56, 32))),
    "readme": ((SINGLE_PASS + 1, Chunking(112, 32)),),
    "paper": ((25, Chunking(24, 8)),),
    "streaming_svd": ((39, Chunking(38, 12)),),
}


def chunking_for(preset: str, num_frames: int) -> Chunking:
    """Chunk and overlap of a preset for a video; a chunk as long as the video where it is refined in one pass.

    Raises:
        ValueError: unknown preset, or a video without frames.
    """
    if preset not in PRESETS:
        raise ValueError(f"Unknown chunk preset {preset!r}. Known: {', '.join(PRESETS)}.")
    if num_frames < 1:
        raise ValueError(f"The video has {num_frames} frames; it needs at least 1.")
    for shortest, chunking in PRESETS[preset]:
        if num_frames >= shortest and num_frames > chunking.chunk:
            return chunking
    return Chunking(num_frames, 0)
