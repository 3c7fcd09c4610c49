"""Genmo's Mochi."""

from __future__ import annotations

from ....video_models import MOCHI
from .family import Family

FAMILIES = (Family(MOCHI, latent_formats=("Mochi",)),)
