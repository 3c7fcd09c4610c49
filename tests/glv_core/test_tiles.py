"""Tiles of a frame: they cover it, count to 1, and give back what every tile agrees on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.tiles import over_tiles, tiles_of

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(2, 40), st.integers(2, 40), st.integers(0, 20))


@given(sizes)
@settings(max_examples=150, deadline=None)
def test_weights_of_tiles_sum_to_one_in_every_pixel(size):
    height, width, *tile, overlap = size
    overlap = min(overlap, min(tile) - 1)
    total, count = torch.zeros(height, width), torch.zeros(height, width)
    for each in tiles_of(height, width, tuple(tile), overlap):
        assert (each.height, each.width) == (min(tile[0], height), min(tile[1], width))
        assert each.of(total).shape == each.weights.shape and (each.weights > 0).all()
        each.of(total).add_(each.weights)
        each.of(count).add_(1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    assert (count >= 1).all()


@given(sizes)
@settings(max_examples=60, deadline=None)
def test_a_prediction_of_each_pixel_alone_comes_back(size):
    height, width, *tile, overlap = size
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
    tiles = tiles_of(height, width, tuple(tile), min(overlap, min(tile) - 1))
    assert torch.allclose(over_tiles(x, tiles, lambda each: each.of(x) * 2 + 1), x * 2 + 1, atol=1e-5)


def test_neighbours_share_at_least_the_overlap_and_change_in_a_straight_line():
    tiles = tiles_of(8, 40, (8, 16), 6)
    starts = [each.left for each in tiles]
    assert starts[0] == 0 and starts[-1] == 40 - 16
    assert all(after - before <= 16 - 6 for before, after in pairwise(starts))
    shown = over_tiles(torch.zeros(8, 40), tiles, lambda each: torch.full((8, 16), float(each.left > 0)))
    steps = shown[0].diff()
    shared = starts[0] + 16 - starts[1]
    assert torch.allclose(steps[steps > 0], torch.full((shared + 1,), 1 / (shared + 1)))


def test_tiles_begin_at_multiples_of_the_patch():
    for each in tiles_of(46, 78, (16, 24), 5, multiple=2):
        assert each.top % 2 == each.left % 2 == 0


def test_one_tile_is_the_prediction_itself():
    x = torch.rand(1, 4, 8, 8)
    assert over_tiles(x, tiles_of(8, 8, (16, 8), 4), lambda each: x) is x


@pytest.mark.parametrize(
    ("tile", "overlap", "multiple", "words"),
    [((0, 8), 0, 1, "tile height is 0"), ((8, 9), 0, 2, "tile width is 9"), ((8, 8), 8, 1, "tile overlap is 8")],
)
def test_bad_values_say_what_to_do(tile, overlap, multiple, words):
    with pytest.raises(ValueError, match=words):
        tiles_of(32, 32, tile, overlap, multiple)
