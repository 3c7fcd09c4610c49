"""CoDenoisePhase: other windows from some point of the sampling on."""

from __future__ import annotations

from comfy_api.latest import io

from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.co_denoise.options import UNCHANGED, PhaseOptions
from ..glv_core.prompts import PROMPT_BLENDINGS
from ..glv_core.window_schedules import SCHEDULES
from .errors import naming
from .inputs import CATEGORY
from .window_inputs import MERGE_TOOLTIP, SCHEDULE_TOOLTIP, Phases


class CoDenoisePhase(io.ComfyNode):
    """A change of the window plan along the sampling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CoDenoisePhase",
            display_name="Co-Denoise Phase",
            category=f"{CATEGORY}/sampling",
            description="Changes the windows during sampling: for example spaced windows (stride 2) while the noise is "
            "high, so that all of the video agrees on its content, then neighbouring frames; or much overlap or long "
            "windows at first and little later. Chain several through 'earlier'.",
            search_aliases=["context schedule", "window schedule", "dilated windows"],
            inputs=[
                io.Float.Input(
                    "start",
                    default=0.3,
                    min=0.0,
                    max=0.99,
                    step=0.05,
                    round=0.0001,
                    tooltip="When the phase begins, as a share of the steps of the whole noise schedule: 0.3 is after "
                    "30 %.",
                ),
                io.Combo.Input(
                    "schedule", options=[UNCHANGED, *SCHEDULES], default=UNCHANGED, tooltip=SCHEDULE_TOOLTIP
                ),
                io.Int.Input(
                    "overlap",
                    default=-1,
                    min=-1,
                    max=100_000,
                    tooltip="Frames shared by neighbouring windows from then on; -1 leaves it unchanged.",
                ),
                io.Int.Input(
                    "stride",
                    default=0,
                    min=0,
                    max=64,
                    tooltip="Spacing of the latent frames in a window from then on; 0 leaves it unchanged.",
                ),
                io.Combo.Input("merge", options=[UNCHANGED, *MERGES], default=UNCHANGED, tooltip=MERGE_TOOLTIP),
                Phases.Input("earlier", optional=True, tooltip="Phases that begin at other times."),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=100_000,
                    optional=True,
                    tooltip="Length of a window in frames from then on, above 'overlap'; 0 leaves it unchanged. Memory "
                    "is that of the longest.",
                ),
                io.Combo.Input(
                    "prompt_blending",
                    options=[UNCHANGED, *PROMPT_BLENDINGS],
                    default=UNCHANGED,
                    optional=True,
                    tooltip="How a window that sees two prompts is denoised from then on, as in the sampler.",
                ),
            ],
            outputs=[
                Phases.Output(display_name="phases", tooltip="For the input 'phases' of a sampler or model node.")
            ],
        )

    @classmethod
    def execute(
        cls,
        start: float,
        schedule: str,
        overlap: int,
        stride: int,
        merge: str,
        earlier: tuple[PhaseOptions, ...] | None = None,
        window: int = 0,
        prompt_blending: str = UNCHANGED,
    ) -> io.NodeOutput:
        with naming("CoDenoisePhase"):
            phase = PhaseOptions.of_inputs(start, schedule, overlap, stride, merge, window, prompt_blending)
            if any(other.start == start for other in earlier or ()):
                raise ValueError(f"start is {start}, and so is that of a phase in 'earlier'. Give each its own start.")
            return io.NodeOutput((*(earlier or ()), phase))
