"""Image models on video: frames are the batch, with AnimateDiff's motion modules or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....video_models import ANIMATEDIFF
from .family import Family

FRAMES_OF_A_WINDOW = "long_video_frames"  # in the model's options, for what looks along the video
LAYERS_OVER_TIME = "layers_over_time"  # of Follow-Your-Pose, as a part of a transformer block of the network
IMAGE = Family(ANIMATEDIFF, shared=frozenset({"ref_latents"}), undivided=frozenset({"ref_latents"}))


def clips_in(transformer_options: Mapping[str, Any], rows: int) -> int:
    """Clips of equal length, one after the other, in a batch of ``rows`` frames that a network is given.

    Each prediction of guidance has one for every window that shares the forward pass.
    """
    if frames := transformer_options.get(FRAMES_OF_A_WINDOW):
        return rows // frames
    return len(transformer_options.get("cond_or_uncond", (0,)))


def with_frames(model_options: Mapping[str, Any], frames: int) -> dict[str, Any]:
    """Options of a model that tell its network the frames of each window; the given ones are not changed."""
    options = {**model_options.get("transformer_options", {}), FRAMES_OF_A_WINDOW: frames}
    return {**model_options, "transformer_options": options}
