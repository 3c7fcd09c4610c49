"""What edits a video: inversion, composites, and what ties the frames of a window together in an image model."""

from .cross_frame import (
    RULES,
    first_and_previous,
    frames_of_a_group,
    gather_tokens,
    middle_and_inward_neighbour,
    seen_frames,
)
from .pooled_norm import fold_frames, pooled_norm, unfold_frames

__all__ = [
    "RULES",
    "first_and_previous",
    "fold_frames",
    "frames_of_a_group",
    "gather_tokens",
    "middle_and_inward_neighbour",
    "pooled_norm",
    "seen_frames",
    "unfold_frames",
]
