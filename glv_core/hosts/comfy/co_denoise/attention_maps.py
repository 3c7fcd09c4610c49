"""Self-Attention Guidance over windows.

ComfyUI's SelfAttentionGuidance keeps the attention map of the last forward pass, and blurs the prediction of the whole
video by it. Here the maps of all windows are put together to one of the whole video first, with the merge weights.
"""

from __future__ import annotations

from types import CellType
from typing import Any

import torch

from ....windows import View

_CELL = "attn_scores"  # what the guidance calls the map that it keeps


def map_keeper(model_options: dict[str, Any]) -> CellType | None:
    """Where Self-Attention Guidance keeps its map; None without one on the model."""
    replaced = model_options.get("transformer_options", {}).get("patches_replace", {}).get("attn1", {})
    for patch in replaced.values():
        names = getattr(getattr(patch, "__code__", None), "co_freevars", ())
        if _CELL in names:
            return patch.__closure__[names.index(_CELL)]
    return None


class AttentionMaps:
    """The map of a whole video, ``t query key``, from those of its windows.

    Args:
        keeper: see ``map_keeper``.
        length: frames of the video, which are the batch.
    """

    def __init__(self, keeper: CellType, length: int) -> None:
        self._keeper, self._length = keeper, length
        self._total: torch.Tensor | None = None
        keeper.cell_contents = None

    def take(self, views: list[View], weights: list[torch.Tensor]) -> None:
        """Take what a forward pass of some windows left: ``(window t head) query key``."""
        found = self._keeper.cell_contents
        if found is None:  # this pass was without the unconditional half
            return
        self._keeper.cell_contents = None
        for view, weight, part in zip(views, weights, found.chunk(len(views)), strict=True):
            heads = part.shape[0] // view.length
            # The guidance takes the mean of the heads itself; that of each window is all that has to be kept.
            part = part.reshape(view.length, heads, *part.shape[1:]).mean(dim=1)[view.lead :]
            if self._total is None:
                self._total = torch.zeros((self._length, *part.shape[1:]), dtype=part.dtype, device=part.device)
            indices = torch.tensor(list(view.window.indices), device=part.device)
            self._total.index_add_(0, indices, part * weight.to(part).reshape(-1, 1, 1))

    def give(self) -> None:
        """Put the map of the whole video where the guidance looks for it."""
        if self._total is not None:
            self._keeper.cell_contents = self._total
