"""From frames to finished masks and a preview, a few frames at a time."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import comfy.model_management
import comfy.utils
import torch
import torch.nn.functional as F
from PIL import Image

from ....perception.holes import fill_holes
from ....perception.mask_ops import Finish, Finisher
from ....perception.overlay import draw
from ....perception.selection import Selection, union
from ....perception.tracking import TrackedInstance
from ..video.frame_source import FrameSource
from ..video.memory_mapped import memory_mapped_zeros

log = logging.getLogger(__name__)

BATCH = 4  #: frames that are read, and detected in, at a time
_IMAGE_EVERY = 8  #: frames


@dataclass(frozen=True)
class MaskOptions:
    """What becomes of the objects that were found."""

    selection: Selection
    fill_holes: int  #: pixels
    finish: Finish
    preview_size: int  #: pixels of the longer side


@dataclass
class Masks:
    """Masks of a clip.

    ``mask``: ``t h w`` in 0..1; ``preview``: ``t h w 3`` in 0..1; ``objects``: those found in each frame, and
    ``chosen``: the ids among them that make the mask.
    """

    mask: torch.Tensor
    preview: torch.Tensor
    objects: list[list[dict]] = field(default_factory=list)
    chosen: list[set[int]] = field(default_factory=list)

    def boxes(self) -> list[list[dict]]:
        """The chosen objects of each frame as ComfyUI's BOUNDING_BOX."""
        return [
            [
                {"x": left, "y": top, "width": right - left, "height": bottom - top}
                | {"score": each["score"], "label": each["label"], "id": each["id"]}
                for each in objects
                if each["id"] in chosen
                for left, top, right, bottom in [each["box"]]
            ]
            for objects, chosen in zip(self.objects, self.chosen, strict=True)
        ]

    def as_json(self) -> str:
        """All objects: ``{"width", "height", "frames": [[{"id", "label", "score", "box", "chosen"}]]}``."""
        frames = [
            [each | {"chosen": each["id"] in chosen} for each in objects]
            for objects, chosen in zip(self.objects, self.chosen, strict=True)
        ]
        return json.dumps({"width": self.mask.shape[2], "height": self.mask.shape[1], "frames": frames})


def make_masks(
    source: FrameSource,
    track: Callable[[Iterable[torch.Tensor]], Iterable[list[TrackedInstance]]],
    options: MaskOptions,
) -> Masks:
    """Find the objects in all frames and make their masks.

    Args:
        source: the frames.
        track: takes batches ``t h w 3`` uint8 and gives the objects of each frame; it may be some frames late.
        options: what becomes of them.

    Raises:
        ValueError: there is a frame without objects, and that is an error.
    """
    scale = min(1.0, options.preview_size / max(source.height, source.width))
    small = max(1, round(source.height * scale)), max(1, round(source.width * scale))
    result = Masks(
        memory_mapped_zeros((source.num_frames, source.height, source.width)),
        memory_mapped_zeros((source.num_frames, *small, 3)),
    )
    previews: deque[torch.Tensor] = (
        deque()
    )  # frames in 0..1 and the preview's size, of those whose mask is not finished yet
    waiting: deque[list[TrackedInstance]] = deque()  # their objects, in the preview's size
    bar = comfy.utils.ProgressBar(source.num_frames)
    finisher = Finisher(options.finish)
    unseen = options.selection
    done = 0

    def batches() -> Iterator[torch.Tensor]:
        for batch in source.batches(BATCH):
            comfy.model_management.throw_exception_if_processing_interrupted()
            previews.extend(_resized(batch.movedim(-1, 1).float() / 255, small).movedim(1, -1))
            yield batch

    def keep(masks: Iterable[torch.Tensor]) -> None:
        nonlocal done
        for mask in masks:
            result.mask[done] = mask
            preview = draw(previews.popleft(), waiting.popleft(), _resized(mask[None, None], small)[0, 0])
            result.preview[done] = preview
            image = _image(preview) if done % _IMAGE_EVERY == 0 else None
            done += 1
            bar.update_absolute(done, source.num_frames, image)

    for found in track(batches()):
        comfy.model_management.throw_exception_if_processing_interrupted()
        found = [TrackedInstance(each.id, each.label, each.score, each.box, fill_holes(each.mask, options.fill_holes))
                 for each in found]  # fmt: skip
        chosen = options.selection.of(found)
        unseen = unseen.without(found)
        if not chosen and options.selection and options.finish.when_empty == "error":
            raise ValueError(_nothing_chosen(len(result.objects), found, options.selection))
        result.objects.append([_facts(each) for each in found])
        result.chosen.append({each.id for each in chosen})
        waiting.append([_small(each, small, source.height / small[0], source.width / small[1]) for each in found])
        keep(finisher.push(union(chosen, source.height, source.width)))
    keep(finisher.flush())
    if unseen:
        named = {f"{each['id']} ({each['label']})" for objects in result.objects for each in objects}
        log.warning(
            "GroundedMask: objects names %s, which is in no frame; found: %s",
            unseen, ", ".join(sorted(named)) or "nothing",
        )  # fmt: skip
    return result


def _nothing_chosen(frame: int, found: list[TrackedInstance], selection: Selection) -> str:
    named = ", ".join(f"{each.id} ({each.label})" for each in found)
    return (
        f"In frame {frame} is none of the objects that objects names: {selection}. Found there: {named or 'nothing'}. "
        "Name others in objects, lower the thresholds, or set when_empty to 'empty' or 'hold last'."
    )


def _facts(found: TrackedInstance) -> dict:
    return {
        "id": found.id, "label": found.label, "score": round(found.score, 4), "box": [round(at, 2) for at in found.box],
    }  # fmt: skip


def _small(found: TrackedInstance, size: tuple[int, int], down: float, across: float) -> TrackedInstance:
    left, top, right, bottom = found.box
    mask = _resized(found.mask[None, None].float(), size)[0, 0] >= 0.5
    box = (left / across, top / down, right / across, bottom / down)
    return TrackedInstance(found.id, found.label, found.score, box, mask)


def _resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``n c h w`` in another size."""
    return images if tuple(images.shape[-2:]) == size else F.interpolate(images, size, mode="area")


def _image(preview: torch.Tensor) -> tuple[str, Image.Image, int]:
    """As the host's progress takes it."""
    return "JPEG", Image.fromarray((preview * 255).round().to(torch.uint8).numpy()), 512
