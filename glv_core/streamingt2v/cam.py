"""The conditional attention module: how a chunk sees the frames before it (arXiv 2403.14773).

``ConditionEncoder`` turns those frames into features for a copy of the UNet's way down, and a ``CrossAttentionMerger``
at every skip connection, and behind the middle, lets each pixel of the new chunk look at the same pixel of the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

ENCODER_WIDTHS = (32, 96, 256, 512)  #: channels of the encoder at each size, from that of the pixels down
NORM_GROUPS = 32
_SEQUENCES = 2**15  # heads times pixels in one call of attention; more than some kernels take


class ConditionEncoder(nn.Module):
    """Convolutions from pixels to the latent's size, which is half as high and wide for each width but the first.

    Parameters have the checkpoint's names (``controlnet_cond_embedding.`` before them): ``conv_in``, ``blocks.0`` and
    on, ``conv_out``.

    Args:
        width: channels of the UNet's first level, which come out.
        widths: channels at each size.
        layer_norms: normalise over the channels behind each of the blocks (``norms.0`` and on), as the copy for Stable
            Video Diffusion does; the published text-to-video one does not.
        layers: has the classes of the layers, by torch's names; a host's own may move and cast their weights.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(
        self,
        width: int = 320,
        widths: Sequence[int] = ENCODER_WIDTHS,
        layer_norms: bool = False,
        layers: Any = nn,
        **options: Any,
    ) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.conv_in = layers.Conv2d(3, widths[0], 3, padding=1, **options)
        self.blocks = nn.ModuleList()
        for old, new in pairwise(widths):
            self.blocks.append(layers.Conv2d(old, old, 3, padding=1, **options))
            self.blocks.append(layers.Conv2d(old, new, 3, padding=1, stride=2, **options))
        sizes = [block.out_channels for block in self.blocks] if layer_norms else []
        self.norms = nn.ModuleList(layers.LayerNorm(size, **options) for size in sizes)
        self.conv_out = layers.Conv2d(widths[-1], width, 3, padding=1, **options)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Features of frames.

        Args:
            frames: ``b k 3 (8 h) (8 w)`` in ``[-1, 1]``, with the published widths.

        Returns:
            ``b k width h w``.

        Raises:
            ValueError: they have not three channels, or a side that the encoder cannot halve so often.
        """
        if frames.ndim != 5 or frames.shape[2] != 3 or frames.shape[3] % self.factor or frames.shape[4] % self.factor:
            raise ValueError(
                f"The condition frames are {tuple(frames.shape)}; they must be (clips, frames, 3, height, width) with "
                f"sides that are multiples of {self.factor}. Resize them to {self.factor} times the latent's size."
            )
        x = functional.silu(self.conv_in(frames.flatten(0, 1)))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if len(self.norms):
                x = self.norms[index](x.movedim(1, -1)).movedim(-1, 1)
            x = functional.silu(x)
        return self.conv_out(x).unflatten(0, frames.shape[:2])


class CrossAttentionMerger(nn.Module):
    """Adds to a chunk's features what each of their pixels finds in the same pixel of the frames before.

    No pixel sees another, and nothing says where in time a frame is. Parameters have the checkpoint's names
    (``temporal_transformer.`` before them): ``norm``, ``proj_in``, ``attention.to_q``, ``to_k``, ``to_v`` and
    ``to_out.0``, ``proj_out``. With ``proj_out`` all zero, as training begins, features come out as they came in.

    Args:
        width: channels; a multiple of ``head_width`` and of 32.
        head_width: channels of a head.
        layers: as of ``ConditionEncoder``.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(self, width: int, head_width: int = 64, layers: Any = nn, **options: Any) -> None:
        super().__init__()
        self.norm = layers.GroupNorm(NORM_GROUPS, width, eps=1e-6, **options)
        self.proj_in = layers.Linear(width, width, **options)
        self.attention = _Attention(width, head_width, layers, **options)
        self.proj_out = layers.Linear(width, width, **options)

    def forward(self, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Merge.

        Args:
            hidden: of the chunk, ``b f c h w``. All frames of a clip are normalised together.
            seen: of the frames before, ``b k c h w``, which are not.

        Returns:
            ``b f c h w``.

        Raises:
            ValueError: the two differ in more than the number of frames.
        """
        batch, _, _, height, width = hidden.shape
        if seen.ndim != 5 or (seen.shape[0], *seen.shape[2:]) != (batch, *hidden.shape[2:]):
            raise ValueError(
                f"The features of the frames before are {tuple(seen.shape)} and those of the chunk "
                f"{tuple(hidden.shape)}; they may differ in the second number alone. Give condition frames of the "
                "latent's size, one clip for each."
            )
        queries = self.proj_in(_pixels(self.norm(hidden.transpose(1, 2)).transpose(1, 2)))
        found = self.proj_out(self.attention(queries, _pixels(seen)))
        return hidden + found.unflatten(0, (batch, height, width)).permute(0, 3, 4, 1, 2)


class _Attention(nn.Module):
    def __init__(self, width: int, head_width: int, layers: Any, **options: Any) -> None:
        super().__init__()
        self.heads = width // head_width
        self.to_q = layers.Linear(width, width, bias=False, **options)
        self.to_k = layers.Linear(width, width, bias=False, **options)
        self.to_v = layers.Linear(width, width, bias=False, **options)
        self.to_out = nn.ModuleList([layers.Linear(width, width, **options)])

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """``pixels f c`` on ``pixels k c`` to ``pixels f c``."""
        at_once = max(1, _SEQUENCES // self.heads)
        parts = zip(queries.split(at_once), keys.split(at_once), strict=True)
        return torch.cat([self._attend(some, their) for some, their in parts])

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.to_q, queries), (self.to_k, keys), (self.to_v, keys))
        )
        return self.to_out[0](functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _pixels(features: torch.Tensor) -> torch.Tensor:
    """``b f c h w`` as ``(b h w) f c``."""
    return features.permute(0, 3, 4, 1, 2).flatten(0, 2)
