"""Inputs that several nodes share, with their tooltips; numbers of model families come from ``video_models``."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..glv_core.co_denoise import AUTOMATIC_WINDOWS_PER_FORWARD
from ..glv_core.fusion import MERGES
from ..glv_core.hosts.comfy.co_denoise.options import START_IMAGES, PhaseOptions, WindowOptions
from ..glv_core.noise import NOISES
from ..glv_core.prompts import AUTO, PROMPT_BLENDINGS
from ..glv_core.step_cache import StepCacheSettings
from ..glv_core.video_models import clip_lengths
from ..glv_core.windows import SCHEDULES

CATEGORY = "long video"  #: the branch of ComfyUI's node menu; each node adds a leaf
Phases = io.Custom("CO_DENOISE_PHASES")


SCHEDULE_TOOLTIP = (
    "Where the windows are. shifted: they move at every step, so that no seam stays in one place, the cheapest for its "
    "smoothness; shifted_trimmed: the same, and the first and last window are no longer than they need to be, which "
    "costs less; shifted_golden, shifted_random: the same, moved by the golden ratio or at random; static: the same "
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
        io.Combo.Input("schedule", options=list(SCHEDULES), default="shifted", tooltip=SCHEDULE_TOOLTIP),
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
        io.Combo.Input(
            "prompt_blending",
            options=[AUTO, *PROMPT_BLENDINGS],
            default=AUTO,
            optional=True,
            tooltip="What a window sees that touches two prompts. auto: attention where the model can have it, else "
            "predictions. predictions: it is denoised with both and blended "
            "frame by frame, at twice the cost; embeddings, embeddings_spherical: once, with the prompts mixed in a "
            "straight line or on the sphere as the timeline says at the window's centre; one_per_window: one prompt, "
            "by Gen-L-Video's rule; attention: once, and every latent frame attends to its own prompts (Wan, LTX, "
            "Cosmos, MiniMax H3, Hunyuan 1.5).",
        ),
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


def chunk_inputs() -> list[io.Input]:
    """Chunk and overlap of StreamingSVD's refinement."""
    return [
        io.Int.Input(
            "chunk", default=38, min=1, max=100_000,
            tooltip="Frames of a chunk, as in Refine Long Video; 38 is StreamingSVD's.",
        ),
        io.Int.Input(
            "overlap", default=12, min=0, max=100_000,
            tooltip="Frames shared by neighbours; 12 is StreamingSVD's. Below chunk.",
        ),
    ]  # fmt: skip


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


def video_inputs() -> list[io.Input]:
    """Length and frame rate of a video whose latent comes from LongLatent."""
    return [
        io.Int.Input(
            "length",
            default=241,
            min=1,
            max=1_000_000,
            tooltip="Length of the video in frames. Connect the output 'length' of LongLatent.",
        ),
        fps_input("Frames per second, for times in seconds. Connect the output 'fps' of LongLatent."),
    ]


def fps_input(tooltip: str) -> io.Input:
    """The frame rate of a video."""
    return io.Float.Input("fps", default=16.0, min=0.01, max=1000.0, step=1.0, round=0.001, tooltip=tooltip)


def seed_input() -> io.Input:
    """The seed of the noise."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="The random seed of the noise over the whole length.",
    )


def sampler_inputs() -> list[io.Input]:
    """KSampler's steps, cfg, sampler_name and scheduler."""
    return [
        io.Int.Input("steps", default=20, min=1, max=10_000, tooltip="Number of sampling steps."),
        io.Float.Input(
            "cfg",
            default=5.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Classifier-free guidance: higher follows the prompts more. 1 leaves the negative prompt "
            "out and halves the time.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            tooltip="The algorithm that removes the noise; all of the host's work.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="simple",
            tooltip="How the noise levels are spread over the steps.",
        ),
    ]


def step_inputs() -> list[io.Input]:
    """KSamplerAdvanced's four inputs, for a model that makes a part of the steps."""
    return [
        io.Boolean.Input(
            "add_noise",
            default=True,
            optional=True,
            advanced=True,
            tooltip="Whether the latent gets noise first. Off for the second of two samplers that share the steps, as "
            "with Wan 2.2's models for high and low noise: its latent brings its noise.",
        ),
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=10_000,
            optional=True,
            advanced=True,
            tooltip="The step to begin with. Windows, phases and prompts are those of this place in all of 'steps', so "
            "that two samplers make what one would.",
        ),
        io.Int.Input(
            "end_at_step", default=10_000, min=0, max=10_000, optional=True, advanced=True,
            tooltip="The step to end before; more than 'steps' is all of them.",
        ),
        io.Boolean.Input(
            "return_with_leftover_noise",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Where end_at_step comes before the end: keep the noise that is left, for the sampler that goes "
            "on. Off takes it away with the last step.",
        ),
    ]  # fmt: skip


