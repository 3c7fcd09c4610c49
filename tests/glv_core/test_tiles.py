"""Tiles of a frame: they cover it, count to 1, and give back what every tile agrees on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.tiles import PATCH, TileSum, Tiling

frames = st.tuples(st.integers(1, 90), st.integers(1, 90))
halves = st.tuples(st.integers(0, 20), st.integers(0, 20))  # of a tile's sides; 0 is the whole side


def tiling(sides, overlap):
    height, width = (PATCH * side for side in sides)
    return Tiling(height, width, min(overlap, *(side - 1 for side in (height, width) if side), 99))


def put_together(tiles, predict):
    total = TileSum(tiles)
    done = [total.add(number, predict(tile)) for number, tile in enumerate(tiles)]
    assert done == [False] * (len(tiles) - 1) + [True]
    return total.whole


@given(frames, halves, st.integers(0, 20), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_tiles_cover_the_frame_at_every_step_and_count_to_one(frame, sides, overlap, step):
    cut = tiling(sides, overlap)
    total, count = torch.zeros(frame), torch.zeros(frame)
    tiles = cut.tiles(frame, step)
    for tile in tiles:
        wanted = [min(side or whole, whole) for side, whole in zip((cut.height, cut.width), frame, strict=True)]
        assert [tile.height, tile.width] == wanted and tile.frame == frame
        assert tile.of(total).shape == tile.weights.shape == tuple(wanted) and (tile.weights > 0).all()
        tile.of(total).add_(tile.weights)
        tile.of(count).add_(1)
    assert torch.allclose(total, torch.ones(frame), atol=1e-5)
    assert (count >= 1).all()
    assert sum(tile.share for tile in tiles) == pytest.approx(1, abs=1e-4)


@given(frames, halves, st.integers(0, 20), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_prediction_of_each_pixel_alone_comes_back(frame, sides, overlap, step):
    x = torch.rand(2, 3, *frame, generator=torch.Generator().manual_seed(frame[0]))
    tiles = tiling(sides, overlap).tiles(frame, step)
    [[once], [twice]] = put_together(tiles, lambda tile: [[tile.of(x)], [tile.of(x) * 2 + 1]])
    assert torch.allclose(once, x, atol=1e-5) and torch.allclose(twice, x * 2 + 1, atol=1e-5)


def test_what_lies_beside_the_video_is_the_mean_by_the_tiles_shares():
    tiles = Tiling(0, 4, 2).tiles((2, 8))
    said = [torch.full((1, 5), float(number + 1)) for number in range(len(tiles))]
    [[_, sound]] = put_together(tiles, lambda tile: [[tile.weights, said[tiles.index(tile)]]])
    shares = torch.tensor([tile.weights.sum() for tile in tiles]) / 16
    assert len(tiles) == 3 and torch.allclose(sound, sum(s * w for s, w in zip(said, shares, strict=True)))


@given(st.integers(0, 30), st.integers(0, 15))
def test_neighbours_share_at_least_the_overlap(step, overlap):
    starts = [tile.left for tile in Tiling(0, 16, overlap).tiles((8, 100), step)]
    assert starts[0] == 0 and starts[-1] == 100 - 16
    assert all(after - before <= max(PATCH, 16 - overlap) for before, after in pairwise(starts))


def test_tiles_begin_at_whole_patches_where_the_frame_ends_with_one():
    for tile in Tiling(16, 24, 5).tiles((46, 78), 1):
        assert tile.top % PATCH == tile.left % PATCH == 0
    assert Tiling(16, 24, 5).tiles((47, 79), 1)[-1].left == 79 - 24


def test_a_part_of_what_has_another_scale():
    tile = Tiling(4, 4, 0).tiles((8, 8))[1]
    assert (tile.top, tile.left) == (0, 4)
    pixels, half = torch.arange(64 * 64).view(64, 64), torch.arange(16).view(4, 4)
    assert torch.equal(tile.of(pixels), pixels[:32, 32:]) and torch.equal(tile.of(half), half[:2, 2:])


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((3, 8, 0), "height is 3"),
        ((8, -2, 0), "width is -2"),
        ((0, 8, 8), "overlap is 8 latent pixels and their width 8"),
        ((8, 8, -1), "overlap is -1"),
    ],
)
def test_bad_values_say_what_to_do(sizes, words):
    with pytest.raises(ValueError, match=words):
        Tiling(*sizes)
