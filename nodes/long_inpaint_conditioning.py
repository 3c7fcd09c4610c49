"""LongInpaintConditioning: mask and masked video for inpainting models, for videos of any length."""

from __future__ import annotations

from typing import Any

import node_helpers
import torch
from comfy_api.latest import io

from ..glv_core.hosts.comfy.conditioning.inpaint import (
    LATENTS,
    InpaintInputs,
    inpaint_conditioning,
    takes_clip_vision,
)
from .errors import naming
from .inputs import CATEGORY


class LongInpaintConditioning(io.ComfyNode):
    """A video with a mask for models that take both beside the latent, encoded a few frames at a time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LongInpaintConditioning",
            display_name="Long Inpaint Conditioning",
            category=f"{CATEGORY}/conditioning",
            description="A video and a mask for inpainting models: Wan Fun Inpaint, and SD 1.5 and SD 2 inpainting, "
            "whose frames are the batch. What the model takes is known by its VAE. Memory does not grow with the "
            "length of the video.",
            search_aliases=["inpaint", "wan fun inpaint", "video inpaint", "edit anything"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt, or prompts from MultiPromptSchedule."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.Vae.Input(
                    "vae", tooltip="The VAE of the model, which says what the model takes: Wan's for Wan Fun Inpaint, "
                    "an SD VAE for SD inpainting models.",
                ),
                io.MultiType.Input(
                    "video", types=[io.Video, io.Image],
                    tooltip="The video to be changed, from LoadLongVideo for constant memory, or its frames.",
                ),
                io.Mask.Input(
                    "mask", tooltip="What is made anew, one mask a frame, as from GroundedMask, or one for all. It is "
                    "cut at 0.5.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=8, tooltip="Resize to this width; 0 is the "
                    "video's, down to whole latent pixels.",
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=8, tooltip="Resize to this height; 0 is the "
                    "video's, down to whole latent pixels. Of an image with other proportions the middle is taken.",
                ),
                io.Int.Input(
                    "length", default=0, min=0, max=1_000_000,
                    tooltip="Frames; 0 for those of the video, with Wan up to 3 more, so that all are edited. Behind "
                    "the end of the video everything is made anew.",
                ),
                io.Combo.Input(
                    "latent", options=list(LATENTS), default=LATENTS[0],
                    tooltip="What the latent holds: the encoded video, the same with its outside held by a noise "
                    "mask, or nothing.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output", optional=True,
                    tooltip="For Wan models that take it: the view of an image through CLIP Vision Encode.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompts with mask and masked video."),
                io.Conditioning.Output(display_name="negative", tooltip="The same for the negative prompt."),
                io.Latent.Output(display_name="latent", tooltip="For CoDenoiseKSampler."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        video: Any,
        mask: torch.Tensor,
        width: int,
        height: int,
        length: int,
        latent: str,
        clip_vision_output: Any = None,
    ) -> io.NodeOutput:
        with naming("LongInpaintConditioning"):
            if clip_vision_output is not None and not takes_clip_vision(vae):
                raise ValueError(
                    "clip_vision_output is connected, and the vae is one of images, whose models take none. "
                    "Disconnect it."
                )
            values, made = inpaint_conditioning(vae, InpaintInputs(video, mask, width, height, length, latent))
        if clip_vision_output is not None:
            values = {**values, "clip_vision_output": clip_vision_output}
        positive, negative = (node_helpers.conditioning_set_values(each, values) for each in (positive, negative))
        return io.NodeOutput(positive, negative, made)
