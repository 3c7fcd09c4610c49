"""HDR images as SDR ones, by the formulas of ITU-R BT.2100, BT.2390 and BT.2087."""

from __future__ import annotations

import math

import torch

PEAK = 1000.0  #: cd/m2 of the brightest that is told apart: what HLG is made for, and most of PQ
WHITE = 203.0  #: cd/m2 that become SDR's brightest: HDR's own white of paper (BT.2408)

_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * math.log(4 * _A)
_LIGHT = (0.2627, 0.6780, 0.0593)  # of BT.2020's red, green and blue
_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def pq_to_light(signal: torch.Tensor) -> torch.Tensor:
    """PQ's signal in 0..1 as cd/m2 (its EOTF)."""
    power = signal.clamp(0, 1) ** (1 / _M2)
    return 10_000 * ((power - _C1).clamp_min(0) / (_C2 - _C3 * power)) ** (1 / _M1)


def light_to_pq(light: torch.Tensor) -> torch.Tensor:
    """The other way round."""
    power = (light.clamp_min(0) / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_to_light(signal: torch.Tensor) -> torch.Tensor:
    """HLG's signals ``... 3`` in 0..1 as cd/m2 on a display of ``PEAK`` (inverse OETF, and the OOTF of gamma 1.2)."""
    signal = signal.clamp(0, 1)
    scene = torch.where(signal <= 0.5, signal**2 / 3, (((signal - _C) / _A).exp() + _B) / 12)
    return PEAK * (scene @ scene.new_tensor(_LIGHT))[..., None] ** 0.2 * scene


def tone_map(frames: torch.Tensor, color_space: str, deep: bool = True) -> torch.Tensor:
    """SDR of HDR frames.

    What BT.709 has no colour for is clipped. Then the brightest colour of a pixel is compressed as BT.2390 compresses
    (up to about 90 cd/m2 nothing changes) and the others with it, so that hues stay.

    Args:
        frames: ``... 3`` float in 0..1, HLG or PQ with BT.2020's primaries.
        color_space: "HDR" (HLG) or "HDR PQ".
        deep: float in 0..1, in place of uint8.

    Returns:
        The same shape, BT.709 for a display of BT.1886 (gamma 2.4).
    """
    light = hlg_to_light(frames) if color_space == "HDR" else pq_to_light(frames)
    light = (light @ light.new_tensor(_TO_BT709).T).clamp_min(0)
    brightest = light.amax(dim=-1, keepdim=True)
    mapped = (light * (_compressed(brightest) / brightest.clamp_min(1e-6)) / WHITE).clamp(0, 1) ** (1 / 2.4)
    return mapped if deep else mapped.mul_(255).round_().to(torch.uint8)


def _compressed(light: torch.Tensor) -> torch.Tensor:
    """cd/m2 of up to ``PEAK`` as up to ``WHITE``."""
    peak, white = light_to_pq(torch.tensor([PEAK, WHITE], dtype=light.dtype, device=light.device))
    most = white / peak
    knee = 1.5 * most - 0.5
    signal = (light_to_pq(light) / peak).clamp_max(1)
    at = (signal - knee) / (1 - knee)
    curve = (2 * at**3 - 3 * at**2 + 1) * knee + (at**3 - 2 * at**2 + at) * (1 - knee) + (3 * at**2 - 2 * at**3) * most
    return pq_to_light(torch.where(signal < knee, signal, curve) * peak)
