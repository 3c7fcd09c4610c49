"""ControlPreprocess's kinds: each finds its models and becomes a function from frames to control images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
import numpy as np
import torch

from ....demo.stick_figures import figures_in
from ....perception.controls.blur import smooth_over_time
from ....perception.controls.canny import canny
from ....perception.controls.depth import depth_map, normal_map, value_range
from ....perception.controls.drawing import draw_lines
from ....perception.controls.edges import darkest, fake_scribble, scribble, sketch, soft_edges
from ....perception.controls.hough import decode_lines
from ....perception.controls.keypoints import steady_people
from ....perception.controls.openpose import decode_people, network_input
from ....perception.controls.palettes import paint, palette_for
from ....perception.controls.pose_drawing import draw_poses
from ....perception.controls.pose_keypoints import people_in
from ...transformers import depth as depth_models
from ...transformers import pose as pose_models
from ...transformers import segmentation as seg_models
from ..video.memory_mapped import memory_mapped_zeros
from .annotators import load_annotator
from .grounding_models import DEMO_DETECTOR
from .host_depth import GeometryDepth
from .host_rtdetr import HostRtDetr
from .vision_models import VisionModel, find_model, list_models, load_vision_model, model_type, use_together

_DEPTH_ANYTHING = ("depth-anything/Depth-Anything-V2-Small-hf", "depth-anything/Depth-Anything-V2-Base-hf")
_DPT = ("Intel/dpt-hybrid-midas", "Intel/dpt-large")
DEPTH_MODELS = (*_DEPTH_ANYTHING, *_DPT)
NORMAL_MODELS = (*_DPT, *_DEPTH_ANYTHING)
SEG_MODELS = (
    "openmmlab/upernet-convnext-small", "nvidia/segformer-b2-finetuned-ade-512-512",
    "facebook/mask2former-swin-large-ade-semantic", "facebook/maskformer-resnet101-coco-stuff",
)  # fmt: skip
POSE_MODELS = ("usyd-community/vitpose-base-simple", "usyd-community/vitpose-plus-base")
PERSON_DETECTORS = ("PekingU/rtdetr_r50vd_coco_o365", "PekingU/rtdetr_r18vd_coco_o365")
NORMALIZE = ("whole clip", "each frame")
SMALLEST = {"hed": 16, "fake_scribble": 16, "sketch": 16}  #: pixels of the short side; the network halves it 4 times
# Bytes for each pixel of a piece of frames beside the weights, about what the largest layers take.
_BYTES = {"plain": 200, "hed": 1000, "mlsd": 600, "openpose": 300, "transformers": 2000}
_SOURCE_BYTES = 50  # for each pixel of a frame before it is resized

Pieces = Iterator[torch.Tensor]


@dataclass(frozen=True)
class ClipSize:
    """The control images to make: how many, how large, how many at a time, and the pixels of a frame before it is
    resized on the device."""

    num_frames: int
    height: int
    width: int
    piece: int
    source_pixels: int = 0

    def memory(self, kind: str) -> int:
        """Bytes on the device that work on one piece may take."""
        return self.piece * (self.height * self.width * _BYTES[kind] + self.source_pixels * _SOURCE_BYTES)


# Frames t h w 3 uint8 on the device to control images, t h w or t h w 3 uint8.
Control = Callable[[Pieces, ClipSize], Pieces]


def model_menu(kinds: Iterable[str], public: Iterable[str]) -> list[str]:
    """What lies in ComfyUI's folders, public ones first, then the public ids that do not, both in that order."""
    local, public = list_models(list(kinds)), list(public)
    local.sort(key=lambda name: public.index(name) if name in public else len(public))
    return local + [name for name in public if name not in local]


def canny_control(low_threshold: float, high_threshold: float) -> Control:
    """Canny edges."""
    return _plain(lambda frames: canny(frames, low_threshold, high_threshold))


def scribble_control(threshold: float, smoothing: float) -> Control:
    """Dark parts as white."""

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        _make_room(size)
        maps = ((darkest(piece), piece) for piece in frames)
        return _finished(maps, smoothing, lambda dark: scribble(dark, threshold))

    return control


def hed_control(smoothing: float) -> Control:
    """Soft edges of HED."""
    return _from_edges(smoothing, lambda edges: edges)


def fake_scribble_control(smoothing: float) -> Control:
    """Thick strokes from soft edges."""
    return _from_edges(smoothing, fake_scribble)


def sketch_control(threshold: float, smoothing: float) -> Control:
    """Black and white lines from soft edges."""
    return _from_edges(smoothing, partial(sketch, threshold=threshold))


