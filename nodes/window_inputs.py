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
SCHEDULE_TOOLTIP = (
    "Where the windows are. shifted_trimmed: they move at every step, so that no seam stays in one place, and the "
    "first and last one are no longer than they need to be: the cheapest for its smoothness; shifted: the same, all of "
    "one length; shifted_golden, shifted_random: the same, moved by the golden ratio or at random; static: the same "
    "windows at every step (Gen-L-Video), which need more overlap for the same smoothness; static_balanced: static "
    "with equal overlaps; uniform: windows of every stride 1, 2, 4 ... up to 'stride' at once, moving (AnimateDiff); "
    "batched: isolated clips side by side."
)
MERGE_TOOLTIP = (
    "How overlapping windows are averaged. pyramid: the middle of a window counts most; hann: the same with a rounder "
    "top; gaussian: a narrow bell; relative: a pyramid that is nearly 0 at the ends; squared: the pyramid squared "
    "(Gen-L-Video's paper); linear_in_overlap: a ramp over what windows share; flat: all the same (Gen-L-Video's "
    "code); earliest: no average, a frame is that of the window that begins first; random_cut, random_cut_paper: "
    "no average, one window up to a random frame, then the other (StreamingT2V)."
)


def window_inputs() -> list[io.Input]:
    """The inputs that say how a long latent is cut into windows and merged."""
    return [
        io.Int.Input(
            "window",
            default=81,
            min=1,
            max=100_000,
            tooltip="Length of a window in frames of the video: the clip length the model was made for. "
            f"{clip_lengths()}.",
        ),
        io.Int.Input(
            "overlap",
            default=12,
            min=0,
            max=100_000,
            tooltip="Frames shared by neighbouring windows. More is smoother and slower. Rounded to whole latent "
            "frames of the model (4 frames of Wan, 8 of LTX). Must be below window.",
        ),
        io.Combo.Input("schedule", options=list(SCHEDULES), default=DEFAULT_SCHEDULE, tooltip=SCHEDULE_TOOLTIP),
        io.Combo.Input("merge", options=list(MERGES), default="pyramid", tooltip=MERGE_TOOLTIP),
        io.Int.Input(
            "windows_per_forward",
            default=0,
            min=0,
            max=64,
            advanced=True,
            tooltip="At most so many windows share one forward pass of the model. 0: as many as fit in free memory, up "
            f"to {AUTOMATIC_WINDOWS_PER_FORWARD}. The result does not depend on it; 1 needs the least memory.",
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
            tooltip="Spacing of the latent frames in a window. Above 1, a window spans more of the video at a coarser "
            "rhythm; best for the first steps only, with a Co-Denoise Phase that goes back to 1.",
        ),
        io.Boolean.Input(
            "offload_latent",
            default=False,
            optional=True,
            advanced=True,
            tooltip="While sampling, keep the long latent and all that runs along it in the computer's memory; "
            "only windows go to the graphics card. For very long latents; slightly slower; samplers that add noise "
            "draw other noise.",
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
        tooltip="What a window sees that touches two prompts. auto: attention where the model can have it, else "
        "predictions. predictions: it is denoised with both and blended "
        "frame by frame, at twice the cost; embeddings, embeddings_spherical: once, with the prompts mixed in a "
        "straight line or on the sphere as the timeline says at the window's centre; one_per_window: one prompt, "
        "by Gen-L-Video's rule; attention: once, and every latent frame attends to its own prompts (Wan, LTX, "
        "Cosmos, MiniMax H3, Hunyuan 1.5).",
    )


def start_image_input() -> io.Input:
    """Which windows see the first latent frame."""
    return io.Combo.Input(
        "start_image",
        options=list(START_IMAGES),
        default="auto",
        optional=True,
        tooltip="Which windows see the first latent frame, where a start or reference image stands. every_window: it "
        "is shown in front of each window that does not hold it, and what the model says of it there is left out; one "
        "latent frame more for each window. auto: that, where the conditioning brings such an image beside the noise "
        "(Wan and Hunyuan image to video, first and last frame, VACE or Animate with a reference). first_window: only "
        "those windows that it lies in.",
    )


def isolated_input() -> io.Input:
    """Whether windows are clips of their own."""
    return io.Boolean.Input(
        "isolated_clips",
        default=False,
        optional=True,
        advanced=True,
        tooltip="For comparison: denoise the video as clips side by side that know nothing of each other, each "
        "'window' long, in place of overlapping windows. Where the length is no multiple of it the last one begins "
        "earlier, and sees the end of the one before. schedule, overlap, merge, stride, closed_loop, "
        "causal_anchor and phases then do nothing.",
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
        tooltip="Leave out windows whose prediction would hardly change since a step before, and use that one again "
        "(EasyCache, window by window): the largest change left out, as a share of the noise that is left. 0 computes "
        "everything; try 0.15, and with schedule shifted 0.1. The first 15 % of the steps and the last "
        "5 %, one at least, are always computed. An EasyCache node in front of 'model' does the same with its own "
        "values, where this is 0.",
    )


def causal_anchor_input() -> io.Input:
    """Whether windows are seen behind the latent frame before them."""
    return io.Boolean.Input(
        "causal_anchor",
        default=False,
        optional=True,
        advanced=True,
        tooltip="Show the model every window behind the latent frame before it, and throw away what it says of that: a "
        "causal VAE (Wan, Hunyuan, LTX, Cosmos) makes of a video's first frame alone its first latent frame, and "
        "models take that of every window for it. Costs one latent frame a window, and made the largest steps between "
        "frames a little smaller. Windows that see a start image in front of them keep that; windows with gaps "
        "('stride' above 1) have none.",
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
