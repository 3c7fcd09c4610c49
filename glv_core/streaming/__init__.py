"""Streaming: a long video chunk by chunk, each from the end of what there is, with every finished chunk on the disk."""

from .drift import check_strength, correct_drift, statistics
from .loop import ANCHORS, AnchorChoice, ChunkMaker, stream
from .plan import Chunk, chunk_seed, held_frames, plan_chunks, ramp
from .run_folder import RunFolder, RunFolderError, chunk_key, digest_of, weights_digest

__all__ = [
    "ANCHORS",
    "AnchorChoice",
    "Chunk",
    "ChunkMaker",
    "RunFolder",
    "RunFolderError",
    "check_strength",
    "chunk_key",
    "chunk_seed",
    "correct_drift",
    "digest_of",
    "held_frames",
    "plan_chunks",
    "ramp",
    "statistics",
    "stream",
    "weights_digest",
]
