"""Prompts by attention: one forward pass for any number of them, in which every latent frame attends to its own.

All prompts' tokens stand one after the other, and a bias is added to the logits of cross-attention. The idea is Prompt
Relay's (arXiv 2604.10030), whose penalty grows with the distance from a prompt's segment. Without the prompt of the
whole video that Prompt Relay leaves free, its softmax is a cut at the segments' ends; here the bias is the log of the
prompt's weight, so that cross-fades are soft and cuts are hard.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

#: Added to the logit of a token that is not to be seen: the softmax makes it 0, and float16 can hold it.
UNSEEN = -1e4


def frame_bias(weights: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """What to add to the logits of each latent frame for each text token.

    Args:
        weights: of each prompt, ``[prompt, latent frame]``, 0 or more.
        tokens: how many each prompt has.

    Returns:
        float32 ``[latent frame, all tokens]``: the log of the weight, ``UNSEEN`` where it is 0.
    """
    bias = weights.float().log().clamp(min=UNSEEN)
    return bias.T.repeat_interleave(torch.tensor(list(tokens), device=bias.device), dim=1)


def query_bias(bias: torch.Tensor, per_frame: int, before: int = 0, after: int = 0) -> torch.Tensor:
    """The bias for every query token of the video, which stand frame by frame.

    Args:
        bias: ``b t tokens``, see ``frame_bias``.
        per_frame: query tokens of a latent frame.
        before, after: query tokens that stand around those of the video, as of a reference image; they see the prompts
            as its latent frames do on average.

    Returns:
        ``b 1 query tokens``.
    """
    rows = bias.repeat_interleave(per_frame, dim=1)
    if before or after:
        mean = bias.logsumexp(dim=1, keepdim=True) - torch.tensor(float(bias.shape[1])).log()
        rows = torch.cat([mean.expand(-1, before, -1), rows, mean.expand(-1, after, -1)], dim=1)
    return rows[:, None]


def free_length(tokens: int, taken: Collection[int]) -> int:
    """The least number of tokens, ``tokens`` or more, that is none of ``taken``: text known by its length alone."""
    while tokens in taken:
        tokens += 1
    return tokens
