"""Inversion of a long latent through the host's sampling, with windows, and the NOISE that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch

from ....co_denoise import Stage
from ....editing.inversion import inverted_steps, steps_of_strength
from ..co_denoise.options import WindowOptions
from ..co_denoise.patch import patch_model
from ..co_denoise.progress import WindowProgress
from ..co_denoise.sampling import samples_for
from ..families import family_of, time_dim_of

SAMPLER = "euler"  #: the sampler that makes an inverted video again; "ddim" is the same here


@dataclass(frozen=True)
class InversionOptions:
    """``steps`` and ``scheduler`` of the sampler to come, ``cfg`` of the inversion itself, ``strength`` 0 to 1 for the
    last part of the steps, ``refinements`` see ``inverted_steps``, ``seed`` for windows that are drawn.
    """

    steps: int
    scheduler: str
    cfg: float = 1.0
    strength: float = 1.0
    refinements: int = 1
    seed: int = 0


class InvertedNoise:
    """A NOISE as samplers take it, which is that of one video."""

    def __init__(self, noise: torch.Tensor, seed: int) -> None:
        self.seed = seed
        self._noise = noise

    def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
        """The noise, on the CPU.

        Raises:
            ValueError: the latent has another shape.
        """
        if latent["samples"].shape != self._noise.shape:
            raise ValueError(
                f"The noise was found for a latent of the shape {list(self._noise.shape)}, and the latent to sample "
                f"has {list(latent['samples'].shape)}. Connect the latent that was inverted."
            )
        return self._noise


class _Inversion(comfy.samplers.KSAMPLER):
    """A sampler that runs the other way, and keeps what it ends with."""

    def __init__(self, refinements: int, on_evaluation: Any) -> None:
        super().__init__(self._invert)
        self.noise: torch.Tensor | None = None
        self._refinements = refinements
        self._on_evaluation = on_evaluation

    def _invert(
        self,
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict | None = None,
        callback: Any = None,
        disable: Any = None,
    ) -> torch.Tensor:
        latent = x.clone()
        sampling = model.inner_model.inner_model.model_sampling
        one = x.new_ones(1)

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            self._on_evaluation()
            return model(x, x.new_full((x.shape[0],), sigma), **(extra_args or {}))

        def scale(sigma: float) -> float:
            return 1 / float(sampling.calculate_input(one * sigma, one))

        levels = sigmas.tolist()
        for step, (reached, denoised) in enumerate(inverted_steps(denoise, x, levels, scale, self._refinements)):
            x = reached
            if callback is not None:
                callback({"i": step, "denoised": denoised, "x": x, "sigma": sigmas[step + 1], "sigma_hat": None})
        # What the host's sampler mixes with the latent to begin at this level.
        level, most = sigmas[-1:].to(x), self.max_denoise(model.inner_model, sigmas[-1:])
        share = sampling.noise_scaling(level, one.clone(), torch.zeros_like(one), most)
        rest = sampling.noise_scaling(level, torch.zeros_like(latent), latent, most)
        self.noise = ((x - rest) / share).cpu()
        return latent


def invert_long(
    model: Any,
    options: InversionOptions,
    positive: list,
    negative: list,
    latent: dict[str, Any],
    windows: WindowOptions,
) -> tuple[InvertedNoise, int]:
    """The noise from which sampling with the same windows makes ``latent`` again, and the step to begin with.

    The whole latent is carried up the noise levels together: at each one the model is evaluated window by window and
    the predictions are merged, with the windows that the sampler will have there.

    Args:
        model: the MODEL.
        options: see ``InversionOptions``.
        positive, negative: conditioning; everything that runs along the video is cut to the windows. Gen-L-Video
            inverts with an empty prompt and no guidance, and the controls of the generation.
        latent: the LATENT of the video; a noise mask in it counts for the sampler only.
        windows: window, overlap, schedule, merge.

    Raises:
        ValueError: the latent belongs to another model family, or options or prompts do not fit it.
    """
    samples = samples_for(model, latent)
    family, time_dim = family_of(model.model), time_dim_of(model.model.latent_format)
    if not samples.any():
        raise ValueError(
            "latent_image is empty, so there is nothing to invert. Connect an encoded video, as from Encode Long Video."
        )
    count = steps_of_strength(options.steps, options.strength)
    stage = Stage(options.steps - count, count, options.steps)
    settings = windows.settings(family.compression, options.seed)
    counts = settings.window_counts(samples.shape[time_dim], stage)[::-1]
    evaluations = 1 + options.refinements
    with WindowProgress([n for n in counts for _ in range(evaluations)], model) as progress:
        done = _Evaluations(progress, evaluations)
        patched = patch_model(model, windows, done.on_windows, stage=stage)
        sampler = _Inversion(options.refinements, done.begin)
        sigmas = rising_levels(patched, options.steps, options.scheduler, count)
        comfy.sample.sample_custom(
            patched, torch.zeros_like(samples, device="cpu"), options.cfg, sampler, sigmas, positive, negative, samples,
            callback=done.on_step, disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=options.seed,
        )  # fmt: skip
    if sampler.noise is None or not bool(torch.isfinite(sampler.noise).all()):
        raise ValueError(
            "The inversion gave values that are not numbers. Use more steps, another scheduler, or refinements 0."
        )
    return InvertedNoise(sampler.noise.to(samples.dtype), options.seed), stage.first


def rising_levels(model: Any, steps: int, scheduler: str, count: int) -> torch.Tensor:
    """The noise levels through which the host's KSampler goes from step ``steps - count`` on, rising from the last one.

    Some schedulers have more levels than steps (``ddim_uniform``), and KSampler counts them from the first.
    """
    sampler = comfy.samplers.KSampler(
        model, steps=steps, device=model.load_device, sampler=SAMPLER, scheduler=scheduler, denoise=1.0,
        model_options=model.model_options,
    )  # fmt: skip
    return torch.flip(sampler.sigmas[steps - count :], (0,))


class _Evaluations:
    """Tells progress of every evaluation as a step of its own, in the order in which they come."""

    def __init__(self, progress: WindowProgress, per_step: int) -> None:
        self._progress, self._per_step, self._begun = progress, per_step, 0

    def begin(self) -> None:
        self._begun += 1

    def on_windows(self, step: int, done: int, total: int) -> None:
        self._progress.on_windows(self._begun - 1, done, total)

    def on_step(self, step: int, x0: Any, x: Any, total_steps: int) -> None:
        self._progress.on_step((step + 1) * self._per_step - 1, x0, x, total_steps * self._per_step)
