"""LTX-Video, and LTX-2 as far as it is video alone."""

from __future__ import annotations

from inspect import signature

from ....video_models import LTX, LTX_2
from .continuation import CleanFrames, ContinuationInputs, SamplingInputs
from .family import Family


class CleanFramesAndGuide(CleanFrames):
    """The overlap as clean latent frames, and the anchor as a guide that stands one chunk in the past."""

    anchor_needs_one_window = True

    def _add_anchor(self, prepared: SamplingInputs, given: ContinuationInputs) -> None:
        from comfy_extras.nodes_lt import LTXVAddGuide

        scales = (8, 32, 32)
        append = LTXVAddGuide.append_keyframe
        # The anchor lasts as long as any latent frame, as newer hosts have to be told.
        lasting = {"causal_fix": False} if "causal_fix" in signature(append).parameters else {}
        prepared.positive, prepared.negative, prepared.samples, prepared.noise_mask = append(
            prepared.positive, prepared.negative, -scales[0] * given.chunk.length, prepared.samples,
            prepared.noise_mask, given.anchor, 1.0, scales, in_channels=given.anchor.shape[1], **lasting,
        )  # fmt: skip
        prepared.trail = 1


_GUIDES = {
    "keyframe_idxs": "LTX guide frames (LTXVAddGuide)",
    "guide_attention_entries": "LTX guide frames (LTXVAddGuide)",
    "generated_keyframes": "LTX keyframes that are generated",
}
FAMILIES = (
    Family(
        LTX,
        latent_formats=("LTXV",),
        frame_text={"LTXV": 1},
        frame_text_refused=_GUIDES,
        refused=_GUIDES,
        chunk_refused=_GUIDES,
        continuation=lambda model: CleanFramesAndGuide(),
    ),
    Family(
        LTX_2,
        latent_formats=("LTXAV",),
        frame_text={"LTXAV": 1},
        frame_text_refused=_GUIDES,
        streams=("video", "audio"),
        shared=frozenset({"ref_audio"}),
        chunk_refused=_GUIDES,
        refused={
            **_GUIDES,
            "latent_shapes": "combined video and audio latents",
            "audio_denoise_mask": "combined video and audio latents",
        },
    ),
)
