"""Depth and normals of surfaces whose normals are known; palettes."""

from __future__ import annotations

import math

import pytest
import torch

from glv_core.perception.controls.depth import depth_map, normal_map, normalised, value_range
from glv_core.perception.controls.palettes import PALETTES, paint, palette_for


def test_depth_of_a_frame_and_of_the_clip():
    depth = torch.stack([torch.linspace(10, 20, 6).view(2, 3), torch.linspace(15, 40, 6).view(2, 3)])
    frames = depth_map(depth, value_range(depth))
    assert frames.flatten(1)[:, [0, -1]].tolist() == [[0, 255], [0, 255]]
    clip = depth_map(depth, torch.tensor([10.0, 40.0]))
    assert clip.flatten(1)[:, [0, -1]].tolist() == [[0, 85], [42, 255]]  # 42.5 is cut off
    assert clip.dtype == torch.uint8


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_constant_depth_is_black_and_flat(value):
    depth = torch.full((2, 5, 6), value)
    bounds = value_range(depth)
    assert not depth_map(depth, bounds).any()
    assert (normal_map(depth, bounds) == torch.tensor([127, 127, 255])).all()
    assert torch.isfinite(normalised(depth, bounds)).all()
    shaken = depth + 1e-6 * depth * torch.rand(depth.shape, generator=torch.Generator().manual_seed(0))
    assert not depth_map(shaken, value_range(shaken)).any()


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.0), (0.0, -0.25), (1.0, 2.0), (-0.3, 0.1)])
def test_normals_of_a_tilted_plane(right, down):
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    depth = (100 + right * x + down * y)[None]
    colours = normal_map(depth, value_range(depth), background=0.0)
    length = math.sqrt((8 * right) ** 2 + (8 * down) ** 2 + (2 * math.pi) ** 2)
    expected = [int(127.5 * part / length + 127.5) for part in (8 * right, 8 * down, 2 * math.pi)]
    inside = colours[0, 1:-1, 1:-1].reshape(-1, 3).int()
    assert (
        inside - torch.tensor(expected)
    ).abs().max() <= 1  # cut off, not rounded: 1 where the sum is near a whole one
    assert (colours[0, 1:-1, 0].int() - 127).abs()[:, 0].max() == 0  # mirrored at the border: no slope across it


def test_normals_of_the_background_are_flat():
    depth = torch.linspace(0, 100, 101).view(1, 1, -1).repeat(1, 5, 1)
    colours = normal_map(depth, value_range(depth), background=0.4)
    assert (colours[0, :, :40] == torch.tensor([127, 127, 255])).all()
    assert (colours[0, :, 40:100, 0] > 200).all()


def test_depth_span_makes_networks_alike():
    depth = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    bounds = value_range(depth)
    one = normal_map(depth, bounds, span=1000.0)
    assert torch.equal(one, normal_map(depth * 64 + 8, value_range(depth * 64 + 8), span=1000.0))
    assert not torch.equal(one, normal_map(depth, bounds, span=10.0))
    assert torch.equal(
        normal_map(depth * 3, bounds * 3), normal_map(depth, bounds, span=float(3 * (bounds[0, 1] - bounds[0, 0])))
    )


def test_palette_entries():
    ade = PALETTES["ade20k"]
    assert ade.shape == (150, 3)
    known = {
        0: (120, 120, 120), 2: (6, 230, 230), 3: (80, 50, 50), 4: (4, 200, 3), 12: (150, 5, 61), 20: (0, 102, 200),
        149: (92, 0, 255),
    }  # fmt: skip
    for label, colour in known.items():
        assert tuple(ade[label].tolist()) == colour
    coco = PALETTES["coco_stuff"]
    assert len(set(map(tuple, coco.tolist()))) == 182
    # The PASCAL VOC colours: 1 dark red, 2 dark green, 3 both, 4 dark blue, 8 half as bright red ...
    assert coco[[0, 1, 2, 3, 7, 14]].tolist() == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [64, 0, 0], [192, 128, 128]
    ]  # fmt: skip


def test_labels_are_painted():
    labels = torch.tensor([[[0, 12], [149, 255]]])
    colours = paint(labels, PALETTES["ade20k"])
    assert colours[0].tolist() == [[[120, 120, 120], [150, 5, 61]], [[92, 0, 255], [0, 0, 0]]]


def test_a_palette_needs_a_model_of_its_data_set():
    used = palette_for("coco_stuff", 171)
    assert torch.equal(used[:11], PALETTES["coco_stuff"][:11])
    assert torch.equal(used[11], PALETTES["coco_stuff"][12])  # number 11, a street sign, is in no image
    assert torch.equal(used[-1], PALETTES["coco_stuff"][-1])
    assert palette_for("coco_stuff", 182) is PALETTES["coco_stuff"]
    for name, count, wanted in (("ade20k", 171, "ADE20K"), ("coco_stuff", 150, "COCO-Stuff")):
        with pytest.raises(ValueError, match=wanted):
            palette_for(name, count)


def test_normals_of_the_smallest_images():
    for height, width in ((1, 1), (1, 8), (8, 1), (2, 2)):
        depth = torch.arange(float(height * width)).view(1, height, width)
        colours = normal_map(depth, value_range(depth), background=0.0)
        assert colours.shape == (1, height, width, 3)
        assert (colours[..., 2] > 0).all()
