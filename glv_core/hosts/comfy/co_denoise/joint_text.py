"""Prompts by attention where text stands in one row with all else: each prompt's text and the tokens that see it.

A row is cut into groups of tokens that see the same prompts. Each has attention of its own to what it sees, so that no
mask is as large as the row, and tokens that see one prompt need none and keep the attention that the user chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.attention import attention_pytorch

from ....prompts.frame_attention import Group, row_groups
from ..families import JointRow, JointText

#: The model cond with a window's ``JointRow``, and where a forward pass finds its ``Row``.
ROW = "co_denoise_joint_text"
REPLACED = "co_denoise_replaced_override"  # the override of attention that was there before
APPLIED = "co_denoise_text_bias_applied"  # how many queries the attention had that was replaced


@dataclass(frozen=True, eq=False)
class Row:
    """A row of tokens. ``texts``: the places of each prompt's at its head; ``shared``: of those there of no prompt."""

    texts: tuple[torch.Tensor, ...]
    shared: torch.Tensor
    rest: int
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, row: JointRow, joint: JointText, frame: tuple[int, int], device: torch.device) -> Row:
        """The row of a forward pass over latent frames of a height and width."""
        weights = row.weights
        if joint.side:
            height, width = frame
            weights = weights.repeat_interleave(-(-height // joint.side) * -(-width // joint.side), dim=1)
        texts = tuple((row.owners == prompt).nonzero().flatten().to(device) for prompt in range(len(weights)))
        shared = (row.owners < 0).nonzero().flatten().to(device)
        groups = tuple(group.to(device) for group in row_groups(row.owners, weights))
        return cls(texts, shared, weights.shape[1], groups)

    @property
    def tokens(self) -> list[int]:
        """Of each prompt."""
        return [len(places) for places in self.texts]

    @property
    def head(self) -> int:
        """Tokens before the rest."""
        return sum(self.tokens) + len(self.shared)


@contextmanager
def text_by_prompt(network: Any, joint: JointText, tokens: tuple[int, ...]) -> Iterator[None]:
    """While it lasts the layer of a network that makes tokens of the text sees each prompt, of so many, alone."""
    if not joint.by_prompt:
        yield
        return
    layer = getattr(network, joint.by_prompt)
    setattr(network, joint.by_prompt, _ByPrompt(layer, tokens))
    try:
        yield
    finally:
        setattr(network, joint.by_prompt, layer)


class _ByPrompt(torch.nn.Module):
    """A layer of text ``b token width`` that is given several prompts, one after the other."""

    def __init__(self, layer: torch.nn.Module, tokens: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.tokens = layer, tokens

    @torch.compiler.disable
    def forward(self, text: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        """All prompts' tokens."""
        return torch.cat([self.layer(part, *args, **given) for part in text.split(self.tokens, dim=1)], dim=1)


def host_attention(func: Any, options: dict[str, Any]) -> Callable[..., torch.Tensor]:
    """The attention that there would be without ours: the host's, or the override that was there before."""
    replaced = options[REPLACED]
    return func if replaced is None else partial(replaced, func)


@torch.compiler.disable
def attend_in_row(
    func: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *args: Any, **given: Any
) -> Any:
    """The host's override of attention, of ``b token width`` or ``b heads token width``. A compiled network leaves it
    out, since the groups of each window are others.
    """
    options = given["transformer_options"]
    row, attention = options[ROW], host_attention(func, options)
    mask, length = args[0] if args else given.get("mask"), row.head + row.rest
    if mask is not None or not q.shape[-2] == k.shape[-2] == length:
        return attention(q, k, v, heads, *args, **given)
    options[APPLIED].add(length)
    head, tokens = row.head, row.tokens
    texts = [[each.index_select(-2, places) for places in (*row.texts, row.shared)] for each in (k, v)]
    output = None
    for group in row.groups:
        # What a group sees is put together in the row itself: its texts right before all else.
        first = head - len(row.shared) - sum(tokens[prompt] for prompt in group.prompts)
        for each, own in zip((k, v), texts, strict=True):
            each[..., first:head, :] = torch.cat([*(own[prompt] for prompt in group.prompts), own[-1]], dim=-2)
        seen = (q.index_select(-2, group.queries), k[..., first:, :], v[..., first:, :], heads)
        bias = group.key_bias(tokens, len(row.shared) + row.rest)
        if bias is None:
            said = attention(*seen, *args, **given)
        else:
            # Not every kernel that a user may have chosen for attention heeds a mask; the host's own for PyTorch does.
            bias = bias[None, None].to(q.dtype)
            said = attention_pytorch(*seen, bias, *args[1:], **{name: given[name] for name in given if name != "mask"})
        if output is None:
            output = said.new_empty((*said.shape[:-2], length, said.shape[-1]))
        output.index_copy_(-2, group.queries, said)
    return output
