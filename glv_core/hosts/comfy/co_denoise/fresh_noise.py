"""Early fresh noise: the first steps of a run each end in a noise of their own (FlowLong, arXiv 2605.20910)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from ....noise import step_seed
from .options import NoiseOptions
from .run import Run


def with_fresh_noise(sampler: Any, run: Run, noise: NoiseOptions) -> Any:
    """A copy of a SAMPLER that leaves the steps before ``noise.fresh_until`` to us and goes on from there.

    Each of those asks the model once, and adds to the prediction a new noise for the whole latent at the level of the
    next step. Noise masks, levels, seed and the count of steps stay those of the whole run.

    Raises:
        ValueError: a SAMPLER that cannot begin at a later step.
    """
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        raise ValueError(
            f"fresh_noise_until is {noise.fresh_until:g}, and the sampler {type(sampler).__name__} cannot begin at a "
            "later step. Set fresh_noise_until to 0, or use one of KSampler's samplers."
        )
    sampler = copy.copy(sampler)
    sampler.sampler_function = _FreshSteps(function, run, noise)
    return sampler


class _FreshSteps:
    """What a SAMPLER's ``function`` does, after steps with fresh noise; called as the host calls it."""

    def __init__(self, function: Callable, run: Run, noise: NoiseOptions) -> None:
        self.function = function
        self.run = run
        self.noise = noise

    def __call__(
        self,
        model: Callable,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict,
        callback: Callable | None,
        disable: bool | None,
        **options: Any,
    ) -> torch.Tensor:
        count = self.run.steps_before(self.noise.fresh_until, sigmas.tolist())
        rows = x.new_ones(x.shape[0])
        for i in range(count):
            denoised = model(x, sigmas[i] * rows, **extra_args)
            if callback is not None:
                callback({"i": i, "x": x, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
            seed = step_seed((extra_args["seed"] or 0) % 2**63, self.run.first_step + i)
            x = self.run.noised(denoised, sigmas[i + 1], self.run.noise(x, seed, self.noise))
        if count == len(sigmas) - 1:
            return x

        def later(step: dict) -> None:
            callback({**step, "i": count + step["i"]})

        return self.function(
            model, x, sigmas[count:], extra_args=extra_args, callback=callback and later, disable=disable, **options
        )
