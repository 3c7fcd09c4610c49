"""MSVid2VidSigmas: the steps through which StreamingT2V takes MS-Vid2Vid-XL."""

from __future__ import annotations

from comfy_api.latest import io

from ..glv_core.streamingt2v.vid2vid_schedule import NUM_STEPS, STRENGTH, step_ratios
from .errors import naming
from .inputs import CATEGORY


class MSVid2VidSigmas(io.ComfyNode):
    """The noise levels of MS-Vid2Vid-XL's steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MSVid2VidSigmas",
            display_name="MS-Vid2Vid Sigmas",
            category=f"{CATEGORY}/sampling",
            description="The noise levels through which StreamingT2V takes MS-Vid2Vid-XL, for Refine Long Video.",
            search_aliases=["sigmas", "noise levels", "vid2vid", "streamingt2v"],
            inputs=[
                io.Float.Input(
                    "strength", default=STRENGTH, min=0.001, max=0.999, step=0.01, round=0.001,
                    tooltip="The part of the noise schedule that is gone through; 0.6 is StreamingT2V's.",
                ),
                io.Int.Input("steps", default=NUM_STEPS, min=1, max=998, tooltip="Steps; 30 is StreamingT2V's."),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="One level more than steps; the last is 0.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, strength: float, steps: int) -> io.NodeOutput:
        with naming("MSVid2VidSigmas"):
            return io.NodeOutput(step_ratios(strength, steps))
