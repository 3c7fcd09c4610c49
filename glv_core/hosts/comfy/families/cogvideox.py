"""CogVideoX, in its two sizes of latents."""

from __future__ import annotations

from ....video_models import COGVIDEOX
from .family import Family

FAMILIES = (Family(COGVIDEOX, latent_formats=("CogVideoX", "CogVideoX1_5")),)
