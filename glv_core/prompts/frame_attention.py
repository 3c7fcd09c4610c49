"""Prompts by attention: one forward pass for any number of them, in which every latent frame attends to its own.

All prompts' tokens stand one after the other, and a bias is added to the logits of cross-attention. The idea is Prompt
Relay's (arXiv 2604.10030), whose penalty grows with the distance from a prompt's segment. Without the prompt of the
whole video that Prompt Relay leaves free, its softmax is a cut at the segments' ends; here the bias is the log of the
prompt's weight, so that cross-fades are soft and cuts are hard.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

#: Added to the logit of a token that is not to be seen: the softmax makes it 0, and float16 can hold it.
UNSEEN = -1e4
#: A prompt that counts less than this for a token of a row is not seen by it.
_LEAST = 1e-6
#: From so many query tokens on a group has one bias for all; fewer share a group, with a bias for each of them.
_MANY = 512


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


@dataclass(frozen=True, eq=False)
class Group:
    """Tokens of a row that see the same prompts, and all that is not text.

    ``queries``: their places in the row. ``prompts``: those that they see. ``bias``: float32 ``[1 or query, prompt
    seen]``, the log of how much each counts; None where it is one prompt alone.
    """

    queries: torch.Tensor
    prompts: tuple[int, ...]
    bias: torch.Tensor | None = None

    def key_bias(self, tokens: Sequence[int], before: int, after: int) -> torch.Tensor | None:
        """What to add to the logits of the tokens that they see: those of their prompts, and others around them.

        Returns:
            float32 ``[1 or query, key]``, or None where it is 0.
        """
        if self.bias is None:
            return None
        columns = zip(self.bias.split(1, dim=1), self.prompts, strict=True)
        of_texts = torch.cat([column.expand(-1, tokens[prompt]) for column, prompt in columns], dim=1)
        return torch.nn.functional.pad(of_texts, (before, after))


def row_groups(owners: torch.Tensor, weights: torch.Tensor) -> list[Group]:
    """The tokens of a row of joint attention by the prompts that they see, so that no mask is as large as the row.

    The texts of all prompts stand at the head of the row and do not see each other; everything else sees, and is seen
    by, all but the prompts that do not count for it.

    Args:
        owners: the prompt of each token of the head; -1 for those of none, for which each prompt counts as on average.
        weights: how much each prompt counts for each token behind the head, ``[prompt, token]``; they sum to 1.

    Returns:
        Groups that together hold every token of the row once, and as few as may be: one for each prompt with its text
        and all tokens that see it alone, then those that see several.
    """
    shared = (owners < 0).nonzero().flatten()
    others = torch.cat([shared, torch.arange(len(owners), len(owners) + weights.shape[1])])
    weights = torch.cat([weights.mean(dim=1, keepdim=True).expand(-1, len(shared)), weights], dim=1)
    alone, several = [(owners == prompt).nonzero().flatten() for prompt in range(len(weights))], []
    patterns, kinds = torch.unique(weights > _LEAST, dim=1, return_inverse=True)
    for kind, pattern in enumerate(patterns.T):
        prompts = tuple(pattern.nonzero().flatten().tolist())
        places = (kinds == kind).nonzero().flatten()
        if len(prompts) == 1:
            alone[prompts[0]] = torch.cat([alone[prompts[0]], others[places]])
        else:
            several += [
                Group(others[queries], prompts, bias) for queries, bias in _blocks(places, weights[list(prompts)])
            ]
    return [Group(queries, (prompt,)) for prompt, queries in enumerate(alone)] + several


def _blocks(places: torch.Tensor, weights: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens that see several prompts, in blocks of a bias each: ``(places, bias)``."""
    bias = weights.float().log()
    vectors, kinds, counts = torch.unique(weights[:, places], dim=1, return_inverse=True, return_counts=True)
    many = (counts >= _MANY).nonzero().flatten().tolist()
    blocks = [(places[kinds == kind], vectors[:, kind].float().log()[None]) for kind in many]
    few = places[counts[kinds] < _MANY]
    return blocks + [(part, bias[:, part].T) for part in few.split(_MANY) if len(part)]
