"""LongVaceConditioning: core's WanVaceToVideo for videos of any length."""

from __future__ import annotations

from typing import Any

import node_helpers
import torch
from comfy_api.latest import io

from ..glv_core.hosts.comfy.conditioning.vace import NO_LENGTH, VaceInputs, check_sides, vace_conditioning
from .before_run import Wrong, lacks
from .errors import naming
from .inputs import CATEGORY


class LongVaceConditioning(io.ComfyNode):
    """Control video, masks and reference image for Wan VACE, encoded a few frames at a time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LongVaceConditioning",
            display_name="Long VACE Conditioning",
            category=f"{CATEGORY}/conditioning",
            description="WanVaceToVideo for a video of any length: the same values for the model, made a few frames at "
            "a time, so that memory does not grow with the length of the video. Masked parts of the video can be made "
            "grey, as VACE expects them for inpainting.",
            search_aliases=[
                "vace", "wan vace to video", "video control", "video inpaint", "inpaint", "video2video", "v2v",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt, or prompts from MultiPromptSchedule."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.Vae.Input("vae", tooltip="Wan 2.1's VAE."),
                io.Int.Input(
                    "width", default=832, min=16, max=16384, step=16, tooltip="Width in pixels. Of frames and masks "
                    "with other proportions the middle is taken.",
                ),
                io.Int.Input("height", default=480, min=16, max=16384, step=16, tooltip="Height in pixels."),
                io.Int.Input(
                    "length", default=0, min=0, max=1_000_000,
                    tooltip="Frames of the video; 0 for those of control_video, without it of control_masks.",
                ),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1000.0, step=0.01, tooltip="How much VACE's control counts."
                ),
                io.Boolean.Input(
                    "fill_masked", default=True,
                    tooltip="Make the masked part of control_video mid grey, as inpainting wants it; off where that "
                    "part is a control, such as depth.",
                ),
                io.MultiType.Input(
                    "control_video", types=[io.Video, io.Image], optional=True,
                    tooltip="The video to be changed, or control images; from LoadLongVideo for constant memory.",
                ),
                io.Mask.Input(
                    "control_masks", optional=True,
                    tooltip="Where the video is made anew, one mask a frame, as from GroundedMask; without it "
                    "everywhere. Frames behind its end are made anew whole.",
                ),
                io.Image.Input("reference_image", optional=True, tooltip="An image of what is to be seen."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompts with VACE's control."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with VACE's control."),
                io.Latent.Output(display_name="latent", tooltip="An empty latent, for CoDenoiseKSampler."),
                io.Int.Output(
                    display_name="trim_latent",
                    tooltip="Latent frames to cut off in front after sampling, for core's TrimVideoLatent: 1 with a "
                    "reference image, else 0.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, width: int | None = None, height: int | None = None, length: int | None = None
    ) -> bool | Wrong:
        try:
            check_sides(width or 16, height or 16)
        except ValueError as error:
            return Wrong.of(error, "width", "height")
        if length == 0 and lacks("control_video", "control_masks"):
            return Wrong({"length": NO_LENGTH})
        return True

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        strength: float,
        fill_masked: bool,
        control_video: Any = None,
        control_masks: torch.Tensor | None = None,
        reference_image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        with naming("LongVaceConditioning"):
            made = vace_conditioning(
                vae,
                VaceInputs(
                    control_video, control_masks, reference_image, strength, width, height, length, fill_masked
                ),
            )  # fmt: skip
        positive, negative = (
            node_helpers.conditioning_set_values(each, made.values, append=True) for each in (positive, negative)
        )
        return io.NodeOutput(positive, negative, {"samples": made.samples}, made.trim_latent)
