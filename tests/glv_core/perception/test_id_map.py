from __future__ import annotations

import pytest
import torch

from glv_core.perception import id_map as module
from glv_core.perception.id_map import id_map, painting_order


def painted(masks: torch.Tensor) -> torch.Tensor:
    return id_map(masks[painting_order(masks.flatten(1).sum(1))], *masks.shape[1:])


def test_smaller_regions_lie_on_larger_ones():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 1, 1] = True
    masks[1] = True
    masks[2, :2, :2] = True
    numbers = painted(masks)
    assert numbers[..., 0].tolist() == [[2, 2, 1, 1], [2, 3, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert numbers[..., 1:].abs().max() == 0


def test_over_256_regions_go_on_in_green():
    masks = torch.zeros(300, 1, 301, dtype=torch.bool)
    for number in range(300):
        masks[number, 0, : 300 - number] = True
    numbers = painted(masks)
    for number in (1, 255, 256, 257, 300):
        assert numbers[0, 300 - number].tolist() == [number % 256, number // 256, 0]
    assert numbers[0, 0].tolist() == [44, 1, 0]
    assert numbers[0, 300].tolist() == [0, 0, 0]


def test_regions_of_one_size_keep_their_order():
    assert painted(torch.eye(3, dtype=torch.bool)[:, None])[0, :, 0].tolist() == [1, 2, 3]


def test_no_regions_are_black():
    assert painted(torch.zeros(0, 5, 6, dtype=torch.bool)).tolist() == torch.zeros(5, 6, 3).tolist()


def test_too_many_regions(monkeypatch):
    monkeypatch.setattr(module, "MOST_REGIONS", 2)
    with pytest.raises(ValueError, match="3 regions"):
        painting_order(torch.zeros(3))
