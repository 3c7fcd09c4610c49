"""LongNoise: initial noise for long latents, for custom samplers."""

from __future__ import annotations

from comfy_api.latest import io

from ..glv_core.hosts.comfy.co_denoise.options import NoiseOptions
from ..glv_core.hosts.comfy.co_denoise.sampling import LongVideoNoise
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, noise_inputs, seed_input
from .window_inputs import check_windows, window_inputs


class LongNoise(io.ComfyNode):
    """A NOISE whose frames hang together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LongNoise",
            display_name="Long Noise",
            category=f"{CATEGORY}/latent",
            description="Initial noise for SamplerCustomAdvanced, with the kinds that CoDenoiseKSampler has. Connect "
            "the model so that window and overlap can be given in frames.",
            search_aliases=["freenoise", "noise", "random noise"],
            inputs=[
                io.Model.Input("model", tooltip="The video model: its latents say where time is and how it is packed."),
                seed_input(),
                *noise_inputs(),
                *window_inputs()[:2],
            ],
            outputs=[io.Noise.Output(display_name="noise", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(cls, window: int | None = None, overlap: int | None = None) -> bool | Wrong:
        return check_windows(window, overlap)

    @classmethod
    def execute(
        cls, model: object, seed: int, noise: str, shared_noise: float, window: int, overlap: int
    ) -> io.NodeOutput:
        with naming("LongNoise"):
            return io.NodeOutput(LongVideoNoise(model, seed, NoiseOptions(noise, shared_noise), window, overlap))
