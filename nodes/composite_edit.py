"""CompositeEdit: an edited video, put back into its original inside a mask."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..glv_core.hosts.comfy.video.composite_edit import composite_edit
from .errors import naming
from .inputs import CATEGORY


class CompositeEdit(io.ComfyNode):
    """The edit inside a mask, the original's own pixels outside."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CompositeEdit",
            display_name="Composite Edit",
            category=f"{CATEGORY}/mask",
            description="Puts an edited video back into the original: the edit inside the mask, and outside of it the "
            "original's own pixels, bit for bit. A video in a file is composed when it is saved or encoded, so that "
            "memory does not grow with its length.",
            search_aliases=["composite", "inpaint composite", "paste back", "mask blend", "restore background"],
            inputs=[
                io.MultiType.Input(
                    "original", types=[io.Video, io.Image],
                    tooltip="The video that was edited, from LoadLongVideo for constant memory, or its frames.",
                ),
                io.MultiType.Input(
                    "edited", types=[io.Video, io.Image, io.Latent],
                    tooltip="The edit: a video, frames, or a latent, which is decoded as it is needed.",
                ),
                io.Mask.Input(
                    "mask", tooltip="Where the edit is shown: one mask a frame, as from GroundedMask, or one for all."
                ),
                io.Int.Input(
                    "grow", default=0, min=-256, max=256,
                    tooltip="Grow the mask by so many pixels of the original; below 0 shrink it. Unless it is 0 a soft "
                    "mask is cut at 0.5 first.",
                ),
                io.Int.Input(
                    "feather", default=0, min=0, max=256, tooltip="Soften the edge over so many pixels to either side."
                ),
                io.Vae.Input("vae", optional=True, tooltip="The VAE of the model, where edited is a latent."),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video", tooltip="The composite of a video, with its frame rate and sound."
                ),
                io.Image.Output(display_name="images", tooltip="The composite of frames."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, original: Any, edited: Any, mask: torch.Tensor, grow: int, feather: int, vae: Any = None
    ) -> io.NodeOutput:
        with naming("CompositeEdit"):
            result = composite_edit(original, edited, mask, vae, grow, feather)
        if isinstance(result, torch.Tensor):
            return io.NodeOutput(ExecutionBlocker("CompositeEdit: original is frames. Use its output images."), result)
        return io.NodeOutput(result, ExecutionBlocker("CompositeEdit: original is a VIDEO. Use its output video."))
