"""ComfyUI's own RT-DETR v4, which newer releases load as a MODEL, as a detector of COCO's 80 classes."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
import torch.nn.functional as F

from ....perception.boxes import Detection, phrases

NAME = "rtdetr_model"  #: the input, for errors
_SIZE = 640  #: pixels of the square that the model sees
_CLASSES = "comfy.ldm.rt_detr.rtdetr_v4"


class HostRtDetr:
    """What the host's RT-DETR finds in frames.

    Args:
        model: the MODEL.
        text: names of COCO's classes, several with full stops between them.
        threshold: objects count above this score.

    Raises:
        ValueError: the MODEL is none of RT-DETR, or the text names what it does not know.
    """

    def __init__(self, model: Any, text: str, threshold: float) -> None:
        network = getattr(getattr(model, "model", None), "diffusion_model", None)
        if type(network).__module__ != _CLASSES:
            raise ValueError(
                f"{NAME} is {type(network).__name__}, which is not ComfyUI's RT-DETR. Connect the MODEL that Load "
                "Diffusion Model gives for an RT-DETR v4 file."
            )
        from comfy.ldm.rt_detr.rtdetr_v4 import COCO_CLASSES

        self.patcher, self._network, self._threshold = model, network, threshold
        self._names = list(COCO_CLASSES)
        unknown = [each for each in phrases(text) if each not in self._names]
        if unknown:
            raise ValueError(
                f"text names {', '.join(map(repr, unknown))}, which {NAME} does not know: it knows COCO's "
                f"{len(self._names)} classes, such as {', '.join(self._names[:3])}, {self._names[16]}. Name one of "
                f"them, or disconnect {NAME} for a detector that reads any words."
            )
        self._wanted = {self._names.index(each) for each in phrases(text)}

    def use(self) -> None:
        """Bring it to its device."""
        comfy.model_management.load_model_gpu(self.patcher)

    def detect(self, frames: torch.Tensor) -> list[list[Detection]]:
        """See ``Detector``; the best first."""
        height, width = frames.shape[1:3]
        pixels = F.interpolate(frames.movedim(-1, 1).float() / 255, (_SIZE, _SIZE), mode="bilinear")
        limit = torch.tensor([width, height] * 2)
        result = []
        for found in self._network(pixels, (width, height)):
            boxes = found["boxes"].float().cpu().clamp(min=0).minimum(limit).tolist()
            scores, labels = found["scores"].float().tolist(), found["labels"].tolist()
            result.append([
                Detection(tuple(box), score, self._names[label])
                for box, score, label in zip(boxes, scores, labels, strict=True)
                if score > self._threshold and label in self._wanted
            ])  # fmt: skip
        return result

    def boxes(self, frames: torch.Tensor) -> list[list[list[float]]]:
        """Left, top, width and height in each frame, of a pixel at least, as ``PoseEstimator`` wants them."""
        return [
            [[left, top, right - left, bottom - top] for left, top, right, bottom in (each.box for each in found)
             if min(right - left, bottom - top) >= 1]
            for found in self.detect(frames)
        ]  # fmt: skip
