"""Which of the objects that were found make the mask."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .tracking import TrackedInstance

_NUMBER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Selection:
    """Objects by id or label; without any, all objects."""

    ids: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Selection:
        """Ids and labels with commas between: ``2``, ``1, 3``, ``dog``, ``man, 4``; nothing means all.

        Full stops around them, as in the text that is looked for, do not count.

        Raises:
            ValueError: an id is 0 or negative; they count from 1.
        """
        words = [word for word in (part.strip(" .\t\n").lower() for part in text.split(",")) if word]
        ids = [int(word) for word in words if _NUMBER.fullmatch(word)]
        wrong = next((number for number in ids if number < 1), None)
        if wrong is not None:
            raise ValueError(f"objects names {wrong}; objects are numbered from 1. The preview shows the numbers.")
        return cls(frozenset(ids), frozenset(word for word in words if not _NUMBER.fullmatch(word)))

    def __bool__(self) -> bool:
        """Whether not simply all objects are meant."""
        return bool(self.ids or self.labels)

    def __str__(self) -> str:
        return ", ".join([*map(str, sorted(self.ids)), *sorted(self.labels)])

    def of(self, found: Iterable[TrackedInstance]) -> list[TrackedInstance]:
        """Those of the objects that are meant."""
        return [each for each in found if not self or each.id in self.ids or each.label in self.labels]

    def without(self, found: Iterable[TrackedInstance]) -> Selection:
        """What is named but is none of these objects."""
        found = list(found)
        return Selection(self.ids - {each.id for each in found}, self.labels - {each.label for each in found})


def union(found: Iterable[TrackedInstance], height: int, width: int) -> torch.Tensor:
    """All pixels of some objects: ``h w`` bool."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    for each in found:
        mask |= each.mask.to(mask.device)
    return mask
