"""LoadI2VGenXL: the model that refines StreamingSVD's videos as MODEL, CLIP, VAE and CLIP_VISION."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.i2vgen_xl import list_pipelines, load_i2vgen_xl
from .errors import naming
from .inputs import CATEGORY


class LoadI2VGenXL(io.ComfyNode):
    """Loads I2VGen-XL."""

    FILES: ClassVar = {
        "pipeline": "Put the folder i2vgen-xl of ali-vilab, from Hugging Face, into models/diffusers.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadI2VGenXL",
            display_name="Load I2VGen-XL",
            category=f"{CATEGORY}/loaders",
            description="I2VGen-XL, an image-to-video model with which StreamingSVD refines its videos, for Refine "
            "Long Video and every sampler. Its image comes from I2VGen-XL Conditioning. Needs diffusers.",
            search_aliases=["i2vgen-xl", "image to video", "streamingsvd", "enhancer", "streamingt2v"],
            inputs=[
                io.Combo.Input(
                    "pipeline", options=list_pipelines(),
                    tooltip="The folder i2vgen-xl of ali-vilab, as on Hugging Face, in models/diffusers.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model; frames are the batch."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, OpenCLIP ViT-H without the last layer."),
                io.Vae.Output(display_name="vae", tooltip="Its VAE, Stable Diffusion's."),
                io.ClipVision.Output(
                    display_name="clip_vision", tooltip="Its image encoder, for I2VGen-XL Conditioning.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, pipeline: str) -> io.NodeOutput:
        with naming("LoadI2VGenXL"):
            return io.NodeOutput(*load_i2vgen_xl(pipeline))
