"""ComfyUI's own SAM 3, which newer releases load as a MODEL, as a detector and a segmenter of single frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import comfy.model_management
import torch
import torch.nn.functional as F

from ....perception.boxes import Box, Detection, nms, phrases

LEAST_SCORE = 0.5  #: SAM 3 itself finds nothing below this; the host's forward gives every query
_SIZE = 1008  #: pixels of the square that the model sees


@dataclass(frozen=True)
class Seen:
    """What the memory tracker sees of a frame, coarsest last."""

    features: list[torch.Tensor]  #: ``1 (h w) c``
    places: list[torch.Tensor]  #: positions, in the same shapes
    sizes: list[tuple[int, int]]  #: their h and w
    fine: list[torch.Tensor] | None  #: SAM 3.1: all but the coarsest features, ``1 c h w``
    trunk: torch.Tensor
    pixels: torch.Tensor  #: ``1 3 1008 1008``


class HostSam3:
    """What the host's SAM 3 finds in single frames, and its masks for boxes.

    The trunk of its backbone, which is most of the work, sees each frame once, whatever is asked about it and the
    ``past`` frames before it.

    Args:
        model: the MODEL.
        conditioning: the CONDITIONING of the text, from the CLIP that is loaded with it.
        text: what the text names; the labels, where the conditioning has as many parts.
        threshold: objects count above this score, and above ``LEAST_SCORE`` in any case.
        past: frames before the last one of which is kept what the trunk sees, 10 MB each in 16 bits.
        resize: how frames are made squares; the host has ``bilinear`` for single frames, and ``bicubic`` for clips.

    Raises:
        ValueError: the MODEL is none of SAM 3, or the CONDITIONING is missing.
    """

    def __init__(
        self,
        model: Any,
        conditioning: list | None,
        text: str,
        threshold: float,
        past: int = 0,
        resize: Literal["bilinear", "bicubic"] = "bilinear",
    ) -> None:
        network = getattr(model.model, "diffusion_model", None)
        if not hasattr(network, "forward_segment"):
            raise ValueError(
                f"sam3_model is {type(network).__name__}, which is not ComfyUI's SAM 3. Connect the MODEL that Load "
                "Checkpoint gives for a SAM 3 file."
            )
        if not conditioning:
            raise ValueError(
                "sam3_model is connected, but no sam3_conditioning. Connect the text through CLIP Text Encode, with "
                "the CLIP that Load Checkpoint gives for SAM 3."
            )
        comfy.model_management.load_model_gpu(model)
        self.network, self._threshold = network, max(threshold, LEAST_SCORE)
        self.backbone = network.detector.backbone["vision_backbone"]
        self._trunks: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=past + 1)  # of frames: what it sees
        self._resize = resize
        self._device, self._dtype = comfy.model_management.get_torch_device(), model.model.get_dtype()
        self._prompts = [self._prompt(*each) for each in _parts(conditioning)]
        named = phrases(text)
        together = " ".join(named)
        self._labels = named if len(named) == len(self._prompts) else [together] * len(self._prompts)

    def detect(self, frames: torch.Tensor) -> list[list[Detection]]:
        """See ``Detector``; of boxes that are all but the same, the best."""
        return [nms(self._detections(frame)) for frame in frames]

    def segment(self, frame: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
        """See ``FrameSegmenter``."""
        size = frame.shape[:2]
        # One by one: an image of logits is larger than a mask.
        return torch.stack([(F.interpolate(each[None].float(), size, mode="bilinear")[0, 0] > 0).cpu()
                            for each in self._logits(frame, boxes)])  # fmt: skip

    def logits(self, frame: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
        """The same as the network gives it: ``n 1 1008 1008``."""
        return torch.stack(list(self._logits(frame, boxes)))

    def seen_by_tracker(self, frame: torch.Tensor) -> Seen:
        """What the memory tracker takes of a frame."""
        pixels, trunk = self._pixels(frame), self._trunk(frame)
        mode = {"tracker_mode": "propagation"} if self.backbone.multiplex else {"need_tracker": True}

        def features(image: torch.Tensor, frame_idx: int | None = None) -> tuple[list, list, torch.Tensor]:
            *_, features, places = self.backbone(image, cached_trunk=trunk, tracker_only=True, **mode)
            return features, places, trunk

        seen = self.network.tracker._compute_backbone_frame(features, pixels)
        return Seen(*seen[:3], seen[3] if self.backbone.multiplex else None, trunk, pixels)

    def _logits(self, frame: torch.Tensor, boxes: list[Box]) -> Iterator[torch.Tensor]:
        height, width = frame.shape[:2]
        scale = torch.tensor([_SIZE / width, _SIZE / height])
        with self._seen(frame) as pixels:
            for box in boxes:
                corners = torch.tensor(box).view(1, 2, 2) * scale
                yield self.network.forward_segment(pixels, box_inputs=corners.to(self._device, self._dtype))[0]

    def _prompt(self, embedding: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        if mask is None:
            mask = torch.ones(embedding.shape[:2], dtype=torch.int64)
        return embedding.to(self._device, self._dtype), mask.to(self._device)

    @contextmanager
    def _seen(self, frame: torch.Tensor) -> Iterator[torch.Tensor]:
        """The pixels of a frame for calls of the network in which its trunk does not run again."""
        pixels, trunk = self._pixels(frame), self._trunk(frame)
        hook = self.backbone.register_forward_pre_hook(
            lambda _, inputs, options: (inputs, options | {"cached_trunk": trunk}), with_kwargs=True
        )
        try:
            yield pixels
        finally:
            hook.remove()

    def _trunk(self, frame: torch.Tensor) -> torch.Tensor:
        for known, trunk in reversed(self._trunks):
            if torch.equal(known, frame):
                return trunk
        self._trunks.append((frame, self.backbone.trunk(self._pixels(frame))))
        return self._trunks[-1][1]

    def _pixels(self, frame: torch.Tensor) -> torch.Tensor:
        """The frame as the host's own nodes give it to the model: stretched to a square, 0..1."""
        square = F.interpolate(frame.movedim(-1, 0)[None].float() / 255, (_SIZE, _SIZE), mode=self._resize)
        return square.to(self._device, self._dtype)

    def _detections(self, frame: torch.Tensor) -> list[Detection]:
        height, width = frame.shape[:2]
        found = []
        for (embedding, mask), label in zip(self._prompts, self._labels, strict=True):
            with self._seen(frame) as pixels:
                seen = self.network(
                    pixels,
                    text_embeddings=embedding,
                    text_mask=mask,
                    threshold=self._threshold,
                    orig_size=(height, width),
                )
            scores = seen["scores"][0].float().sigmoid().cpu()
            boxes = seen["boxes"][0].float().cpu().clamp(min=0).minimum(torch.tensor([width, height] * 2))
            for index in (scores > self._threshold).nonzero().flatten().tolist():
                found.append(Detection(tuple(boxes[index].tolist()), float(scores[index]), label))
        return found


def _parts(conditioning: list) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """The texts of a CONDITIONING: the host splits one at commas and keeps the parts beside it."""
    embedding, extra = conditioning[0][0], conditioning[0][1]
    several = extra.get("sam3_multi_cond")
    if several:
        return [(part["cond"], part.get("attention_mask")) for part in several]
    return [(embedding, extra.get("attention_mask"))]
