"""OpenPose's body network (Cao et al., 2017, arXiv 1611.08050), as in body_pose_model.pth."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

_TRUNK = (
    ("conv1_1", 3, 64), ("conv1_2", 64, 64), None, ("conv2_1", 64, 128), ("conv2_2", 128, 128), None,
    ("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv3_4", 256, 256), None,
    ("conv4_1", 256, 512), ("conv4_2", 512, 512), ("conv4_3_CPM", 512, 256), ("conv4_4_CPM", 256, 128),
)  #: convolutions of 3 x 3; None halves the size  # fmt: skip
_OUTPUTS = {"L1": 38, "L2": 19}  #: affinity fields, heat maps
_STAGES = 6


class OpenPoseBody(nn.Module):
    """VGG-19's beginning and 6 stages that refine affinity fields and heat maps.

    Parameters have the names of the public weights (Hzzone/pytorch-openpose): ``conv1_1.weight`` ...
    ``Mconv7_stage6_L2.bias``.
    """

    def __init__(self) -> None:
        super().__init__()
        for each in filter(None, _TRUNK):
            self.add_module(each[0], nn.Conv2d(each[1], each[2], 3, padding=1))
        for branch, channels in _OUTPUTS.items():
            for number in (1, 2, 3):
                self.add_module(f"conv5_{number}_CPM_{branch}", nn.Conv2d(128, 128, 3, padding=1))
            self.add_module(f"conv5_4_CPM_{branch}", nn.Conv2d(128, 512, 1))
            self.add_module(f"conv5_5_CPM_{branch}", nn.Conv2d(512, channels, 1))
            for stage in range(2, _STAGES + 1):
                for number in range(1, 6):
                    before = 128 + sum(_OUTPUTS.values()) if number == 1 else 128
                    layer = nn.Conv2d(before, 128, 7, padding=3)
                    self.add_module(f"Mconv{number}_stage{stage}_{branch}", layer)
                self.add_module(f"Mconv6_stage{stage}_{branch}", nn.Conv2d(128, 128, 1))
                self.add_module(f"Mconv7_stage{stage}_{branch}", nn.Conv2d(128, channels, 1))

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Affinity fields ``t 38 h/8 w/8`` and heat maps ``t 19 h/8 w/8`` of what ``network_input`` gives."""
        values = values.to(self.conv1_1.weight)
        for each in _TRUNK:
            values = functional.max_pool2d(values, 2) if each is None else self._layer(each[0], values)
        result = [
            self._branch([f"conv5_{number}_CPM_{branch}" for number in range(1, 6)], values) for branch in _OUTPUTS
        ]
        for stage in range(2, _STAGES + 1):
            joined = torch.cat([*result, values], 1)
            result = [
                self._branch([f"Mconv{number}_stage{stage}_{branch}" for number in range(1, 8)], joined)
                for branch in _OUTPUTS
            ]
        fields, heat = result
        return fields, functional.relu(heat)  # so the public code does, for the last heat maps alone

    def _layer(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.get_submodule(name)(values))

    def _branch(self, names: list[str], values: torch.Tensor) -> torch.Tensor:
        for name in names[:-1]:
            values = self._layer(name, values)
        return self.get_submodule(names[-1])(values)


def remapped(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under their public names: files that were saved again have the part's name in front (``model1_1.``)."""
    return {re.sub(r"^model\d(_\d)?\.", "", name): value for name, value in weights.items()}
