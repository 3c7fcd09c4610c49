"""The noise of MS-Vid2Vid-XL, which refines StreamingT2V's videos: its levels, its timesteps and its guidance.

The model predicts velocity at 1000 levels t, where a noised latent is ``alpha(t) x0 + sigma(t) noise`` with
``alpha^2 + sigma^2 = 1``. Solvers of the k-diffusion kind count noise as ``sigma / alpha`` and have ``x0 + (sigma /
alpha) noise``; those are called ratios here.
"""

from __future__ import annotations

import math

import torch

NUM_LEVELS = 1000
#: The log signal-to-noise ratio runs over this range either side of 0, before it is shifted.
LOG_SNR = 15.0
#: It is shifted down by the square of a scale, which goes from the first at level 0 to the second at the last level.
SCALES = (2.0, 4.0)
#: What was released: refinement starts at level 599 and takes 30 steps.
STRENGTH, NUM_STEPS = 0.6, 30
#: Guidance, and how much of its growth in contrast is taken back.
GUIDANCE, GUIDANCE_RESCALE = 7.5, 0.2


def _make_sigmas() -> torch.Tensor:
    """``sigma(t)``, float64 ``[1000]``, rising to exactly 1 at the last level, which is noise alone."""
    share = torch.linspace(0, 1, NUM_LEVELS, dtype=torch.float64)
    first, last = (math.atan(math.exp(-half)) for half in (LOG_SNR / 2, -LOG_SNR / 2))
    log_snr = -2 * torch.log(torch.tan(first + share * (last - first)))
    at_start, at_end = (-2 * math.log(scale) for scale in SCALES)
    log_snr = log_snr + (1 - share) * at_start + share * at_end
    sigmas = torch.sigmoid(-log_snr).sqrt()
    low, high = sigmas[0], sigmas[-1]
    sigmas = low + (1 - low) * (sigmas - low) / (high - low)
    sigmas[-1] = 1.0
    return sigmas


SIGMAS = _make_sigmas()
ALPHAS = (1 - SIGMAS**2).sqrt()
_LOG_RATIOS = (SIGMAS / ALPHAS).log()  # infinity at the last level


def start_level(strength: float) -> int:
    """The level at which refinement starts: 599 for 0.6.

    Raises:
        ValueError: ``strength`` not between 0 and 1, or so near one of them that it rounds to it. The last level is
            noise alone, of which nothing of the video could be kept.
    """
    level = round(strength * NUM_LEVELS) - 1 if math.isfinite(strength) else -1
    if not 0 <= level <= NUM_LEVELS - 2:
        raise ValueError(
            f"strength is {strength}; it must be {1 / NUM_LEVELS} to {1 - 1 / NUM_LEVELS}, the share of the "
            f"{NUM_LEVELS} noise levels that are gone through. {STRENGTH} is what was released."
        )
    return level


def step_levels(strength: float = STRENGTH, num_steps: int = NUM_STEPS) -> torch.Tensor:
    """The levels of the steps, not rounded, float64 ``[num_steps]``.

    The levels below the start are shared out among one step more than are taken; the last one is left out, as released,
    and the step before it goes straight to the clean latent.

    Raises:
        ValueError: ``strength`` out of range, or ``num_steps`` not in ``1 ...`` the level that it starts from.
    """
    start = start_level(strength)
    if not 1 <= num_steps <= start:
        raise ValueError(
            f"num_steps is {num_steps} and strength {strength} starts from noise level {start}; there must be 1 to "
            f"{start} steps. Lower num_steps or raise strength."
        )
    return start - torch.arange(num_steps, dtype=torch.float64) * (start + 1) / (num_steps + 1)


def step_ratios(strength: float = STRENGTH, num_steps: int = NUM_STEPS) -> torch.Tensor:
    """The ratios that a k-diffusion solver goes through, float32 ``[num_steps + 1]``, falling to 0 at the end.

    Between two levels the logarithm of the ratio is a straight line. Raises what ``step_levels`` does.
    """
    levels = step_levels(strength, num_steps)
    below, above = levels.floor(), levels.ceil()
    share = levels - below
    logarithms = _LOG_RATIOS[below.long()] * (1 - share) + _LOG_RATIOS[above.long()] * share
    return torch.cat([logarithms.exp(), torch.zeros(1, dtype=torch.float64)]).float()


