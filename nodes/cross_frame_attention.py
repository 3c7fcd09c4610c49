"""CrossFrameAttention: MODEL and CONTROL_NET of an image model, whose frames look at each other."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.editing import RULES
from ..glv_core.hosts.comfy.editing.cross_frame import OFF, CrossFrame, tie_control, tie_model
from .errors import naming
from .inputs import CATEGORY


class CrossFrameAttention(io.ComfyNode):
    """Ties the frames of a window together in an image model and its ControlNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CrossFrameAttention",
            display_name="Cross-Frame Attention",
            category=f"{CATEGORY}/sampling",
            description="Makes the frames of a video hang together in an image model (SD 1.5, SD 2, SDXL) that is "
            "given them as a batch: the self-attention of each looks at other frames of its window. No training.",
            search_aliases=["gen-l-video", "follow-your-pose", "text2video-zero", "video to video", "flicker"],
            inputs=[
                io.Model.Input("model", tooltip="The image model: SD 1.5, SD 2 or SDXL."),
                io.Combo.Input(
                    "rule",
                    options=[*RULES, OFF],
                    default="middle_and_inward_neighbour",
                    tooltip="Which frames of the window the self-attention of a frame looks at, in place of itself; "
                    "off is itself, as trained.",
                ),
                io.Boolean.Input(
                    "pooled_norm",
                    default=False,
                    tooltip="Norms take mean and variance of all frames of the window together, as Gen-L-Video's do, "
                    "in place of each frame's.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="A ControlNet for the model, to be tied in the same way. Connect it before Apply "
                    "ControlNet. A T2I-Adapter comes out as it is.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, with its frames tied."),
                io.ControlNet.Output(
                    display_name="control_net",
                    tooltip="The ControlNet, with its frames tied; nothing where none is connected.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, rule: str, pooled_norm: bool, control_net: Any = None) -> io.NodeOutput:
        with naming("CrossFrameAttention"):
            ties = CrossFrame(rule, pooled_norm)
            tied = tie_model(model, ties)
            return io.NodeOutput(tied, None if control_net is None else tie_control(control_net, ties))
