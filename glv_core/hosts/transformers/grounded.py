"""Words to objects in a video: Grounding DINO finds them, SAM 2 follows them or SAM segments them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from ...perception.boxes import prompt_text
from ...perception.per_frame import BoxPropagator
from ...perception.tracking import TrackedInstance, Tracker
from .grounding_dino import MODELS, GroundingDinoDetector
from .loading import check_version, load_local
from .sam import SamSegmenter
from .sam2_video import Sam2Segmenter

DETECTORS = {kind: (model, "GroundingDinoProcessor") for kind, model in MODELS.items()}
SEGMENTERS = {"sam2_video": ("Sam2VideoModel", "Sam2VideoProcessor"), "sam": ("SamModel", "SamProcessor")}


class GroundedObjects:
    """What a text names, found and followed with models that are on this machine.

    Args:
        text: what to find, e.g. ``man. dog.``
        detector: a folder or name of a Grounding DINO, see ``local_model``.
        segmenter: of a SAM 2 or SAM.
        device: a torch device, as text.
        interval: new objects are looked for in every so many frames.

    Raises:
        ValueError: the text is empty, or a model is not there, of another type, or incomplete.
    """

    def __init__(self, text: str, detector: str, segmenter: str, device: str, interval: int = 30) -> None:
        prompt_text(text)
        kind, model, processor = load_local(segmenter, SEGMENTERS, device)
        check_version(kind)
        _, finder, reader = load_local(detector, DETECTORS, device)
        follow = BoxPropagator(SamSegmenter(model, processor)) if kind == "sam" else Sam2Segmenter(model, processor)
        self._tracker = Tracker(GroundingDinoDetector(finder, reader, text), follow, interval)

    @torch.inference_mode()
    def track(self, frames: Iterable[torch.Tensor]) -> Iterator[list[TrackedInstance]]:
        """The objects of each frame ``h w 3`` uint8, some frames late."""
        yield from self._tracker.track(frames)
