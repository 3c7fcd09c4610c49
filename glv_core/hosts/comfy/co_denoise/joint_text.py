"""Prompts by attention where text stands in one row with all else: each prompt's text and the tokens that see it.

A row is cut into groups of tokens that see the same prompts. Each has attention of its own to what it sees, so that no
mask is as large as the row, and tokens that see one prompt need none and keep the attention that the user chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.conds
import torch
from comfy.ldm.modules.attention import attention_pytorch

from ....prompts.frame_attention import Group, row_groups
from ..families import JointText

#: The model cond with the row of a window's prompts, and where a forward pass finds it.
ROW = "co_denoise_joint_text"
REPLACED = "co_denoise_replaced_override"  # the override of attention that was there before
APPLIED = "co_denoise_text_bias_applied"  # how many queries the attention had that was replaced


@dataclass(frozen=True, eq=False)
class Row:
    """A row of tokens: ``tokens`` of each prompt, one after the other, and ``rest`` that are not text."""

    tokens: tuple[int, ...]
    rest: int
    groups: tuple[Group, ...]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return sum(self.tokens) + self.rest

    def to(self, device: torch.device) -> Row:
        """The same on a device."""
        return replace(self, groups=tuple(group.to(device) for group in self.groups))


def join_row(
    joint: JointText,
    values: Sequence[Any],
    tokens: Sequence[int],
    weights: torch.Tensor,
    beside: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """Model conds of a window whose prompts share a row; see ``JointText``."""
    cond, of_tokens = joint.join(values, tokens, weights, beside)
    row = Row(tuple(tokens), of_tokens.shape[1], tuple(row_groups(tokens, of_tokens)))
    return {joint.cond: cond, ROW: comfy.conds.CONDConstant(row)}


def host_attention(func: Any, options: dict[str, Any]) -> Callable[..., torch.Tensor]:
    """The attention that there would be without ours: the host's, or the override that was there before."""
    replaced = options[REPLACED]
    return func if replaced is None else partial(replaced, func)


@torch.compiler.disable
def attend_in_row(
    func: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *args: Any, **given: Any
) -> Any:
    """The host's override of attention, of ``b ... token width`` or ``b heads token width``. A compiled network leaves
    it out, since the groups of each window are others.
    """
    options = given["transformer_options"]
    row, attention = options[ROW], host_attention(func, options)
    mask = args[0] if args else given.get("mask")
    if mask is not None or not q.shape[-2] == k.shape[-2] == row.length:
        return attention(q, k, v, heads, *args, **given)
    options[APPLIED].add(row.length)
    text = sum(row.tokens)
    texts = [each[..., :text, :].clone().split(row.tokens, dim=-2) for each in (k, v)]
    output = None
    for group in row.groups:
        # What a group sees is put together in the row itself: its texts right before all else.
        first = text - sum(row.tokens[prompt] for prompt in group.prompts)
        for each, own in zip((k, v), texts, strict=True):
            each[..., first:text, :] = torch.cat([own[prompt] for prompt in group.prompts], dim=-2)
        seen = (q.index_select(-2, group.queries), k[..., first:, :], v[..., first:, :], heads)
        bias = group.key_bias(row.tokens, row.rest)
        if bias is None:
            said = attention(*seen, *args, **given)
        else:
            # Not every kernel that a user may have chosen for attention heeds a mask; the host's own for PyTorch does.
            bias = bias[None, None].to(q.dtype)
            said = attention_pytorch(*seen, bias, *args[1:], **{name: given[name] for name in given if name != "mask"})
        if output is None:
            output = said.new_empty((*said.shape[:-2], row.length, said.shape[-1]))
        output.index_copy_(-2, group.queries, said)
    return output
