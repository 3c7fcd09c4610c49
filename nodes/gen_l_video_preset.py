"""GenLVideoPreset: the values of Gen-L-Video's own configurations."""

from __future__ import annotations

from comfy_api.latest import io

from ..glv_core.editing.presets import PRESETS
from .inputs import CATEGORY, ChoiceOutput


class GenLVideoPreset(io.ComfyNode):
    """One of its configurations, an output for each value."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GenLVideoPreset",
            display_name="Gen-L-Video Preset",
            category=f"{CATEGORY}/sampling",
            description="The values of the six configurations that Gen-L-Video ships, and of one that its code has "
            "beside them, to be connected to the inputs that their help names, so that a graph does what the paper's "
            "code does. For its image models: Stable Diffusion with frames as batch. Video models have their own "
            "window, steps and cfg.",
            search_aliases=["gen-l-video", "faithful", "settings", "paper"],
            inputs=[
                io.Combo.Input(
                    "preset", options=list(PRESETS),
                    tooltip="The mode, and the example that its values are from.",
                ),
            ],
            outputs=[
                io.Int.Output(display_name="window", tooltip="Frames of a window."),
                io.Int.Output(display_name="overlap", tooltip="Frames that neighbouring windows share."),
                io.Combo.Output(display_name="schedule", tooltip="static."),
                io.Combo.Output(display_name="merge", tooltip="flat."),
                io.Combo.Output(display_name="prompt_blending", tooltip="one_per_window."),
                io.Int.Output(display_name="steps", tooltip="Sampling steps, and those of the inversion."),
                io.Float.Output(display_name="cfg", tooltip="Guidance of the sampler; the inversion has 1."),
                ChoiceOutput(display_name="sampler_name", tooltip="ddim."),
                ChoiceOutput(display_name="scheduler", tooltip="ddim_uniform."),
                io.Int.Output(display_name="seed", tooltip="The seed."),
                io.Float.Output(
                    display_name="strength", tooltip="For Invert Long Latent: the part of the steps that is inverted."
                ),
                io.Int.Output(display_name="start_at_step", tooltip="The step that the sampler begins with."),
                io.Boolean.Output(
                    display_name="inverted",
                    tooltip="Whether it begins with the inverted source video; else with plain noise.",
                ),
                io.Float.Output(display_name="control_strength", tooltip="Strength of the ControlNet or adapter."),
                io.Int.Output(
                    display_name="select_every", tooltip="Every how many frames of the source one is taken."
                ),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, preset: str) -> io.NodeOutput:
        chosen = PRESETS[preset]
        values = (
            chosen.window, chosen.overlap, chosen.schedule, chosen.merge, chosen.prompt_blending, chosen.steps,
            chosen.guidance, chosen.sampler, chosen.scheduler, chosen.seed, chosen.strength, chosen.first_step,
            chosen.inverted, chosen.control, chosen.every,
        )  # fmt: skip
        return io.NodeOutput(*values)
