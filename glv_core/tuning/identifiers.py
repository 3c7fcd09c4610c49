"""Clip identifiers: low-rank weights by which a network knows which part of the tuned video a window is.

Gen-L-Video (arXiv 2305.18264) has a bank of them: of 50 pairs of matrices on the queries of every self-attention, a
window that starts at frame ``f`` has the pair ``f // stride``. Here a bank is as long as the video needs. The other
kind, ``continuous``, has one pair, whose rows count more or less along the video, by a sum of cosines of the place; so
its size does not grow with the length, and neighbouring windows are told nearly the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

NONE, BANK, CONTINUOUS = "none", "bank", "continuous"
KINDS = (NONE, BANK, CONTINUOUS)
#: How a video of another length than the tuned one is told apart: over all of it, or from its beginning on, again and
#: again.
STRETCHED, REPEATED, OFF = "stretched", "repeated", "off"
LENGTHS = (STRETCHED, REPEATED, OFF)
COSINES = 8  #: of the continuous kind, with that of frequency 0


@dataclass(frozen=True)
class Place:
    """Where a window lies: its first latent frame, its length, and that of the whole video, in latent frames."""

    start: int
    window: int
    length: int


@dataclass(frozen=True)
class Places:
    """The places of a tuned video: its length, the windows that were trained and the stride between them."""

    length: int
    window: int
    stride: int

    @property
    def last(self) -> int:
        """The last start of a window."""
        return max(0, self.length - self.window)

    @property
    def count(self) -> int:
        """How many clips there are to be told apart."""
        return -(-self.last // self.stride) + 1

    def start_of(self, place: Place, lengths: str = STRETCHED) -> float:
        """Which start in the tuned video a window is like.

        In a video of the tuned length it is its own. In another one, ``stretched``: the start at the same share of the
        way from the first to the last window; ``repeated``: its own, counted from the beginning again behind each end.
        """
        if place.length == self.length:
            return float(min(place.start, self.last))
        if lengths == REPEATED:
            return float(place.start % (self.last + 1))
        way = place.length - place.window
        return place.start / way * self.last if way > 0 else 0.0

    def clip_of(self, start: float) -> int:
        """The number of the clip with a start: ``start // stride``, and the last one for what is behind it."""
        whole = self.count - 1
        if start >= self.last:
            return whole
        return min(int(start + 1e-6) // self.stride, whole)

    def share_of(self, start: float) -> float:
        """A start as a share of the way, 0 ... 1."""
        return min(1.0, start / self.last) if self.last else 0.0


class ClipIdentifiers(nn.Module):
    """Low-rank weights for some layers, which depend on the place of a window.

    Args:
        kind: ``bank`` or ``continuous``.
        layers: linear layers by name -> features in and out.
        rank: of the weights.
        places: of the video that is tuned on.
        generator: for the first weights. As in Gen-L-Video the way down is normal with a deviation of ``1 / rank`` and
            the way up zero, so that they change nothing at first.
    """

    def __init__(
        self,
        kind: str,
        layers: Mapping[str, tuple[int, int]],
        rank: int,
        places: Places,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if kind not in (BANK, CONTINUOUS):
            raise ValueError(f"Clip identifiers are {BANK} or {CONTINUOUS}, not {kind!r}.")
        self.kind, self.rank, self.places, self.sizes = kind, rank, places, dict(layers)
        self.weights = nn.ParameterDict()
        for layer, (inner, outer) in layers.items():
            for clip in range(places.count if kind == BANK else 1):
                down = torch.randn(rank, inner, generator=generator) / rank
                self._put(layer, clip, "down", down)
                self._put(layer, clip, "up", torch.zeros(outer, rank))
            if kind == CONTINUOUS:
                along = torch.randn(rank, COSINES, generator=generator)
                along[:, 0] = 1.0
                self._put(layer, 0, "along", along)

    def _put(self, layer: str, clip: int, part: str, value: torch.Tensor) -> None:
        self.weights[_key(layer, clip, part)] = nn.Parameter(value)

    def _get(self, layer: str, clip: int, part: str) -> torch.Tensor:
        return self.weights[_key(layer, clip, part)]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(self.sizes)

    def add(self, layer: str, x: torch.Tensor, starts: Sequence[float | None]) -> torch.Tensor:
        """What a layer adds to its output for the clips that its rows are.

        Args:
            layer: its name.
            x: what it is given, ``(g r) ... in``, as many rows for each of ``starts``.
            starts: for each group of rows the start in the tuned video, or None for rows without an identifier.

        Returns:
            ``(g r) ... out``; zeros for rows without one.

        Raises:
            ValueError: the rows are not whole groups.
        """
        if not starts or x.shape[0] % len(starts):
            raise ValueError(f"{x.shape[0]} rows are not whole groups of {len(starts)} windows.")
        parts = []
        for rows, start in zip(x.chunk(len(starts)), starts, strict=True):
            if start is None:
                parts.append(rows.new_zeros(*rows.shape[:-1], self.sizes[layer][1]))
                continue
            clip = self.places.clip_of(start) if self.kind == BANK else 0
            hidden = functional.linear(rows, self._get(layer, clip, "down").to(rows))
            if self.kind == CONTINUOUS:
                hidden = hidden * self._along(layer, start).to(hidden)
            parts.append(functional.linear(hidden, self._get(layer, clip, "up").to(rows)))
        return torch.cat(parts)

    def _along(self, layer: str, start: float) -> torch.Tensor:
        """How much each row of the weights counts at a place, ``[rank]``."""
        weights = self._get(layer, 0, "along")
        share = self.places.share_of(start)
        waves = [math.cos(math.pi * wave * share) for wave in range(COSINES)]
        return weights @ torch.tensor(waves, dtype=weights.dtype, device=weights.device)

    def scaled(self, strength: float) -> ClipIdentifiers:
        """Those that add so much of what these do."""
        if strength == 1:
            return self
        made = copy.deepcopy(self)
        with torch.no_grad():
            for name, weight in made.weights.items():
                if name.endswith("/up"):
                    weight.mul_(strength)
        return made

    def header(self) -> dict[str, Any]:
        """What is to be known to make these again, as JSON holds it."""
        return {"kind": self.kind, "rank": self.rank, **asdict(self.places)}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights by the names of a file: ``layer.clip.part``."""
        return {name.replace("/", "."): weight.detach() for name, weight in self.weights.items()}

    @classmethod
    def of_file(cls, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> ClipIdentifiers:
        """Those that ``header`` and ``tensors`` were made of.

        Raises:
            ValueError: weights are missing, or some are there that do not belong to these.
        """
        sizes = {}
        for name, weight in tensors.items():
            layer, clip, part = name.rsplit(".", 2)
            if clip == "0" and part == "down":
                sizes[layer] = (weight.shape[1], tensors.get(f"{layer}.0.up", weight).shape[0])
        places = Places(*(int(header[name]) for name in ("length", "window", "stride")))
        made = cls(str(header["kind"]), sizes, int(header["rank"]), places)
        wanted = {name.replace("/", "."): weight for name, weight in made.weights.items()}
        for name in wanted.keys() ^ tensors.keys():
            raise ValueError(f"The clip identifiers {'lack' if name in wanted else 'have no place for'} {name}.")
        for name, weight in wanted.items():
            if weight.shape != tensors[name].shape:
                raise ValueError(f"{name} is {list(tensors[name].shape)}, not {list(weight.shape)}.")
            weight.data = tensors[name].clone()
        return made

    def of_clip(self, clip: int) -> Iterator[nn.Parameter]:
        """The weights that windows of one clip train."""
        for name, weight in self.weights.items():
            if self.kind == CONTINUOUS or name.rsplit("/", 2)[1] == str(clip):
                yield weight


def _key(layer: str, clip: int, part: str) -> str:
    return f"{layer.replace('.', '/')}/{clip}/{part}"
