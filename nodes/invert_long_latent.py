"""InvertLongLatent: a video's own noise."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..glv_core.editing.inversion import steps_of_strength
from ..glv_core.hosts.comfy.editing.inversion import InversionOptions, invert_long
from .before_run import Wrong, lacks
from .errors import naming
from .inputs import CATEGORY
from .window_inputs import (
    causal_anchor_input,
    check_windows,
    isolated_input,
    start_image_input,
    window_inputs,
    window_options,
)

_NO_NEGATIVE = "cfg is {:g}, which needs a negative conditioning. Connect one, or set cfg to 1."


class InvertLongLatent(io.ComfyNode):
    """Deterministic inversion of a long latent, with windows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InvertLongLatent",
            display_name="Invert Long Latent",
            category=f"{CATEGORY}/sampling",
            description="Finds the noise from which a model makes a given video again (DDIM inversion with overlapping "
            "windows, as Gen-L-Video begins its edits). Sampled with other prompts, controls or masks, that noise "
            "gives a video which moves and is laid out like the first. Give the sampler the same windows, steps, "
            "scheduler and seed, and euler or ddim.",
            search_aliases=[
                "ddim inversion", "unsampler", "null text inversion", "video editing", "video2video", "v2v",
                "gen-l-video",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that will sample, with the same patches."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the model is told while it inverts, with the sampler's controls, masks and images; "
                    "the video's own prompt is most exact.",
                ),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="Only with cfg other than 1: the negative conditioning."
                ),
                io.Latent.Input("latent_image", tooltip="The video, from Encode Long Video."),
                io.Int.Input(
                    "steps", default=20, min=1, max=10_000,
                    tooltip="Steps of the sampler, all of them: 'strength' says how many are inverted.",
                ),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="simple",
                    tooltip="How the noise levels are spread over the steps, as in the sampler.",
                ),
                io.Float.Input(
                    "strength", default=1.0, min=0.01, max=1.0, step=0.01, round=0.001,
                    tooltip="The last part of the steps that is inverted and made again: 1 is all, for new content; "
                    "0.2 is for another style.",
                ),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01, advanced=True,
                    tooltip="Guidance of the inversion. 1 is none, and the usual choice: guidance makes it inexact.",
                ),
                io.Int.Input(
                    "refinements", default=1, min=0, max=20, advanced=True,
                    tooltip="How often each step is refined, each at the price of another evaluation; 0 is plain DDIM "
                    "inversion.",
                ),
                io.Int.Input(
                    "schedule_seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, advanced=True,
                    tooltip="Only for schedules and merges that draw: the seed of the sampler.",
                ),
                *window_inputs(),
                start_image_input(),
                isolated_input(),
                causal_anchor_input(),
            ],
            outputs=[
                io.Noise.Output(
                    display_name="noise",
                    tooltip="For initial_noise of CoDenoiseKSampler, or noise of a custom sampler.",
                ),
                io.Latent.Output(
                    display_name="latent", tooltip="The video as it came, for latent_image of the sampler."
                ),
                io.Int.Output(display_name="start_at_step", tooltip="The step to begin with, for the sampler."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls,
        window: int | None = None,
        overlap: int | None = None,
        steps: int | None = None,
        strength: float | None = None,
        cfg: float | None = None,
    ) -> bool | Wrong:
        if cfg not in (None, 1) and lacks("negative"):
            return Wrong({"negative": _NO_NEGATIVE.format(cfg)})
        if steps is not None and strength is not None:
            try:
                steps_of_strength(steps, strength)
            except ValueError as error:
                return Wrong.of(error, "strength")
        return check_windows(window, overlap)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: list,
        latent_image: dict,
        steps: int,
        scheduler: str,
        strength: float,
        cfg: float,
        refinements: int,
        schedule_seed: int,
        negative: list | None = None,
        **windows: Any,
    ) -> io.NodeOutput:
        with naming("InvertLongLatent"):
            if negative is None and cfg != 1:
                raise ValueError(_NO_NEGATIVE.format(cfg))
            options = InversionOptions(steps, scheduler, cfg, strength, refinements, schedule_seed)
            noise, start = invert_long(
                model, options, positive, positive if negative is None else negative, latent_image,
                window_options(**windows),
            )  # fmt: skip
            return io.NodeOutput(noise, latent_image, start)
