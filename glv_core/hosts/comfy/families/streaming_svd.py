"""StreamingSVD: Stable Video Diffusion that sees the frames before as pixels, and an early frame as its image."""

from __future__ import annotations

from typing import Any

import torch

from ....streamingt2v.streaming_svd import ANCHOR_FRAME, AUGMENTATION, FPS_ID, MOTION_BUCKET
from ....video_models import STREAMING_SVD
from .continuation import Conditioning, Continuation, ContinuationInputs, SamplingInputs
from .family import Family
from .streamingt2v import CONDITION, FRAMES_BEFORE
from .svd import SVDImage

MODEL_CLASS = "StreamingSVDModel"  #: of the MODELs, in ``loading.streaming_svd``
_TOLD = {
    "motion_bucket_id": MOTION_BUCKET,
    "fps": FPS_ID + 1,  # of which the host takes one
    "augmentation_level": AUGMENTATION,
}


class ConditionalAttentionSVD(Continuation):
    """As ``ConditionalAttention``, and SVD's image is the anchor.

    A single known frame is a start image: that chunk is Stable Video Diffusion's own. Without an anchor the image of
    the CONDITIONING is that of all chunks, with what it says of motion, frames per second and added noise.
    """

    name = "conditional attention on SVD"
    description = "the overlap is seen as frames, and made once more in front of what is new (StreamingSVD)"
    uses_pixels = True
    anchor_frame = ANCHOR_FRAME

    def prepare(
        self, model: object, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        if given.known is None or given.known.shape[2] == 1 or given.decode is None:
            return SVDImage().prepare(model, positive, negative, given)
        prepared = SamplingInputs(model, positive, negative, given.empty, kept=given.known.shape[2])
        shown = {FRAMES_BEFORE: given.decode(given.known)[None]}
        image = _image(given)
        prepared.positive = _told(positive, shown, image)
        # The unconditional half sees no image, but the frames before.
        prepared.negative = _told(negative, shown, image and tuple(map(torch.zeros_like, image)))
        return prepared


def _image(given: ContinuationInputs) -> tuple[torch.Tensor, ...] | None:
    """What CLIP says of the anchor, ``1 1 width``, and its latent with noise added to its pixels, ``1 c h w``."""
    if given.anchor is None or given.decode is None or given.embed is None or given.encode is None:
        return None
    pixels = given.decode(given.anchor)
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(given.seed))
    noised = pixels + AUGMENTATION / 2 * noise  # of 0..1, half as wide as -1..1
    return given.embed(pixels), given.encode(noised)[0].movedim(1, 0)


def _told(entries: Conditioning, shown: dict[str, Any], image: tuple[torch.Tensor, ...] | None) -> Conditioning:
    """A CONDITIONING with the frames before, and with an image in place of its own."""
    if image is None:
        return [[text, {**extras, **shown}] for text, extras in entries]
    seen, latent = image
    return [[seen, {**extras, **shown, **_TOLD, "concat_latent_image": latent}] for _, extras in entries]


_CONTINUATION = ConditionalAttentionSVD()
FAMILIES = (
    Family(
        STREAMING_SVD,
        own_classes=(MODEL_CLASS,),
        counts=frozenset({"num_video_frames"}),
        first_frame=frozenset({CONDITION}),
        unbatched=frozenset({CONDITION}),
        whole=frozenset({CONDITION}),
        tile_refused={CONDITION: "the frames before (StreamingSVD)"},
        continuation=lambda model: _CONTINUATION,
    ),
)
