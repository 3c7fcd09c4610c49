from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.perception.mask_ops import Finish, Finisher, Majority, feather, grow


def random_mask(seed: int, height: int = 12, width: int = 17, share: float = 0.06) -> torch.Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < share


def dilated(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Every pixel within the radius of one that is set, by distances."""
    points = mask.nonzero().float()
    at = torch.stack(torch.meshgrid(*map(torch.arange, mask.shape), indexing="ij"), -1).reshape(-1, 2).float()
    if not len(points):
        return mask
    distance = (at[:, None] - points).square().sum(-1).amin(1)
    return (distance <= radius**2).view(mask.shape)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 1000), radius=st.integers(0, 150), height=st.integers(1, 30), width=st.integers(1, 200),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.5, 0.98]),
)  # fmt: skip
def test_growing_is_by_distance(seed, radius, height, width, share):
    mask = random_mask(seed, height, width, share)
    kept = mask.clone()
    assert torch.equal(grow(mask, radius), dilated(mask, radius))
    assert torch.equal(grow(mask, -radius), ~dilated(~mask, radius))
    assert torch.equal(mask, kept)


def test_growing_a_mask_of_8k_takes_less_than_a_second():
    """0.2 s of one core; 129 sums of rows took 3.7, and more where they did not fit in memory."""
    mask = torch.zeros(4320, 7680, dtype=torch.bool)
    mask[1000:3000, 2000:5000] = True
    start = time.process_time()
    grown = grow(mask, 64)
    assert time.process_time() - start < 1.5
    assert grown[936:3064, 2000:5000].all() and grown.sum() == dilated_area(2000, 3000, 64)


def dilated_area(height: int, width: int, radius: int) -> int:
    """Pixels of a rectangle that a disc has grown: it, four bands, and four quarters of the disc."""
    quarter = sum(x * x + y * y <= radius**2 for x in range(1, radius + 1) for y in range(1, radius + 1))
    return height * width + 2 * radius * (height + width) + 4 * quarter


def test_the_images_edge_does_not_shrink():
    mask = torch.ones(6, 6, dtype=torch.bool)
    assert grow(mask, -3).all()


def test_feather():
    mask = torch.zeros(9, 41, dtype=torch.bool)
    mask[:, 20:] = True
    soft = feather(mask, 6)
    row = soft[4]
    assert torch.equal(feather(mask, 0), mask.float())
    assert torch.all(row.diff() >= 0) and row[13] == 0 and row[27] > 0.9999
    assert row[19] + row[20] == pytest.approx(1, abs=1e-5)
    assert 0 < row[15] < 0.5 < row[24] < 1
    assert torch.allclose(soft, row.expand(9, -1), atol=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 12), st.integers(0, 4), st.integers(0, 1000))
def test_majority_of_the_frames_around(length, radius, seed):
    masks = [random_mask(seed + number, 3, 4, 0.5) for number in range(length)]
    smoother = Majority(radius)
    found = [mask for each in masks for mask in smoother.push(each)] + list(smoother.flush())
    assert len(found) == length
    for number, mask in enumerate(found):
        around = torch.stack(masks[max(0, number - radius) : number + radius + 1]).float().mean(0)
        expected = torch.where(around == 0.5, masks[number], around > 0.5)
        assert torch.equal(mask, expected)


def finished(masks, **options):
    finisher = Finisher(Finish(**options))
    return [mask for each in masks for mask in finisher.push(each)] + list(finisher.flush())


def test_frames_without_anything():
    full, none = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    masks = [none, full, none, none]
    assert [mask.mean().item() for mask in finished(masks)] == [0, 1, 0, 0]
    assert [mask.mean().item() for mask in finished(masks, when_empty="hold last")] == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="frame 2"):
        finished([full, full, none], when_empty="error")


def test_one_frame_that_is_missed_is_smoothed_over():
    mask = random_mask(3, share=0.4)
    flicker = [mask, mask, torch.zeros_like(mask), mask, mask]
    assert all(torch.equal(each, mask.float()) for each in finished(flicker, smooth=1))
    assert finished(flicker)[2].sum() == 0


def test_the_order_of_the_steps():
    mask = torch.zeros(21, 21, dtype=torch.bool)
    mask[10, 10] = True
    grown = finished([mask], grow=4, feather=3)[0]
    assert torch.allclose(grown, feather(dilated(mask, 4), 3))
    assert torch.allclose(finished([mask], grow=4, feather=3, invert=True)[0], 1 - grown)
