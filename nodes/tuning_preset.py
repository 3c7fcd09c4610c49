"""TuningPreset: values for a tuning on one video."""

from __future__ import annotations

from dataclasses import astuple

from comfy_api.latest import io

from ..glv_core.tuning.presets import PRESETS
from .inputs import CATEGORY


class TuningPreset(io.ComfyNode):
    """Values of a tuning, an output for each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TuningPreset",
            display_name="Tuning Preset",
            category=f"{CATEGORY}/tuning",
            description="Values for a tuning on one video, to be connected to the inputs of the same names: those of "
            "Gen-L-Video's one-shot tuning of Stable Diffusion, and some for low-rank tuning of video models.",
            search_aliases=["gen-l-video", "one-shot tuning", "lora", "training settings"],
            inputs=[
                io.Combo.Input(
                    "preset", options=list(PRESETS), tooltip="The model that is tuned, or whose values they are."
                ),
            ],
            outputs=[
                io.Int.Output(display_name="steps", tooltip="Steps of the optimiser."),
                io.Int.Output(display_name="batch_size", tooltip="Windows in a step."),
                io.Float.Output(display_name="learning_rate", tooltip="The learning rate, the same in every step."),
                io.Int.Output(display_name="rank", tooltip="Rank of low-rank weights and of clip identifiers."),
                io.Int.Output(display_name="window", tooltip="Frames of a window."),
                io.Int.Output(display_name="stride", tooltip="Frames from the start of a window to that of the next."),
                io.Float.Output(display_name="text_drop", tooltip="How often a window is seen with an empty text."),
                io.Float.Output(
                    display_name="clip_drop", tooltip="How often a window is seen without its clip identifier."
                ),
                io.Combo.Output(
                    display_name="method",
                    tooltip="gen_l_video makes a video model of an image model; low_rank trains a LoRA.",
                ),
                io.Combo.Output(
                    display_name="identifiers",
                    tooltip="How windows are told apart: bank has weights for each, continuous weights for all.",
                ),
                io.Float.Output(display_name="ema_decay", tooltip="Of the average of the weights that is kept."),
            ],
        )

    @classmethod
    def execute(cls, preset: str) -> io.NodeOutput:
        return io.NodeOutput(*astuple(PRESETS[preset]))
