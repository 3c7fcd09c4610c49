"""The host's KSampler on a long latent."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.utils
import torch

from .families import time_dim_of
from .handler import CoDenoiseHandler, WindowOptions
from .patch import patch_model
from .progress import WindowProgress


def check_latent(model: Any, latent: dict[str, Any]) -> None:
    """Check that a LATENT belongs to the model's family.

    Raises:
        ValueError: it is empty, combined with audio, or has other channels or axes than the model's latents.
    """
    samples = latent["samples"]
    latent_format = model.model.latent_format
    name = type(latent_format).__name__
    remedy = "Make it with LongLatent and the VAE that belongs to this model."
    if getattr(samples, "is_nested", False):
        raise ValueError("latent_image combines audio and video, which co-denoising does not support yet.")
    if samples.shape[0] == 0 or 0 in samples.shape:
        raise ValueError(f"latent_image is empty: its shape is {list(samples.shape)}. {remedy}")
    axes = 5 if time_dim_of(latent_format) == 2 else 4
    if samples.ndim != axes:
        raise ValueError(
            f"latent_image has {samples.ndim} axes {list(samples.shape)}, but this model's latents ({name}) have "
            f"{axes}. {remedy}"
        )
    if samples.shape[1] != latent_format.latent_channels:
        raise ValueError(
            f"latent_image has {samples.shape[1]} channels, but this model's latents ({name}) have "
            f"{latent_format.latent_channels}: it was made for another model family. {remedy}"
        )


def sample_long(
    model: Any,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: list,
    negative: list,
    latent: dict[str, Any],
    denoise: float,
    options: WindowOptions,
) -> dict[str, Any]:
    """ComfyUI's KSampler with co-denoising; the arguments are KSampler's, and ``options`` for the windows.

    Returns:
        The LATENT, as KSampler returns it. Where it fits in one window it is bit-identical to KSampler's.

    Raises:
        ValueError: the latent belongs to another model family, or options or prompts do not fit it.
    """
    check_latent(model, latent)
    samples = latent["samples"]
    length = samples.shape[time_dim_of(model.model.latent_format)]
    settings = options.settings(CoDenoiseHandler(options).timebase(model.model, samples.shape))
    progress = WindowProgress([len(settings.windows(length, step)) for step in range(max(1, steps))], model)
    patched = patch_model(model, options, progress.on_windows)
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    denoised = comfy.sample.sample(
        patched, noise, steps, cfg, sampler_name, scheduler, positive, negative, samples, denoise=denoise,
        noise_mask=latent.get("noise_mask"), callback=progress.on_step,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
    )  # fmt: skip
    return _with_samples(latent, denoised)


def _with_samples(latent: dict[str, Any], samples: torch.Tensor) -> dict[str, Any]:
    return {**{key: value for key, value in latent.items() if key != "downscale_ratio_spacial"}, "samples": samples}
