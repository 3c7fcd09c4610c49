"""I2VGen-XL on diffusers' class at its published size, its image, and its noise against formulas."""

import math

import pytest
import torch
from torch.testing import assert_close

diffusers = pytest.importorskip("diffusers")
from glv_core.hosts.diffusers.i2vgen_xl import image_and_places, make_i2vgen_xl, noise_ratios  # noqa: E402

#: Of ali-vilab/VGen's i2vgen_xl_train.yaml: cosine with s = 0.008, zero terminal SNR, velocities.
COSINE = {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}


def test_names_and_shapes_at_full_size_are_diffusers_own():
    with torch.device("meta"):
        theirs = diffusers.I2VGenXLUNet()
    made = make_i2vgen_xl(theirs.config, theirs.state_dict())
    ours = {name.removeprefix("unet."): each.shape for name, each in made.state_dict().items()}
    assert ours == {name: each.shape for name, each in theirs.state_dict().items()}
    assert round(sum(each.numel() for each in made.parameters()) / 1e6) == 1420
    assert ours["conv_in.weight"] == (320, 8, 3, 3) and ours["context_embedding.2.weight"] == (4096, 1280)


def test_other_weights_are_named():
    with torch.device("meta"):
        theirs = diffusers.I2VGenXLUNet()
    weights = {**theirs.state_dict(), "more": torch.zeros(1), "conv_in.bias": torch.zeros(7)}
    del weights["conv_out.bias"]
    with pytest.raises(ValueError, match=r"lacks conv_out.bias; .* unknown more; .* shape conv_in.bias \(7, not 320\)"):
        make_i2vgen_xl(theirs.config, weights)


@pytest.mark.parametrize("frames", [1, 2, 3, 38])
def test_an_image_and_the_places_of_the_other_frames(frames):
    image = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    made = image_and_places(image, frames)
    assert made.shape == (2, 4, frames, 3, 5)
    assert torch.equal(made[:, :, 0], image)
    for frame in range(1, frames):
        assert_close(made[:, :, frame], torch.full_like(image, frame / (frames - 1)))


def test_noise_is_cosine_and_ends_in_noise_alone():
    """The signal of VGen's schedule by its formula, with sqrt shifted and scaled so that the last is 0."""

    def bar(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    signal, roots = 1.0, []
    for level in range(1000):
        signal *= 1 - min(1 - bar((level + 1) / 1000) / bar(level / 1000), 0.999)
        roots.append(math.sqrt(signal))
    first, last = roots[0], roots[-1]
    roots = [(root - last) * first / (first - last) for root in roots]
    wanted = [math.sqrt(1 - root**2) / root for root in roots[:-1]]
    made = noise_ratios(COSINE)
    assert len(made) == 1000 and (made.diff() > 0).all()
    assert_close(made[:900].double(), torch.tensor(wanted[:900], dtype=torch.float64), atol=1e-4, rtol=1e-3)
    assert_close(made[900:-1].double(), torch.tensor(wanted[900:], dtype=torch.float64), atol=0.0, rtol=2e-2)
    assert float(made[-1]) == pytest.approx(float(made[-2]) ** 2 / float(made[-3]))


def test_noise_that_does_not_end_so_is_as_it_is():
    made = noise_ratios({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
    assert float(made[-1]) == pytest.approx(14.6146, abs=1e-3)
