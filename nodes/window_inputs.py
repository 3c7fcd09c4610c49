"""Inputs that say how a long latent is seen in windows and tiles, with their tooltips, checks and options; numbers of
model families come from ``video_models``.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.co_denoise import AUTOMATIC_WINDOWS_PER_FORWARD
from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.co_denoise.options import START_IMAGES, PhaseOptions, WindowOptions
from ..glv_core.prompts import AUTO, PROMPT_BLENDINGS
from ..glv_core.step_cache import StepCacheSettings
from ..glv_core.video_models import clip_lengths
from ..glv_core.window_schedules import DEFAULT_SCHEDULE, SCHEDULES
from .before_run import Wrong

Phases = io.Custom("CO_DENOISE_PHASES")
SCHEDULE_TOOLTIP = "Where the windows are at each step; the default moves them, so that no seam stays in one place."
MERGE_TOOLTIP = (
    "How overlapping windows are averaged: pyramid counts the middle of a window most, random_cut averages nothing "
    "(StreamingT2V)."
)


def window_inputs() -> list[io.Input]:
    """The inputs that say how a long latent is cut into windows and merged."""
    return [
        io.Int.Input(
            "window",
            default=81,
            min=1,
            max=100_000,
            tooltip=f"Frames of a window, the clip length the model was made for: {clip_lengths()}.",
        ),
        io.Int.Input(
            "overlap",
            default=12,
            min=0,
            max=100_000,
            tooltip="Frames shared by neighbouring windows, below window: more is smoother and slower.",
        ),
        io.Combo.Input("schedule", options=list(SCHEDULES), default=DEFAULT_SCHEDULE, tooltip=SCHEDULE_TOOLTIP),
        io.Combo.Input("merge", options=list(MERGES), default="pyramid", tooltip=MERGE_TOOLTIP),
        io.Int.Input(
            "windows_per_forward",
            default=0,
            min=0,
            max=64,
            advanced=True,
            tooltip="At most so many windows share a forward pass; 0 is as many as fit in free memory, up to "
            f"{AUTOMATIC_WINDOWS_PER_FORWARD}. The result stays the same.",
        ),
        io.Boolean.Input(
            "closed_loop",
            default=False,
            optional=True,
            tooltip="Make a video whose end flows into its beginning: windows go on at the first frame after the last. "
            "Decode it with VAE Decode Loop.",
        ),
        prompt_blending_input(),
        io.Int.Input(
            "stride",
            default=1,
            optional=True,
            min=1,
            max=64,
            advanced=True,
            tooltip="Spacing of the latent frames in a window: above 1 it spans more of the video, which suits the "
            "first steps only.",
        ),
        io.Boolean.Input(
            "offload_latent",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Keep the long latent in the computer's memory and send only windows to the graphics card: for "
            "very long latents, slightly slower.",
        ),
        Phases.Input(
            "phases",
            optional=True,
            tooltip="From Co-Denoise Phase: other windows from some point of the sampling on.",
        ),
    ]


def prompt_blending_input(advanced: bool | None = None) -> io.Input:
    """How a window that sees two prompts is denoised."""
    return io.Combo.Input(
        "prompt_blending",
        options=[AUTO, *PROMPT_BLENDINGS],
        default=AUTO,
        optional=True,
        advanced=advanced,
        tooltip="How a window that sees two prompts is denoised: auto lets each latent frame attend to its own where "
        "the model can.",
    )


def start_image_input() -> io.Input:
    """Which windows see the first latent frame."""
    return io.Combo.Input(
        "start_image",
        options=list(START_IMAGES),
        default="auto",
        optional=True,
        tooltip="Which windows are shown the first latent frame: auto is every window where the conditioning brings a "
        "start or reference image.",
    )


def isolated_input() -> io.Input:
    """Whether windows are clips of their own."""
    return io.Boolean.Input(
        "isolated_clips",
        default=False,
        optional=True,
        advanced=True,
        tooltip="For comparison: clips side by side that know nothing of each other, in place of overlapping windows.",
    )


def step_cache_input(advanced: bool | None = None) -> io.Input:
    """When windows take their prediction from the steps before."""
    return io.Float.Input(
        "step_cache",
        default=0.0,
        min=0.0,
        max=3.0,
        step=0.01,
        round=0.001,
        optional=True,
        advanced=advanced,
        tooltip="Use a window's last prediction again where it would change by less than this share of the noise that "
        "is left: try 0.15; 0 is off.",
    )


def causal_anchor_input() -> io.Input:
    """Whether windows are seen behind the latent frame before them."""
    return io.Boolean.Input(
        "causal_anchor",
        default=False,
        optional=True,
        advanced=True,
        tooltip="Show the model every window behind the latent frame before it, so that it takes none for the start "
        "of a video; costs one a window.",
    )


def tile_inputs() -> list[io.Input]:
    """Tiles for frames larger than the model's own."""
    return [
        io.Int.Input(
            "tile_width", default=0, min=0, max=16384, step=8, optional=True, advanced=True,
            tooltip="Frames are seen in tiles of so many pixels, where they are larger; 0 sees them whole. The model's "
            "memory is that of a tile.",
        ),
        io.Int.Input(
            "tile_height", default=0, min=0, max=16384, step=8, optional=True, advanced=True,
            tooltip="The same for the height.",
        ),
        io.Int.Input(
            "tile_overlap", default=128, min=0, max=16384, step=8, optional=True, advanced=True,
            tooltip="Pixels that neighbouring tiles share at least, over which they are blended.",
        ),
    ]  # fmt: skip


def check_windows(window: int | None, overlap: int | None) -> bool | Wrong:
    """For ``validate_inputs``, before anything is loaded: True, or what is wrong. A linked input is None."""
    if window is not None and overlap is not None and overlap >= window:
        said = f"overlap is {overlap} frames and window {window}; overlap must be below window. Lower overlap."
        return Wrong({"overlap": said})
    return True


def window_options(
    window: int,
    overlap: int,
    phases: tuple[PhaseOptions, ...] | None = None,
    step_cache: float = 0.0,
    **options: Any,
) -> WindowOptions:
    """The values of ``window_inputs`` as options."""
    cache = StepCacheSettings(step_cache)
    return WindowOptions(window, overlap, phases=tuple(phases or ()), step_cache=cache, **options)
