"""Grounding DINO (Liu et al., 2023) of transformers as a ``Detector``."""

from __future__ import annotations

from typing import Any

import torch

from ...perception.boxes import Detection, closest_phrase, cxcywh_to_xyxy, phrases, prompt_text

MODELS = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}  #: the type in config.json and the class
FILES = ("preprocessor_config.json|processor_config.json", "tokenizer.json|vocab.txt")
PIXELS_PER_FORWARD = 4 * 800 * 1333  #: of the resized images


class GroundingDinoDetector:
    """Finds what a text names; images are resized as the processor says (short side 800, at most 1333).

    Args:
        model, processor: a GroundingDinoForObjectDetection and its GroundingDinoProcessor.
        text: what to find, e.g. ``man. dog.``
        box_threshold: a box counts if one of its words reaches this score.
        text_threshold: words of its label are those that reach this score, or else the best one.

    Raises:
        ValueError: the text is empty; ``detect``: it is longer than the model reads.
    """

    def __init__(
        self, model: Any, processor: Any, text: str, box_threshold: float = 0.25, text_threshold: float = 0.25
    ) -> None:
        self._model, self._processor = model, processor
        self._text, self._phrases = prompt_text(text), phrases(text)
        self._box_threshold, self._text_threshold = box_threshold, text_threshold
        self._size: int | None = None  # pixels of a resized frame

    def detect(self, frames: torch.Tensor) -> list[list[Detection]]:
        """What is in each of the frames ``t h w 3`` uint8, in the order of the model's queries."""
        found: list[list[Detection]] = []
        while len(found) < len(frames):
            count = 1 if self._size is None else max(1, PIXELS_PER_FORWARD // self._size)
            part = frames[len(found) : len(found) + count]
            inputs = self._processor(
                images=list(part.movedim(-1, 1)), text=[self._text] * len(part), return_tensors="pt"
            )
            inputs = inputs.to(self._model.device)
            self._check_length(inputs["input_ids"].shape[1])
            self._size = inputs["pixel_values"][0, 0].numel()
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
            outputs = self._model(**inputs)
            found += [
                self._detections(logits, boxes, ids, part.shape[1], part.shape[2])
                for logits, boxes, ids in zip(outputs.logits, outputs.pred_boxes, inputs["input_ids"], strict=True)
            ]
        return found

    def _detections(
        self, logits: torch.Tensor, boxes: torch.Tensor, ids: torch.Tensor, height: int, width: int
    ) -> list[Detection]:
        """Of one frame: logits ``queries tokens``, boxes ``queries 4`` (centre and size), ids ``words``."""
        probabilities = logits.float().sigmoid()[:, : len(ids)]
        scores = probabilities.amax(1)
        corners = cxcywh_to_xyxy(boxes.float(), height, width)
        limits = corners.new_tensor([width, height, width, height])
        found = []
        for query in (scores > self._box_threshold).nonzero().flatten().tolist():
            box = corners[query].clamp(min=0).minimum(limits).tolist()
            if box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            label = self._label(probabilities[query], ids)
            found.append(Detection(tuple(box), float(scores[query]), label))
        return found

    def _check_length(self, tokens: int) -> None:
        most = getattr(self._model.config, "max_text_len", 256)
        if tokens > most:
            raise ValueError(f"text has {tokens} tokens, and this detector reads at most {most}. Name fewer things.")

    def _label(self, probabilities: torch.Tensor, ids: torch.Tensor) -> str:
        """The named thing whose words a box is sure of: that with the highest sum over its words."""
        tokenizer = self._processor.tokenizer
        outside = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
        stop = tokenizer.convert_tokens_to_ids(".")
        places: list[list[int]] = [[]]
        for place, word in enumerate(ids.tolist()):
            if word == stop:
                places.append([])
            elif word not in outside:
                places[-1].append(place)
        places = [each for each in places if each]
        if not places:
            return ""
        sure = probabilities.cpu()
        least = min(self._text_threshold, max(float(sure[each].amax()) for each in places))
        sums = [float(sure[each][sure[each] >= least].sum()) for each in places]
        best = max(range(len(places)), key=sums.__getitem__)
        if len(places) == len(self._phrases):
            return self._phrases[best]
        return closest_phrase(tokenizer.decode(ids[places[best]]).strip(), self._phrases)
