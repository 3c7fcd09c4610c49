"""SAM 3 for video of transformers: finds what a text names and follows it, in one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch

from ...perception.boxes import choose, mask_box, phrases
from ...perception.tracking import TrackedInstance
from .sam2_video import prune

MODELS = {"sam3_video": "Sam3VideoModel"}
FILES = ("preprocessor_config.json|processor_config.json", "tokenizer.json|vocab.json")
_DOUBLE = 0.8  # intersection over union of masks from which two objects are one


class Sam3Tracker:
    """Follows what a text names through frames that come one by one, at memory that does not grow.

    Args:
        model, processor: a Sam3VideoModel and its Sam3VideoProcessor.
        text: what to find, e.g. ``man. dog.``
        threshold: objects count from this score on, besides the model's own thresholds. An object's score is the one
            it was found with, which is at least the model's ``new_det_thresh``, by default 0.7.
        most: so many objects of a frame at most; 0 for all. ``track`` takes those that were found first.

    Raises:
        ValueError: the text is empty.
    """

    def __init__(self, model: Any, processor: Any, text: str, threshold: float = 0.0, most: int = 0) -> None:
        _use_no_foreign_kernels()
        self._model, self._processor = model, processor
        self._phrases, self._threshold, self._most = phrases(text), threshold, most

    def track(self, frames: Iterable[torch.Tensor]) -> Iterator[list[TrackedInstance]]:
        """The objects of each frame ``h w 3`` (0..1), in order of their ids."""
        session = self._new_session()
        tracker = self._model.config.tracker_config
        reach = max(tracker.num_maskmem, tracker.max_object_pointers_in_encoder)
        for number, frame in enumerate(frames):
            found = self._found(session, number, frame)
            yield found[: self._most] if self._most else found
            prune(session, number, reach, max(8, tracker.max_cond_frame_num))
            for past in (session.obj_id_to_tracker_score_frame_wise, session.suppressed_obj_ids):
                for at in [at for at in past if at < number]:
                    del past[at]

    def per_frame(
        self, frames: Iterable[torch.Tensor], order: Literal["best", "first"] = "first"
    ) -> Iterator[list[TrackedInstance]]:
        """The same without a memory: which objects count says ``order``, see ``choose``, and numbers them."""
        for frame in frames:
            found = choose(self._found(self._new_session(), 0, frame), self._most, order)
            yield [replace(each, id=index) for index, each in enumerate(found, 1)]

    def _new_session(self) -> Any:
        session = self._processor.init_video_session(inference_device=self._model.device, dtype=self._model.dtype)
        return self._processor.add_text_prompt(session, self._phrases)

    def _found(self, session: Any, number: int, frame: torch.Tensor) -> list[TrackedInstance]:
        height, width = frame.shape[:2]
        inputs = self._processor(images=frame.movedim(-1, 0), return_tensors="pt")
        pixels = inputs["pixel_values"][0].to(self._model.device, self._model.dtype)
        outputs = self._model(inference_session=session, frame_idx=number, frame=pixels)
        seen = self._processor.postprocess_outputs(session, outputs, [[height, width]])
        labels = {object_id: label for label, ids in seen["prompt_to_obj_ids"].items() for object_id in ids}
        found: list[TrackedInstance] = []
        rows = zip(seen["object_ids"].tolist(), seen["scores"].tolist(), seen["masks"].cpu().bool(), strict=True)
        for object_id, score, mask in rows:
            box = mask_box(mask)
            if box is None or score < self._threshold or any(_double(mask, each.mask) for each in found):
                continue
            found.append(TrackedInstance(object_id + 1, labels[object_id], score, box, mask))
        return found


def _double(a: torch.Tensor, b: torch.Tensor) -> bool:
    return float((a & b).sum()) > _DOUBLE * float((a | b).sum())


class _Kernels:
    """In place of the compiled code that the library would fetch from the internet, unasked: its non-maximum
    suppression. Small holes and specks stay, as where that code cannot be had."""

    @staticmethod
    def generic_nms(iou: torch.Tensor, scores: torch.Tensor, threshold: float, use_iou_matrix: bool) -> torch.Tensor:
        kept: list[int] = []
        for index in torch.argsort(scores, descending=True).tolist():
            if not kept or iou[index, kept].max() <= threshold:
                kept.append(index)
        return torch.tensor(kept, dtype=torch.long, device=scores.device)

    @staticmethod
    def cc_2d(*_: Any, **__: Any) -> None:
        raise NotImplementedError("holes are filled when the mask is finished")


def _use_no_foreign_kernels() -> None:
    from transformers.models.sam3_video import modeling_sam3_video

    if getattr(modeling_sam3_video, "cv_utils_kernel", False) is None:
        modeling_sam3_video.cv_utils_kernel = _Kernels
