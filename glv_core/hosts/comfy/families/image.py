"""Image models on video: frames are the batch, with AnimateDiff's motion modules or without."""

from __future__ import annotations

from ....video_models import ANIMATEDIFF
from .family import Family

IMAGE = Family(ANIMATEDIFF, shared=frozenset({"ref_latents"}))
