"""The models of GroundedMask and SamIdMap: what there is to choose, and loading them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import comfy.model_management
import torch

from ....demo.detector import object_masks
from ....perception.boxes import ORDERS as CHOICES
from ....perception.boxes import prompt_text
from ....perception.per_frame import BoxPropagator, per_frame
from ....perception.tracking import LOOK_BACK, MaskPrediction, Segmenter, TrackedInstance, Tracker
from ...transformers import grounding_dino, sam, sam2_video, sam3_video
from ...transformers.loading import check_version
from .host_rtdetr import HostRtDetr
from .host_sam3 import HostSam3
from .host_sam3_memory import Sam3Memory
from .vision_models import VisionModel, find_model, list_models, load_vision_model, model_type, use_together

DETECTORS = ("IDEA-Research/grounding-dino-tiny", "IDEA-Research/grounding-dino-base")
SEGMENTERS = (
    "facebook/sam2.1-hiera-small", "facebook/sam2.1-hiera-tiny", "facebook/sam2.1-hiera-base-plus",
    "facebook/sam2.1-hiera-large", "facebook/sam3", "facebook/sam-vit-base", "facebook/sam-vit-large",
    "facebook/sam-vit-huge",
)  # fmt: skip
DEMO_DETECTOR = "shapes of the demo model (built in)"  #: needs no network, and no segmenter
MODES = ("tracked", "faithful")
ORDERS = ("auto", *CHOICES)
FAITHFUL_OBJECTS = 2  #: in each frame, where max_objects does not say
_WORKING_MEMORY = 2 * 2**30  # bytes beside the weights, for the largest of these models, besides:
_BYTES_PER_PIXEL = 16 * sam.ENLARGED  # masks in the size of the frame: logits twice, and what they are compared to
_BFLOAT16 = (torch.bfloat16,)
_LOADED = {
    "sam": (sam, "SamProcessor", (torch.float16, torch.bfloat16), "4.57"),
    "sam2_video": (sam2_video, "Sam2VideoProcessor", _BFLOAT16, "4.57"),
    "sam3_video": (sam3_video, "Sam3VideoProcessor", _BFLOAT16, "5.1"),
}  #: by the type in config.json: adapter, processor, 16-bit types it works in, version of transformers

Track = Callable[[Iterable[torch.Tensor]], Iterable[list[TrackedInstance]]]


def detector_names() -> list[str]:
    """The menu: what lies in ComfyUI's folders, then public ids, then what is built in."""
    return [*_menu(grounding_dino.MODELS, DETECTORS), DEMO_DETECTOR]


def segmenter_names() -> list[str]:
    """The menu of GroundedMask, as ``detector_names``."""
    return _menu(_LOADED, SEGMENTERS)


def sam_names() -> list[str]:
    """The menu of SamIdMap, as ``detector_names``."""
    return _menu(sam.MODELS, [name for name in SEGMENTERS if "sam-vit" in name])


def _menu(types: Iterable[str], public: Iterable[str]) -> list[str]:
    local = list_models(list(types))
    return local + [name for name in public if name not in local]


@dataclass(frozen=True)
class TrackOptions:
    """How objects are found and followed; see GroundedMask's inputs."""

    text: str
    mode: Literal["tracked", "faithful"]
    box_threshold: float
    text_threshold: float
    most: int
    order: Literal["auto", "best", "first"]
    interval: int

    @property
    def order_in_mode(self) -> Literal["best", "first"]:
        if self.order == "auto":
            return "first" if self.mode == "faithful" else "best"
        return self.order

    @property
    def most_in_mode(self) -> int:
        return self.most or (FAITHFUL_OBJECTS if self.mode == "faithful" else 0)


def tracker_of(
    options: TrackOptions, detector: str, segmenter: str, allow_download: bool, pixels: int, rtdetr_model: Any = None
) -> Track:
    """What finds and follows objects in frames of so many pixels, with models from ComfyUI's folders.

    Args:
        rtdetr_model: the host's RT-DETR, in place of the detector.

    Raises:
        ValueError: the text is empty, a model is missing or of the wrong type, or this version of transformers cannot
            run it.
    """
    prompt_text(options.text)
    rtdetr = None if rtdetr_model is None else HostRtDetr(rtdetr_model, options.text, options.box_threshold)
    if rtdetr is None and detector == DEMO_DETECTOR:
        object_masks(torch.zeros(1, 8, 8, 3), options.text)  # says what it does not know
        return lambda batches: (_drawn(frame, options.text) for frame in _single(batches))
    folder = find_model(segmenter, list(_LOADED), _files(segmenter), allow_download, "segmenter")
    kind = model_type(folder)
    check_version(kind)
    if kind == "sam3_video":
        if rtdetr is not None:
            raise ValueError(
                f"rtdetr_model is connected, but segmenter is {segmenter!r}, a SAM 3, which finds objects itself. "
                "Choose a SAM or SAM 2, or disconnect it."
            )
        model = _load(folder)
        use_together([model], _working_memory(pixels))
        sam3 = sam3_video.Sam3Tracker(
            model.model, model.processor, options.text, options.box_threshold, options.most_in_mode
        )
        if options.mode == "faithful":
            return lambda batches: sam3.per_frame(_single(batches), options.order_in_mode)
        return lambda batches: sam3.track(_single(batches))
    if rtdetr is not None:
        model = _load(folder)
        use_together([rtdetr, model], _working_memory(pixels))
        return _with_segmenter(options, rtdetr, kind, model)
    types = list(grounding_dino.MODELS)
    place = find_model(detector, types, grounding_dino.FILES, allow_download, "detector")
    finder = load_vision_model(place, grounding_dino.MODELS[model_type(place)], "GroundingDinoProcessor")
    model = _load(folder)
    use_together([finder, model], _working_memory(pixels))
    dino = grounding_dino.GroundingDinoDetector(
        finder.model, finder.processor, options.text, options.box_threshold, options.text_threshold
    )
    return _with_segmenter(options, dino, kind, model)


