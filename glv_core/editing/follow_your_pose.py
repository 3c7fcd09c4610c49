"""Follow-Your-Pose's layers: what makes a text-to-video model that follows a skeleton of Stable Diffusion 1.

Ma et al., "Follow Your Pose: Pose-Guided Text-to-Video Generation using Pose-Free Videos" (arXiv 2304.01186); their
public code is mayuelala/FollowYourPose, and Gen-L-Video (arXiv 2305.18264) makes long videos with the same network.
The frames are the batch. A batch may hold several clips of the same length one after the other (the conditional and the
unconditional one, windows that share a forward pass), and no layer looks from one clip into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CONV_RANK = 160  #: channels between the two convolutions over time, or half of the width where that is less
_SEQUENCES = 2**15  # heads times sequences in one call of attention; more than some kernels take


def frames_of(rows: int, clips: int) -> int:
    """Frames of each clip in a batch of ``rows``.

    Raises:
        ValueError: ``rows`` cannot be cut into so many clips of the same length.
    """
    if clips < 1 or rows % clips:
        raise ValueError(f"A batch of {rows} frames cannot be {clips} clips of the same length.")
    return rows // clips


def first_and_previous(tokens: torch.Tensor, clips: int = 1) -> torch.Tensor:
    """What each frame attends to in sparse-causal attention: its clip's first frame, then the frame before it.

    The first frame sees itself twice, which is the same as once. Keys and values may be made before or after.

    Args:
        tokens: ``(clips frames) tokens channels``.
        clips: clips in the batch.

    Returns:
        ``(clips frames) (2 tokens) channels``.
    """
    frames = frames_of(tokens.shape[0], clips)
    apart = tokens.unflatten(0, (clips, frames))
    first = apart[:, :1].expand_as(apart)
    previous = torch.cat((apart[:, :1], apart[:, :-1]), dim=1)
    return torch.cat((first, previous), dim=2).flatten(0, 1)


def as_clips(frames: torch.Tensor, clips: int = 1) -> torch.Tensor:
    """``(clips frames) c h w`` as ``clips c frames h w``: a GroupNorm between this and ``as_frames`` is pooled.

    It then takes one mean and one deviation for all frames of a clip, as in the residual blocks and before the last
    convolution of Follow-Your-Pose.
    """
    return frames.unflatten(0, (clips, frames_of(frames.shape[0], clips))).movedim(2, 1)


def as_frames(clips: torch.Tensor) -> torch.Tensor:
    """``clips c frames h w`` as ``(clips frames) c h w``."""
    return clips.movedim(1, 2).flatten(0, 1)


def as_sequences(x: torch.Tensor, clips: int = 1) -> torch.Tensor:
    """``(clips frames) tokens width`` as ``(clips tokens) frames width``: each place of the image along its clip.

    Raises:
        ValueError: the batch cannot be cut into so many clips.
    """
    return x.unflatten(0, (clips, frames_of(x.shape[0], clips))).transpose(1, 2).flatten(0, 1)


def as_tokens(sequences: torch.Tensor, tokens: int) -> torch.Tensor:
    """The inverse of ``as_sequences``, for images of ``tokens`` places."""
    return sequences.unflatten(0, (-1, tokens)).transpose(1, 2).flatten(0, 1)


class TemporalAttention(nn.Module):
    """Full attention over the frames of a clip at every place of the image; nothing says where in time a frame is.

    Args:
        width: channels.
        heads: heads; they divide the width.
        operations: where ``Linear`` comes from, for hosts with layers of their own.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(self, width: int, heads: int, operations: Any = nn, **options: Any) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = operations.Linear(width, width, bias=False, **options)
        self.to_k = operations.Linear(width, width, bias=False, **options)
        self.to_v = operations.Linear(width, width, bias=False, **options)
        self.to_out = operations.Linear(width, width, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``sequences frames width`` to the same."""
        at_once = max(1, _SEQUENCES // self.heads)
        return torch.cat([self._attend(part) for part in x.split(at_once)])

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        return self.to_out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TemporalConv(nn.Module):
    """Two convolutions over three frames with fewer channels between, added to what comes in; no bias, nothing bent.

    Args:
        width: channels.
        rank: channels between.
        operations, options: as of ``TemporalAttention``.
    """

    def __init__(self, width: int, rank: int, operations: Any = nn, **options: Any) -> None:
        super().__init__()
        self.down = operations.Conv1d(width, rank, 3, padding=1, bias=False, **options)
        self.up = operations.Conv1d(rank, width, 3, padding=1, bias=False, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``sequences width frames`` to the same; beyond both ends of the clip are zeros."""
        return x + self.up(self.down(x))


class TemporalLayers(nn.Module):
    """What Follow-Your-Pose adds to a transformer block, behind its feed-forward: attention, then convolution.

    Args:
        width: channels of the block.
        heads: its heads.
        operations, options: as of ``TemporalAttention``.
    """

    def __init__(self, width: int, heads: int, operations: Any = nn, **options: Any) -> None:
        super().__init__()
        self.norm = operations.LayerNorm(width, **options)
        self.attention = TemporalAttention(width, heads, operations, **options)
        self.conv = TemporalConv(width, conv_rank(width), operations, **options)

    def forward(self, x: torch.Tensor, clips: int = 1) -> torch.Tensor:
        """``(clips frames) tokens width`` to the same.

        Raises:
            ValueError: the batch cannot be cut into so many clips.
        """
        tokens, x = x.shape[1], as_sequences(x, clips)
        x = x + self.attention(self.norm(x))
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return as_tokens(x, tokens)


def conv_rank(width: int) -> int:
    """Channels between the two convolutions over time of a block of this width."""
    return CONV_RANK if width >= CONV_RANK else width // 2


class PoseAdapter(nn.Module):
    """The network that reads the skeleton: four features, of a T2I-Adapter (arXiv 2302.08453).

    Each feature is added to what comes out of the second layer of one of the UNet's four levels, on the way down.

    Args:
        widths: channels of the levels.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(self, widths: Sequence[int] = (320, 640, 1280, 1280), **options: Any) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3 * 8 * 8, widths[0], 3, padding=1, **options)
        before = (widths[0], *widths[:-1])
        self.body = nn.ModuleList()
        for level, (old, new) in enumerate(zip(before, widths, strict=True)):
            self.body.append(_PoseBlock(old, new, halve=level > 0, **options))
            self.body.append(_PoseBlock(new, new, halve=False, **options))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Features of images.

        Args:
            images: ``frames 3 (8 h) (8 w)`` in ``[0, 1]``, a skeleton on black.

        Returns:
            For each level ``frames width h w``, halved from level to level; an odd side is rounded up, as the UNet's.
        """
        x = self.conv_in(functional.pixel_unshuffle(images, 8))
        features = []
        for first, second in zip(self.body[::2], self.body[1::2], strict=True):
            x = second(first(x))
            features.append(x)
        return features


class _PoseBlock(nn.Module):
    def __init__(self, old: int, new: int, halve: bool, **options: Any) -> None:
        super().__init__()
        self.halve = halve
        self.in_conv = nn.Conv2d(old, new, 1, **options) if old != new else None
        self.block1 = nn.Conv2d(new, new, 3, padding=1, **options)
        self.block2 = nn.Conv2d(new, new, 1, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.halve:
            x = functional.avg_pool2d(x, 2, padding=(x.shape[2] % 2, x.shape[3] % 2))
        if self.in_conv is not None:
            x = self.in_conv(x)
        return x + self.block2(self.block1(x).relu())
