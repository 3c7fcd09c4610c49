"""Inputs that several nodes share, with their tooltips and checks; those of windows are in ``window_inputs``."""

from __future__ import annotations

from inspect import signature
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..glv_core.noise import NOISES
from .before_run import Wrong

CATEGORY = "long video"  #: the branch of ComfyUI's node menu; each node adds a leaf
#: Of the main nodes' schemas: where newer hosts list what most workflows need.
ESSENTIAL = {"essentials_category": "Video Tools"} if "essentials_category" in signature(io.Schema).parameters else {}


class _Choice(str):
    """The type of a menu's choice. In the host's older nodes menus are lists, of which it is no other type."""

    __slots__ = ()
    __eq__, __hash__ = str.__eq__, str.__hash__

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, list) and str.__ne__(self, other)


class ChoiceOutput(io.Combo.Output):
    """An output for menus, those of the host's older nodes too, which ComfyUI would refuse to link."""

    @property
    def io_type(self) -> str:
        return _Choice(super().io_type)


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


def fps_input(tooltip: str, optional: bool = False) -> io.Input:
    """The frame rate of a video."""
    return io.Float.Input(
        "fps", default=16.0, min=0.01, max=1000.0, step=1.0, round=0.001, tooltip=tooltip, optional=optional
    )


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
            tooltip="Whether the latent gets noise first; off for the second of two samplers that share the steps "
            "(Wan 2.2).",
        ),
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=10_000,
            optional=True,
            advanced=True,
            tooltip="The step to begin with, counted in all of 'steps', so that two samplers make what one would.",
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
            tooltip="The initial noise: independent is the core KSampler's, stable keeps a video's start when it gets "
            "longer, the others keep distant parts alike.",
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
        tooltip="The noise to begin with, in place of one by seed: from Invert Long Latent, or any NOISE.",
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
        tooltip="Until this share of the steps every step puts new noise on the prediction, for new videos (FlowLong: "
        "0.6); 0 is off.",
    )


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


def check_chunks(chunk: int | None, overlap: int | None) -> bool | Wrong:
    """For ``validate_inputs`` of nodes with ``chunk_inputs``: True, or what is wrong. A linked input is None."""
    if chunk is not None and overlap is not None and overlap >= chunk:
        said = f"overlap is {overlap} frames and chunk {chunk}; overlap must be below chunk. Lower overlap."
        return Wrong({"overlap": said})
    return True


def check_steps(steps: int | None, start: int | None, end: int | None) -> bool | Wrong:
    """For ``validate_inputs``, beside the ranges: True, or what is wrong. A linked input is None."""
    if start and steps is not None and start >= steps:
        said = f"start_at_step is {start} and steps {steps}, so there is no step to make. Lower start_at_step."
        return Wrong({"start_at_step": said})
    if start is not None and end is not None and end <= start:
        said = f"end_at_step is {end} and start_at_step {start}, so there is no step to make. Raise end_at_step."
        return Wrong({"end_at_step": said})
    return True
