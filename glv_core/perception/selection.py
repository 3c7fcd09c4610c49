"""Which of the objects that were found make the mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .tracking import Found


@dataclass(frozen=True)
class Selection:
    """Objects by id or label; without any, all objects."""

    ids: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Ids and labels with commas between: ``2``, ``1, 3``, ``dog``, ``man, 4``; nothing means all.

        Raises:
            ValueError: an id is 0 or negative; they count from 1.
        """
        words = [word for word in (part.strip().lower() for part in text.split(",")) if word]
        ids = [int(word) for word in words if word.lstrip("+-").isdecimal()]
        wrong = next((number for number in ids if number < 1), None)
        if wrong is not None:
            raise ValueError(f"objects names {wrong}; objects are numbered from 1. The preview shows the numbers.")
        return cls(frozenset(ids), frozenset(word for word in words if not word.lstrip("+-").isdecimal()))

    def of(self, found: Iterable[Found]) -> list[Found]:
        """Those of the objects that are meant."""
        everything = not self.ids and not self.labels
        return [each for each in found if everything or each.id in self.ids or each.label in self.labels]


def union(found: Iterable[Found], height: int, width: int) -> torch.Tensor:
    """All pixels of some objects: ``h w`` bool."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    for each in found:
        mask |= each.mask.to(mask.device)
    return mask
