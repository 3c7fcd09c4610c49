from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.perception.holes import fill_holes, regions


def flooded(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Regions by walking from pixel to pixel."""
    left = set(zip(*np.nonzero(mask)))
    found = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + b, x + a) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


masks = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.floats(0.1, 0.9)).map(
    lambda v: np.random.default_rng(v[2]).random((v[0], v[1])) < v[3]
)


@settings(max_examples=200)
@given(masks)
def test_regions_are_those_of_a_flood(mask):
    runs = regions(mask)
    ours = {}
    for row, start, stop, region, area in zip(runs.row, runs.start, runs.stop, runs.region, runs.area):
        ours.setdefault((region, area), set()).update((row, x) for x in range(start, stop))
    assert all(len(found) == area for (_, area), found in ours.items())
    theirs = flooded(mask)
    assert sorted(map(sorted, ours.values())) == sorted(map(sorted, theirs))


@settings(max_examples=100)
@given(masks, st.integers(0, 30))
def test_small_holes_are_filled_and_no_others(mask, below):
    expected = mask.copy()
    if mask.any():
        for region in flooded(~mask):
            if len(region) < below:
                for y, x in region:
                    expected[y, x] = True
    assert np.array_equal(fill_holes(torch.from_numpy(mask), below).numpy(), expected)


@pytest.mark.parametrize(("area", "filled"), [(399, True), (400, False), (401, False)])
def test_a_hole_of_399_is_filled_and_401_not(area, filled):
    mask = torch.zeros(2, 60, 60, dtype=torch.bool)
    mask[0, 5:55, 5:55] = True
    hole = torch.zeros(20, 25, dtype=torch.bool)
    hole.view(-1)[:area] = True
    mask[0, 10:30, 10:35] &= ~hole
    result = fill_holes(mask, 400)
    assert int(result[0].sum()) == 2500 - (0 if filled else area)
    assert not result[1].any()


def test_spirals_are_one_region():
    """A shape whose parts meet only at the end, for joining over many rows."""
    mask = np.zeros((21, 21), bool)
    for ring in range(0, 10, 2):
        mask[ring, ring : 21 - ring] = mask[20 - ring, ring : 21 - ring] = True
        mask[ring : 21 - ring, 20 - ring] = True
        mask[ring + 2 : 21 - ring, ring] = True
        mask[ring + 2, ring : ring + 3] = True
    assert len(set(regions(mask).region.tolist())) == len(flooded(mask)) == 1
