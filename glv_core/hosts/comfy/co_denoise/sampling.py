"""The host's KSampler on a long latent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from itertools import pairwise
from typing import Any

import comfy.sample
import comfy.utils
import torch

from ....co_denoise import Stage
from ....noise import NoiseSettings
from ....timeline import Place
from ..families import family_of, map_streams, streams_of, time_dim_of
from .options import NoiseOptions, WindowOptions
from .packed import PackedLatent
from .patch import patch_model
from .progress import WindowProgress


@dataclass(frozen=True)
class SamplerOptions:
    """What KSampler is told. ``levels``: noise levels in place of the scheduler's, one more than ``steps``."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    levels: tuple[float, ...] = ()

    def at_levels(self, sigmas: torch.Tensor | None) -> SamplerOptions:
        """The same at the noise levels of a SIGMAS; None leaves the scheduler's.

        Raises:
            ValueError: there are fewer than two levels, or they do not fall to 0.
        """
        if sigmas is None:
            return self
        levels = tuple(sigmas.tolist())
        if len(levels) < 2 or levels[-1] != 0 or any(later >= level for level, later in pairwise(levels)):
            raise ValueError(
                f"sigmas is {', '.join(f'{level:g}' for level in levels) or 'empty'}; it must have two levels or more, "
                "each below the one before, and the last 0. Connect all levels of a scheduler."
            )
        return replace(self, steps=len(levels) - 1, scheduler="", levels=levels)


@dataclass(frozen=True)
class StepOptions:
    """Which of a sampler's steps are made, as KSamplerAdvanced is told.

    ``start`` and ``end``: from which step and up to which one. ``add_noise``: whether the latent gets noise first.
    ``leftover_noise``: whether a run that ends early leaves the noise of its last step.
    """

    start: int = 0
    end: int = 10_000
    add_noise: bool = True
    leftover_noise: bool = False

    def stage(self, steps: int, denoise: float) -> Stage:
        """The steps as a part of the whole noise schedule, of which ``denoise`` below 1 makes the last part."""
        if denoise <= 0:  # KSampler then makes no step
            return Stage(0, 0, 1)
        total = steps if denoise > 0.9999 else int(steps / denoise)
        first = total - steps + min(self.start, steps)
        return Stage(first, max(0, min(self.end, steps) - min(self.start, steps)), total)


_HOSTS_NOISE, _ALL_STEPS = NoiseOptions(), StepOptions()


class LongVideoNoise:
    """A NOISE as custom samplers take it: ``seed``, and ``generate_noise(latent)``."""

    def __init__(self, model: Any, seed: int, options: NoiseOptions, window_frames: int, overlap_frames: int) -> None:
        self.seed = seed
        self._model = model.model
        self._options = options
        compression = family_of(model.model).compression
        window = compression.whole_clip(compression.num_latent_frames(window_frames))
        self._settings = options.settings(window, min(compression.latent_span(overlap_frames), window - 1))

    def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
        """Noise of the latent's shape, on the CPU."""
        return make_noise(latent["samples"], self.seed, self._settings, self._model, latent)


def make_noise(samples: Any, seed: int, settings: NoiseSettings, model: Any, latent: dict[str, Any]) -> Any:
    """Initial noise of the shape of ``samples``, nested or not; ``independent`` is the host's own."""
    if settings.kind == "independent":
        return comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))

    def noise(streams: list[torch.Tensor]) -> list[torch.Tensor]:
        shapes, time_dim = [stream.shape for stream in streams], time_dim_of(model.latent_format)
        packed = PackedLatent.of(family_of(model), shapes, time_dim)
        return packed.noise([stream.cpu() for stream in streams], seed % 2**63, settings)

    return map_streams(samples, noise)


