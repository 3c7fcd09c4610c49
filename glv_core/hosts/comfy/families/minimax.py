"""MiniMax H3, whose latents hold video and sound; refused until windows can slice both."""

from __future__ import annotations

from ....video_models import MINIMAX_H3
from .family import Family

FAMILIES = (
    Family(
        MINIMAX_H3,
        latent_formats=("MiniMaxH3AV", "MiniMaxH3Video"),
        streams=("video", "audio"),
        refused={
            "minimax_payload": "MiniMax H3's keyframes and references",
            "latent_shapes": "combined video and audio latents",
            "audio_denoise_mask": "combined video and audio latents",
        },
    ),
)