def hough_control(score_threshold: float, length_threshold: float) -> Control:
    """Straight lines of M-LSD."""
    model = load_annotator("mlsd")

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        model.use(size.memory("mlsd"))
        for piece in frames:
            lines = decode_lines(model.model(piece), score_threshold, length_threshold)
            yield torch.from_numpy(np.stack([draw_lines(each, *piece.shape[1:3]) for each in lines]))

    return control


def pose_control(
    detector: dict[str, Any],
    hold: int,
    smoothing: float,
    rtdetr_model: Any = None,
    pose_keypoints: Any = None,
    keypoint_score: float = 0.0,
) -> Control:
    """Skeletons, of OpenPose's own network or of ViTPose, of poses that are there, or stick figures of the demo model's
    objects.

    Args:
        detector: its name and its options; not looked at where there are poses.
        hold, smoothing: see ``steady_people``.
        rtdetr_model: the host's RT-DETR, which finds the people for ViTPose.
        pose_keypoints: POSE_KEYPOINT of the clip; of these, keypoints count from ``keypoint_score`` on.
    """
    options = dict(detector)
    name = options.pop("detector")
    if pose_keypoints is not None:
        if rtdetr_model is not None:
            raise ValueError("rtdetr_model and pose_keypoints are connected. Disconnect one: poses need no detector.")

        def find(_frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
            yield people_in(pose_keypoints, size.num_frames, size.height, size.width, keypoint_score)

    elif name == "vitpose":
        find = _vitpose(**options, rtdetr_model=rtdetr_model)
    elif rtdetr_model is not None:
        raise ValueError(
            f"rtdetr_model is connected, but detector is {name!r}. Choose the detector 'vitpose', for which it finds "
            "the people, or disconnect it."
        )
    else:
        find = {"openpose": _openpose, DEMO_DETECTOR: _drawn_figures}[name]()

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        people = [each for piece in find(frames, size) for each in piece]
        for each in steady_people(people, hold, smoothing):
            yield torch.from_numpy(draw_poses(each, size.height, size.width))[None]

    return control


def seg_control(model: str, palette: str, allow_download: bool, model_id: str = "") -> Control:
    """What each pixel is, in a palette's colours."""
    loaded = _load_auto(model_id.strip() or model, seg_models.MODELS, seg_models.FILES, allow_download)
    segmenter = seg_models.Segmenter(loaded.model, loaded.processor)
    colours = palette_for(palette, segmenter.num_classes)

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        loaded.use(size.memory("transformers"))
        return (paint(segmenter.labels(piece), colours) for piece in frames)

    return control


def depth_control(
    model: str, normalize: str, allow_download: bool, model_id: str = "", da3_geometry: Any = None
) -> Control:  # fmt: skip
    """Depth, near bright, of a network or of Depth Anything 3's geometry of the clip."""
    if da3_geometry is not None:
        return _from_geometry(da3_geometry, normalize, depth_map)
    return _from_depth(*_load_depth(model_id.strip() or model, allow_download), normalize, depth_map)


def normal_control(
    model: str,
    normalize: str,
    background: float,
    depth_span: float,
    allow_download: bool,
    model_id: str = "",
    da3_geometry: Any = None,
) -> Control:
    """Normals of the depth; with a ``depth_span`` of 0 the relief that fits the network."""
    if da3_geometry is not None:
        finish = partial(normal_map, background=background, span=depth_span or depth_models.RELIEF)
        return _from_geometry(da3_geometry, normalize, finish)
    loaded, estimator = _load_depth(model_id.strip() or model, allow_download)
    finish = partial(normal_map, background=background, span=depth_span or estimator.relief)
    return _from_depth(loaded, estimator, normalize, finish)


CONTROLS: dict[str, Callable[..., Control]] = {
    "canny": canny_control,
    "hough": hough_control,
    "hed": hed_control,
    "scribble": scribble_control,
    "fake_scribble": fake_scribble_control,
    "pose": pose_control,
    "seg": seg_control,
    "depth": depth_control,
    "normal": normal_control,
    "sketch": sketch_control,
}  #: takes the inputs of ControlPreprocess that belong to the kind
FINISHED = ("pose_keypoints", "da3_geometry")  #: with these the frames are not looked at


def _plain(finish: Callable[[torch.Tensor], torch.Tensor]) -> Control:
    def control(frames: Pieces, size: ClipSize) -> Pieces:
        _make_room(size)
        return map(finish, frames)

    return control


def _make_room(size: ClipSize) -> None:
    device = comfy.model_management.get_torch_device()
    comfy.model_management.free_memory(size.memory("plain"), device)


def _from_edges(smoothing: float, finish: Callable[[torch.Tensor], torch.Tensor]) -> Control:
    model = load_annotator("hed")

    def control(frames: Pieces, size: ClipSize) -> Pieces:
        model.use(size.memory("hed"))
        maps = ((soft_edges(model.model(piece)), piece) for piece in frames)
        return _finished(maps, smoothing, finish)

    return control


def _finished(
    maps: Iterator[tuple[torch.Tensor, torch.Tensor]], smoothing: float, finish: Callable[[torch.Tensor], torch.Tensor]
) -> Pieces:
    """Maps ``t h w`` uint8 (with their frames), smoothed over time if wanted, and finished."""
    if not smoothing:
        return (finish(each) for each, _ in maps)
    guided = ((each, frames.float().mean(-1) / 255) for each, frames in maps)
    return (finish(each.round().to(torch.uint8)) for each in smooth_over_time(guided, smoothing))


def _openpose() -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    model = load_annotator("openpose")

    def find(frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
        model.use(size.memory("openpose"))
        for piece in frames:
            values, inner = network_input(piece)
            fields, heat = model.model(values)
            yield [
                decode_people(each, field, inner, size.height, size.width)
                for each, field in zip(heat, fields, strict=True)
            ]

    return find


def _vitpose(
    pose_model: str,
    person_detector: str,
    person_threshold: float,
    keypoint_threshold: float,
    allow_download: bool,
    pose_model_id: str = "",
    person_detector_id: str = "",
    rtdetr_model: Any = None,
) -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    types = dict.fromkeys(pose_models.POSE_MODELS, pose_models.POSE_CLASS)
    pose_name, person_name = pose_model_id.strip() or pose_model, person_detector_id.strip() or person_detector
    model = _load_auto(pose_name, types, pose_models.FILES, allow_download, "pose_model", (torch.float16,))
    if rtdetr_model is not None:
        detector = HostRtDetr(rtdetr_model, "person", person_threshold)
        boxes = detector.boxes
    else:
        types = dict.fromkeys(pose_models.DETECTORS, pose_models.DETECTOR_CLASS)
        detector = _load_auto(person_name, types, pose_models.FILES, allow_download, "person_detector")
        boxes = pose_models.PersonDetector(detector.model, detector.processor, person_threshold).boxes
    people = pose_models.PoseEstimator(model.model, model.processor, boxes, keypoint_threshold)

    def find(frames: Pieces, size: ClipSize) -> Iterator[list[np.ndarray]]:
        use_together([model, detector], size.memory("transformers"))
        return map(people.people, frames)

    return find


def _drawn_figures() -> Callable[[Pieces, ClipSize], Iterator[list[np.ndarray]]]:
    return lambda frames, _size: (figures_in(piece.float() / 255) for piece in frames)


def _load_depth(name: str, allow_download: bool) -> tuple[VisionModel, depth_models.DepthEstimator]:
    types = dict.fromkeys(depth_models.MODELS, depth_models.MODEL_CLASS)
    model = _load_auto(name, types, depth_models.FILES, allow_download)
    return model, depth_models.DepthEstimator(model.model, model.processor)


def _from_depth(
    model: VisionModel,
    estimator: depth_models.DepthEstimator,
    normalize: str,
    finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Control:
    def control(frames: Pieces, size: ClipSize) -> Pieces:
        model.use(size.memory("transformers"))
        depths = map(estimator.inverse_depth, frames)
        if normalize == "each frame":
            yield from (finish(depth, value_range(depth)) for depth in depths)
            return
        clip = memory_mapped_zeros((size.num_frames, size.height, size.width))
        bounds, done = [], 0
        for depth in depths:
            bounds.append(value_range(depth).cpu())
            clip[done : done + len(depth)] = depth
            done += len(depth)
        ranges = torch.cat(bounds)
        whole = torch.stack([ranges[:, 0].min(), ranges[:, 1].max()])
        yield from (finish(part.to(model.device), whole) for part in clip.split(size.piece))

    return control


def _from_geometry(
    geometry: Any, normalize: str, finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Control:  # fmt: skip
    def control(_frames: Pieces, size: ClipSize) -> Pieces:
        found = GeometryDepth(geometry, size.num_frames)
        ranges = found.ranges()
        if normalize != "each frame":
            seen = ranges[ranges[:, 1] > 0] if ranges.any() else ranges
            ranges = torch.stack([seen[:, 0].min(), seen[:, 1].max()]).expand(len(ranges), 2)
        depths = found.inverse_depth(size.height, size.width, size.piece)
        yield from map(finish, depths, ranges.split(size.piece))

    return control


def _load_auto(
    name: str,
    types: dict[str, str],
    files: tuple[str, ...],
    allow_download: bool,
    input_name: str = "model",
    dtypes: tuple[torch.dtype, ...] = (),
) -> VisionModel:
    """A model of transformers with its image processor; ``types``: classes by the type in config.json."""
    folder: Path = find_model(name, list(types), files, allow_download, input_name)
    return load_vision_model(folder, types[model_type(folder)], "AutoImageProcessor", dtypes)
