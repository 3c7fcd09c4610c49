"""ControlPreprocess: a video to the control images of a ControlNet or T2I-Adapter."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.video.frame_source import frame_source
from ..glv_core.hosts.comfy.vision.control_images import HINT_TIMINGS, fit_hint, make_control
from ..glv_core.hosts.comfy.vision.control_models import (
    DEPTH_MODELS,
    NORMAL_MODELS,
    NORMALIZE,
    PERSON_DETECTORS,
    POSE_MODELS,
    SEG_MODELS,
    model_menu,
)
from ..glv_core.hosts.comfy.vision.grounding_models import DEMO_DETECTOR
from ..glv_core.hosts.transformers import depth, pose, segmentation
from ..glv_core.perception.controls.palettes import PALETTES
from .errors import naming
from .inputs import CATEGORY, download_input, given

PoseKeypoint = io.Custom("POSE_KEYPOINT")
DepthGeometry = io.Custom("DA3_GEOMETRY")
FOR_KINDS = {"rtdetr_model": ("pose",), "pose_keypoints": ("pose",), "da3_geometry": ("depth", "normal")}


class ControlPreprocess(io.ComfyNode):
    """Makes the images that steer a ControlNet, for a whole clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ControlPreprocess",
            display_name="Control Preprocess",
            category=f"{CATEGORY}/control",
            description="A video to the images that a ControlNet or T2I-Adapter was trained on: edges, lines, "
            "scribbles, poses, segments, depth, normals. Sizes, colours and thresholds are those of ControlNet's own "
            "annotators. Memory does not grow with the length of the video.",
            search_aliases=[
                "controlnet", "preprocessor", "annotator", "canny", "hed", "softedge", "scribble", "mlsd", "openpose",
                "pose", "depth", "normal", "segmentation", "sketch", "lineart",
            ],
            inputs=[
                io.MultiType.Input(
                    "images", types=[io.Video, io.Image],
                    tooltip="A video, from LoadLongVideo for constant memory, or frames.",
                ),
                io.DynamicCombo.Input(
                    "kind", options=_kinds(),
                    tooltip="What is made of the video: edges, lines, drawings, skeletons, classes, depth or normals; "
                    "its own inputs appear with it.",
                ),
                io.Int.Input(
                    "short_side", default=512, min=0, max=16384,
                    tooltip="The shorter side of the result in pixels; 0 keeps the size but for 'multiple'.",
                ),
                io.Int.Input(
                    "multiple", default=64, min=1, max=512,
                    tooltip="Both sides are rounded to multiples of this. ControlNet's annotators take 64.",
                ),
                io.Int.Input(
                    "frames_per_forward", default=8, min=1, max=256, advanced=True,
                    tooltip="Frames that are worked on at a time. More is faster on a graphics card and takes more of "
                    "its memory; the result does not depend on it.",
                ),
                io.MultiType.Input(
                    "hint", types=[io.Video, io.Image], optional=True,
                    tooltip="A ready control video in place of making one: it gets the clip's number of frames and "
                    "the control size.",
                ),
                io.Combo.Input(
                    "hint_timing", options=list(HINT_TIMINGS), default=HINT_TIMINGS[0], optional=True, advanced=True,
                    tooltip="stretch: the hint lasts as long as the clip. frame by frame: frame k is for frame k, and "
                    "the last one is held.",
                ),
                io.Model.Input(
                    "rtdetr_model", optional=True,
                    tooltip="For kind pose, detector vitpose: ComfyUI's own RT-DETR v4, from Load Diffusion Model in "
                    "newer releases, finds the people in place of person_detector.",
                ),
                PoseKeypoint.Input(
                    "pose_keypoints", optional=True,
                    tooltip="For pose: poses of the clip from another node, in place of a detector; held, smoothed "
                    "and drawn without hands and faces.",
                ),
                io.Float.Input(
                    "keypoint_score", default=0.3, min=0.0, max=1.0, step=0.01, optional=True, advanced=True,
                    tooltip="How sure pose_keypoints must be of a keypoint.",
                ),
                DepthGeometry.Input(
                    "da3_geometry", optional=True,
                    tooltip="For the kinds depth and normal: depth of the clip from Run Depth Anything 3 in newer "
                    "releases, in place of a model.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="control", tooltip="One image a frame, for Apply ControlNet."),
                io.Int.Output(display_name="width", tooltip="Width of the images."),
                io.Int.Output(display_name="height", tooltip="Height of the images."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        images: Any,
        kind: dict[str, Any],
        short_side: int,
        multiple: int,
        frames_per_forward: int,
        hint: Any = None,
        hint_timing: str = HINT_TIMINGS[0],
        rtdetr_model: Any = None,
        pose_keypoints: Any = None,
        keypoint_score: float = 0.3,
        da3_geometry: Any = None,
    ) -> io.NodeOutput:
        options = given(kind)
        name = options.pop("kind")
        connected = {"rtdetr_model": rtdetr_model, "pose_keypoints": pose_keypoints, "da3_geometry": da3_geometry}
        connected = {each: value for each, value in connected.items() if value is not None}
        with naming("ControlPreprocess"):
            _check(connected, name, hint is not None)
            if pose_keypoints is not None:
                connected["keypoint_score"] = keypoint_score
            source = frame_source(images)
            if hint is not None:
                ready = frame_source(hint, "hint")
                control = fit_hint(ready, source, name, hint_timing, short_side, multiple, frames_per_forward)
            else:
                control = make_control(source, name, options | connected, short_side, multiple, frames_per_forward)
        return io.NodeOutput(control, control.shape[2], control.shape[1])


def _check(connected: dict[str, Any], kind: str, hint: bool) -> None:
    """Say so where something is connected that this kind has no use for."""
    for name in connected:
        if hint:
            raise ValueError(f"{name} and hint are connected. Disconnect one: a hint is ready, nothing is made for it.")
        if kind not in FOR_KINDS[name]:
            raise ValueError(
                f"{name} is connected, but kind is {kind!r}. Choose {' or '.join(map(repr, FOR_KINDS[name]))}, or "
                "disconnect it."
            )


def _kinds() -> list[io.DynamicCombo.Option]:
    """The menu, with the inputs that appear with each kind."""
    words = "Depth network."
    normalize = io.Combo.Input(
        "normalize", options=list(NORMALIZE), default=NORMALIZE[0],
        tooltip="What is nearest and farthest: in the whole clip, so that brightness keeps its meaning, or in each "
        "frame, as ControlNet does it, which flickers.",
    )  # fmt: skip
    kinds: dict[str, list[io.Input]] = {
        "canny": [
            io.Float.Input(
                "low_threshold", default=100.0, min=0.0, max=2040.0, step=1.0,
                tooltip="Edges weaker than this are left out; 0..2040, for 8-bit colours.",
            ),
            io.Float.Input(
                "high_threshold", default=200.0, min=0.0, max=2040.0, step=1.0,
                tooltip="Edges above it stay; weaker ones only where they touch these.",
            ),
        ],
        "hough": [
            io.Float.Input(
                "score_threshold", default=0.1, min=0.0, max=1.0, step=0.01,
                tooltip="How sure the network must be of a line.",
            ),
            io.Float.Input(
                "length_threshold", default=0.1, min=0.0, max=1000.0, step=0.1,
                tooltip="Lines must be longer than twice so many pixels.",
            ),
        ],
        "hed": [_smoothing_input()],
        "scribble": [
            io.Float.Input(
                "threshold", default=127.0, min=0.0, max=256.0, step=1.0,
                tooltip="What is darker than this in red, green or blue (0..255) becomes white. Made for photos of "
                "drawings.",
            ),
            _smoothing_input(),
        ],
        "fake_scribble": [_smoothing_input()],
        "pose": [
            _detector_input(),
            io.Int.Input(
                "hold", default=3, min=0, max=1000,
                tooltip="A keypoint that is not found stays for so many frames, or moves to where it is found again; 0 "
                "shows each frame as it is.",
            ),
            io.Float.Input(
                "smoothing", default=1.0, min=0.0, max=30.0, step=0.1,
                tooltip="Frames over which keypoints are averaged against jitter (standard deviation); 0 for none.",
            ),
        ],
        "seg": [
            *_model_inputs(
                "model", segmentation.MODELS, SEG_MODELS,
                "Segmentation network; it must know the classes of the palette.",
            ),
            io.Combo.Input(
                "palette", options=list(PALETTES), default="ade20k",
                tooltip="ade20k is for ControlNet's seg models; coco_stuff for T2I-Adapter's, with a network that was "
                "trained on COCO-Stuff.",
            ),
            download_input(),
        ],
        "depth": [*_model_inputs("model", depth.MODELS, DEPTH_MODELS, words), normalize, download_input()],
        "normal": [
            *_model_inputs("model", depth.MODELS, NORMAL_MODELS, words), normalize,
            io.Float.Input(
                "background", default=0.4, min=0.0, max=1.0, step=0.05,
                tooltip="What is farther than this (1 is nearest) is drawn flat.",
            ),
            io.Float.Input(
                "depth_span", default=0.0, min=0.0, max=100_000.0, step=100.0,
                tooltip="How deep the relief is; 0 takes the numbers of MiDaS networks as they are, and "
                f"{depth.RELIEF:.0f} for others.",
            ),
            download_input(),
        ],
        "sketch": [
            io.Float.Input(
                "threshold", default=0.5, min=0.0, max=1.0, step=0.01,
                tooltip="Soft edges stronger than this become white lines.",
            ),
            _smoothing_input(),
        ],
    }  # fmt: skip
    return [io.DynamicCombo.Option(name, inputs) for name, inputs in kinds.items()]


def _detector_input() -> io.Input:
    vitpose = [
        *_model_inputs("pose_model", pose.POSE_MODELS, POSE_MODELS, "ViTPose with COCO's 17 keypoints."),
        *_model_inputs("person_detector", pose.DETECTORS, PERSON_DETECTORS, "Finds the people for ViTPose."),
        io.Float.Input(
            "person_threshold", default=0.5, min=0.0, max=1.0, step=0.01,
            tooltip="How sure the detector must be of a person.",
        ),
        io.Float.Input(
            "keypoint_threshold", default=0.3, min=0.0, max=1.0, step=0.01,
            tooltip="How sure ViTPose must be of a keypoint.",
        ),
        download_input(),
    ]  # fmt: skip
    return io.DynamicCombo.Input(
        "detector",
        options=[
            io.DynamicCombo.Option("openpose", []), io.DynamicCombo.Option("vitpose", vitpose),
            io.DynamicCombo.Option(DEMO_DETECTOR, []),
        ],
        tooltip="openpose: the network of ControlNet's annotator. vitpose: newer models of transformers. The demo "
        "model's shapes need none.",
    )  # fmt: skip


def _model_inputs(name: str, types: Any, public: tuple[str, ...], words: str) -> list[io.Input]:
    return [
        io.Combo.Input(
            name, options=model_menu(types, public),
            tooltip=f"{words} A folder in models/transformers, or one that is downloaded if that is allowed.",
        ),
        io.String.Input(
            f"{name}_id", default="", optional=True, advanced=True,
            tooltip="Another in place of the one above: a Hugging Face id, or a folder in models/transformers.",
        ),
    ]  # fmt: skip


def _smoothing_input() -> io.Input:
    return io.Float.Input(
        "smoothing", default=0.0, min=0.0, max=10.0, step=0.1,
        tooltip="Average over so many frames (standard deviation) where the video stands still, against flicker; what "
        "moves is left alone. 0: each frame on its own.",
    )  # fmt: skip