def noise_inputs() -> list[io.Input]:
    """The inputs that say what the initial noise of a long latent is."""
    return [
        io.Combo.Input(
            "noise",
            options=list(NOISES),
            default="independent",
            optional=True,
            tooltip="The initial noise. independent: as in the core KSampler; stable: a frame's noise depends on its "
            "number and the seed alone, so that a longer video starts like a shorter one; shuffled: the noise of one "
            "window again and again in another order, which keeps distant parts alike (FreeNoise); repeated: the same "
            "without shuffling; mixed: all frames share a part of their noise, see shared_noise.",
        ),
        io.Float.Input(
            "shared_noise",
            default=0.5,
            optional=True,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.001,
            advanced=True,
            tooltip="With noise 'mixed': the part of the noise's variance that all frames share. More is calmer.",
        ),
    ]


def initial_noise_input() -> io.Input:
    """A noise to begin with, in place of one by seed."""
    return io.Noise.Input(
        "initial_noise",
        optional=True,
        tooltip="The noise to begin with, in place of one by seed and 'noise': from Invert Long Latent, to make that "
        "video again or another like it; or from any node that gives NOISE.",
    )


def fresh_noise_input() -> io.Input:
    """How many of the first steps end in a noise of their own."""
    return io.Float.Input(
        "fresh_noise_until",
        default=0.0,
        optional=True,
        min=0.0,
        max=0.95,
        step=0.05,
        round=0.001,
        tooltip="Before this share of the steps of the whole noise schedule, each step is one prediction and a new "
        "noise for the whole video at the next noise level, in place of the sampler's own step; FlowLong does so until "
        "0.6. For new videos: what a given video brings is forgotten the sooner. 0: none.",
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
        "earlier, and sees the end of the one before. schedule, overlap, merge, stride, closed_loop and phases then do "
        "nothing.",
    )


def step_cache_input() -> io.Input:
    """When windows take their prediction from the steps before."""
    return io.Float.Input(
        "step_cache",
        default=0.0,
        min=0.0,
        max=3.0,
        step=0.01,
        round=0.001,
        optional=True,
        tooltip="Leave out windows whose prediction would hardly change since a step before, and use that one again "
        "(EasyCache, window by window): the largest change left out, as a share of the noise that is left. 0 computes "
        "everything; try 0.1, and with schedule shifted_trimmed 0.15 to 0.2. The first 15 % of the steps and the last "
        "5 %, one at least, are always computed. An EasyCache node in front of 'model' does the same with its own "
        "values, where this is 0.",
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


def download_input() -> io.Input:
    """Whether models of transformers may be downloaded."""
    return io.Boolean.Input(
        "allow_download",
        default=False,
        tooltip="Whether a model that is not in models/transformers may be downloaded from Hugging Face.",
    )


def given(values: dict[str, Any]) -> dict[str, Any]:
    """What a menu brings without the optional inputs that an API prompt leaves out, which the host gives as None."""
    left = {name: value for name, value in values.items() if value is not None}
    return {name: given(value) if isinstance(value, dict) else value for name, value in left.items()}


def check_windows(window: int | None, overlap: int | None) -> bool | str:
    """For ``validate_inputs``, before anything is loaded: True, or what is wrong. A linked input is None."""
    if window is not None and window < 1:
        return f"window is {window} frames; it must be at least 1."
    if overlap is not None and overlap < 0:
        return f"overlap is {overlap} frames; it must be 0 or more."
    if window is not None and overlap is not None and overlap >= window:
        return f"overlap is {overlap} frames and window {window}; overlap must be below window. Lower overlap."
    return True


def check_chunks(chunk: int | None, overlap: int | None) -> bool | str:
    """For ``validate_inputs`` of nodes with ``chunk_inputs``: True, or what is wrong. A linked input is None."""
    if chunk is not None and overlap is not None and overlap >= chunk:
        return f"overlap is {overlap} frames and chunk {chunk}; overlap must be below chunk. Lower overlap."
    return True


def check_steps(steps: int | None, start: int | None, end: int | None) -> bool | str:
    """For ``validate_inputs``, in place of the host's own check: True, or what is wrong. A linked input is None."""
    if steps is not None and not 1 <= steps <= 10_000:
        return f"steps is {steps}; it must be 1 to 10000."
    for name, value in (("start_at_step", start), ("end_at_step", end)):
        if value is not None and value < 0:
            return f"{name} is {value}; it must be 0 or more."
    if start and steps is not None and start >= steps:
        return f"start_at_step is {start} and steps {steps}, so there is no step to make. Lower start_at_step."
    if start is not None and end is not None and end <= start:
        return f"end_at_step is {end} and start_at_step {start}, so there is no step to make. Raise end_at_step."
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
