"""CoDenoiseModel: MODEL in, MODEL out."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.co_denoise.options import NoiseOptions
from ..glv_core.hosts.comfy.co_denoise.patch import patch_model
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, fresh_noise_input, noise_inputs
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


class CoDenoiseModel(io.ComfyNode):
    """Co-denoising for custom samplers and guiders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CoDenoiseModel",
            display_name="Co-Denoise Model",
            category=f"{CATEGORY}/sampling",
            description="Makes a model denoise long latents by overlapping windows, with any sampler, custom sampler "
            "or guider. Prompts of a MultiPromptSchedule reach each window. With one prompt, a latent that "
            "fits in one window is sampled as without this node.",
            search_aliases=[
                "context windows",
                "context window",
                "context options",
                "long video",
                "gen-l-video",
                "sliding window",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The video model. Use it with any sampler afterwards."),
                *window_inputs(),
                *noise_inputs(),
                start_image_input(),
                isolated_input(),
                fresh_noise_input(),
                step_cache_input(),
                *tile_inputs(),
                causal_anchor_input(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, with co-denoising.")],
        )

    @classmethod
    def validate_inputs(cls, window: int | None = None, overlap: int | None = None) -> bool | Wrong:
        return check_windows(window, overlap)

    @classmethod
    def execute(
        cls,
        model: Any,
        noise: str = "independent",
        shared_noise: float = 0.5,
        fresh_noise_until: float = 0.0,
        **windows: Any,
    ) -> io.NodeOutput:
        with naming("CoDenoiseModel"):
            noise_options = NoiseOptions(noise, shared_noise, fresh_noise_until)
            return io.NodeOutput(
                patch_model(model, window_options(**windows), noise=noise_options, fresh=noise_options)
            )
