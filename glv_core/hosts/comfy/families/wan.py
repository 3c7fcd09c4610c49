"""Wan 2.1 and 2.2, in all their kinds, and models of their shape."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import node_helpers
import torch

from ....video_models import WAN, WAN_5B, WAN_DANCER, WAN_S2V
from .continuation import (
    CleanFrames,
    Conditioning,
    Continuation,
    ContinuationInputs,
    KnownLatents,
    SamplingInputs,
    hold,
    num_kept,
)
from .family import START_IMAGE, Along, Family
from .per_frame_timesteps import takes_clean_frames
from .wan_vae import wan_loop


class WanImage(Continuation):
    """Wan image-to-video: anchor and overlap stand where the start image stands, as latents (SVI 2.0 Pro does so)."""

    name = "image condition"
    description = "the overlap is the model's start image, as latents, and is held"
    uses_gray = True

    def prepare(
        self, model: Any, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        fronts = [each for each in (given.anchor, given.known) if each is not None]
        lead = 0 if given.anchor is None else 1
        if not fronts:  # the first chunk: whatever image the conditioning brings
            return SamplingInputs(model, positive, negative, given.empty)
        front = torch.cat(fronts, dim=2)
        nothing = model.model.process_latent_out(torch.zeros_like(given.empty))
        rest = nothing if given.gray is None else given.gray.expand_as(nothing)
        count = front.shape[2]
        samples = torch.nn.functional.pad(given.empty, (0, 0, 0, 0, lead, 0))
        image = torch.cat([front, rest[:, :, count - lead :].to(front)], dim=2)
        mask = torch.ones_like(samples[:, :1])
        mask[:, :, :count] = 0
        values = {"concat_latent_image": image, "concat_mask": mask}
        positive, negative = (
            node_helpers.conditioning_set_values(conditioning, values) for conditioning in (positive, negative)
        )
        held = hold(model, given.known, given.blend, lead)
        return SamplingInputs(held, positive, negative, samples, lead=lead, kept=num_kept(given))


def _image_channels(model: Any) -> int:
    """Channels that a Wan network takes beside the latent: of an image-to-video model, the image's and a mask of 4."""
    return model.diffusion_model.patch_embedding.weight.shape[1] - model.latent_format.latent_channels


def _continuation(model: Any) -> Continuation:
    if takes_clean_frames(model):
        return CleanFrames()
    if type(model) is comfy.model_base.WAN21 and _image_channels(model) == model.latent_format.latent_channels + 4:
        return WanImage()
    return KnownLatents()


_SHARED = frozenset({
    "reference_latent", "time_dim_concat", "vace_strength", "clip_fea_pose", "context_pose", "clip_fea_ref",
})  # fmt: skip
_CHUNKS = {key: Along() for key in (*START_IMAGE, "vace_frames", "vace_mask", "camera_conditions")}
_SPEECH = {"audio_embed": "sound (HuMo)"}
_POSES = {
    "face_video_pixels": "Wan Animate's face video",
    "pose_video_latent": "a pose video (Wan Animate, SCAIL)",
    "driving_mask_28ch": "SCAIL-2's masks",
}
#: What Wan is everywhere.
_WAN: dict[str, Any] = {
    "along": {"vace_context": Along(3)},
    "shared": _SHARED,
    "scaled": frozenset({"camera_conditions", "pose_latents", "sam_latents"}),
    "resized": frozenset({"reference_latent", "time_dim_concat"}),
    "undivided": frozenset({"face_pixel_values"}),
    "tile_refused": {"ref_mask_latents": "SCAIL-2's reference masks"},
    "frame_text": dict.fromkeys(("WAN21", "WAN21_Vace", "WAN21_Camera", "WAN22", "WAN22_Animate"), 2),
    "frame_text_refused": {"context_latents": "latents of other videos (Bernini)"},
    "refused": {
        **_SPEECH,
        "face_pixel_values": "Wan Animate's face video",
        "pose_latents": "a pose video (Wan Animate, SCAIL)",
        "sam_latents": "SCAIL-2's masks",
        "ref_mask_latents": "SCAIL-2's reference masks",
    },
    "chunk_along": _CHUNKS,
    "chunk_refused": {**_SPEECH, **_POSES, "ref_mask_28ch": "SCAIL-2's reference masks"},
    "start_image": frozenset(START_IMAGE),
    "continuation": _continuation,
    "vae_loop": wan_loop,
}
#: Speech to video: 4 elements of sound for a latent frame, and the video's own past.
_S2V: dict[str, Any] = {
    **_WAN,
    "along": {"audio_embed": Along(3, 4), "control_video": Along()},
    "refused": {},
    "resized": frozenset(),
    "undivided": frozenset({"reference_latent"}),
    "first_frame": frozenset({"reference_motion"}),
    "chunk_along": {**_CHUNKS, "audio_embed": Along(3, 4), "control_video": Along()},
    "chunk_refused": {"reference_motion": "Wan S2V's reference motion"},
}
#: Features of music, which the network stretches over its video.
_DANCER: dict[str, Any] = {
    **_WAN,
    "along": {"audio_embed": Along(1, 0)},
    "refused": {},
    "chunk_refused": {},
    "chunk_along": {**_CHUNKS, "audio_embed": Along(1, 0)},
}
FAMILIES = (
    Family(WAN, latent_formats=("Wan21",), vae_classes=("comfy.ldm.wan.vae.WanVAE",), **_WAN),
    Family(WAN_5B, latent_formats=("Wan22",), vae_classes=("comfy.ldm.wan.vae2_2.WanVAE",), **_WAN),
    Family(WAN, classes=("WAN21_Vace", "WAN22_Animate", "WAN_Animate2"), references=1, **_WAN),
    Family(WAN_S2V, classes=("WAN22_S2V",), **_S2V),
    Family(WAN_DANCER, classes=("WAN22_WanDancer",), **_DANCER),
)
