"""DepthConcat: depth for Stable Diffusion 2 depth, which core loads and cannot feed."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.editing.depth_channel import NORMALISE
from ..glv_core.hosts.comfy.conditioning.depth import with_depth
from .errors import naming
from .inputs import CATEGORY


class DepthConcat(io.ComfyNode):
    """A MODEL that sees the depth of every frame beside its latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DepthConcat",
            display_name="Depth Concat (SD 2)",
            category=f"{CATEGORY}/conditioning",
            description="Shows Stable Diffusion 2 depth the depth of every frame, in the channel beside its latent. "
            "ComfyUI loads this model and takes it for an inpainting model; with this node it runs. Windows of "
            "co-denoising see the depth of their own frames.",
            search_aliases=["sd2 depth", "depth2img", "stable diffusion 2 depth", "512-depth-ema"],
            inputs=[
                io.Model.Input("model", tooltip="Stable Diffusion 2 depth, from Load Checkpoint."),
                io.MultiType.Input(
                    "depth", types=[io.Video, io.Image],
                    tooltip="Depth of any size, near bright, as from Control Preprocess (depth): a frame for every "
                    "frame of the latent, or one for all.",
                ),
                io.Combo.Input(
                    "normalise", options=list(NORMALISE), default=NORMALISE[0],
                    tooltip="Which farthest and nearest become -1 and 1: those of each frame, as the model was "
                    "trained, or of the whole clip.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with its depth, for any sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, depth: Any, normalise: str) -> io.NodeOutput:
        with naming("DepthConcat"):
            return io.NodeOutput(with_depth(model, depth, normalise))
