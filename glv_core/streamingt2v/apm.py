"""The appearance preservation module: how every chunk sees one anchor frame (arXiv 2403.14773).

CLIP's embedding of the anchor becomes tokens behind those of the text (``TokenResampler``), and each layer that reads
text reads a mix of both (``TokenMixer``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

TEXT_TOKENS = 77
ANCHOR_TOKENS = 16
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class TokenResampler(nn.Module):
    """From CLIP's embedding of the anchor frames to tokens.

    Parameters have the checkpoint's names (``resampler.`` before them): ``context_embedding.0`` and ``.2``.

    Args:
        width: of the embedding, and of a token.
        inner: channels of the layer between.
        tokens: tokens that come out.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(self, width: int = 1024, inner: int = 1280, tokens: int = ANCHOR_TOKENS, **options: Any) -> None:
        super().__init__()
        self.tokens = tokens
        self.context_embedding = nn.Sequential(
            nn.Linear(width, inner, **options), nn.SiLU(), nn.Linear(inner, tokens * width, **options)
        )

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Tokens ``b tokens width`` of the mean of several anchor frames, ``b frames width``; one alone is its own.

        Raises:
            ValueError: there is no anchor frame.
        """
        if embeddings.ndim != 3 or not embeddings.shape[1]:
            raise ValueError(
                f"The anchor's embeddings are {tuple(embeddings.shape)}; they must be (clips, frames, width) with one "
                "frame or more. Give an anchor frame."
            )
        return self.context_embedding(embeddings.mean(1)).unflatten(-1, (self.tokens, -1))


class TokenMixer(nn.Module):
    """What a layer reads in place of the text: the text, and as much of a mix of all tokens as ``alpha`` lets through.

    The mix is a convolution along the width, with the tokens as its channels. With ``alpha`` 0, as training begins, the
    text comes out as it came in. Parameters have the checkpoint's names in ``attn2``: ``conv``, ``conv_ln``, ``alpha``.

    Args:
        text_tokens, anchor_tokens: how many of each; the published weights know no other numbers than 77 and 16.
        width: of a token.
        options: for every layer, such as ``dtype`` and ``device``.
    """

    def __init__(
        self,
        text_tokens: int = TEXT_TOKENS,
        anchor_tokens: int = ANCHOR_TOKENS,
        width: int = 1024,
        **options: Any,
    ) -> None:
        super().__init__()
        self.text_tokens, self.anchor_tokens = text_tokens, anchor_tokens
        self.conv = nn.Conv1d(text_tokens + anchor_tokens, text_tokens, 3, padding=1, **options)
        self.conv_ln = nn.LayerNorm(width, **options)
        self.alpha = nn.Parameter(torch.zeros((), **options))

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """``b (text + anchor) width`` to ``b text width``.

        Raises:
            ValueError: it has another number of tokens.
        """
        check_tokens(context, self.text_tokens, self.anchor_tokens)
        return context[:, : self.text_tokens] + functional.silu(self.alpha) * self.conv_ln(self.conv(context))


def check_tokens(context: torch.Tensor, text_tokens: int, anchor_tokens: int) -> None:
    """Check that a context ``b tokens width`` holds the text's tokens and then the anchor's.

    Raises:
        ValueError: it has another number of tokens; the message says how many there must be.
    """
    if context.ndim != 3 or context.shape[1] != text_tokens + anchor_tokens:
        count = context.shape[1] if context.ndim > 1 else 0
        raise ValueError(
            f"The context has {count} tokens; the appearance module mixes {text_tokens} of the text with "
            f"{anchor_tokens} of the anchor, {text_tokens + anchor_tokens} in all. Pad or cut the text to "
            f"{text_tokens} tokens, and give the anchor's {anchor_tokens} behind them."
        )


def clip_pixels(images: torch.Tensor, side: int = 224) -> torch.Tensor:
    """Anchor frames as CLIP's image tower takes them.

    What shrinks is blurred first, with a Gaussian of half of what a pixel grows by (at the published 256 pixels that is
    too narrow to change anything); then bicubic, with the corners of both images in the same place.

    Args:
        images: ``n 3 h w`` in ``[-1, 1]``.
        side: of the tower's images, in pixels.

    Returns:
        ``n 3 side side``, with the mean and deviation of CLIP's images taken out.
    """
    for axis in (2, 3):
        if images.shape[axis] > side:
            images = _blur(images, axis, images.shape[axis] / side)
    resized = functional.interpolate(images, (side, side), mode="bicubic", align_corners=True)
    mean, std = (images.new_tensor(numbers).view(3, 1, 1) for numbers in (CLIP_MEAN, CLIP_STD))
    return ((resized + 1) / 2 - mean) / std


def grey_anchor(images: torch.Tensor) -> torch.Tensor:
    """What the unconditional half sees in place of the anchor frames: mid grey, in ``[-1, 1]``."""
    return torch.zeros_like(images)


def _blur(images: torch.Tensor, axis: int, factor: float) -> torch.Tensor:
    """Blur ``n c h w`` along one axis before it shrinks by ``factor``; what lies beyond the edge is mirrored."""
    sigma = max((factor - 1) / 2, 0.001)
    reach = int(max(4 * sigma, 3)) // 2
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, -1)
    lines = images.movedim(axis, -1)
    padded = functional.pad(lines.flatten(0, 2).unsqueeze(1), (reach, reach), mode="reflect")
    return functional.conv1d(padded, kernel).view_as(lines).movedim(-1, axis)
