"""Inversion on stubs whose answer is known."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from glv_core.editing.inversion import inverted_steps, steps_of_strength

LEVELS = st.lists(st.floats(0.01, 20), min_size=1, max_size=8, unique=True).map(sorted)


def last(steps, x):
    return [x, *(reached for reached, _ in steps)][-1]


def euler(denoise, x, falling):
    """k-diffusion's Euler sampler, written out."""
    for high, low in pairwise(falling):
        x = denoise(x, high) * (1 - low / high) + x * (low / high)
    return x


@given(LEVELS, st.integers(0, 2))
def test_noise_that_does_not_depend_on_the_latent_comes_back_exactly(levels, refinements):
    levels = [0.0, *levels]
    noise, clean = torch.linspace(-2, 1, 5, dtype=torch.float64), torch.tensor([1, 0, 2, -1, 0.5], dtype=torch.float64)

    def denoise(x, sigma):
        return x - sigma * noise

    inverted = last(inverted_steps(denoise, clean, levels, refinements=refinements), clean)
    assert_close(inverted, clean + levels[-1] * noise)
    assert_close(euler(denoise, inverted, levels[::-1]), clean)


@given(LEVELS, st.floats(-0.5, 1), st.floats(-1, 1))
def test_a_linear_model_in_closed_form(levels, a, b):
    levels = [0.0, *levels]
    clean = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    plain, exact = clean, clean
    for low, high in pairwise(levels):
        share = (high - low) / high
        plain = plain + share * ((1 - a) * plain - b)
    assert_close(last(inverted_steps(lambda x, sigma: a * x + b, clean, levels), clean), plain)
    if max((h - low) / h for low, h in zip(levels[1:], levels[2:] or [9e9], strict=False)) < 0.6:
        levels = levels[1:]  # the step from 0 has a share of 1, where the iteration need not converge
        for low, high in pairwise(levels):
            share = (high - low) / high
            exact = (exact - share * b) / (1 - share * (1 - a))
        many = last(inverted_steps(lambda x, sigma: a * x + b, clean, levels, refinements=200), clean)
        assert_close(many, exact, rtol=1e-4, atol=1e-6)
        assert_close(euler(lambda x, sigma: a * x + b, exact, levels[::-1]), clean)


def test_it_is_ddim_inversion_for_models_of_noise():
    """In DDIM's own variables: the network sees the latent of the lower level and the time of the higher one."""
    levels = [0.03, 0.2, 0.9, 3.0, 14.6]

    def network(z, sigma):
        return torch.tanh(1.7 * z + math.log(sigma))

    def denoise(x, sigma):
        return x - sigma * network(x / math.sqrt(1 + sigma**2), sigma)

    clean = torch.linspace(-2, 2, 9, dtype=torch.float64)
    alphas = [1 / (1 + sigma**2) for sigma in levels]  # DDIM's cumulative alphas
    z = clean * math.sqrt(alphas[0])
    for (sigma, alpha), before in zip(zip(levels[1:], alphas[1:], strict=True), alphas, strict=False):
        noise = network(z, sigma)
        predicted = (z - math.sqrt(1 - before) * noise) / math.sqrt(before)
        z = math.sqrt(alpha) * predicted + math.sqrt(1 - alpha) * noise
    steps = inverted_steps(denoise, clean, levels, lambda sigma: math.sqrt(1 + sigma**2))
    assert_close(last(steps, clean), z / math.sqrt(alphas[-1]))


def test_refinements_come_closer_to_what_euler_takes_back():
    levels = [0.0, 0.2, 0.45, 0.7, 0.9, 1.0]

    def denoise(x, sigma):
        return x * (1 - sigma) / ((1 - sigma) ** 2 + sigma**2) + 0.1 * torch.sin(3 * x)

    clean = torch.linspace(-1, 1, 7, dtype=torch.float64)
    errors = []
    for refinements in (0, 1, 4):
        inverted = last(inverted_steps(denoise, clean, levels, refinements=refinements), clean)
        errors.append(float((euler(denoise, inverted, levels[::-1]) - clean).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_evaluations_are_counted_and_levels_are_the_higher_ones():
    asked = []

    def denoise(x, sigma):
        asked.append(sigma)
        return x * 0

    assert len(list(inverted_steps(denoise, torch.ones(1), [0.1, 0.5, 0.8], refinements=1))) == 2
    assert asked == [0.5, 0.5, 0.8, 0.8]


def test_no_levels_above_the_first_leave_the_latent_as_it_is():
    assert list(inverted_steps(lambda x, sigma: x, torch.ones(2), [0.3])) == []


@pytest.mark.parametrize(("levels", "refinements", "text"), [([1, 0.5], 0, "rise"), ([0, 1], -1, "refinements is -1")])
def test_bad_values(levels, refinements, text):
    with pytest.raises(ValueError, match=text):
        list(inverted_steps(lambda x, sigma: x, torch.ones(1), levels, refinements=refinements))


@pytest.mark.parametrize(("steps", "strength", "count"), [(50, 0.2, 10), (50, 1, 50), (20, 0.3, 6), (10, 0.29, 2)])
def test_strength_is_gen_l_videos(steps, strength, count):
    assert steps_of_strength(steps, strength) == count


@pytest.mark.parametrize(("strength", "text"), [(0.01, "at least 0.05"), (1.2, "0 to 1"), (-0.1, "0 to 1")])
def test_a_strength_that_makes_no_step_says_what_does(strength, text):
    with pytest.raises(ValueError, match=text):
        steps_of_strength(20, strength)
