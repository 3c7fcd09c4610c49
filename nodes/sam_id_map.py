"""SamIdMap: all regions of every frame as one colour picture."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..glv_core.hosts.comfy.video.frame_source import frame_source
from ..glv_core.hosts.comfy.video.memory_mapped import memory_mapped_zeros
from ..glv_core.hosts.comfy.vision.grounding_models import sam_names, sam_segmenter
from ..glv_core.perception.id_map import id_map, painting_order
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
            "number // 256, the largest is 1, smaller ones lie on larger ones. The control picture of EditAnything's "
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
                    tooltip="0 to 1: a picture as all others. 0 to 255: the numbers themselves, as EditAnything's "
                    "ControlNets were fed by Gen-L-Video.",
                ),
                download_input(),
                io.String.Input(
                    "segmenter_id", default="", optional=True, advanced=True,
                    tooltip="Another SAM in place of the one above: a Hugging Face id, or a folder in "
                    "models/transformers.",
                ),
            ],
            outputs=[io.Image.Output(display_name="id_map", tooltip="One picture a frame; black without regions.")],
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
            pixels = source.height * source.width
            sam = sam_segmenter(segmenter_id.strip() or segmenter, allow_download, pixels)
            maps = memory_mapped_zeros((source.num_frames, source.height, source.width, 3))
            steps = points_per_side**2
            bar = comfy.utils.ProgressBar(source.num_frames * steps)
            done = 0

            def on_prompts(points: int, _: int) -> None:
                comfy.model_management.throw_exception_if_processing_interrupted()
                bar.update_absolute(done * steps + points)

            for batch in source.batches(4):
                for frame in batch:
                    regions = sam.regions(frame, points_per_side, quality, stability, on_prompts)
                    masks = regions.masks(painting_order(regions.areas))
                    maps[done] = id_map(masks, source.height, source.width) / (255 if scale == SCALES[0] else 1)
                    done += 1
        return io.NodeOutput(maps)
