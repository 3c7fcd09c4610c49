"""SAM 2 (Ravi et al., 2024) for video of transformers as a ``Segmenter``, at memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ...perception.boxes import Box
from ...perception.tracking import MaskPrediction

MODELS = {"sam2_video": "Sam2VideoModel"}
FILES = ("preprocessor_config.json|processor_config.json",)


class Sam2Segmenter:
    """Carries objects with SAM 2's memory.

    Every object has a session of its own, so that it can be dropped and asked for anew; all share the features of the
    frame, which are computed once. What the model never looks at again is removed from the sessions after each frame.

    Args:
        model, processor: a Sam2VideoModel and its Sam2VideoProcessor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        self._sessions: dict[int, Any] = {}
        self._cache: Any = None
        self._frame = -1
        self._pixels: torch.Tensor | None = None
        self._size = (0, 0)

    def step(self, frame: torch.Tensor) -> dict[int, MaskPrediction]:
        """See ``Segmenter``."""
        self._frame += 1
        self._size = tuple(frame.shape[:2])
        inputs = self._processor(images=frame.movedim(-1, 0), return_tensors="pt")
        self._pixels = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        carried = {object_id: self._carry(session) for object_id, session in self._sessions.items()}
        for session in self._sessions.values():
            prune(session, self._frame, _reach(self._model.config))
        return carried

    def add(self, boxes: Mapping[int, Box]) -> dict[int, MaskPrediction]:
        """See ``Segmenter``."""
        carried = {}
        for object_id, box in boxes.items():
            session = self._sessions.get(object_id)
            if session is None:
                session = self._sessions[object_id] = self._new_session()
            self._processor.add_inputs_to_inference_session(
                session, self._frame, [1], input_boxes=[[list(box)]], original_size=self._size
            )
            carried[object_id] = self._carry(session)
        return carried

    def forget(self, ids: Iterable[int]) -> None:
        """See ``Segmenter``."""
        for object_id in ids:
            self._sessions.pop(object_id, None)

    def fresh(self) -> Sam2Segmenter:
        """See ``Segmenter``."""
        return Sam2Segmenter(self._model, self._processor)

    def segment(self, frame: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
        """As a ``FrameSegmenter``: the objects in these boxes of one frame, without a memory: ``n h w`` bool."""
        alone = self.fresh()
        alone.step(frame)
        return torch.stack([each.mask for each in alone.add(dict(enumerate(boxes))).values()])

    def _new_session(self) -> Any:
        session = self._processor.init_video_session(inference_device=self._model.device, dtype=self._model.dtype)
        if self._cache is None:
            self._cache = session.cache
        session.cache = self._cache
        return session

    def _carry(self, session: Any) -> MaskPrediction:
        outputs = self._model(inference_session=session, frame_idx=self._frame, frame=self._pixels)
        logits = self._processor.post_process_masks([outputs.pred_masks.float()], [self._size], binarize=False)[0]
        score = _object_logits(session, outputs, self._frame).float().sigmoid()
        return MaskPrediction((logits[0, 0] > 0).cpu(), float(score.flatten()[0]))


def _object_logits(session: Any, outputs: Any, frame: int) -> torch.Tensor:
    """How sure the model is that the session's one object is in this frame; transformers 4.57 has it there alone."""
    logits = getattr(outputs, "object_score_logits", None)
    if logits is None:
        kinds = session.output_dict_per_obj[0]
        stored = kinds["non_cond_frame_outputs"].get(frame) or kinds["cond_frame_outputs"][frame]
        logits = stored["object_score_logits"]
    return logits


def _reach(config: Any) -> int:
    """Frames that the model looks back."""
    return max(config.num_maskmem, config.max_object_pointers_in_encoder)


def prune(session: Any, frame: int, reach: int, prompts: int = 8) -> None:
    """Remove from a session what the model never looks at again: the session itself would keep every frame.

    Args:
        session: of SAM 2 or SAM 3 video.
        frame: the newest frame's number; it stays whole.
        reach: frames that the model looks back.
        prompts: how many of the newest frames with a prompt stay for each object, besides its first.
    """
    for number in session.processed_frames:
        if number < frame:  # their number stays, which the model asks for
            session.processed_frames[number] = None
    for number, outputs in session.output_dict_per_obj.items():
        _drop(outputs["non_cond_frame_outputs"], lambda at: at < frame - reach)
        prompted = sorted(outputs["cond_frame_outputs"])
        old = set(prompted[1:-prompts])
        _drop(outputs["cond_frame_outputs"], old.__contains__)
        for kind in outputs.values():
            for at, output in kind.items():
                if at < frame:  # masks in full size, which are read in the frame itself
                    output.pop("high_res_masks", None)
        for past in (session.point_inputs_per_obj, session.mask_inputs_per_obj, session.frames_tracked_per_obj):
            _drop(past.get(number), lambda at: at < frame)


def _drop(entries: dict[int, Any] | None, condition: Any) -> None:
    for number in [number for number in entries or () if condition(number)]:
        del entries[number]
