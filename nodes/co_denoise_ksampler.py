"""CoDenoiseKSampler: a KSampler for latents longer than the model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.co_denoise.options import NoiseOptions
from ..glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions, StepOptions, sample_long
from .before_run import Wrong
from .errors import naming
from .inputs import (
    CATEGORY,
    ESSENTIAL,
    check_steps,
    fresh_noise_input,
    initial_noise_input,
    noise_inputs,
    sampler_inputs,
    seed_input,
    step_inputs,
)
from .window_inputs import (
    causal_anchor_input,
    check_windows,
    isolated_input,
    start_image_input,
    step_cache_input,
    tile_inputs,
    window_inputs,
    window_options,
)


class CoDenoiseKSampler(io.ComfyNode):
    """Everything a KSampler has, plus windows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CoDenoiseKSampler",
            display_name="Co-Denoise KSampler",
            category=f"{CATEGORY}/sampling",
            description="Samples a video longer than the model was made for: at every step overlapping windows are "
            "denoised, each with the prompt of its place on the timeline, and merged. With one prompt and "
            "a latent that fits in one window it is the core KSampler.",
            **ESSENTIAL,
            search_aliases=[
                "context windows",
                "context window",
                "context options",
                "long video",
                "gen-l-video",
                "sampler",
                "sliding window",
                "video2video",
                "v2v",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The video model."),
                seed_input(),
                *sampler_inputs(),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What to show. From MultiPromptSchedule for prompts on a timeline; any other conditioning "
                    "holds for the whole video.",
                ),
                io.Conditioning.Input(
                    "negative", tooltip="What to avoid. May come from a MultiPromptSchedule as well."
                ),
                io.Latent.Input("latent_image", tooltip="The long latent, from LongLatent or an encoded video."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent is replaced: 1 makes a new video, lower keeps the structure of the "
                    "given one.",
                ),
                *window_inputs(),
                *noise_inputs(),
                start_image_input(),
                *step_inputs(),
                isolated_input(),
                initial_noise_input(),
                fresh_noise_input(),
                step_cache_input(),
                *tile_inputs(),
                causal_anchor_input(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The denoised long latent.")],
        )

    @classmethod
    def validate_inputs(
        cls,
        window: int | None = None,
        overlap: int | None = None,
        steps: int | None = None,
        start_at_step: int | None = None,
        end_at_step: int | None = None,
    ) -> bool | Wrong:
        checked = check_windows(window, overlap)
        return checked if checked is not True else check_steps(steps, start_at_step, end_at_step)

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: list,
        negative: list,
        latent_image: dict,
        denoise: float,
        noise: str = "independent",
        shared_noise: float = 0.5,
        add_noise: bool = True,
        start_at_step: int = 0,
        end_at_step: int = 10_000,
        return_with_leftover_noise: bool = False,
        initial_noise: Any = None,
        fresh_noise_until: float = 0.0,
        **windows: Any,
    ) -> io.NodeOutput:
        with naming("CoDenoiseKSampler"):
            sampler = SamplerOptions(seed, steps, cfg, sampler_name, scheduler)
            step_options = StepOptions(start_at_step, end_at_step, add_noise, return_with_leftover_noise)
            samples = sample_long(
                model, sampler, positive, negative, latent_image, denoise, window_options(**windows),
                NoiseOptions(noise, shared_noise, fresh_noise_until), step_options, initial_noise,
            )  # fmt: skip
            return io.NodeOutput(samples)
