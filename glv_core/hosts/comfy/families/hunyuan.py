"""HunyuanVideo 1 and 1.5, and what is made of them."""

from __future__ import annotations

from ....video_models import HUNYUAN
from .family import Family

FAMILIES = (
    Family(
        HUNYUAN,
        latent_formats=("HunyuanVideo", "HunyuanVideo15", "HunyuanImage21Refiner"),
        shared=frozenset({"ref_latent"}),
        undivided=frozenset({"ref_latent"}),
        unbatched=frozenset({"ref_latent"}),  # the network fails with several rows of it
        first_frame=frozenset({"guiding_frame_index"}),
    ),
)
