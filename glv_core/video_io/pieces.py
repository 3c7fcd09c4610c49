"""Frames in pieces of other sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch


def regroup(frames: Iterable[torch.Tensor], first: int, then: int, keep_rest: bool) -> Iterator[torch.Tensor]:
    """The same frames in pieces of ``first``, and then of ``then``; a shorter rest only if it is to be kept.

    Args:
        frames: pieces whose first axis is time, of any length.
    """
    waiting: list[torch.Tensor] = []
    wanted = first
    for part in frames:
        waiting.append(part)
        while sum(map(len, waiting)) >= wanted:
            together = torch.cat(waiting)
            yield together[:wanted]
            waiting, wanted = [together[wanted:]], then
    rest = torch.cat(waiting) if waiting else None
    if keep_rest and rest is not None and len(rest):
        yield rest
