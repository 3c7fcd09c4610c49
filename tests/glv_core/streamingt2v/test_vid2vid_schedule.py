"""MS-Vid2Vid-XL's noise against published numbers and formulas written in another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glv_core.streamingt2v.vid2vid_schedule import (
    ALPHAS,
    SIGMAS,
    add_noise,
    denoised,
    guided,
    model_input,
    solver_start,
    start_level,
    step_levels,
    step_ratios,
    timesteps_of,
)

TIMESTEPS = [
    599, 580, 560, 541, 522, 502, 483, 464, 444, 425, 405, 386, 367, 347, 328, 309, 289, 270, 251, 231, 212, 193, 173,
    154, 134, 115, 96, 76, 57, 38,
]  # fmt: skip


def ratios_by_angle() -> np.ndarray:
    """Noise to signal as the tangent of an angle that grows evenly, times a scale that doubles from 2 to 4."""
    share = np.arange(1000) / 999
    smallest, largest = np.arctan(np.exp(-7.5)), np.arctan(np.exp(7.5))
    return np.tan(smallest + share * (largest - smallest)) * 2 * 2**share


def test_the_noise_levels():
    assert float(SIGMAS[599]) == pytest.approx(0.97236, abs=5e-6)
    assert float(ALPHAS[599]) == pytest.approx(0.23347, abs=5e-6)
    ratios = ratios_by_angle()
    sigmas = ratios / np.sqrt(1 + ratios**2)
    sigmas = np.interp(sigmas, [sigmas[0], sigmas[-1]], [sigmas[0], 1.0])
    np.testing.assert_allclose(SIGMAS.numpy(), sigmas, atol=1e-12)
    assert (SIGMAS.diff() > 0).all() and float(SIGMAS[-1]) == 1 and float(ALPHAS[-1]) == 0
    torch.testing.assert_close(SIGMAS**2 + ALPHAS**2, torch.ones(1000, dtype=torch.float64))


def test_the_released_steps():
    assert step_levels().round().int().tolist() == TIMESTEPS
    ratios = step_ratios()
    assert len(ratios) == 31 and ratios.dtype == torch.float32
    assert float(ratios[0]) == pytest.approx(4.1648, abs=5e-5) and float(ratios[-1]) == 0
    assert (ratios.diff() < 0).all()
    assert timesteps_of(ratios[:-1]).tolist() == TIMESTEPS
    assert timesteps_of(ratios[3]).shape == ()


@given(st.integers(2, 999), st.data())
def test_steps_of_any_strength(thousandths, data):
    strength = thousandths / 1000
    start = start_level(strength)
    assert start == thousandths - 1
    num_steps = data.draw(st.integers(1, min(start, 60)))
    levels = step_levels(strength, num_steps)
    # Levels 0 ... start are shared out among one step more; the last one is not taken.
    expected = np.linspace(start, -1, num_steps + 2)[:-2]
    np.testing.assert_allclose(levels.numpy(), expected, atol=1e-9)
    assert levels[0] == start and (levels > 0).all()
    ratios = step_ratios(strength, num_steps)
    logarithms = np.log(SIGMAS[:-1].numpy() / ALPHAS[:-1].numpy())
    np.testing.assert_allclose(ratios[:-1].numpy(), np.exp(np.interp(expected, np.arange(999), logarithms)), rtol=1e-5)
    rounded = timesteps_of(ratios[:-1])
    assert (rounded - levels).abs().max() <= 0.5 + 1e-3
    assert len(set(rounded.tolist())) == num_steps


def test_timesteps_outside_the_table_are_its_ends():
    assert timesteps_of(torch.tensor([1e-9, 1e6, math.inf])).tolist() == [0, 998, 999]


@pytest.mark.parametrize("strength", [0.0, 1.0, -0.5, 1.5, 0.0004, 0.9996, math.nan, math.inf])
def test_bad_strengths_are_named(strength):
    with pytest.raises(ValueError, match=f"strength is {strength}; it must be 0.001 to 0.999"):
        start_level(strength)


@pytest.mark.parametrize("num_steps", [0, 600])
def test_bad_numbers_of_steps_are_named(num_steps):
    with pytest.raises(ValueError, match=f"num_steps is {num_steps} and strength 0.6 .* Lower num_steps or raise"):
        step_levels(0.6, num_steps)


def test_a_solver_starts_from_the_noised_video():
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(1, 4, 3, 2, 2, generator=generator) for _ in range(2))
    first = float(step_ratios()[0])
    noised = 0.23347313 * x0 + 0.97236325 * noise
    torch.testing.assert_close(add_noise(x0, noise, 599), noised)
    exact = solver_start(x0, noise, as_released=False)
    torch.testing.assert_close(exact, x0 + first * noise, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exact, noised * math.sqrt(1 + first**2), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(solver_start(x0, noise), noised * first, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model_input(exact, first), noised, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(solver_start(x0, noise, 0.3), solver_start(x0, noise, 0.6))


@pytest.mark.parametrize("level", [0, 38, 599, 998])
def test_the_true_velocity_gives_the_clean_latent(level):
    x0, noise = torch.randn(2, 1, 4, 3, 2, 2, dtype=torch.float64)
    velocity = float(ALPHAS[level]) * noise - float(SIGMAS[level]) * x0
    torch.testing.assert_close(denoised(velocity, add_noise(x0, noise, level), level), x0)


def test_guidance_by_hand():
    conditional, unconditional = np.random.default_rng(0).normal(size=(2, 2, 4, 3, 2, 2))
    conditional[1] *= 5
    mixed = unconditional + 7.5 * (conditional - unconditional)
    expected = np.stack([each * (0.2 * c.std(ddof=1) / each.std(ddof=1) + 0.8) for each, c in zip(mixed, conditional)])
    ours = guided(torch.tensor(conditional), torch.tensor(unconditional))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)
    plain = guided(torch.tensor(conditional), torch.tensor(unconditional), rescale=0)
    np.testing.assert_allclose(plain.numpy(), mixed)
    same = guided(torch.tensor(conditional), torch.tensor(unconditional), guidance=1)
    np.testing.assert_array_equal(same.numpy(), conditional)
    half = guided(torch.tensor(conditional).half(), torch.tensor(unconditional).half())
    assert half.dtype == torch.float16


def test_the_rescale_is_in_range():
    with pytest.raises(ValueError, match="guidance rescale is"):
        guided(torch.ones(1, 2), torch.zeros(1, 2), rescale=1.2)
