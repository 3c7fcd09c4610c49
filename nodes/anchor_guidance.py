"""AnchorGuidance: how much StreamingT2V follows its anchor, apart from its text."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.streaming.anchor_guidance import guide_by_anchor
from .errors import naming
from .inputs import CATEGORY


class AnchorGuidance(io.ComfyNode):
    """Guidance by text and by anchor apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AnchorGuidance",
            display_name="Anchor Guidance",
            category=f"{CATEGORY}/sampling",
            description="How much StreamingT2V follows its anchor, apart from how much it follows the text (cfg): a "
            "third prediction, with the text and without the anchor, stands between the two (equation of the paper). "
            "With both alike it is plain guidance.",
            search_aliases=["streamingt2v", "guidance", "anchor", "cfg"],
            inputs=[
                io.Model.Input("model", tooltip="StreamingT2V."),
                io.Float.Input(
                    "anchor_weight", default=7.5, min=0.0, max=100.0, step=0.1, round=0.01,
                    tooltip="The anchor's guidance; cfg of the sampler is the text's. StreamingT2V has 7.5 for both.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with this guidance.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, anchor_weight: float) -> io.NodeOutput:
        with naming("AnchorGuidance"):
            return io.NodeOutput(guide_by_anchor(model, anchor_weight))
