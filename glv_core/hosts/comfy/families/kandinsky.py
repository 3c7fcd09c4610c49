"""Kandinsky 5, on Hunyuan's latents."""

from __future__ import annotations

from ....video_models import KANDINSKY
from .family import Family

FAMILIES = (Family(KANDINSKY, classes=("Kandinsky5",), start_frames=frozenset({"time_dim_replace"})),)
