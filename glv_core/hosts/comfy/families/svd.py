"""Stable Video Diffusion: frames are the batch, and the start image stands beside every one of them."""

from __future__ import annotations

from typing import Any

import node_helpers
import torch

from ....video_models import SVD
from .continuation import Conditioning, Continuation, ContinuationInputs, SamplingInputs, hold, num_kept
from .family import Family


class SVDImage(Continuation):
    """Stable Video Diffusion: the first known frame is the start image; the anchor stays in the CLIP embedding."""

    name = "image condition"
    description = "the overlap's first frame is the model's start image, and the overlap is held"
    uses_anchor = False

    def prepare(
        self, model: Any, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        if given.known is None:
            return SamplingInputs(model, positive, negative, given.empty)
        image = given.known[0, :, :1].movedim(1, 0)
        # The unconditional half sees no image, as the host's own node makes it.
        positive = node_helpers.conditioning_set_values(positive, {"concat_latent_image": image})
        negative = node_helpers.conditioning_set_values(negative, {"concat_latent_image": torch.zeros_like(image)})
        held = hold(model, given.known, given.blend, 0)
        return SamplingInputs(held, positive, negative, given.empty, kept=num_kept(given))


FAMILIES = (
    Family(
        SVD,
        classes=("SVD_img2vid",),
        counts=frozenset({"num_video_frames"}),
        continuation=lambda model: SVDImage(),
    ),
)
