"""From a prompt schedule to frames: one call of a diffusers pipeline, co-denoised."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ...co_denoise import CoDenoiseSettings
from ...noise import NoiseSettings, long_noise
from ...prompts import PromptSchedule, PromptTrack
from ...timeline import Compression, Timebase
from .decode import decode_loop
from .denoisers import denoisers_of, latent_shape, spatial_scale
from .forward import ProgressCallback, co_denoising, track_of
from .held import Held
from .identified import Identified
from .vace import VaceHint, encode_hint, hinted, takes_hints

OUTPUT_TYPES = ("frames", "latent")


def timebase_for(pipeline: Any, num_frames: int, fps: float) -> Timebase:
    """The clock of a video of ``num_frames`` made by this pipeline; it knows the compression of the pipeline's VAE."""
    return Timebase(num_frames, fps, Compression.causal(getattr(pipeline, "vae_scale_factor_temporal", 1)))


def generate(
    pipeline: Any,
    prompts: PromptSchedule | PromptTrack,
    timebase: Timebase,
    settings: CoDenoiseSettings,
    *,
    negative_prompt: str = "",
    guidance_scale: float = 5.0,
    num_inference_steps: int = 30,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    latents: torch.Tensor | None = None,
    sigmas: Sequence[float] | None = None,
    output_type: str = "frames",
    progress: ProgressCallback | None = None,
    scheduler: Any = None,
    noise: NoiseSettings | None = None,
    held: Held | None = None,
    hint: VaceHint | None = None,
    identified: Identified | None = None,
) -> torch.Tensor:
    """Make a video of any length with a pipeline whose model is short.

    The pipeline is called once, with its own scheduler, guidance and decoder; only its denoiser is cut into windows.
    A video that fits in one window and has one prompt comes out bit for bit as from the plain pipeline.

    Args:
        pipeline: a diffusers text-to-video pipeline, see ``SUPPORTED``. It is as before when this returns or raises.
        prompts: a schedule over ``timebase.num_frames`` frames, or what the latent frames see of a longer one.
        timebase: see ``timebase_for``. The latent holds all its frames; frames decoded beyond are dropped.
        settings: windows and merge, in latent frames.
        negative_prompt: what to avoid; the same over the whole video.
        guidance_scale: classifier-free guidance; at 1 or below the negative prompt is left out.
        num_inference_steps: sampling steps; ignored with ``sigmas``.
        seed: seed of the noise, on the CPU.
        height, width: in pixels; None leaves them to the pipeline, or to ``latents``.
        latents: the initial noise ``1 c t h w``, in place of noise from the seed.
        sigmas: the noise levels to use, falling, the last one 0. They are used as given, without the scheduler's shift.
        output_type: "frames" or "latent".
        progress: told after every forward pass; an exception it raises ends the run.
        scheduler: used in place of the pipeline's own for this run.
        noise: the kind of initial noise; None and ``independent`` are the pipeline's own.
        held: latent frames at the beginning that are known.
        hint: what VACE's branch reads; None with such a pipeline is one that says nothing, as in its own default.
        identified: clip identifiers, see ``load_tuned``. Only predictions with a prompt are told of them; a prompt that
            is the same as the negative one is taken for it.

    Returns:
        Frames ``t h w c``, float32 in 0..1 on the CPU; or with "latent" the normalised latents ``1 c t h w``. A closed
        loop has as many frames as all its latent frames hold (Wan: 4 each), whatever the timebase says.

    Raises:
        UnsupportedDenoiserError: the pipeline's denoiser cannot be co-denoised.
        ValueError: an argument is out of range or does not fit the others.
    """
    _check(pipeline, timebase, output_type, latents, sigmas)
    if hint is not None:
        _check_hint(pipeline, timebase, hint, height, width)
    guided = guidance_scale > 1
    track = track_of(prompts, timebase)
    embeds, negative = encode_prompts(pipeline, track.prompts, negative_prompt if guided else None)
    if latents is None and noise is not None and noise.kind != "independent":
        latents = _noise(pipeline, timebase, noise, seed, height, width, embeds[0].dtype)
    if latents is not None:
        scale = spatial_scale(pipeline)
        height, width = height or latents.shape[3] * scale, width or latents.shape[4] * scale
    if sigmas is not None:
        num_inference_steps = len(sigmas) - 1
    compression = timebase.compression
    looped = settings.closed_loop and compression.ratio > 1 and output_type == "frames"
    arguments = {
        "num_frames": compression.num_frames(timebase.num_latent_frames),
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "latents": latents,
        "prompt_embeds": torch.cat(embeds, dim=1),
        "negative_prompt_embeds": negative.repeat(1, len(embeds), 1) if guided else None,
        "output_type": "latent" if output_type == "latent" or looped else "pt",
        "return_dict": False,
        "height": height,
        "width": width,
    }
    with ExitStack() as stack:
        if scheduler is not None:
            stack.enter_context(_swapped(pipeline, "scheduler", scheduler))
        if sigmas is not None:
            stack.enter_context(_fixed_sigmas(pipeline.scheduler, sigmas))
        if progress is not None:
            stack.enter_context(_swapped(pipeline, "_progress_bar_config", {"disable": True}))
        if takes_hints(pipeline):
            if hint is None:
                hint = VaceHint(_neutral_hint(pipeline, timebase, height, width))
            arguments["conditioning_scale"] = float(hint.strength)
            stack.enter_context(hinted(pipeline, hint.latents))
        length = embeds[0].shape[1]
        stack.enter_context(
            co_denoising(pipeline, settings, timebase, track, length, progress, held, identified, negative)
        )
        [video] = pipeline(**{name: value for name, value in arguments.items() if value is not None})
    if output_type == "latent":
        return video
    if looped:
        return decode_loop(pipeline, video, compression.ratio)
    return video[0, : timebase.num_frames].permute(0, 2, 3, 1).float().cpu()


