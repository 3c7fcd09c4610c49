"""StreamingT2V on ModelScope's text-to-video: Stable Diffusion's latents, and frames that are seen as pixels."""

from __future__ import annotations

from ....video_models import TEXT_TO_VIDEO_SD
from .continuation import Conditioning, Continuation, ContinuationInputs, SamplingInputs
from .family import Family

#: In a CONDITIONING: the frames before, ``1 t h w 3`` in 0..1, and what CLIP says of the anchor, ``1 t width``.
FRAMES_BEFORE, ANCHOR = "streamingt2v_frames", "streamingt2v_anchor"
#: Model conds that follow from them, see ``loading.streamingt2v``.
CONDITION, ANCHOR_TOKENS = "condition", "anchors"
MODEL_CLASS = "StreamingT2VModel"  #: of the MODELs, in ``loading.streamingt2v``
GREY = 0.5  #: of the image that says nothing


class ConditionalAttention(Continuation):
    """The chunk begins with the known frames anew; attention to their pixels carries them over, and CLIP the anchor."""

    name = "conditional attention"
    description = "the overlap is seen as frames, and made once more in front of what is new (StreamingT2V)"
    uses_pixels = True
    several_anchors = True

    def prepare(
        self, model: object, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        prepared = SamplingInputs(model, positive, negative, given.empty)
        if given.known is None or given.decode is None:
            return prepared
        prepared.kept = given.known.shape[2]
        shown = {FRAMES_BEFORE: given.decode(given.known)[None]}
        anchors = [shown, shown]
        if given.anchor is not None and given.embed is not None:
            images = given.decode(given.anchor)
            seen = given.embed(images), given.embed(images[:1] * 0 + GREY)
            anchors = [{**shown, ANCHOR: each} for each in seen]
        prepared.positive, prepared.negative = (
            [[text, {**extras, **more}] for text, extras in entries]
            for entries, more in zip((positive, negative), anchors, strict=True)
        )
        return prepared


_CONTINUATION = ConditionalAttention()
FAMILIES = (
    Family(
        TEXT_TO_VIDEO_SD,
        own_classes=(MODEL_CLASS,),
        shared=frozenset({ANCHOR_TOKENS}),
        first_frame=frozenset({CONDITION}),
        unbatched=frozenset({CONDITION}),
        whole=frozenset({CONDITION}),
        tile_refused={CONDITION: "the frames before (StreamingT2V)"},
        continuation=lambda model: _CONTINUATION,
    ),
)
