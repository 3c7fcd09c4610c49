"""WindowPlan: what co-denoising will do, before anything is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..glv_core.hosts.comfy.co_denoise.prompt_tags import schedules_of, track_of
from ..glv_core.hosts.comfy.families import family_of_vae, vae_timebase
from ..glv_core.plan_image import Plan, draw_plan, facts
from .before_run import Wrong
from .errors import naming
from .inputs import CATEGORY, video_inputs
from .window_inputs import causal_anchor_input, check_windows, isolated_input, window_inputs, window_options


class WindowPlan(io.ComfyNode):
    """An image of windows, weights and prompts, and what they cost."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WindowPlan",
            display_name="Window Plan",
            category=f"{CATEGORY}/sampling",
            description="Draws the windows of a run over the timeline, with their weights, prompts and cost. Nothing "
            "is sampled and no model is needed, so it answers at once.",
            search_aliases=["context windows visualizer", "preview windows", "context window", "cost"],
            is_output_node=True,
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of the model: how many frames a latent frame holds."),
                *video_inputs(),
                io.Int.Input("steps", default=20, min=1, max=10_000, tooltip="Number of sampling steps."),
                *[each for each in window_inputs() if each.id != "offload_latent"],
                io.Conditioning.Input(
                    "conditioning", optional=True, tooltip="From MultiPromptSchedule, to see the prompts as well."
                ),
                isolated_input(),
                causal_anchor_input(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The plan."),
                io.Int.Output(
                    display_name="evaluations",
                    tooltip="Windows through the model in the whole run; with guidance (cfg above 1) the "
                    "negative adds one for every window.",
                ),
                io.Float.Output(display_name="minimum", tooltip="Windows that the length alone needs."),
                io.Float.Output(
                    display_name="ratio",
                    tooltip="Latent frames through the model, over those that the length alone needs.",
                ),
                io.Int.Output(
                    display_name="peak_batch", tooltip="The most windows in one forward pass, if memory allows."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, window: int | None = None, overlap: int | None = None) -> bool | Wrong:
        return check_windows(window, overlap)

    @classmethod
    def execute(
        cls, vae: Any, length: int, fps: float, steps: int, conditioning: list | None = None, **windows: Any
    ) -> io.NodeOutput:
        with naming("WindowPlan"):
            timebase, family = vae_timebase(vae, length, fps), family_of_vae(vae)
            attention = family is not None and family.attends
            settings = window_options(**windows).settings(timebase.compression, attention=attention)
            schedule = next(iter(schedules_of(conditioning or [])), None)
            if schedule is not None:
                track_of(schedule, timebase.num_latent_frames, timebase.compression)
            plan = Plan(settings, timebase, schedule, steps)
            drawn = torch.from_numpy(np.asarray(draw_plan(settings, timebase, schedule, steps)).copy())
            image = drawn.float().div(255)[None]
            cost = plan.cost
        preview = ui.PreviewImage(image, cls=cls).as_dict()
        return io.NodeOutput(
            image,
            cost.evaluations,
            cost.minimum,
            cost.ratio,
            cost.peak_batch,
            ui={**preview, "text": ["\n".join(facts(plan))]},
        )
