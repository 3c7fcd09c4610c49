"""TuneOnVideo: one-shot tuning."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.tuning.files import check_name
from ..glv_core.hosts.comfy.tuning.layers import CHOICES
from ..glv_core.hosts.comfy.tuning.tune import PRECISIONS, TuningSettings, tune_on_video
from ..glv_core.tuning import KINDS, TuningOptions
from ..glv_core.tuning.presets import LOW_RANK, METHODS
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, ChoiceOutput
from .notes import told


class TuneOnVideo(io.ComfyNode):
    """Low-rank weights of a model's attention, trained on windows of one video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TuneOnVideo",
            display_name="Tune on Video",
            category=f"{CATEGORY}/tuning",
            description="Teaches a video model one video (one-shot tuning of Gen-L-Video): low-rank weights of its "
            "attention are trained on windows of it. The tuned model makes what it saw in other scenes, or inverts and "
            "edits that video better. Writes a LoRA that ComfyUI reads. Goes on where it was stopped.",
            search_aliases=["train", "lora", "one-shot", "tune-a-video", "gen-l-video", "finetune", "dreambooth"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The video model to teach; itself it stays as it is."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the video shows, in words, with a name for what is new: 'a zwx star on grass'. From "
                    "MultiPromptSchedule where it changes.",
                ),
                io.Conditioning.Input(
                    "empty", tooltip="An empty text, with the controls of positive if it has any; seen in text_drop of "
                    "the windows.",
                ),
                io.Latent.Input("latent_image", tooltip="The video, from Encode Long Video."),
                io.String.Input(
                    "name", default="tuned", tooltip="Of the file, in output/loras; settings and steps are added to it."
                ),
                io.Int.Input(
                    "steps", default=200, min=1, max=100_000,
                    tooltip="Of training. With more of them a finished run goes on from its end.",
                ),
                io.Float.Input(
                    "learning_rate", default=1e-4, min=1e-7, max=0.1, step=1e-6, round=False,
                    tooltip="Higher learns faster and forgets more of the rest.",
                ),
                io.Int.Input("rank", default=16, min=1, max=256, tooltip="How much the low-rank weights hold."),
                io.Int.Input(
                    "window", default=81, min=1, max=16384,
                    tooltip="Frames of a window: what the model was trained on, as for the sampler.",
                ),
                io.Int.Input(
                    "stride", default=20, min=1, max=16384, tooltip="Frames between the starts of two windows."
                ),
                io.Combo.Input(
                    "method", options=list(METHODS), default=LOW_RANK,
                    tooltip="low_rank: a LoRA of any model. gen_l_video: an image model (SD 1.5) gets layers "
                    "over time, which are trained with its queries.",
                ),
                io.Combo.Input(
                    "layers", options=list(CHOICES), default=CHOICES[0],
                    tooltip="Which layers low_rank trains: all of the attention, those with the feed-forward layers, "
                    "those along the video or to the text, or queries.",
                ),
                io.Combo.Input(
                    "identifiers", options=list(KINDS), default=KINDS[0],
                    tooltip="Clip identifiers tell a window its place in the video: one for each (bank, as the paper), "
                    "or one that changes along it.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False,
                    tooltip="Of what is drawn: windows, noise, first weights.",
                ),
                io.Conditioning.Input(
                    "keep", optional=True,
                    tooltip="Prompts that shall go on giving what they gave; several by Conditioning Combine or a "
                    "schedule. See keep_strength.",
                ),
                io.Float.Input(
                    "keep_strength", default=0.5, min=0.0, max=100.0, step=0.05, optional=True,
                    tooltip="How much keep counts, if it is connected; 1 as much as the video, 0 not at all. Each step "
                    "takes twice as long with it.",
                ),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=64, optional=True, advanced=True,
                    tooltip="Windows in a step, one after the other: more are slower, not larger in memory.",
                ),
                io.Float.Input(
                    "text_drop", default=0.1, min=0.0, max=0.95, step=0.05, optional=True, advanced=True,
                    tooltip="Share of windows that are seen with the empty text, for guidance.",
                ),
                io.Float.Input(
                    "clip_drop", default=0.4, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                    tooltip="Share of windows that are seen without their clip identifier.",
                ),
                io.Combo.Input(
                    "precision", options=list(PRECISIONS), default=PRECISIONS[0], optional=True, advanced=True,
                    tooltip="What the model computes in: auto is bf16 on a GPU that has it. The trained weights are "
                    "fp32.",
                ),
                io.Boolean.Input(
                    "gradient_checkpointing", default=True, optional=True, advanced=True,
                    tooltip="Saves memory: blocks compute again on the way back, a third slower.",
                ),
                io.Int.Input(
                    "preview_every", default=20, min=0, max=10_000, optional=True, advanced=True,
                    tooltip="Steps between two previews of the prompt below the loss curve; 0 shows neither.",
                ),
                io.Float.Input(
                    "ema_decay", default=0.98, min=0.0, max=0.9999, step=0.001, round=False, optional=True,
                    advanced=True,
                    tooltip="Of the average of the weights, which is what is kept: 0.98 averages about 50 steps, 0 "
                    "keeps the last.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The tuned model, for samplers and inversion."),
                ChoiceOutput(display_name="file", tooltip="For the menus of Load Tuning and ComfyUI's LoRA loaders."),
                io.Custom("LOSS_MAP").Output(display_name="loss", tooltip="For ComfyUI's Plot Loss Graph."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, name: str | None = None, window: int | None = None, stride: int | None = None
    ) -> bool | Wrong:
        if name is not None:
            try:
                check_name(name)
            except ValueError as error:
                return Wrong.of(error, "name")
        if window is not None and stride is not None and stride > window:
            return Wrong({"stride": f"stride is {stride} and window {window}: frames between would be in no window. "
                          "Lower stride."})  # fmt: skip
        return True

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list,
        empty: list,
        latent_image: dict,
        name: str,
        steps: int,
        learning_rate: float,
        rank: int,
        window: int,
        stride: int,
        method: str,
        layers: str,
        identifiers: str,
        seed: int,
        keep: list | None = None,
        keep_strength: float = 0.5,
        batch_size: int = 1,
        text_drop: float = 0.1,
        clip_drop: float = 0.4,
        precision: str = "auto",
        gradient_checkpointing: bool = True,
        preview_every: int = 20,
        ema_decay: float = 0.98,
    ) -> io.NodeOutput:
        with naming("TuneOnVideo"):
            options = TuningOptions(
                steps, window, stride, batch_size, learning_rate, rank, text_drop, clip_drop, identifiers,
                keep_strength, ema_decay, seed,
            )  # fmt: skip
            settings = TuningSettings(name, options, layers, method, precision, gradient_checkpointing, preview_every)
            made = tune_on_video(model, positive, empty, latent_image, settings, keep)
            return io.NodeOutput(made.model, made.file, {"loss": made.losses}, ui=told(made.report))