def samples_for(model: Any, latent: dict[str, Any], combined: bool = False) -> Any:
    """A LATENT's samples, made to fit the model where they are empty, as the host's KSampler does.

    Raises:
        ValueError: there are none, or they were made for another model family; or they combine several streams and
            ``combined`` does not say that they may.
    """
    samples = latent["samples"]
    family, latent_format = family_of(model.model), model.model.latent_format
    name = type(latent_format).__name__
    remedy = "Make it with LongLatent and the VAE that belongs to this model."
    if not getattr(samples, "is_nested", False):
        if samples.shape[0] == 0 or 0 in samples.shape:
            raise ValueError(f"latent_image is empty: its shape is {list(samples.shape)}. {remedy}")
        axes = 5 if time_dim_of(latent_format) == 2 else 4
        if samples.ndim != axes:
            raise ValueError(
                f"latent_image has {samples.ndim} axes {list(samples.shape)}, but this model's latents ({name}) have "
                f"{axes}. {remedy}"
            )
        fit = comfy.sample.fix_empty_latent_channels
        ratios = [latent.get(f"downscale_ratio_{axis}") for axis in ("spacial", "temporal")]
        samples = fit(model, samples, *ratios[: len(signature(fit).parameters) - 2])  # older hosts: no ratio of time
    streams = streams_of(samples)
    if len(streams) > 1 and not combined:
        raise ValueError(
            f"latent_image combines {family.combined}, which this node does not support yet. Use a latent of video "
            "alone, or CoDenoiseKSampler."
        )
    channels = family.stream_channels[: len(streams)] or (latent_format.latent_channels,)
    if len(streams) > max(1, len(family.stream_channels)):
        raise ValueError(
            f"latent_image combines {len(streams)} streams, but this model's latents ({name}) are video alone. {remedy}"
        )
    for stream, wanted in zip(streams, channels, strict=True):
        if stream.shape[1] != wanted:
            raise ValueError(
                f"latent_image has {stream.shape[1]} channels, but this model's latents ({name}) have {wanted}: it was "
                f"made for another model family. {remedy}"
            )
    return samples


def sample_long(
    model: Any,
    sampler: SamplerOptions,
    positive: list,
    negative: list,
    latent: dict[str, Any],
    denoise: float,
    options: WindowOptions,
    noise_options: NoiseOptions = _HOSTS_NOISE,
    step_options: StepOptions = _ALL_STEPS,
    initial_noise: Any = None,
    sigmas: torch.Tensor | None = None,
    place: Place | None = None,
) -> dict[str, Any]:
    """ComfyUI's KSampler with co-denoising; the arguments are KSampler's and KSamplerAdvanced's, and options for the
    windows and the noise. ``initial_noise`` is a NOISE to begin with, in place of one of ``noise_options``. ``sigmas``
    are the noise levels in place of the scheduler's, and steps and denoise say nothing. ``place``: see ``patch_model``.

    Returns:
        The LATENT, as KSampler returns it. With one prompt, no closed loop and independent
        noise, a latent that fits in one window is bit-identical to KSampler's.

    Raises:
        ValueError: the latent belongs to another model family, or options or prompts do not fit it; or there is a noise
            to begin with and none is to be added.
    """
    if initial_noise is not None and not step_options.add_noise:
        raise ValueError(
            "initial_noise is connected and add_noise is off. Switch add_noise on, or disconnect the noise."
        )
    if initial_noise is not None and noise_options.fresh_until > 0:
        raise ValueError(
            f"initial_noise is connected and fresh_noise_until is {noise_options.fresh_until:g}, which puts other "
            "noise in its place after one step. Set fresh_noise_until to 0, or disconnect the noise."
        )
    samples = samples_for(model, latent, combined=True)
    time_dim = time_dim_of(model.model.latent_format)
    settings = options.settings(family_of(model.model).compression, sampler.seed)
    stage = step_options.stage(sampler.steps, denoise) if sigmas is None else Stage(0, len(sigmas) - 1, len(sigmas) - 1)
    if initial_noise is not None:
        noise = initial_noise.generate_noise({**latent, "samples": samples})
    elif step_options.add_noise:
        first = settings.each(stage)[0]
        noise_settings = noise_options.settings(first.window, first.overlap)
        noise = make_noise(samples, sampler.seed, noise_settings, model.model, latent)
    else:
        noise = map_streams(samples, lambda streams: [torch.zeros_like(each, device="cpu") for each in streams])
    guided = family_of(model.model).guided
    guides = 0 if guided is None else len(guided([extras for _, extras in positive], samples.shape))
    with WindowProgress(settings.window_counts(samples.shape[time_dim] - guides, stage), model) as progress:
        known = stage if sigmas is None else None
        patched = patch_model(model, options, progress.on_windows, place, known, fresh=noise_options)
        denoised = comfy.sample.sample(
            patched, noise, sampler.steps, sampler.cfg, sampler.sampler_name, sampler.scheduler, positive, negative,
            samples, denoise=denoise, noise_mask=latent.get("noise_mask"), callback=progress.on_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=sampler.seed,
            disable_noise=not step_options.add_noise, start_step=step_options.start, last_step=step_options.end,
            force_full_denoise=not step_options.leftover_noise, sigmas=sigmas,
        )  # fmt: skip
    # What an empty latent says of the VAE it is meant for; the host's KSampler drops it as well.
    kept = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio_")}
    return {**kept, "samples": denoised}
