"""ControlPreprocess's kinds: each finds its models and becomes a function from frames to control images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import comfy.model_management
import numpy as np
import torch

from ....perception.controls.blur import smooth_over_time
from ....perception.controls.canny import canny
from ....perception.controls.depth import depth_map, normal_map, value_range
from ....perception.controls.drawing import draw_lines
from ....perception.controls.edges import darkest, fake_scribble, scribble, sketch, soft_edges
from ....perception.controls.hough import decode_lines
from ....perception.controls.palettes import paint, palette_for
from ...transformers import depth as depth_models
from ...transformers import segmentation as seg_models
from ..video.memory_mapped import memory_mapped_zeros
from .annotators import load_annotator
from .control_pieces import ClipSize, Control, Pieces
from .host_depth import GeometryDepth
from .pose_control import pose_control
from .vision_models import VisionModel, list_models, load_auto

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


def seg_control(model: str, palette: str, allow_download: bool, model_id: str = "") -> Control:
    """What each pixel is, in a palette's colours."""
    loaded = load_auto(model_id.strip() or model, seg_models.MODELS, seg_models.FILES, allow_download)
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


def _load_depth(name: str, allow_download: bool) -> tuple[VisionModel, depth_models.DepthEstimator]:
    types = dict.fromkeys(depth_models.MODELS, depth_models.MODEL_CLASS)
    model = load_auto(name, types, depth_models.FILES, allow_download)
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
