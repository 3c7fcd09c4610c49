"""Blurs, scribbles and sketches against plain versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glv_core.perception.controls.blur import gaussian_blur, smooth_over_time
from glv_core.perception.controls.edges import darkest, fake_scribble, scribble, sketch, soft_edges


def gaussian(radius: int, sigma: float) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return weights / weights.sum()


def blurred(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Row by row, then column by column; mirrored without the edge."""
    for _ in range(2):
        rows = np.pad(image, ((0, 0), (len(weights) // 2,) * 2), mode="reflect")
        image = np.stack([np.convolve(row, weights, "valid") for row in rows]).T
    return image


def image(seed: int, height: int = 40, width: int = 52) -> np.ndarray:
    """Soft lines, as an edge detector draws them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    result = np.zeros((height, width))
    for _ in range(3):
        angle, sharp = random.uniform(0, math.pi), random.uniform(2, 4)
        away = (y - random.uniform(0, height)) * math.cos(angle) + (x - random.uniform(0, width)) * math.sin(angle)
        result = np.maximum(result, np.exp(-((away / sharp) ** 2)))
    return (result * 255).astype(np.uint8)


def test_blur_of_real_numbers():
    values = image(0).astype(np.float64)
    result = gaussian_blur(torch.from_numpy(values)[None], 3.0)[0].numpy()
    np.testing.assert_allclose(result, blurred(values, gaussian(12, 3.0)), atol=1e-9)


def test_blur_of_whole_numbers_is_within_rounding():
    values = image(1)
    result = gaussian_blur(torch.from_numpy(values)[None], 3.0)[0].numpy().astype(float)
    assert np.abs(result - blurred(values.astype(float), gaussian(9, 3.0))).max() < 1.5
    flat = torch.full((1, 9, 9), 200, dtype=torch.uint8)
    assert torch.equal(gaussian_blur(flat, 3.0), flat)


def plain_fake_scribble(edges: np.ndarray) -> np.ndarray:
    soft = blurred(edges.astype(np.float64), gaussian(12, 3.0))
    height, width = soft.shape
    strokes = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                ends = [(y + k * down, x + k * right) for k in (-1, 1)]
                inside = [end for end in ends if 0 <= end[0] < height and 0 <= end[1] < width]
                if soft[y, x] > 127 and all(soft[y, x] >= soft[end] for end in inside):
                    strokes[y, x] = 255
    return strokes, blurred(strokes, gaussian(9, 3.0))


@pytest.mark.parametrize("seed", range(4))
def test_fake_scribble(seed):
    edges = image(seed)
    result = fake_scribble(torch.from_numpy(edges)[None])[0].numpy()
    strokes, wide = plain_fake_scribble(edges)
    assert set(np.unique(result)) == {0, 255}
    assert strokes.any()
    assert (result[wide > 6] == 255).all()  # the cut is at 4, within what whole numbers round
    assert (result[wide < 3] == 0).all()


def test_scribble_is_white_below_the_threshold():
    frames = torch.tensor([[126, 200, 200], [127, 200, 200], [127, 127, 127], [0, 255, 255], [255, 255, 126]])
    frames = frames.to(torch.uint8).view(1, 1, 5, 3)
    assert scribble(darkest(frames)).view(-1).tolist() == [255, 0, 0, 255, 255]
    assert scribble(darkest(frames), 128).view(-1).tolist() == [255, 255, 255, 255, 255]


def test_soft_edges_are_cut_off_not_rounded():
    edges = torch.tensor([0.0, 0.5, 0.999, 1.0, 1.5, -1.0])
    assert soft_edges(edges).tolist() == [0, 127, 254, 255, 255, 0]


def test_sketch_is_cut_at_one_half():
    edges = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 2, 2)
    assert sketch(edges).view(-1).tolist() == [0, 0, 255, 255]
    assert sketch(edges, 0.9).view(-1).tolist() == [0, 0, 0, 255]


def smooth(images: torch.Tensor, guide: torch.Tensor, sigma: float, piece: int) -> torch.Tensor:
    parts = zip(images.split(piece), guide.split(piece))
    return torch.cat(list(smooth_over_time(parts, sigma)))


def test_flicker_goes_where_the_video_stands_still():
    guide = torch.full((30, 8, 8), 0.5)
    flicker = torch.rand(30, 8, 8, generator=torch.Generator().manual_seed(1)) * 255
    result = smooth(flicker, guide, 2.0, 7)
    assert result.shape == flicker.shape
    assert result.std(0).mean() < 0.45 * flicker.std(0).mean()
    weights = torch.exp(-0.5 * ((torch.arange(30) - 15) / 2.0) ** 2) * ((torch.arange(30) - 15).abs() <= 6)
    expected = (flicker * weights.view(-1, 1, 1)).sum(0) / weights.sum()
    torch.testing.assert_close(result[15], expected)
    for piece in (1, 4, 30):
        torch.testing.assert_close(smooth(flicker, guide, 2.0, piece), result)


def test_what_moves_is_not_smeared():
    guide = torch.zeros(12, 9, 48)
    for number in range(12):
        guide[number, :, 4 * number : 4 * number + 8] = 1
    moving = guide * 255
    result = smooth(moving, guide, 2.0, 5)
    assert (result[:, 4] - moving[:, 4]).abs().mean() < 10  # an average over time alone: 60
    assert smooth(moving, torch.zeros_like(guide), 2.0, 5).sub(moving)[:, 4].abs().mean() > 40


def test_smoothing_needs_frames():
    with pytest.raises(ValueError, match="sigma"):
        next(smooth_over_time([], 0.0))
    assert list(smooth_over_time([], 1.0)) == []
