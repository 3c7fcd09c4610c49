"""NVIDIA's Cosmos 1, and Cosmos Predict2 on Wan's latents."""

from __future__ import annotations

from ....video_models import COSMOS, COSMOS_PREDICT2
from .family import Family

FAMILIES = (
    Family(COSMOS, latent_formats=("Cosmos1CV8x8x8",), frame_text={"CosmosVideo": 2}),
    Family(COSMOS_PREDICT2, classes=("CosmosPredict2",), frame_text={"CosmosPredict2": 2}),
)
