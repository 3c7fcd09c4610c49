"""LoadStreamingT2V: the paper's checkpoint, or the built-in one, as MODEL, CLIP, VAE and CLIP_VISION."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.streamingt2v import (
    IN_THE_CHECKPOINT,
    SMALL,
    list_bases,
    list_files,
    load_streamingt2v,
)
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY


class LoadStreamingT2V(io.ComfyNode):
    """Loads StreamingT2V."""

    FILES: ClassVar = {
        "checkpoint": "Put streaming_t2v.ckpt of PAIR/StreamingT2V, from Hugging Face, into models/checkpoints.",
        "base": "Put the folder text-to-video-ms-1.7b of damo-vilab, from Hugging Face, into models/diffusers.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadStreamingT2V",
            display_name="Load StreamingT2V",
            category=f"{CATEGORY}/loaders",
            description="StreamingT2V's checkpoint: ModelScope's text-to-video model with attention to the frames "
            "before and an anchor; or the small one that comes with this pack, which draws coloured shapes. Streaming "
            "Extend goes on with it from the frames themselves; without known frames it is the plain model, for every "
            "sampler. Needs diffusers.",
            search_aliases=["streamingt2v", "modelscope", "text to video", "cam", "apm", "demo model"],
            inputs=[
                io.Combo.Input(
                    "checkpoint", options=list_files(), default=SMALL,
                    tooltip="streaming_t2v.ckpt of PAIR/StreamingT2V (or VidXTend's file), in models/checkpoints; or "
                    "the built-in model: 64x64, 16 frames, and no download.",
                ),
                io.Combo.Input(
                    "base", options=list_bases(),
                    tooltip="Where UNet, text encoder and VAE come from if the checkpoint lacks them: "
                    "text-to-video-ms-1.7b in models/diffusers.",
                ),
                io.Boolean.Input(
                    "make_smaller", default=True, advanced=True,
                    tooltip="Write the weights beside the checkpoint once in half precision, and load those from then "
                    "on: 25.6 GB become about 6.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model; frames are the batch."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder, CLIP's."),
                io.Vae.Output(display_name="vae", tooltip="Its VAE, Stable Diffusion's."),
                io.ClipVision.Output(
                    display_name="clip_vision", tooltip="What sees the anchor: OpenCLIP ViT-H, or the built-in model's "
                    "own. Empty where the checkpoint lacks it: load it with Load CLIP Vision.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = None, base: str | None = None) -> bool | Wrong:
        if checkpoint == SMALL and base not in (None, IN_THE_CHECKPOINT):
            said = f"base is {base!r}, and {SMALL} has a base of its own. Set base to {IN_THE_CHECKPOINT!r}."
            return Wrong({"base": said})
        return True

    @classmethod
    def execute(cls, checkpoint: str, base: str, make_smaller: bool) -> io.NodeOutput:
        with naming("LoadStreamingT2V"):
            return io.NodeOutput(*load_streamingt2v(checkpoint, base, make_smaller))
