"""Streaming: a long video chunk by chunk, each from the end of what there is, with every finished chunk on the disk."""

from .clock import Clock, SoundClock
from .drift import check_strength, correct_drift, statistics
from .loop import ANCHORS, AnchorChoice, ChunkSampler, StreamsSampler, stream, stream_all
from .plan import Chunk, chunk_seed, num_held, plan_chunks, ramp
from .run_folder import (
    MANIFEST,
    RunFolder,
    RunFolderError,
    check_run_name,
    chunk_key,
    digest_of,
    preview_of,
    weights_digest,
)

__all__ = [
    "ANCHORS",
    "MANIFEST",
    "AnchorChoice",
    "Chunk",
    "ChunkSampler",
    "Clock",
    "RunFolder",
    "RunFolderError",
    "SoundClock",
    "StreamsSampler",
    "check_run_name",
    "check_strength",
    "chunk_key",
    "chunk_seed",
    "correct_drift",
    "digest_of",
    "num_held",
    "plan_chunks",
    "preview_of",
    "ramp",
    "statistics",
    "stream",
    "stream_all",
    "weights_digest",
]
