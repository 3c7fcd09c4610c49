"""Depth networks of transformers: DPT (MiDaS), Depth Anything and others."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

MODELS = ("depth_anything", "dpt", "depth_pro", "glpn", "zoedepth")  #: types in config.json
MODEL_CLASS = "AutoModelForDepthEstimation"
FILES = ("preprocessor_config.json",)
_METRIC = ("depth_pro", "glpn", "zoedepth")
_NEAREST = 0.1  #: metres


class DepthEstimator:
    """Inverse depth of frames, near large.

    Args:
        model, processor: of one of ``MODELS`` with its image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        config = model.config
        self._metric = config.model_type in _METRIC or getattr(config, "depth_estimation_type", "") == "metric"

    def inverse_depth(self, frames: torch.Tensor) -> torch.Tensor:
        """``t h w`` float32 of frames ``t h w 3`` uint8, in the network's units; 1 / metres if it tells metres."""
        inputs = self._processor(images=list(frames.movedim(-1, 1)), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        depth = self._model(pixel_values=pixels).predicted_depth.float()
        if self._metric:
            depth = 1 / depth.clamp(min=_NEAREST)
        return F.interpolate(depth[:, None], frames.shape[1:3], mode="bicubic", align_corners=False)[:, 0]
