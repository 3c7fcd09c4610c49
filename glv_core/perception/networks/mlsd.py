"""M-LSD large, a light line segment detector (Gu et al., 2022, arXiv 2106.00186), as in mlsd_large_512_fp32.pth."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_MULTIPLE = 16  #: the encoder halves the frame so often
_TAPPED = (1, 3, 6, 10, 13)  #: encoder blocks whose output the decoder reads
# Expansion, channels and stride of the encoder's inverted residuals (MobileNetV2 up to 96 channels).
_RESIDUALS = (
    (1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1), (6, 64, 2), (6, 64, 1), (6, 64, 1),
    (6, 64, 1), (6, 96, 1), (6, 96, 1), (6, 96, 1),
)  # fmt: skip


def _normalised(before: int, after: int, size: int, activation: nn.Module, **options: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, size, **options), nn.BatchNorm2d(after), activation)


class _ConvNormReLU(nn.Sequential):
    """A convolution as TensorFlow Lite pads it: a stride of 2 looks to the right and below."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1, groups: int = 1) -> None:
        padding = 0 if stride == 2 else size // 2
        super().__init__(
            nn.Conv2d(before, after, size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU6(),
        )
        self.stride = stride

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(values, (0, 1, 0, 1)) if self.stride == 2 else values)


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.conv = nn.Sequential(
            *([_ConvNormReLU(before, hidden, 1)] if expansion > 1 else []),
            _ConvNormReLU(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.adds = stride == 1 and before == after

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.conv(values) if self.adds else self.conv(values)


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_ConvNormReLU(4, 32, stride=2)]
        before = 32
        for expansion, channels, stride in _RESIDUALS:
            blocks.append(_InvertedResidual(before, channels, stride, expansion))
            before = channels
        self.features = nn.Sequential(*blocks)

    def forward(self, values: torch.Tensor) -> list[torch.Tensor]:
        tapped = []
        for number, block in enumerate(self.features):
            values = block(values)
            if number in _TAPPED:
                tapped.append(values)
        return tapped


class _Join(nn.Module):
    """A finer map and a coarser one, which is enlarged if ``enlarges``, side by side."""

    def __init__(self, fine: int, coarse: int, enlarges: bool) -> None:
        super().__init__()
        self.conv1 = _normalised(coarse, 64, 1, nn.ReLU())
        self.conv2 = _normalised(fine, 64, 1, nn.ReLU())
        self.enlarges = enlarges

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        coarse = self.conv1(coarse)
        if self.enlarges:
            coarse = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=True)
        return torch.cat([self.conv2(fine), coarse], 1)


class _Refine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _normalised(128, 128, 3, nn.ReLU(), padding=1)
        self.conv2 = _normalised(128, 64, 3, nn.ReLU(), padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(values) + values)


class _Head(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _normalised(64, 64, 3, nn.ReLU(), padding=5, dilation=5)
        self.conv2 = _normalised(64, 64, 3, nn.ReLU(), padding=1)
        self.conv3 = nn.Conv2d(64, 16, 1)


class MLSD(nn.Module):
    """MobileNetV2 and a decoder. Parameters have the names of the public weights, lhwcv/mlsd_pytorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Encoder()
        coarse = 96
        for number, fine in zip((15, 17, 19, 21), (64, 32, 24, 16), strict=True):
            self.add_module(f"block{number}", _Join(fine, coarse, enlarges=number > 15))
            self.add_module(f"block{number + 1}", _Refine())
            coarse = 64
        self.block23 = _Head()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Maps ``t 9 h/2 w/2`` of frames ``t h w 3`` uint8 RGB: those of ``decode_lines``, and others.

        Sides that are no multiples of 16 are continued with their last pixels.
        """
        height, width = frames.shape[1:3]
        values = frames.movedim(-1, 1).to(self.block23.conv3.weight)
        values = torch.cat([values, torch.ones_like(values[:, :1])], 1) / 127.5 - 1
        values = functional.pad(values, (0, -width % _MULTIPLE, 0, -height % _MULTIPLE), mode="replicate")
        *fines, values = self.backbone(values)
        for number, fine in zip((15, 17, 19, 21), reversed(fines), strict=True):
            values = self.get_submodule(f"block{number + 1}")(self.get_submodule(f"block{number}")(fine, values))
        return self.block23(values)[:, 7:, : -(-height // 2), : -(-width // 2)]
