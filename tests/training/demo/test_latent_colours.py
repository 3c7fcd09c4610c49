"""The demo model's preview colours: near those of its decoded frames, and what the fit gives."""

import pytest
import torch

from glv_core.demo.latent_colours import BIAS, FACTORS
from training.demo.latent_colours import fit, latents_and_colours, load_vae, preview


@pytest.fixture(scope="module")
def clips():
    """Pixels of latents and their decoded colours, of scenes that were not fitted to."""
    return latents_and_colours(load_vae(), scenes=8, seed=3)


def error(shown, colours):
    """Of 1, on average."""
    return float((shown - colours).abs().mean()) / 2


def test_previewed_colours_are_those_of_the_decoded_frames(clips):
    latents, colours = clips
    shown = preview(latents, torch.tensor(FACTORS), torch.tensor(BIAS))
    assert error(shown, colours) < 0.08
    coloured = colours.amax(dim=1) - colours.amin(dim=1) > 0.8  # the shapes; the backgrounds are grey
    swapped = preview(latents, torch.tensor(FACTORS).flip(1), torch.tensor(BIAS))  # red and blue
    assert error(shown[coloured], colours[coloured]) < 0.15
    assert error(swapped[coloured], colours[coloured]) > 0.3
    noisy = latents + 0.1 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    assert error(preview(noisy, torch.tensor(FACTORS), torch.tensor(BIAS)), colours) < 0.08


def test_the_fit_gives_what_is_kept(clips):
    latents, colours = clips
    fitted = preview(latents, *fit(latents, colours))
    assert error(fitted, preview(latents, torch.tensor(FACTORS), torch.tensor(BIAS))) < 0.03


def test_a_linear_map_is_found_again():
    generator = torch.Generator().manual_seed(2)
    latents, factors = torch.randn(2000, 16, generator=generator), torch.randn(16, 3, generator=generator) / 8
    found, bias = fit(latents, latents @ factors + 0.25, noise=0.0)
    torch.testing.assert_close(found, factors, atol=1e-4, rtol=0)
    torch.testing.assert_close(bias, torch.full((3,), 0.25), atol=1e-4, rtol=0)
