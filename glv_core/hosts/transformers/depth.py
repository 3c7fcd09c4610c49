"""Depth networks of transformers: DPT (MiDaS), Depth Anything and others."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

MODELS = ("depth_anything", "dpt", "glpn", "zoedepth")  #: types in config.json
MODEL_CLASS = "AutoModelForDepthEstimation"
FILES = ("preprocessor_config.json",)
RELIEF = 2000.0  #: range of inverse depth as DPT-hybrid tells it: about the middle of 1000 to 3000
_METRIC = ("glpn", "zoedepth")
_NEAREST = 0.1  #: metres


class DepthEstimator:
    """Inverse depth of frames, near large.

    Args:
        model, processor: of one of ``MODELS`` with its image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        config = model.config
        backbone = getattr(getattr(config, "backbone_config", None), "model_type", "")
        self._metric = (
            config.model_type in _METRIC
            or getattr(config, "depth_estimation_type", "") == "metric"
            or (config.model_type == "dpt" and backbone.startswith("dinov2"))  # DINOv2's heads tell metres
        )

    @property
    def relief(self) -> float:
        """The range to which depth is brought for normals; 0 where the network's own numbers are right, as DPT's."""
        return 0.0 if self._model.config.model_type == "dpt" and not self._metric else RELIEF

    def inverse_depth(self, frames: torch.Tensor) -> torch.Tensor:
        """``t h w`` float32 of frames ``t h w 3`` uint8, in the network's units; 1 / metres if it tells metres."""
        images = list(frames.movedim(-1, 1))
        pixels = self._processor(images=images, return_tensors="pt")["pixel_values"]
        outputs = self._model(pixel_values=pixels.to(self._model.device, self._model.dtype))
        depth = self._without_padding(outputs, images, pixels.shape[-2:])
        depth = F.interpolate(depth[:, None], frames.shape[1:3], mode="bicubic", align_corners=False)[:, 0]
        return 1 / depth.clamp(min=_NEAREST) if self._metric else depth

    def _without_padding(self, outputs: Any, images: list[torch.Tensor], padded: tuple[int, int]) -> torch.Tensor:
        """The network's depth ``t h w`` of the images alone, where the processor put a border around them."""
        outputs.predicted_depth = outputs.predicted_depth.float()
        if not getattr(self._processor, "do_pad", False):
            return outputs.predicted_depth
        if self._model.config.model_type == "zoedepth":  # mirrors a border of the source's pixels, then resizes
            sizes = [tuple(image.shape[-2:]) for image in images]
            found = self._processor.post_process_depth_estimation(outputs, source_sizes=sizes)
            return torch.stack([each["predicted_depth"] for each in found])
        depth = F.interpolate(outputs.predicted_depth[:, None], padded, mode="bicubic", align_corners=False)[:, 0]
        plain = self._processor(images=images[:1], do_pad=False, return_tensors="pt")["pixel_values"].shape[-2:]
        top, left = ((outer - inner) // 2 for outer, inner in zip(padded, plain, strict=True))
        return depth[:, top : top + plain[0], left : left + plain[1]]