def timesteps_of(ratios: torch.Tensor) -> torch.Tensor:
    """The whole levels that the model is told at these ratios (above 0, any shape): int64, 0 ... 999."""
    given = ratios.detach().to(device="cpu", dtype=torch.float64).log()
    above = torch.searchsorted(_LOG_RATIOS, given).clamp(1, NUM_LEVELS - 1)
    low, high = _LOG_RATIOS[above - 1], _LOG_RATIOS[above]
    share = ((given - low) / (high - low)).clamp(0, 1)
    # Beyond the last but one level the next ratio is infinite, and so is what was given.
    share = torch.where(torch.isinf(high), torch.isinf(given).double(), share)
    return (above - 1 + share).round().long().to(ratios.device)


def add_noise(x0: torch.Tensor, noise: torch.Tensor, level: int) -> torch.Tensor:
    """``alpha x0 + sigma noise`` at a level. With one noise for the whole video, chunks share it where they overlap."""
    return float(ALPHAS[level]) * x0 + float(SIGMAS[level]) * noise


def solver_start(
    x0: torch.Tensor, noise: torch.Tensor, strength: float = STRENGTH, as_released: bool = True
) -> torch.Tensor:
    """What a k-diffusion solver starts from, in the shape of ``x0``.

    Args:
        x0: the latent of the video to be refined.
        noise: of its shape, with variance 1.
        strength: see ``start_level``.
        as_released: the released code multiplies the noised latent with the first ratio. The exact factor would be
            ``sqrt(1 + ratio^2)``, that is ``1 / alpha``; the start is ``sigma`` times (0.972 at 0.6) what it should be.
    """
    level = start_level(strength)
    exact = add_noise(x0, noise, level) / float(ALPHAS[level])
    return exact * float(SIGMAS[level]) if as_released else exact


def model_input(x: torch.Tensor, ratio: float) -> torch.Tensor:
    """A solver's ``x`` as the model wants it, with variance 1: divided by ``sqrt(1 + ratio^2)``."""
    return x / math.sqrt(1 + ratio * ratio)


def denoised(velocity: torch.Tensor, noised: torch.Tensor, level: int) -> torch.Tensor:
    """The clean latent of a predicted velocity, ``alpha noised - sigma velocity``.

    Args:
        velocity: what the model says of ``noised``.
        noised: what it was shown, see ``model_input``.
        level: what it was told, see ``timesteps_of``.
    """
    return float(ALPHAS[level]) * noised - float(SIGMAS[level]) * velocity


def guided(
    conditional: torch.Tensor,
    unconditional: torch.Tensor,
    guidance: float = GUIDANCE,
    rescale: float = GUIDANCE_RESCALE,
) -> torch.Tensor:
    """Classifier-free guidance whose contrast is partly brought back to that of the conditional prediction.

    Args:
        conditional, unconditional: ``b ...``, velocities of one chunk. The standard deviation is that of a whole chunk,
            of every element of the batch alone.
        guidance: 1 is no guidance.
        rescale: 0 leaves the contrast as it is, 1 makes it that of ``conditional``.

    Raises:
        ValueError: ``rescale`` not in 0 ... 1.
    """
    if not 0 <= rescale <= 1:
        raise ValueError(f"guidance rescale is {rescale}; it must be 0 (off) to 1.")
    if guidance == 1:
        return conditional
    mixed = unconditional + guidance * (conditional - unconditional)
    axes = tuple(range(1, mixed.ndim))
    wanted, has = (each.float().std(axes, keepdim=True) for each in (conditional, mixed))
    factor = rescale * wanted / (has + 1e-12) + (1 - rescale)
    return mixed * factor.to(mixed.dtype)
