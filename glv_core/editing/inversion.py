"""Deterministic inversion: the noise from which a deterministic sampler makes a given video again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch

#: The model's prediction of the clean latent, of a noisy one at a noise level.
Denoise = Callable[[torch.Tensor, float], torch.Tensor]


def inverted_steps(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: Sequence[float],
    scale: Callable[[float], float] = lambda sigma: 1.0,
    refinements: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Carry a latent up the noise levels, one step of the sampler's differential equation after the other.

    DDIM inversion (arXiv 2010.02502) as Gen-L-Video runs it (arXiv 2305.18264): a step from ``sigma`` to the next
    higher level asks the model at that *higher* level, of the latent it has at the lower one. Each refinement asks
    again, of what that gave (fixed-point iteration, arXiv 2312.12540): the limit is the latent that one step of the
    Euler method takes back exactly.

    Args:
        denoise: the model; it predicts the clean latent, whatever it was trained to predict.
        x: the clean latent in any shape, at the level ``sigmas[0]``.
        sigmas: noise levels, rising; the model is asked at all but the first.
        scale: what the model divides a latent by at a level: for models of noise or velocity sqrt(1 + sigma^2), for
            flow matching 1. Plain DDIM hands the model the latent as it is scaled at the lower level.
        refinements: evaluations of the model beside the first one, for every step; 0 is plain DDIM inversion.

    Yields:
        The latent at the level of the step, and the model's last prediction of the clean one, for every step.

    Raises:
        ValueError: levels that do not rise, or a negative number of refinements.
    """
    if refinements < 0:
        raise ValueError(f"refinements is {refinements}; it must be 0 or more.")
    if any(low >= high for low, high in pairwise(sigmas)):
        raise ValueError(f"The noise levels of an inversion must rise, not {list(sigmas)}.")
    for low, high in pairwise(sigmas):
        shown = x * (scale(high) / scale(low))
        for _ in range(1 + refinements):
            denoised = denoise(shown, high)
            shown = x + (high - low) * ((shown - denoised) / high)
        x = shown
        yield x, denoised


def steps_of_strength(steps: int, strength: float) -> int:
    """How many of the last ``steps`` a strength inverts, to be made again: ``int(steps * strength)``, as Gen-L-Video.

    Raises:
        ValueError: it makes none, or the strength is not in 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength:g}; it must be 0 to 1.")
    count = int(steps * strength + 1e-6)
    if count < 1:
        raise ValueError(
            f"strength is {strength:g} and steps {steps}, which makes no step. Raise strength to at least "
            f"{1 / steps:.3g}."
        )
    return count
