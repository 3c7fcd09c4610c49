"""LoadVideoPipeline: a diffusers-format folder to MODEL, CLIP, VAE."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.pipeline_folder import (
    BRANCHES,
    DEMO,
    check_pipeline,
    find_folder,
    list_folders,
    load_pipeline,
)
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL


class LoadVideoPipeline(io.ComfyNode):
    """Loads a folder in diffusers format, or the demo model that comes with the pack."""

    FILES: ClassVar = {
        "pipeline": "Put the folder that holds its model_index.json, from Hugging Face, into models/diffusers.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadVideoPipeline",
            display_name="Load Video Pipeline",
            category=f"{CATEGORY}/loaders",
            description="Loads a video model in diffusers format from models/diffusers as MODEL, CLIP and VAE that all "
            "core nodes accept; or the small demo model that comes with this pack, which draws coloured shapes and "
            "needs no download. Formats: Wan 2.1 with VACE, and either transformer of Wan 2.2 A14B.",
            **ESSENTIAL,
            search_aliases=["diffusers loader", "wan diffusers", "demo model"],
            inputs=[
                io.Combo.Input(
                    "pipeline",
                    options=list_folders(),
                    default=DEMO,
                    tooltip="A folder of models/diffusers with a model_index.json, or the built-in demo model, alone "
                    "or with a VACE branch.",
                ),
                io.Combo.Input(
                    "transformer",
                    options=["transformer", "transformer_2"],
                    default="transformer",
                    advanced=True,
                    tooltip="Which transformer becomes MODEL. Only Wan 2.2 A14B has two: transformer for high noise, "
                    "transformer_2 for low.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The diffusion model."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder."),
                io.Vae.Output(display_name="vae", tooltip="The VAE."),
            ],
        )

    @classmethod
    def execute(cls, pipeline: str, transformer: str) -> io.NodeOutput:
        with naming("LoadVideoPipeline"):
            folder = find_folder(pipeline)
            check_pipeline(folder, transformer)
            return io.NodeOutput(*load_pipeline(folder, transformer, BRANCHES.get(pipeline, "")))
