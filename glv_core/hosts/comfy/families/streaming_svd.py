"""StreamingSVD: Stable Video Diffusion that sees the frames before as pixels, and an early frame as its image."""

from __future__ import annotations

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
    """The chunk begins with the known frames anew, attention to their pixels carries them over, and SVD's image is the
    anchor.

    A single known frame is a start image: that chunk is Stable Video Diffusion's own. Without an anchor the image of the
    CONDITIONING is that of all chunks.
    """

    name = "conditional attention on SVD"
    description = "the overlap is seen as frames, and made once more in front of what is new (StreamingSVD)"
    uses_pixels = True
    anchor_frame = ANCHOR_FRAME

    def __init__(self) -> None:
        self._image = SVDImage()

    def prepare(
        self, model: object, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        if given.known is None or given.known.shape[2] == 1 or given.decode is None:
            return self._image.prepare(model, positive, negative, given)
        shown = {FRAMES_BEFORE: given.decode(given.known)[None]}
        prepared = SamplingInputs(model, positive, negative, given.empty, kept=given.known.shape[2])
        images: tuple[tuple[torch.Tensor, dict], ...] | None = None
        if given.anchor is not None and given.embed is not None and given.encode is not None:
            image = given.decode(given.anchor)
            noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(given.seed))
            # The noise is of pixels of -1..1, which span twice as much.
            latent = given.encode(image + AUGMENTATION / 2 * noise)[0].movedim(1, 0)
            seen = given.embed(image)
            images = tuple(
                (each, {**_TOLD, "concat_latent_image": its})
                for each, its in ((seen, latent), (torch.zeros_like(seen), torch.zeros_like(latent)))
            )
        prepared.positive, prepared.negative = (
            [
                [
                    text if images is None else images[half][0],
                    {**extras, **shown, **({} if images is None else images[half][1])},
                ]
                for text, extras in entries
            ]
            for half, entries in enumerate((positive, negative))
        )
        return prepared


_CONTINUATION = ConditionalAttentionSVD()
FAMILIES = (
    Family(
        STREAMING_SVD,
        own_classes=(MODEL_CLASS,),
        counts=frozenset({"num_video_frames"}),
        first_frame=frozenset({CONDITION}),
        unbatched=frozenset({CONDITION}),
        whole=frozenset({CONDITION}),
        continuation=lambda model: _CONTINUATION,
    ),
)
