"""HED, holistically-nested edge detection (Xie and Tu, 2015, arXiv 1504.06375), in the shape of network-bsds500.pth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
_STAGES = {"One": (2, 64), "Two": (2, 128), "Thr": (3, 256), "Fou": (3, 512), "Fiv": (3, 512)}


class HED(nn.Module):
    """VGG-16 with an edge map from each of its 5 stages, fused by a weighted sum.

    Parameters have the names of the public PyTorch conversion of the authors' Caffe weights (sniklaus/pytorch-hed):
    ``moduleVggOne.0.weight`` ... ``moduleScoreFiv.bias``, ``moduleCombine.0.weight``.
    """

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for name, (depth, channels) in _STAGES.items():
            layers: list[nn.Module] = [] if name == "One" else [nn.MaxPool2d(2, 2)]
            for _ in range(depth):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            self.add_module(f"moduleVgg{name}", nn.Sequential(*layers))
        for name, (_, channels) in _STAGES.items():
            self.add_module(f"moduleScore{name}", nn.Conv2d(channels, 1, 1))
        self.moduleCombine = nn.Sequential(nn.Conv2d(len(_STAGES), 1, 1), nn.Sigmoid())
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Probability of an edge, ``t h w`` in 0..1, of frames ``t h w 3`` uint8 RGB."""
        values = frames.flip(-1).movedim(-1, 1).to(self.mean) - self.mean
        maps = []
        for name in _STAGES:
            values = self.get_submodule(f"moduleVgg{name}")(values)
            score = self.get_submodule(f"moduleScore{name}")(values)
            maps.append(functional.interpolate(score, frames.shape[1:3], mode="bilinear", align_corners=False))
        return self.moduleCombine(torch.cat(maps, 1))[:, 0]
