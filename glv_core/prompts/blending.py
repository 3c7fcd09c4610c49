"""What a window sees where prompts change: predictions blended, embeddings mixed, one prompt, or each frame its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..windows import Window

#: How a window that touches a transition is prompted. ``predictions``: it is denoised with each prompt, and the
#: predictions are blended frame by frame. ``embeddings`` and ``embeddings_spherical``: once, with embeddings mixed as
#: the timeline says at the window's centre. ``one_per_window``: once, with one prompt, by Gen-L-Video's rule.
#: ``attention``: once, with all prompts that it sees, and every latent frame attends to its own, see ``frame_bias``.
PROMPT_BLENDINGS = ("predictions", "embeddings", "embeddings_spherical", "one_per_window", "attention")
#: In place of one of them: ``attention`` with a model that can have it, else ``predictions``.
AUTO = "auto"


def weights_at(weights: torch.Tensor, position: float, closed_loop: bool = False) -> torch.Tensor:
    """Prompt weights ``[prompt, latent frame]`` read between latent frames -> ``[prompt]``."""
    length = weights.shape[1]
    low = math.floor(position)
    share = position - low
    high = (low + 1) % length if closed_loop else min(low + 1, length - 1)
    return weights[:, low].lerp(weights[:, high], share)


def window_prompts(weights: torch.Tensor, window: Window, overlap: int, blending: str) -> torch.Tensor:
    """How much each prompt counts in a window as a whole.

    Args:
        weights: ``[prompt, latent frame]`` over the whole video.
        window: which latent frames.
        overlap: what windows share, in latent frames; ``one_per_window`` uses it.
        blending: one of ``PROMPT_BLENDINGS`` but ``predictions`` and ``attention``.

    Returns:
        ``[prompt]``, summing to 1; with ``one_per_window`` a 1 and zeros.
    """
    if blending != "one_per_window":
        return weights_at(weights, window.centre, window.loop > 0)
    # Gen-L-Video gives a segment's windows its prompt as long as they start up to ceil(window / 2 hop) hops into it,
    # which is the prompt of the latent frame before this place; with an even ratio it is the one before the centre.
    hop = max(1, window.length - overlap)
    place = window.length - hop * math.ceil(window.length / (2 * hop))
    index = window.indices[max(0, place - 1)]
    return torch.nn.functional.one_hot(weights[:, index].argmax(), len(weights)).to(weights.dtype)


def mix_embeddings(
    embeddings: Sequence[torch.Tensor], weights: Sequence[float] | torch.Tensor, spherical: bool = False
) -> torch.Tensor:
    """One embedding of several ``... tokens channels``, mixed in a straight line or on the sphere, token by token.

    Args:
        embeddings: of equal channels; a shorter one is padded with zeros, as text encoders of video models do.
        weights: one number an embedding, or a tensor ``[embedding, rows]`` for one mix a row. They sum to 1.
        spherical: mix directions by angle and lengths in a straight line.

    Returns:
        ``... tokens channels``, with ``rows`` in front where the weights have them.
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    tokens = max(embedding.shape[-2] for embedding in embeddings) if embeddings[0].ndim > 1 else 0
    padded = [_pad(embedding.float(), tokens) for embedding in embeddings]
    if weights.ndim == 2:
        padded = [embedding.expand(weights.shape[1], *embedding.shape[1:]) for embedding in padded]
        weights = weights.reshape(*weights.shape, *[1] * (padded[0].ndim - 1))
    weights = weights.to(padded[0].device)
    mixed, total = padded[0], weights[0]
    for embedding, weight in zip(padded[1:], weights[1:], strict=True):
        total = total + weight
        share = torch.where(total > 0, weight / total.clamp(min=1e-12), torch.zeros_like(total))
        mixed = _slerp(mixed, embedding, share) if spherical else mixed + (embedding - mixed) * share
    return mixed.to(embeddings[0].dtype)


def _pad(embedding: torch.Tensor, tokens: int) -> torch.Tensor:
    if embedding.ndim < 2 or embedding.shape[-2] == tokens:
        return embedding
    return torch.nn.functional.pad(embedding, (0, 0, 0, tokens - embedding.shape[-2]))


def _slerp(a: torch.Tensor, b: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    # Not the arc cosine, which in float32 cannot tell opposite directions from those that have a way around.
    apart, together = (unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(apart, together)
    straight = unit_a + (unit_b - unit_a) * share
    curved = (((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b) / angle.sin().clamp(min=1e-6)
    # Where the directions are the same, opposite, or one has no length, there is no one way around.
    degenerate = (angle.sin() < 1e-4) | (length_a < 1e-12) | (length_b < 1e-12)
    direction = torch.where(degenerate, straight, curved)
    length = length_a + (length_b - length_a) * share
    return torch.where((length_a < 1e-12) | (length_b < 1e-12), a + (b - a) * share, direction * length)
