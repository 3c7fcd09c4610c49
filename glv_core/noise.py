"""Initial noise for long latents.

Every kind has mean 0 and variance 1 in every latent frame. What differs is how frames hang together: noise that repeats
makes distant windows alike, independent noise leaves them to drift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class NoiseSettings:
    """What noise to make. Sizes in latent frames.

    ``window`` and ``overlap``: of the windows; ``shuffled`` and ``repeated`` use them. ``shared``: for ``mixed``, the
    share of the variance that all latent frames have in common, 0 ... 1.

    Raises:
        ValueError: an unknown kind, or a value out of range.
    """

    kind: str = "independent"
    window: int = 16
    overlap: int = 4
    shared: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise ValueError(f"Unknown noise {self.kind!r}. Known: {', '.join(NOISES)}.")
        if not 0 <= self.shared <= 1:
            raise ValueError(f"The shared part of the noise is {self.shared}; it must be 0 to 1.")
        if not 0 <= self.overlap < self.window:
            raise ValueError(
                f"Noise for windows of {self.window} with overlap {self.overlap}: the overlap must be 0 or more and "
                "below the window."
            )


def long_noise(like: torch.Tensor, seed: int, settings: NoiseSettings, time_dim: int = 2) -> torch.Tensor:
    """Noise of a long latent's shape, on the CPU.

    Args:
        like: a tensor of the long latent's shape and dtype; it is not read or changed.
        seed: the same seed gives the same noise on every machine.
        settings: the kind, and what it needs.
        time_dim: the axis of time.
    """
    shape = list(like.shape)
    noise = NOISES[settings.kind](shape, seed, settings, time_dim)
    return noise.to(like.dtype)


def _draw(shape: list[int], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def independent(shape: list[int], seed: int, settings: NoiseSettings, time_dim: int) -> torch.Tensor:
    """Plain noise, as the host's samplers make it. Another length is other noise from the first latent frame on."""
    return _draw(shape, seed)


def stable(shape: list[int], seed: int, settings: NoiseSettings, time_dim: int) -> torch.Tensor:
    """A latent frame's noise depends on its index and the seed alone: a longer video starts like a shorter one."""
    one = [*shape[:time_dim], 1, *shape[time_dim + 1 :]]
    generator = torch.Generator()
    made = []
    for index in range(shape[time_dim]):
        # Mixing index and seed keeps index 1 of seed 0 apart from index 0 of seed 1.
        made.append(torch.randn(one, generator=generator.manual_seed(_mix(seed, index))))
    return torch.cat(made, dim=time_dim)


def _mix(seed: int, index: int) -> int:
    """A 63-bit number from a seed and an index (the finaliser of splitmix64)."""
    mask = 2**64 - 1
    value = (seed + (index + 1) * 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1


def step_seed(seed: int, step: int) -> int:
    """The seed of a noise that a sampling step adds: another for every step, and none of those that ``seed`` draws."""
    return _mix(_mix(seed, step), step)


def shuffled(shape: list[int], seed: int, settings: NoiseSettings, time_dim: int) -> torch.Tensor:
    """FreeNoise (arXiv 2310.15169): the noise of one window, then again and again its latent frames in another
    order.

    Each hop beyond the first window holds what lies one window before it, shuffled, so that every window sees nearly
    the same noise.
    """
    noise = _draw(shape, seed)
    order = torch.Generator().manual_seed(_mix(seed, 0))
    hop = settings.window - settings.overlap
    for place in range(settings.window, shape[time_dim], hop):
        count = min(hop, shape[time_dim] - place)
        source = torch.randperm(hop, generator=order)[:count] + place - settings.window
        noise.narrow(time_dim, place, count).copy_(noise.index_select(time_dim, source))
    return noise


def repeated(shape: list[int], seed: int, settings: NoiseSettings, time_dim: int) -> torch.Tensor:
    """The noise of one window over and over."""
    base = _draw([*shape[:time_dim], min(settings.window, shape[time_dim]), *shape[time_dim + 1 :]], seed)
    return base.index_select(time_dim, torch.arange(shape[time_dim]) % base.shape[time_dim])


def mixed(shape: list[int], seed: int, settings: NoiseSettings, time_dim: int) -> torch.Tensor:
    """One noise that all latent frames share and one of their own, with the variance kept (PYoCo, arXiv 2305.10474)."""
    own = _draw(shape, seed)
    common = _draw([*shape[:time_dim], 1, *shape[time_dim + 1 :]], _mix(seed, 0))
    return settings.shared**0.5 * common + (1 - settings.shared) ** 0.5 * own


NOISES: dict[str, Callable[[list[int], int, NoiseSettings, int], torch.Tensor]] = {
    noise.__name__: noise for noise in (independent, stable, shuffled, repeated, mixed)
}
