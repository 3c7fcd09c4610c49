"""The layers over time that Gen-L-Video's one-shot tuning (arXiv 2305.18264) gives to an image model.

Each transformer block gets one, behind its feed-forward: attention over the frames of a window at every place of the
image. What comes out of it is zero at first, so an image model that is given them makes what it made before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from ..editing.follow_your_pose import TemporalAttention, as_sequences, as_tokens


class _Cast:
    """Layers whose weights take the type and device of what they are given; they are kept as they are trained."""

    class Linear(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    class LayerNorm(nn.LayerNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.layer_norm(x, self.normalized_shape, self.weight.to(x), self.bias.to(x), self.eps)


class LayersOverTime(nn.Module):
    """A norm and attention over time for each transformer block of an image model; float32.

    The attention is trained, as in Gen-L-Video; the norm stays as it is.

    Args:
        blocks: of the network, by name -> width and heads.
        generator: for the first weights of queries, keys and values, which are those of any ``nn.Linear``; what leads
            out is zero.

    Raises:
        ValueError: the heads of a block do not divide its width.
    """

    def __init__(self, blocks: Mapping[str, tuple[int, int]], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.sizes = dict(blocks)
        self.norms, self.attentions = nn.ModuleDict(), nn.ModuleDict()
        self._left_out = False
        for name, (width, heads) in blocks.items():
            if heads < 1 or width % heads:
                raise ValueError(f"{name} has {heads} heads, which do not divide its width, {width}.")
            # Made without numbers, so that torch's own random numbers are as before.
            norm = _Cast.LayerNorm(width, device="meta").to_empty(device="cpu").requires_grad_(False)
            norm.reset_parameters()
            attention = TemporalAttention(width, heads, _Cast, device="meta").to_empty(device="cpu")
            for layer in (attention.to_q, attention.to_k, attention.to_v):
                nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            for weight in attention.to_out.parameters():
                nn.init.zeros_(weight)
            self.norms[_key(name)], self.attentions[_key(name)] = norm, attention

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the blocks."""
        return tuple(self.sizes)

    def add(self, block: str, x: torch.Tensor, clips: int = 1) -> torch.Tensor:
        """What a block gives, with its layer over time.

        Args:
            block: its name.
            x: ``(clips frames) tokens width``, what comes out of its feed-forward with what went around it.
            clips: clips of equal length in the batch; none sees another.

        Returns:
            As ``x``.

        Raises:
            ValueError: the batch cannot be cut into so many clips.
        """
        if self._left_out:
            return x
        along = as_sequences(x, clips)
        made = self.attentions[_key(block)](self.norms[_key(block)](along))
        return x + as_tokens(made, x.shape[1])

    def scale(self, strength: float) -> None:
        """Multiply what the layers add by a number."""
        with torch.no_grad():
            for attention in self.attentions.values():
                for weight in attention.get_submodule("to_out").parameters():
                    weight.mul_(strength)

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """While open, nothing is added: the network is as before its tuning."""
        self._left_out = True
        try:
            yield
        finally:
            self._left_out = False

    def trained(self) -> dict[str, nn.Parameter]:
        """What a tuning changes, by the names of ``tensors``."""
        return {name: weight for name, weight in self._weights().items() if weight.requires_grad}

    def tensors(self) -> dict[str, torch.Tensor]:
        """All weights by the names of a file: ``block.part``."""
        return {name: weight.detach() for name, weight in self._weights().items()}

    def _weights(self) -> dict[str, nn.Parameter]:
        return {
            f"{block}.{kind}.{part}": weight
            for block in self.sizes
            for kind, layers in (("norm", self.norms), ("attention", self.attentions))
            for part, weight in layers[_key(block)].named_parameters()
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor], heads: Mapping[str, int]) -> LayersOverTime:
        """Those whose ``tensors`` these are.

        Args:
            tensors: by the names of ``tensors``.
            heads: of each block, by its name; no weight tells how many there are.

        Raises:
            ValueError: a weight is missing, has no place or is of another shape; the message names it.
        """
        width = {name: tensors[key].numel() for name in heads if (key := f"{name}.norm.weight") in tensors}
        for name in heads.keys() - width.keys():
            raise ValueError(f"The layers over time lack {name}.norm.weight.")
        made = cls({name: (width[name], heads[name]) for name in heads})
        weights = made._weights()
        for name in sorted(weights.keys() ^ tensors.keys()):
            raise ValueError(f"The layers over time {'lack' if name in weights else 'have no place for'} {name}.")
        for name, weight in weights.items():
            if weight.shape != tensors[name].shape:
                raise ValueError(
                    f"{name} of the layers over time is {list(tensors[name].shape)}, not {list(weight.shape)}."
                )
            weight.data = tensors[name].detach().float().clone()
        return made


def _key(block: str) -> str:
    return block.replace(".", "/")
