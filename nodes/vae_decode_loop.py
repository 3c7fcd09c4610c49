"""VAEDecodeLoop: decodes a closed loop so that its end flows into its beginning."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..glv_core.hosts.comfy.video.closed_loop import decode_loop
from .errors import naming
from .inputs import CATEGORY


class VAEDecodeLoop(io.ComfyNode):
    """VAE decoding of a latent that has no beginning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAEDecodeLoop",
            display_name="VAE Decode Loop",
            category=f"{CATEGORY}/latent",
            description="Decodes a latent made with closed_loop. A causal video VAE gives the first latent frame one "
            "frame and starts without a past, which would show at the loop point; here the end of the loop is decoded "
            "before its beginning, so that every latent frame has its full frames and a past.",
            search_aliases=["seamless loop", "vae decode", "closed loop", "loop"],
            inputs=[
                io.Latent.Input("samples", tooltip="A latent made with closed_loop."),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                io.Int.Input(
                    "lead",
                    default=8,
                    min=1,
                    max=1000,
                    advanced=True,
                    tooltip="Latent frames of the end that are decoded before the beginning and dropped again. More is "
                    "closer to an endless loop, up to how far the VAE looks back.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The frames of one round of the loop.")],
        )

    @classmethod
    def execute(cls, samples: dict, vae: Any, lead: int) -> io.NodeOutput:
        with naming("VAEDecodeLoop"):
            images: torch.Tensor = decode_loop(vae, samples["samples"], lead)
            return io.NodeOutput(images)
