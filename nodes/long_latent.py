"""LongLatent: an empty latent of any length for the model at hand."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.families import empty_latent, latent_shape, sound_latent_shape, vae_timebase
from ..glv_core.limits import check_memory
from ..glv_core.timeline import UNITS, frames_in
from ..glv_core.video_models import LTX, MINIMAX_H3, WAN, frame_rates
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL, fps_input
from .notes import told


class LongLatent(io.ComfyNode):
    """Reads channels, compression and dimensions from the VAE, so that it fits any model family."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LongLatent",
            display_name="Long Latent",
            category=f"{CATEGORY}/latent",
            description="An empty latent for a long video, for the model family that the VAE belongs to: Wan, Hunyuan, "
            "LTX and others, or frames as batch for image models such as SD 1.5; for LTX-2 and MiniMax H3 with sound "
            "beside the video.",
            **ESSENTIAL,
            search_aliases=["empty latent video", "long video", "empty latent"],
            inputs=[
                io.Vae.Input(
                    "vae", tooltip="The VAE of the model: channels, spatial and temporal compression come from it."
                ),
                io.Int.Input("width", default=832, min=16, max=16384, step=8, tooltip="Width in pixels."),
                io.Int.Input("height", default=480, min=16, max=16384, step=8, tooltip="Height in pixels."),
                io.Float.Input(
                    "length",
                    default=241.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=1.0,
                    round=0.001,
                    tooltip="Length of the video, in frames or seconds, rounded up to what the VAE can hold: Wan makes "
                    f"{WAN.lengths} frames, LTX {LTX.lengths}, MiniMax H3 {MINIMAX_H3.lengths}.",
                ),
                io.Combo.Input("unit", options=list(UNITS), default=UNITS[0], tooltip="What length is measured in."),
                fps_input(
                    f"Frames per second of the video: {frame_rates()}; MiniMax H3 makes {MINIMAX_H3.fps} and no other."
                ),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=64, advanced=True, tooltip="How many videos to make at once."
                ),
                io.Vae.Input(
                    "audio_vae",
                    optional=True,
                    tooltip="LTX-2's audio VAE, for a latent that holds sound beside the video; MiniMax H3's always "
                    "does.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The empty latent."),
                io.Int.Output(
                    display_name="length", tooltip="Frames of the video it decodes to; for MultiPromptSchedule."
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second, as given."),
            ],
        )

    @classmethod
    def execute(
        cls, vae: Any, width: int, height: int, length: float, unit: str, fps: float, batch_size: int,
        audio_vae: Any = None,
    ) -> io.NodeOutput:  # fmt: skip
        with naming("LongLatent"):
            frames = frames_in(length, unit, fps)
            if frames < 1:
                raise ValueError(
                    f"length is {length:g} {unit}, which is {frames} frames at {fps:g} fps. Give at least 1 frame."
                )
            timebase = vae_timebase(vae, frames, fps)
            sound_shape = sound_latent_shape(vae, audio_vae, timebase, batch_size)
            shape = latent_shape(vae, timebase, width, height, batch_size)
            what = f"the latent of {timebase.num_frames} frames of {width} x {height} pixels"
            check_memory(what, 4 * math.prod(shape), "Lower length, width or height.")
        made = timebase.num_frames
        rounded = "" if made == frames else f"{frames} frames are rounded up to {made}, the next that fit."
        return io.NodeOutput(empty_latent(vae, shape, timebase, sound_shape), made, fps, ui=told(rounded))
