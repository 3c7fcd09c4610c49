"""The frames before a chunk as a cond of the host's: encoded once a run, and one for all rows of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.conds
import torch


class Whole(comfy.conds.CONDRegular):
    """A cond that is the same for all rows of a batch, and is not repeated for them."""

    def process_cond(self, batch_size: int, **_: Any) -> Any:
        return self._copy_with(self.cond)

    def can_concat(self, other: Any) -> bool:
        return self.cond is other.cond

    def concat(self, others: Any) -> Any:
        return self.cond


class FramesBefore:
    """What an encoder makes of the frames before; of the same frames, one object, so that the host finds it the same.

    Args:
        encode: from pixels ``1 k 3 h w`` in ``[-1, 1]`` to features.
    """

    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._encode = encode
        self._encoded: tuple[Any, Any] = (None, None)

    def cond(self, frames: torch.Tensor, device: Any, dtype: torch.dtype) -> Whole:
        """Of frames ``1 k h w 3`` in 0..1."""
        if self._encoded[0] is not frames:
            pixels = frames.movedim(-1, 2).to(device, dtype) * 2 - 1
            self._encoded = (frames, self._encode(pixels))
        return Whole(self._encoded[1])
