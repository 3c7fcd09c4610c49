"""Semantic segmentation of transformers: SegFormer, UPerNet, Mask2Former and others."""

from __future__ import annotations

from typing import Any

import torch

_BY_PIXEL = "AutoModelForSemanticSegmentation"
_BY_MASK = "AutoModelForUniversalSegmentation"
MODELS = {
    "segformer": _BY_PIXEL,
    "upernet": _BY_PIXEL,
    "beit": _BY_PIXEL,
    "mask2former": _BY_MASK,
    "maskformer": _BY_MASK,
}  #: the type in config.json and the class
FILES = ("preprocessor_config.json",)


class Segmenter:
    """What each pixel is.

    Args:
        model, processor: of one of ``MODELS`` with its image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor

    @property
    def num_classes(self) -> int:
        """How many things it knows."""
        return self._model.config.num_labels

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """Class numbers ``t h w`` of frames ``t h w 3`` uint8."""
        inputs = self._processor(images=list(frames.movedim(-1, 1)), return_tensors="pt").to(self._model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        outputs = self._model(**inputs)
        sizes = [tuple(frames.shape[1:3])] * len(frames)
        return torch.stack(self._processor.post_process_semantic_segmentation(outputs, target_sizes=sizes))