def _noise(
    pipeline: Any,
    timebase: Timebase,
    settings: NoiseSettings,
    seed: int,
    height: int | None,
    width: int | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Initial noise ``1 c t h w`` for a pipeline, in the type that it makes its own latents in."""
    if height is None or width is None:
        raise ValueError("height and width are needed for noise of this kind; give both.")
    shape = latent_shape(pipeline, timebase.num_latent_frames, height, width)
    made = long_noise(torch.empty(shape, dtype=torch.float32), seed, settings)
    # Wan's pipelines keep latents in float32; those with a UNet hand them to it as they are.
    return made.to(pipeline._execution_device, torch.float32 if hasattr(pipeline, "transformer") else dtype)


def _check(
    pipeline: Any,
    timebase: Timebase,
    output_type: str,
    latents: torch.Tensor | None,
    sigmas: Sequence[float] | None,
) -> None:
    """Everything that can be wrong before the first forward pass and is not checked elsewhere."""
    denoisers_of(pipeline)
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"Unknown output_type {output_type!r}. Known: {', '.join(OUTPUT_TYPES)}.")
    compression = timebase_for(pipeline, timebase.num_frames, timebase.fps).compression
    if compression != timebase.compression:
        raise ValueError(
            f"The pipeline has {compression.ratio} frames in a latent frame and the timebase "
            f"{timebase.compression.ratio}. Make the timebase with timebase_for(pipeline, ...)."
        )
    if latents is not None and (
        latents.ndim != 5 or latents.shape[0] != 1 or latents.shape[2] != timebase.num_latent_frames
    ):
        raise ValueError(
            f"latents have the shape {tuple(latents.shape)}; expected (1, c, {timebase.num_latent_frames}, h, w) for "
            f"{timebase.num_frames} frames."
        )
    if sigmas is not None and (len(sigmas) < 2 or sigmas[-1] != 0 or any(a <= b for a, b in pairwise(sigmas))):
        raise ValueError("sigmas must be at least two falling noise levels, the last one 0.")


def _check_hint(pipeline: Any, timebase: Timebase, hint: VaceHint, height: int | None, width: int | None) -> None:
    if not takes_hints(pipeline):
        raise ValueError(f"A hint was given, which {type(pipeline).__name__} cannot read. Use a WanVACEPipeline.")
    if not 0 <= hint.strength < float("inf"):
        raise ValueError(f"The strength of the hint is {hint.strength}; it must be 0 or more.")
    scale = spatial_scale(pipeline)
    shape, length = tuple(hint.latents.shape), timebase.num_latent_frames
    sides = [side and side // scale for side in (height, width)]
    if len(shape) != 5 or shape[2] != length or any(s and s != h for s, h in zip(sides, shape[3:], strict=True)):
        raise ValueError(
            f"The hint has the shape {shape}; expected (1, c, {length}, {sides[0] or 'h'}, {sides[1] or 'w'}) for "
            f"{timebase.num_frames} frames."
        )


def _neutral_hint(pipeline: Any, timebase: Timebase, height: int | None, width: int | None) -> torch.Tensor:
    """A hint that says nothing, in the size of a pipeline's run."""
    defaults = inspect.signature(type(pipeline).__call__).parameters
    sides = [side or defaults[name].default for side, name in ((height, "height"), (width, "width"))]
    return encode_hint(pipeline, timebase.num_latent_frames, *sides)


def encode_prompts(
    pipeline: Any, prompts: Sequence[str], negative_prompt: str | None
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """The embeddings ``1 l d`` of every prompt and of the negative one, by the pipeline's own text encoder."""
    wanted = inspect.signature(pipeline.encode_prompt).parameters
    arguments: dict[str, Any] = {
        "device": pipeline._execution_device,
        "num_images_per_prompt": 1,
        "num_videos_per_prompt": 1,
    }
    length = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    if length is not None:
        # The pipeline's call and its encode_prompt have different defaults; what counts is the call's.
        arguments["max_sequence_length"] = length.default
    arguments = {name: value for name, value in arguments.items() if name in wanted}

    def encode(text: str) -> torch.Tensor:
        with torch.no_grad():
            return pipeline.encode_prompt(prompt=text, do_classifier_free_guidance=False, **arguments)[0]

    embeds = [encode(prompt) for prompt in prompts]
    negative = None if negative_prompt is None else encode(negative_prompt)
    shapes = {tuple(each.shape) for each in [*embeds, *([] if negative is None else [negative])]}
    if len(shapes) > 1:
        raise ValueError(
            f"{type(pipeline).__name__} encodes prompts to different lengths {sorted(shapes)}; they must be equal."
        )
    return embeds, negative


@contextmanager
def _swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute with another value for a while."""
    missing = object()
    before = getattr(holder, name, missing)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(holder, name)
        else:
            setattr(holder, name, before)


@contextmanager
def _fixed_sigmas(scheduler: Any, sigmas: Sequence[float]) -> Iterator[None]:
    """While open, ``scheduler.set_timesteps`` sets these noise levels, whatever it is asked for."""
    name = type(scheduler).__name__
    original = scheduler.set_timesteps
    if "sigmas" not in inspect.signature(original).parameters:
        raise ValueError(f"The scheduler {name} does not take sigmas. Use for example FlowMatchEulerDiscreteScheduler.")

    def set_timesteps(*_: Any, device: Any = None, **__: Any) -> None:
        with ExitStack() as stack:
            if hasattr(scheduler, "set_shift"):
                stack.callback(scheduler.set_shift, scheduler.shift)
                scheduler.set_shift(1.0)
            original(sigmas=np.array(sigmas[:-1]), device=device)
        if len(scheduler.sigmas) != len(sigmas) or not np.allclose(scheduler.sigmas.cpu(), sigmas, atol=1e-5):
            raise ValueError(
                f"The scheduler {name} would change the sigmas. Pass one without shift: flow_shift 1, no dynamic "
                "shifting, no Karras, exponential or beta sigmas."
            )

    scheduler.set_timesteps = set_timesteps
    try:
        yield
    finally:
        del scheduler.set_timesteps
