"""Cuts, and what looks like them."""

import pytest
import torch
import torch.nn.functional as F

from glv_core.perception.cuts import CutFinder


def picture(seed):
    """A scene ``120 320 3`` uint8 of large patches of color."""
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand(1, 3, 1, 1, generator=generator)
    patches = 0.5 * torch.rand(1, 3, 6, 16, generator=generator) + 0.5 * tint
    return (F.interpolate(patches, (120, 320), mode="bicubic").clamp(0, 1) * 255)[0].movedim(0, -1).to(torch.uint8)


def view(scene, left, width=160):
    return scene[:, left : left + width].contiguous()


def cuts(*frames):
    finder = CutFinder()
    return [finder.push(frame) for frame in frames]


@pytest.mark.parametrize("seed", range(6))
def test_another_scene_is_a_cut(seed):
    a, b = view(picture(seed), 0), view(picture(seed + 6), 0)
    assert cuts(a, a, b, b, a) == [False, False, True, False, True]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [10, 40, 70])
def test_a_fast_pan_is_none(seed, step):
    scene = picture(seed)
    assert not any(cuts(*(view(scene, left) for left in range(0, 160, step))))


@pytest.mark.parametrize("seed", range(6))
def test_light_is_none(seed):
    scene = view(picture(seed), 0)
    white, black = torch.full_like(scene, 255), torch.zeros_like(scene)
    warm = (scene * torch.tensor([1.0, 0.8, 0.6])).to(torch.uint8)
    dark = (scene * 0.2).to(torch.uint8)
    assert not any(cuts(scene, dark, scene, warm, white, scene, black, scene))


def test_a_cut_behind_black_is_found():
    a, b = view(picture(0), 0), view(picture(6), 0)
    assert cuts(a, torch.zeros_like(a), b) == [False, False, True]


def test_what_moves_fast_in_front_is_none():
    ground = view(picture(1), 0)
    frames = []
    for left in (0, 60, 110, 20):
        frame = ground.clone()
        frame[30:90, left : left + 45] = torch.tensor([250, 20, 20])
        frames.append(frame)
    assert not any(cuts(*frames))


def test_images_of_one_pixel():
    assert cuts(torch.zeros(1, 1, 3, dtype=torch.uint8), torch.full((1, 1, 3), 255, dtype=torch.uint8)) == [False] * 2
