"""I2VGenXLConditioning: the image that I2VGen-XL goes from, or one for each chunk of a long video."""

from __future__ import annotations

from typing import Any

import node_helpers
import torch
from comfy_api.latest import io

from ..glv_core.hosts.comfy.conditioning.i2vgen_xl import image_conditioning
from ..glv_core.streamingt2v.lengths import Chunking
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, check_chunks, chunk_inputs


class I2VGenXLConditioning(io.ComfyNode):
    """Prompts with what I2VGen-XL is told of its image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="I2VGenXLConditioning",
            display_name="I2VGen-XL Conditioning",
            category=f"{CATEGORY}/conditioning",
            description="The image that I2VGen-XL goes from, for all of a video; or, of a long one, the first frame of "
            "each chunk, so that every window goes from its own.",
            search_aliases=["i2vgen-xl", "image to video", "streamingsvd", "key frames"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt, or prompts from MultiPromptSchedule."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.ClipVision.Input("clip_vision", tooltip="From Load I2VGen-XL."),
                io.Vae.Input("vae", tooltip="From Load I2VGen-XL."),
                io.Image.Input(
                    "image", tooltip="One image, for all windows; or the first frame of each chunk, from Chunk Key "
                    "Frames and refined: 'chunk' and 'overlap' say where they lie.",
                ),
                io.Int.Input(
                    "width", default=0, min=0, max=16384, step=8,
                    tooltip="Width of the video in pixels, as in Refine Long Video; 0 is the image's.",
                ),
                io.Int.Input(
                    "height", default=0, min=0, max=16384, step=8, tooltip="Height of the video in pixels; 0 is the "
                    "image's. Of an image with other proportions the middle is taken.",
                ),
                io.Float.Input(
                    "fps", default=38.0, min=1.0, max=240.0, step=1.0, round=0.001,
                    tooltip="Frames per second that the model is told: 38 is StreamingSVD's for refining, 16 the "
                    "model's own for image to video.",
                ),
                *chunk_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompts with the image."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the image's latent."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, chunk: int | None = None, overlap: int | None = None) -> bool | Wrong:
        return check_chunks(chunk, overlap)

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        clip_vision: Any,
        vae: Any,
        image: torch.Tensor,
        width: int,
        height: int,
        fps: float,
        chunk: int,
        overlap: int,
    ) -> io.NodeOutput:
        with naming("I2VGenXLConditioning"):
            values = image_conditioning(clip_vision, vae, image, width, height, fps, Chunking(chunk, overlap))
        made = (
            node_helpers.conditioning_set_values(entries, more)
            for entries, more in zip((positive, negative), values, strict=True)
        )
        return io.NodeOutput(*made)
