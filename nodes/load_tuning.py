"""LoadTuning: what Tune on Video wrote, on a model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.tuning.files import find_tuned, list_tuned
from ..glv_core.hosts.comfy.tuning.on_model import put_on
from ..glv_core.tuning import read_tuned
from ..glv_core.tuning.identifiers import LENGTHS
from .errors import naming
from .inputs import CATEGORY


class LoadTuning(io.ComfyNode):
    """A file of Tune on Video, with its clip identifiers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadTuning",
            display_name="Load Tuning",
            category=f"{CATEGORY}/tuning",
            description="Puts a file of Tune on Video on the model that it was tuned on. ComfyUI's LoRA "
            "loaders read the low-rank weights alone; this node reads the clip identifiers too, and refuses files of "
            "other models.",
            search_aliases=["tuned", "lora", "one-shot", "gen-l-video", "load lora"],
            inputs=[
                io.Model.Input("model", tooltip="The model that was tuned."),
                io.Combo.Input(
                    "file", options=list_tuned(), tooltip="A file of Tune on Video; those come first, the newest above."
                ),
                io.Float.Input(
                    "strength", default=1.0, min=-10.0, max=10.0, step=0.05,
                    tooltip="How much the tuning counts. Lower shows less of the video and more of the model; 0 is the "
                    "model as it was.",
                ),
                io.Combo.Input(
                    "identifiers", options=list(LENGTHS), default=LENGTHS[0],
                    tooltip="Clip identifiers in a video of another length: stretched over it, repeated from the "
                    "beginning, or off.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The tuned model.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, file: str, strength: float, identifiers: str) -> io.NodeOutput:
        with naming("LoadTuning"):
            return io.NodeOutput(put_on(model, read_tuned(find_tuned(file)), strength, identifiers))
