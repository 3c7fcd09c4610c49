"""Early fresh noise: the first steps of a run each begin from a noise of their own (FlowLong, arXiv 2605.20910)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from ....noise import step_seed
from .options import NoiseOptions
from .run import Run


def with_fresh_noise(sampler: Any, run: Run, noise: NoiseOptions) -> Any:
    """A copy of a SAMPLER that makes the steps before ``noise.fresh_until`` by itself.

    Each asks the model once and adds a new noise for the whole latent to the prediction, at the level of the next step;
    then the sampler goes on. Noise masks, noise levels, seed and the count of steps stay those of the whole run.

    Raises:
        ValueError: a SAMPLER that is no function of noise levels.
    """
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        raise ValueError(
            f"fresh_noise_until is {noise.fresh_until:g}, and the sampler {type(sampler).__name__} cannot begin with a "
            "later step. Set fresh_noise_until to 0, or use another sampler."
        )
    sampler = copy.copy(sampler)
    sampler.sampler_function = _FreshSteps(function, run, noise)
    return sampler


class _FreshSteps:
    """The function of a SAMPLER, behind steps with fresh noise."""

    def __init__(self, function: Callable, run: Run, noise: NoiseOptions) -> None:
        self.function = function
        self.run = run
        self.noise = noise

    def __call__(
        self,
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict,
        callback: Callable | None,
        disable: bool | None,
        **options: Any,
    ) -> torch.Tensor:
        levels = sigmas.tolist()
        sampling = model.inner_model.model_patcher.get_model_object("model_sampling")
        rows = x.new_ones(x.shape[0])
        first = 0
        for first, sigma in enumerate(levels[:-1]):
            step, total = self.run.step_of(sigma, levels)
            if step >= self.noise.fresh_until * total - 1e-6:
                break
            denoised = model(x, sigmas[first] * rows, **extra_args)
            if callback is not None:
                callback({"x": x, "i": first, "sigma": sigmas[first], "sigma_hat": sigmas[first], "denoised": denoised})
            x = sampling.noise_scaling(sigmas[first + 1], self._draw(x, extra_args.get("seed"), step), denoised)
        else:
            return x

        def later(info: dict) -> None:
            callback({**info, "i": first + info["i"]})

        return self.function(
            model, x, sigmas[first:], extra_args=extra_args, callback=callback and later, disable=disable, **options
        )

    def _draw(self, x: torch.Tensor, seed: int | None, step: int) -> torch.Tensor:
        latent, settings = self.run.latent, self.run.settings
        likes = [each.cpu() for each in latent.split(x)]
        made = latent.noise(
            likes, step_seed((seed or 0) % 2**63, step), self.noise.settings(settings.window, settings.overlap)
        )
        return latent.join(made).to(x)
