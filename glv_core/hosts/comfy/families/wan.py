"""Wan 2.1 and 2.2, in all their kinds, and models of their shape."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import node_helpers
import torch

from ....video_models import WAN, WAN_5B
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
from .family import Family
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


_CONDITIONS: dict[str, Any] = {
    "time_axes": {"vace_context": 3},
    "shared": frozenset({"reference_latent", "time_dim_concat"}),
    "refused": {
        "audio_embed": "audio-driven video (Wan S2V, HuMo)",
        "control_video": "Wan S2V's control video",
        "reference_motion": "Wan S2V's reference motion",
        "face_pixel_values": "Wan Animate's face video",
        "pose_latents": "Wan Animate's pose video",
    },
    "chunk_axes": {"concat_latent_image": 2, "concat_mask": 2, "vace_frames": 2, "vace_mask": 2},
    "start_image": frozenset({"concat_latent_image", "concat_mask"}),
    "continuation": _continuation,
    "vae_loop": wan_loop,
}
FAMILIES = (
    Family(WAN, latent_formats=("Wan21",), vae_classes=("comfy.ldm.wan.vae.WanVAE",), **_CONDITIONS),
    Family(WAN_5B, latent_formats=("Wan22",), vae_classes=("comfy.ldm.wan.vae2_2.WanVAE",), **_CONDITIONS),
)
