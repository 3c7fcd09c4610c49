"""ChunkKeyFrames: the first frame of each chunk of a long video."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.conditioning.i2vgen_xl import first_frames
from ..glv_core.streamingt2v.lengths import LENGTH_POLICIES, Chunking
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, check_chunks, chunk_inputs


class ChunkKeyFrames(io.ComfyNode):
    """Takes the frames that chunks begin with out of a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ChunkKeyFrames",
            display_name="Chunk Key Frames",
            category=f"{CATEGORY}/video",
            description="The first frame of each chunk of a video, which StreamingSVD refines first, as one short "
            "clip; each chunk then goes from its own, through I2VGen-XL Conditioning.",
            search_aliases=["key frames", "every nth frame", "streamingsvd"],
            inputs=[
                io.MultiType.Input(
                    "video", types=[io.Video, io.Image],
                    tooltip="The video, from LoadLongVideo for constant memory, or its frames.",
                ),
                *chunk_inputs(),
                io.Combo.Input(
                    "length_policy", options=list(LENGTH_POLICIES), default="trim",
                    tooltip="As in Refine Long Video. cover: the last chunk begins earlier; trim: what whole chunks "
                    "leave over has none.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="One image for each chunk.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, chunk: int | None = None, overlap: int | None = None) -> bool | Wrong:
        return check_chunks(chunk, overlap)

    @classmethod
    def execute(cls, video: Any, chunk: int, overlap: int, length_policy: str) -> io.NodeOutput:
        with naming("ChunkKeyFrames"):
            return io.NodeOutput(first_frames(video, Chunking(chunk, overlap), length_policy))
