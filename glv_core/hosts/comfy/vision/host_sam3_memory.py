"""The memory tracker of ComfyUI's own SAM 3 and SAM 3.1, fed a frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from ....perception.boxes import Box
from ....perception.tracking import MaskPrediction
from .host_sam3 import HostSam3, Seen

_SPECKS = 16  # pixels of the coarse mask: holes and specks that the host's own loop for SAM 3.1 takes away
_NEEDED = ("track_step", "_compute_backbone_frame", "num_maskmem", "max_obj_ptrs_in_encoder")
_NEEDED_TOGETHER = ("_condition_with_masks", "_suppress_recently_occluded", "_deferred_memory_encode", "num_multiplex")


class Sam3Memory:
    """A ``tracking.Segmenter`` that is the host's memory tracker, step by step as the host's ``forward_video``.

    That takes all frames and gives all masks; here one frame is seen at a time, and what is kept of those before is as
    much as the tracker looks at. An object's memory begins with the mask of its box, and anew when it is corrected.

    Args:
        sam3: what sees the frames.
        num_frames: of the clip; the tracker's places in time are relative to it in clips of fewer than 16 frames.

    Raises:
        ValueError: the network's tracker is none that is known.
    """

    def __init__(self, sam3: HostSam3, num_frames: int) -> None:
        tracker = getattr(sam3.network, "tracker", None)
        self._together = bool(getattr(sam3.backbone, "multiplex", False))
        missing = [
            name for name in (*_NEEDED, *(_NEEDED_TOGETHER if self._together else ())) if not hasattr(tracker, name)
        ]
        if missing:
            raise ValueError(
                f"sam3_memory is on, but the memory tracker of this sam3_model ({type(tracker).__name__}) is none that "
                f"is known: it has no {missing[0]}. Turn sam3_memory off, or use a ComfyUI that README names."
            )
        self._sam3, self._num_frames, self._tracker = sam3, num_frames, tracker
        self._memories: list[tuple[list[int | None], _Memory]] = []  # ids by place in it; None: forgotten
        self._frame: torch.Tensor | None = None
        self._seen: Seen | None = None

    def step(self, frame: torch.Tensor) -> dict[int, MaskPrediction]:
        self._frame, self._seen = frame, self._sam3.seen_by_tracker(frame)
        predicted = {}
        for ids, memory in self._memories:
            predicted |= self._predictions(ids, *memory.step(self._seen))
        return predicted

    def add(self, boxes: Mapping[int, Box]) -> dict[int, MaskPrediction]:
        if not boxes:
            return {}
        self.forget(boxes)
        masks = self._sam3.logits(self._frame, list(boxes.values())) > 0
        kind = _Together if self._together else _Apart
        memory = kind(self._tracker, self._sam3.backbone, self._num_frames)
        begun = memory.begin(self._seen, masks.to(self._seen.pixels))
        self._memories.append((list(boxes), memory))
        return self._predictions(list(boxes), *begun)

    def forget(self, ids: Iterable[int]) -> None:
        gone = set(ids)
        left = [([None if each in gone else each for each in known], memory) for known, memory in self._memories]
        self._memories = [(known, memory) for known, memory in left if any(each is not None for each in known)]

    def fresh(self) -> Sam3Memory:
        return Sam3Memory(self._sam3, self._num_frames)

    def _predictions(
        self, ids: list[int | None], logits: torch.Tensor, scores: torch.Tensor
    ) -> dict[int, MaskPrediction]:
        size = self._frame.shape[:2]
        return {
            each: MaskPrediction(
                (F.interpolate(logits[place, None].float(), size, mode="bilinear")[0, 0] > 0).cpu(),
                float(scores[place]),
            )
            for place, each in enumerate(ids)
            if each is not None
        }


class _Memory(Protocol):
    """Some objects that begin in the same frame."""

    def begin(self, seen: Seen, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first frame, with masks ``n 1 s s`` of 0 and 1: the same as of ``step``."""

    def step(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        """Their logits ``n 1 s s`` in the next frame, and how sure it is that each is there, 0..1."""


@dataclass
class _Past:
    """What the tracker has made of the frames before, in the form in which it takes it."""

    reach: int  # frames that it looks back
    outputs: dict[str, dict[int, dict]] = field(
        default_factory=lambda: {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    )
    index: int = 0  # of the last frame, from 0 where the objects begin

    def keep(self, made: dict[str, Any]) -> None:
        """What was made of the next frame, without its masks, which nothing looks back at."""
        kind = "non_cond_frame_outputs" if self.index else "cond_frame_outputs"
        self.outputs[kind][self.index] = {k: v for k, v in made.items() if not k.startswith("pred_masks")}
        self.outputs["non_cond_frame_outputs"].pop(self.index - self.reach - 1, None)
        self.index += 1


class _Apart:
    """Objects of SAM 3, whose tracker knows one in a memory; its backbone need not see a frame for each."""

    def __init__(self, tracker: Any, backbone: Any, num_frames: int) -> None:
        self._tracker, self._num_frames = tracker, num_frames
        self._pasts: list[_Past] = []

    def begin(self, seen: Seen, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._pasts = [_Past(_reach(self._tracker)) for _ in masks]
        return _joined([self._next(seen, past, mask[None]) for past, mask in zip(self._pasts, masks, strict=True)])

    def step(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        return _joined([self._next(seen, past, None) for past in self._pasts])

    def _next(self, seen: Seen, past: _Past, mask: torch.Tensor | None) -> dict[str, Any]:
        made = self._tracker.track_step(
            frame_idx=past.index, is_init_cond_frame=mask is not None, current_vision_feats=seen.features,
            current_vision_pos_embeds=seen.places, feat_sizes=seen.sizes, mask_inputs=mask, output_dict=past.outputs,
            num_frames=self._num_frames,
        )  # fmt: skip
        past.keep(made)
        return made


class _Together:
    """Objects of SAM 3.1, whose tracker knows up to 16 in one memory, and several such memories at once."""

    def __init__(self, tracker: Any, backbone: Any, num_frames: int) -> None:
        self._tracker, self._backbone, self._num_frames = tracker, backbone, num_frames
        self._past = _Past(_reach(tracker))

    def begin(self, seen: Seen, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from comfy.ldm.sam3.tracker import MultiplexState

        self._slots = MultiplexState(len(masks), self._tracker.num_multiplex, masks.device, masks.dtype)
        self._hidden = torch.full((len(masks),), -1, device=masks.device)  # when each was last hidden by another
        made = self._tracker._condition_with_masks(
            masks, 0, seen.features, seen.places, seen.sizes, seen.fine, self._past.outputs, self._num_frames,
            self._slots, self._backbone, seen.pixels, seen.trunk,
        )  # fmt: skip
        self._past.keep(made)
        return _joined([made])

    def step(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        from comfy.ldm.sam3.tracker import fill_holes_in_mask_scores

        index = self._past.index
        made = self._tracker.track_step(
            frame_idx=index, is_init_cond_frame=False, current_vision_feats=seen.features,
            current_vision_pos_embeds=seen.places, feat_sizes=seen.sizes, mask_inputs=None,
            output_dict=self._past.outputs, num_frames=self._num_frames, propagation_high_res=seen.fine,
            multiplex_state=self._slots, run_mem_encoder=False,
        )  # fmt: skip
        made["pred_masks"] = fill_holes_in_mask_scores(made["pred_masks"], max_area=_SPECKS)
        self._tracker._suppress_recently_occluded(made["pred_masks"], self._hidden, index)
        self._tracker._deferred_memory_encode(
            made, len(self._hidden), seen.features, seen.sizes, self._slots, seen.pixels.device
        )
        self._past.keep(made)
        return _joined([made])


def _reach(tracker: Any) -> int:
    return max(tracker.num_maskmem, tracker.max_obj_ptrs_in_encoder)


def _joined(made: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and how sure it is of each."""
    scores = torch.cat([each["object_score_logits"] for each in made])
    return torch.cat([each["pred_masks_high_res"] for each in made]), scores.float().sigmoid().flatten().cpu()
