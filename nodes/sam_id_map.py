"""SamIdMap: all regions of every frame as one colour image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.video.frame_source import frame_source
from ..glv_core.hosts.comfy.vision.grounding_models import sam_names, sam_segmenter
from ..glv_core.hosts.comfy.vision.id_maps import make_id_maps
from .errors import naming
from .inputs import CATEGORY, download_input

SCALES = ("0 to 1", "0 to 255")


class SamIdMap(io.ComfyNode):
    """Segments everything, and paints the regions by number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SamIdMap",
            display_name="SAM Id Map",
            category=f"{CATEGORY}/mask",
            description="All regions that SAM finds in each frame, painted by number: red = number % 256, green = "
            "number // 256, the largest is 1, smaller ones lie on larger ones. The control image of EditAnything's "
            "ControlNets, which Gen-L-Video's inpainting uses.",
            search_aliases=["segment anything", "sam", "edit anything", "segmentation map"],
            inputs=[
                io.MultiType.Input(
                    "images", types=[io.Video, io.Image],
                    tooltip="A video, from LoadLongVideo for constant memory, or frames.",
                ),
                io.Combo.Input(
                    "segmenter", options=sam_names(),
                    tooltip="A SAM model: a folder in models/transformers, or a public model that must be there or be "
                    "downloaded.",
                ),
                io.Int.Input(
                    "points_per_side", default=32, min=1, max=128,
                    tooltip="SAM is asked at a grid of so many by so many points. More finds smaller regions, and "
                    "takes longer.",
                ),
                io.Float.Input(
                    "quality", default=0.88, min=0.0, max=1.0, step=0.01, advanced=True,
                    tooltip="How good SAM must think a region's mask is.",
                ),
                io.Float.Input(
                    "stability", default=0.95, min=0.0, max=1.0, step=0.01, advanced=True,
                    tooltip="How little a region's mask may change when its threshold moves.",
                ),
                io.Combo.Input(
                    "scale", options=list(SCALES), default=SCALES[0],
                    tooltip="0 to 1: an image as all others. 0 to 255: the numbers themselves, as EditAnything's "
                    "ControlNets were fed by Gen-L-Video.",
                ),
                download_input(),
                io.String.Input(
                    "segmenter_id", default="", optional=True, advanced=True,
                    tooltip="Another SAM in place of the one above: a Hugging Face id, or a folder in "
                    "models/transformers.",
                ),
            ],
            outputs=[io.Image.Output(display_name="id_map", tooltip="One image a frame; black without regions.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        images: Any,
        segmenter: str,
        points_per_side: int,
        quality: float,
        stability: float,
        scale: str,
        allow_download: bool,
        segmenter_id: str = "",
    ) -> io.NodeOutput:
        with naming("SamIdMap"):
            source = frame_source(images)
            sam = sam_segmenter(segmenter_id.strip() or segmenter, allow_download, source.height * source.width)
            maps = make_id_maps(source, sam, points_per_side, quality, stability, scale == SCALES[0])
        return io.NodeOutput(maps)
