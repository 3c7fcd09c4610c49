"""HDR to SDR, against values of the recommendations (BT.2100, BT.2408, BT.2390) and colorimetry worked out here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glv_core.video_io.tone import hlg_to_light, light_to_pq, pq_to_light, tone_map

SPACES = ("HDR", "HDR PQ")


def gray(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None].expand(-1, 3)


@pytest.mark.parametrize(
    ("signal", "light"),
    [(0.0, 0.0), (0.5081, 100), (0.5807, 203), (0.7518, 1000), (0.9026, 4000), (1.0, 10_000)],  # BT.2408
)
def test_pq_is_the_light_of_the_tables(signal, light):
    assert float(pq_to_light(torch.tensor(signal, dtype=torch.float64))) == pytest.approx(light, rel=2e-3, abs=1e-6)
    assert float(light_to_pq(torch.tensor(light, dtype=torch.float64))) == pytest.approx(signal, abs=1e-3)


@pytest.mark.parametrize(
    ("signal", "light"),
    [(0.0, 0.0), (0.38, 26), (0.5, 50.7), (0.75, 203), (1.0, 1000)],  # BT.2408: 38 % is 18 % grey, 75 % is white
)
def test_hlg_is_the_light_of_the_tables(signal, light):
    assert hlg_to_light(gray(signal))[0, 0].item() == pytest.approx(light, rel=0.012, abs=1e-6)


def test_hlg_and_pq_of_the_same_light_are_the_same_image():
    """BT.2408: HLG's 75 % and PQ's 58 % are both 203 cd/m2."""
    both = [tone_map(gray(0.75), "HDR"), tone_map(gray(0.5807), "HDR PQ")]
    assert (both[0] - both[1]).abs().max() < 0.003


@pytest.mark.parametrize("space", SPACES)
def test_black_white_and_grays(space):
    signals = torch.linspace(0, 1, 101, dtype=torch.float64)
    found = tone_map(gray(*signals.tolist()), space)
    assert (found.amax(1) - found.amin(1)).max() < 1e-3  # grays stay gray
    levels = found[:, 1]
    assert levels[0] == 0 and levels[-1] == pytest.approx(1, abs=1e-3)
    assert (levels.diff() >= -1e-9).all()
    white = levels[75] if space == "HDR" else levels[58]
    assert 0.85 < white < 0.95  # paper's white leaves room for what shines


def test_what_is_dark_keeps_its_light():
    """Below BT.2390's knee 60 cd/m2 stay 60 of 203: (60 / 203) ** (1 / 2.4)."""
    signal = light_to_pq(torch.tensor(60.0, dtype=torch.float64)).item()
    assert tone_map(gray(signal), "HDR PQ")[0, 0].item() == pytest.approx((60 / 203) ** (1 / 2.4), abs=1e-3)


def primaries(points: list[tuple[float, float]]) -> np.ndarray:
    """RGB to XYZ of three chromaticities and D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


@pytest.mark.parametrize("colour", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.8, 0.4, 0.1), (0.2, 0.5, 0.9)])
def test_colours_of_bt709_are_found_again(colour):
    """Light of BT.709's primaries at 60 cd/m2, described by BT.2020's, comes back as it was."""
    bt709 = primaries([(0.640, 0.330), (0.300, 0.600), (0.150, 0.060)])
    bt2020 = primaries([(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)])
    light = np.linalg.solve(bt2020, bt709 @ np.array(colour, float)) * 60
    found = tone_map(light_to_pq(torch.from_numpy(light))[None], "HDR PQ")[0]
    expected = (np.array(colour) * 60 / 203) ** (1 / 2.4)
    assert (found.numpy() - expected).max() < 0.02 and np.abs(found.numpy() - expected).max() < 0.07


def test_a_bright_colour_keeps_its_hue():
    """Ten times as bright it is another brightness of the same colour, not a step towards white."""
    dark, bright = (light_to_pq(torch.tensor([[80.0, 40.0, 20.0]], dtype=torch.float64) * times) for times in (1, 10))
    linear = [tone_map(each, "HDR PQ")[0] ** 2.4 for each in (dark, bright)]
    assert (linear[0] / linear[0].max() - linear[1] / linear[1].max()).abs().max() < 1e-3
    assert linear[1].max() > 1.8 * linear[0].max()


def test_shapes_and_types_stay():
    frames = torch.rand(2, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    for space in SPACES:
        found = tone_map(frames, space)
        assert found.shape == frames.shape and found.dtype == frames.dtype
        assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1
