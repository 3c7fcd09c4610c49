"""SeedVR2, which restores a video: what it restores is a condition along all of it."""

from __future__ import annotations

from ....video_models import SEEDVR2
from .family import Along, Family

FAMILIES = (Family(SEEDVR2, latent_formats=("SeedVR2",), along={"condition": Along()}),)
