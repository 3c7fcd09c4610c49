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
    """A row of tokens. ``texts``: the places of each prompt's in its head; ``shared``: of those there of no prompt."""

    texts: tuple[torch.Tensor, ...]
    shared: torch.Tensor
    rest: int
    groups: tuple[Group, ...]
    head_is_last: bool

    @classmethod
    def of(cls, row: JointRow, joint: JointText, network: Any, x: torch.Tensor) -> Row:
        """The row of a network's forward pass over a latent."""
        weights, head = row.weights, len(row.owners)
        if joint.side:
            height, width = x.shape[-2:]
            weights = weights.repeat_interleave(-(-height // joint.side) * -(-width // joint.side), dim=1)
        rest, last = weights.shape[1], joint.head_is_last(network)

        def placed(places: torch.Tensor) -> torch.Tensor:
            moved = torch.where(places < head, places + rest, places - head) if last else places
            return moved.to(x.device)

        texts = tuple(placed((row.owners == prompt).nonzero().flatten()) for prompt in range(len(weights)))
        shared = placed((row.owners < 0).nonzero().flatten())
        groups = tuple(
            Group(placed(group.queries), group.prompts, None if group.bias is None else group.bias.to(x.device))
            for group in row_groups(row.owners, weights)
        )
        return cls(texts, shared, rest, groups, last)

    @property
    def tokens(self) -> list[int]:
        """Of each prompt."""
        return [len(places) for places in self.texts]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return sum(self.tokens) + len(self.shared) + self.rest

    def seen_by(self, group: Group) -> tuple[slice, slice]:
        """Where what a group sees is put together: its part of the head, right beside all else, and that with it."""
        head = sum(self.tokens[prompt] for prompt in group.prompts) + len(self.shared)
        if self.head_is_last:
            return slice(self.rest, self.rest + head), slice(0, self.rest + head)
        start = self.length - self.rest
        return slice(start - head, start), slice(start - head, self.length)

    def bias_of(self, group: Group) -> torch.Tensor | None:
        """What is added to the logits of a group for all that it sees, ``[1 or query, key]``; None where it is 0."""
        before, after = len(self.shared), self.rest
        return group.key_bias(self.tokens, *((before + after, 0) if self.head_is_last else (before, after)))


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
    mask = args[0] if args else given.get("mask")
    if mask is not None or not q.shape[-2] == k.shape[-2] == row.length:
        return attention(q, k, v, heads, *args, **given)
    options[APPLIED].add(row.length)
    kept = [[each.index_select(-2, places) for places in (row.shared, *row.texts)] for each in (k, v)]
    output = None
    for group in row.groups:
        own, seen = row.seen_by(group)
        for each, (shared, *texts) in zip((k, v), kept, strict=True):
            each[..., own, :] = torch.cat([shared, *(texts[prompt] for prompt in group.prompts)], dim=-2)
        shown = (q.index_select(-2, group.queries), k[..., seen, :], v[..., seen, :], heads)
        bias = row.bias_of(group)
        if bias is None:
            said = attention(*shown, *args, **given)
        else:
            # Not every kernel that a user may have chosen for attention heeds a mask; the host's own for PyTorch does.
            bias = bias[None, None].to(q.dtype)
            said = attention_pytorch(*shown, bias, *args[1:], **{name: given[name] for name in given if name != "mask"})
        if output is None:
            output = said.new_empty((*said.shape[:-2], row.length, said.shape[-1]))
        output.index_copy_(-2, group.queries, said)
    return output
