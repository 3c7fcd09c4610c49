"""LoadMSVid2Vid: the model that refines StreamingT2V's videos."""

from __future__ import annotations

from typing import ClassVar

from comfy_api.latest import io

from ..glv_core.hosts.comfy.loading.vid2vid import list_files, load_vid2vid
from ..glv_core.streamingt2v.vid2vid_schedule import GUIDANCE_RESCALE
from .errors import naming
from .inputs import CATEGORY


class LoadMSVid2Vid(io.ComfyNode):
    """Loads MS-Vid2Vid-XL."""

    FILES: ClassVar = {
        "unet_name": "Put non_ema_0035000.pth of ali-vilab/MS-Vid2Vid-XL, from Hugging Face, into "
        "models/diffusion_models.",
    }

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadMSVid2Vid",
            display_name="Load MS-Vid2Vid-XL",
            category=f"{CATEGORY}/loaders",
            description="ModelScope's video-to-video model, which makes 1280 x 720 of small videos, for Refine Long "
            "Video. Its text encoder is OpenCLIP ViT-H and its VAE Stable Diffusion's. Needs diffusers.",
            search_aliases=["modelscope", "video to video", "streamingt2v", "enhancer"],
            inputs=[
                io.Combo.Input(
                    "unet_name", options=list_files(),
                    tooltip="non_ema_0035000.pth of damo/Video-to-Video (also ali-vilab/MS-Vid2Vid-XL), in "
                    "models/diffusion_models.",
                ),
                io.Float.Input(
                    "guidance_rescale", default=GUIDANCE_RESCALE, min=0.0, max=1.0, step=0.05, round=0.001,
                    tooltip="How much of the contrast that guidance adds is taken back; 0 is none.",
                ),
                io.Boolean.Input(
                    "start_as_released", default=True, advanced=True,
                    tooltip="On: sampling starts at 0.97 times the noise that the model expects, as StreamingT2V's "
                    "code does. Off: at all of it.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model; frames are the batch.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, unet_name: str, guidance_rescale: float, start_as_released: bool) -> io.NodeOutput:
        with naming("LoadMSVid2Vid"):
            return io.NodeOutput(load_vid2vid(unet_name, start_as_released, guidance_rescale))
