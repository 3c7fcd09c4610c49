"""Decoding of M-LSD's maps that were made from known lines."""

from __future__ import annotations

import numpy as np
import torch

from glv_core.perception.controls.hough import decode_lines


def maps_of(
    lines: list[tuple[tuple[int, int], tuple[float, float, float, float], float]], size: int = 32
) -> torch.Tensor:
    """Maps with a centre (x, y), its displacements, and a score before the sigmoid, for each line."""
    maps = torch.zeros(1, 9, size, size)
    maps[:, 0] = -9
    for (x, y), shifts, score in lines:
        maps[0, 0, y, x] = score
        maps[0, 1:5, y, x] = torch.tensor(shifts)
    return maps


def test_ends_are_centre_and_displacement_at_twice_the_size():
    maps = maps_of([((10, 20), (-4.0, 1.5, 4.0, -1.5), 3.0), ((5, 6), (0.0, -5.0, 0.0, 5.0), 1.0)])
    (lines,) = decode_lines(maps)
    np.testing.assert_allclose(lines, [[12, 43, 28, 37], [10, 2, 10, 22]])


def test_what_is_left_out():
    shifts = (-4.0, 0.0, 4.0, 0.0)
    assert len(decode_lines(maps_of([((10, 20), shifts, -3.0)]))[0]) == 0  # a probability of 0.047
    assert len(decode_lines(maps_of([((10, 20), shifts, -2.0)]))[0]) == 1  # 0.12
    assert len(decode_lines(maps_of([((10, 20), shifts, -2.0)]), score=0.2)[0]) == 0
    assert len(decode_lines(maps_of([((10, 20), (0.02, 0.0, -0.02, 0.0), 2.0)]))[0]) == 0  # 0.04 long
    assert len(decode_lines(maps_of([((10, 20), shifts, 2.0)]), length=8.5)[0]) == 0
    near = maps_of([((10, 20), shifts, 2.0), ((11, 20), shifts, 1.0), ((13, 20), shifts, 1.0)])
    assert decode_lines(near)[0][:, 0].tolist() == [12, 18]  # only the best of 3 x 3


def test_the_best_lines_of_each_frame():
    random = torch.Generator().manual_seed(0)
    places = [(x, y) for y in range(1, 31, 2) for x in range(1, 31, 2)]  # 225
    scores = torch.rand(len(places), generator=random).tolist()
    maps = maps_of([(place, (-1.0, 0.0, 1.0, 0.0), score) for place, score in zip(places, scores)])
    (lines,) = decode_lines(maps)
    assert len(lines) == 200
    best = sorted(zip(scores, places), reverse=True)[:200]
    np.testing.assert_allclose(lines, [[2 * x - 2, 2 * y, 2 * x + 2, 2 * y] for _, (x, y) in best])
    many = decode_lines(torch.cat([maps, maps_of([])]))
    assert [len(each) for each in many] == [200, 0]
    assert len(decode_lines(maps, most=7)[0]) == 7