def _with_segmenter(options: TrackOptions, detector: Any, kind: str, model: VisionModel) -> Track:
    """A detector, and a SAM or SAM 2 for what it finds."""
    if kind == "sam":
        frames = sam.SamSegmenter(model.model, model.processor)
        return _track(options, detector, frames, BoxPropagator(frames))
    video = sam2_video.Sam2Segmenter(model.model, model.processor)
    return _track(options, detector, video, video)


def host_tracker(
    options: TrackOptions, model: Any, conditioning: list | None, memory: bool = False, num_frames: int = 0
) -> Track:
    """The same with the host's own SAM 3.

    Args:
        memory: objects are followed by its memory tracker, in a clip of ``num_frames``; else by their boxes.

    Raises:
        ValueError: the model is another, its tracker is none that is known, the mode has no use for a memory, or the
            conditioning is missing.
    """
    if options.mode == "faithful":
        if memory:
            raise ValueError(
                "sam3_memory is on, but mode is 'faithful', which looks at every frame on its own. Set mode to "
                "'tracked', or turn sam3_memory off."
            )
        sam3 = HostSam3(model, conditioning, options.text, options.box_threshold)
        return _track(options, sam3, sam3, None)
    resize: Literal["bilinear", "bicubic"] = "bicubic" if memory else "bilinear"
    sam3 = HostSam3(model, conditioning, options.text, options.box_threshold, LOOK_BACK, resize)
    return _track(options, sam3, sam3, Sam3Memory(sam3, num_frames) if memory else BoxPropagator(sam3))


def sam_segmenter(name: str, allow_download: bool, pixels: int) -> sam.SamSegmenter:
    """A SAM model for the regions of images of so many pixels.

    Raises:
        ValueError: it is missing or of another type.
    """
    folder = find_model(name, list(sam.MODELS), sam.FILES, allow_download, "segmenter")
    model = _load(folder)
    use_together([model], _working_memory(pixels))
    return sam.SamSegmenter(model.model, model.processor)


def _drawn(frame: torch.Tensor, text: str) -> list[TrackedInstance]:
    """The object of a frame ``h w 3`` uint8 of the demo model's world."""
    label, found = object_masks(frame[None].float() / 255, text)[0]
    mask = torch.from_numpy(found)
    if not found.any():
        return []
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    left, top, right, bottom = (int(edge) for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return [TrackedInstance(1, label, 1.0, (left, top, right, bottom), mask)]


def _track(options: TrackOptions, detector: Any, frames: Any, video: Any) -> Track:
    if options.mode == "faithful":
        return lambda batches: per_frame(detector, frames, batches, options.most_in_mode, options.order_in_mode)
    tracker = Tracker(detector, _Stoppable(video), options.interval, options.most_in_mode, options.order_in_mode)
    return lambda batches: tracker.track(_single(batches))


class _Stoppable:
    """A segmenter that looks for the stop button before each frame: many may be read before the first one is seen."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.add, self.forget, self.fresh = segmenter.add, segmenter.forget, segmenter.fresh
        self._step = segmenter.step

    def step(self, frame: torch.Tensor) -> dict[int, MaskPrediction]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self._step(frame)


def _working_memory(pixels: int) -> int:
    return _WORKING_MEMORY + _BYTES_PER_PIXEL * pixels


def _single(batches: Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    return chain.from_iterable(batches)


def _files(name: str) -> tuple[str, ...]:
    """What a segmenter needs, as far as its name says which it is."""
    return sam3_video.FILES if "sam3" in name else sam.FILES


def _load(folder: Any) -> Any:
    adapter, processor, dtypes, since = _LOADED[kind := model_type(folder)]
    return load_vision_model(folder, adapter.MODELS[kind], processor, dtypes, since)
