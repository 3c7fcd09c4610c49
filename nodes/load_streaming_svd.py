"""LoadStreamingSVD: the image-to-video follower of StreamingT2V as MODEL, CLIP_VISION and VAE."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.streaming_svd import list_files, load_streaming_svd
from .errors import naming
from .inputs import CATEGORY


class LoadStreamingSVD(io.ComfyNode):
    """Loads StreamingSVD."""

    FILES: ClassVar = {
        "checkpoint": "Put model.safetensors of PAIR/StreamingSVD, from Hugging Face, into models/checkpoints.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadStreamingSVD",
            display_name="Load StreamingSVD",
            category=f"{CATEGORY}/loaders",
            description="StreamingSVD: Stable Video Diffusion with attention to the frames before. Streaming Extend "
            "goes on with it from the frames themselves; without known frames it is Stable Video Diffusion, for every "
            "sampler.",
            search_aliases=["streamingsvd", "streamingt2v", "svd", "stable video diffusion", "image to video", "cam"],
            inputs=[
                io.Combo.Input(
                    "checkpoint", options=list_files(),
                    tooltip="model.safetensors of PAIR/StreamingSVD, in models/checkpoints.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model; frames are the batch."),
                io.ClipVision.Output(
                    display_name="clip_vision", tooltip="Its image encoder, OpenCLIP ViT-H, for "
                    "SVD_img2vid_Conditioning and Streaming Extend; empty where the file lacks it: load it with Load "
                    "CLIP Vision.",
                ),
                io.Vae.Output(
                    display_name="vae", tooltip="Its VAE, Stable Video Diffusion's; empty where the file lacks it: "
                    "load it with Load VAE.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        with naming("LoadStreamingSVD"):
            return io.NodeOutput(*load_streaming_svd(checkpoint))
