"""The annotators' networks: names and shapes of the public weights, and what crafted weights compute."""

from __future__ import annotations

import math

import pytest
import torch

from glv_core.perception.networks.hed import HED
from glv_core.perception.networks.mlsd import MLSD
from glv_core.perception.networks.openpose_body import OpenPoseBody, remapped


def shapes(network: type) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in network().state_dict().items()}


def convolution(name: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before, size, size), f"{name}.bias": (after,)}


def test_hed_has_the_names_of_network_bsds500():
    expected = {}
    vgg = {
        "One": ((0, 3, 64), (2, 64, 64)),
        "Two": ((1, 64, 128), (3, 128, 128)),
        "Thr": ((1, 128, 256), (3, 256, 256), (5, 256, 256)),
        "Fou": ((1, 256, 512), (3, 512, 512), (5, 512, 512)),
        "Fiv": ((1, 512, 512), (3, 512, 512), (5, 512, 512)),
    }
    for stage, layers in vgg.items():
        for number, before, after in layers:
            expected |= convolution(f"moduleVgg{stage}.{number}", before, after, 3)
        expected |= convolution(f"moduleScore{stage}", layers[-1][2], 1, 1)
    expected |= convolution("moduleCombine.0", 5, 1, 1)
    assert shapes(HED) == expected


def test_openpose_has_the_names_of_body_pose_model():
    trunk = [
        ("conv1_1", 3, 64), ("conv1_2", 64, 64), ("conv2_1", 64, 128), ("conv2_2", 128, 128), ("conv3_1", 128, 256),
        ("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv3_4", 256, 256), ("conv4_1", 256, 512),
        ("conv4_2", 512, 512), ("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128),
    ]  # fmt: skip
    expected = {}
    for layer in trunk:
        expected |= convolution(*layer, 3)
    for branch, out in (("L1", 38), ("L2", 19)):
        for number in (1, 2, 3):
            expected |= convolution(f"conv5_{number}_CPM_{branch}", 128, 128, 3)
        expected |= convolution(f"conv5_4_CPM_{branch}", 128, 512, 1)
        expected |= convolution(f"conv5_5_CPM_{branch}", 512, out, 1)
        for stage in range(2, 7):
            for number in range(1, 6):
                name = f"Mconv{number}_stage{stage}_{branch}"
                expected |= convolution(name, 185 if number == 1 else 128, 128, 7)
            expected |= convolution(f"Mconv6_stage{stage}_{branch}", 128, 128, 1)
            expected |= convolution(f"Mconv7_stage{stage}_{branch}", 128, out, 1)
    assert shapes(OpenPoseBody) == expected
    again = {f"model1_2.{name}": 0 for name in expected} | {"model0.conv1_1.weight": 1}
    assert remapped(again) == dict.fromkeys(expected, 0) | {"conv1_1.weight": 1}


def test_mlsd_has_the_names_of_mlsd_large_512_fp32():
    found = shapes(MLSD)
    assert len(found) == 362
    expected = {
        "backbone.features.0.0.weight": (32, 4, 3, 3),
        "backbone.features.0.1.running_var": (32,),
        "backbone.features.1.conv.0.0.weight": (32, 1, 3, 3),
        "backbone.features.1.conv.1.weight": (16, 32, 1, 1),
        "backbone.features.1.conv.2.bias": (16,),
        "backbone.features.2.conv.0.0.weight": (96, 16, 1, 1),
        "backbone.features.2.conv.1.0.weight": (96, 1, 3, 3),
        "backbone.features.2.conv.2.weight": (24, 96, 1, 1),
        "backbone.features.4.conv.2.weight": (32, 144, 1, 1),
        "backbone.features.7.conv.2.weight": (64, 192, 1, 1),
        "backbone.features.11.conv.2.weight": (96, 384, 1, 1),
        "backbone.features.13.conv.3.num_batches_tracked": (),
        "block15.conv1.0.weight": (64, 96, 1, 1),
        "block15.conv2.0.weight": (64, 64, 1, 1),
        "block16.conv1.0.weight": (128, 128, 3, 3),
        "block16.conv2.1.running_mean": (64,),
        "block17.conv2.0.weight": (64, 32, 1, 1),
        "block19.conv2.0.weight": (64, 24, 1, 1),
        "block21.conv2.0.bias": (64,),
        "block21.conv2.0.weight": (64, 16, 1, 1),
        "block22.conv2.0.weight": (64, 128, 3, 3),
        "block23.conv1.0.weight": (64, 64, 3, 3),
        "block23.conv2.1.weight": (64,),
        "block23.conv3.weight": (16, 64, 1, 1),
        "block23.conv3.bias": (16,),
    }
    assert expected.items() <= found.items()
    assert {name.split(".")[0] for name in found} == {"backbone", *(f"block{number}" for number in range(15, 24))}
    assert not [name for name in found if name.startswith("backbone.features.14")]


def zeros(network: torch.nn.Module) -> torch.nn.Module:
    for name, value in network.state_dict().items():
        value.fill_(1 if "running_var" in name else 0)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("channel", range(3))
def test_hed_sees_blue_green_red_less_their_means(channel):
    network = zeros(HED())
    network.moduleVggOne[0].weight[0, channel, 1, 1] = 1
    network.moduleVggOne[2].weight[0, 0, 1, 1] = 1
    network.moduleScoreOne.weight[0, 0] = 0.01
    network.moduleCombine[0].weight[0, 0] = 2
    frames = torch.tensor([250, 200, 150], dtype=torch.uint8).expand(2, 20, 37, 3)  # red, green, blue
    value = (150 - 104.00698793, 200 - 116.66876762, 250 - 122.67891434)[channel]
    edges = network(frames)
    assert edges.shape == (2, 20, 37)
    torch.testing.assert_close(edges, torch.full_like(edges, 1 / (1 + math.exp(-0.02 * value))))


@torch.no_grad()
def test_hed_fuses_five_scores():
    network = zeros(HED())
    for number, stage in enumerate(("One", "Two", "Thr", "Fou", "Fiv")):
        network.get_submodule(f"moduleScore{stage}").bias[:] = 10.0**-number
        network.moduleCombine[0].weight[0, number] = 1
    assert torch.allclose(
        network(torch.zeros(1, 33, 50, 3, dtype=torch.uint8)).logit(), torch.tensor(1.1111), atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 96), (72, 90), (33, 50)])
def test_mlsd_gives_nine_maps_at_half_the_size(height, width):
    network = MLSD().eval()
    maps = network(torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8))
    assert maps.shape == (2, 9, (height + 1) // 2, (width + 1) // 2)
    zeros(network).block23.conv3.bias[:] = torch.arange(16.0)
    maps = network(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    assert (maps == torch.arange(7.0, 16.0).view(1, 9, 1, 1)).all()  # the last 9 of 16


@torch.no_grad()
def test_openpose_gives_fields_and_heat_at_an_eighth():
    network = zeros(OpenPoseBody())
    network.Mconv7_stage6_L1.bias[:] = torch.arange(38.0) - 20
    network.Mconv7_stage6_L2.bias[:] = torch.arange(19.0) - 10
    fields, heat = network(torch.zeros(2, 3, 32, 48))
    assert fields.shape == (2, 38, 4, 6) and heat.shape == (2, 19, 4, 6)
    assert fields[0, :, 0, 0].tolist() == list(range(-20, 18))
    assert heat[0, :, 0, 0].tolist() == [max(0, number - 10) for number in range(19)]
