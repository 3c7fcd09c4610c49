"""GroundedMask: text and a video to a mask for every frame."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.video.frame_source import frame_source
from ..glv_core.hosts.comfy.vision.grounding import MaskOptions, make_masks
from ..glv_core.hosts.comfy.vision.grounding_models import (
    MODES,
    ORDERS,
    TrackOptions,
    detector_names,
    host_tracker,
    segmenter_names,
    tracker_of,
)
from ..glv_core.perception.boxes import prompt_text
from ..glv_core.perception.mask_ops import WHEN_EMPTY, Finish
from ..glv_core.perception.selection import Selection
from .before_run import Wrong, connected, lacks
from .errors import naming
from .inputs import CATEGORY, download_input

BoundingBox = io.Custom("BOUNDING_BOX")

_NO_SAM3 = (
    "sam3_conditioning is connected, but no sam3_model. Connect the MODEL that Load Checkpoint gives for SAM 3, or "
    "disconnect it: the models of the menus read 'text'."
)


class GroundedMask(io.ComfyNode):
    """Finds what a text names, follows it through the clip, and makes the mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GroundedMask",
            display_name="Grounded Mask",
            category=f"{CATEGORY}/mask",
            description="Text and a video to a mask for every frame. Grounding DINO finds the objects, SAM 2 carries "
            "them through the clip, so that the mask does not flicker and ids stay with their objects; SAM 3 does both "
            "in one. Models lie in models/transformers. Memory does not grow with the length of the video.",
            search_aliases=[
                "segment anything", "sam", "sam2", "sam3", "grounding dino", "text to mask", "track", "video mask",
                "rotoscope",
            ],
            inputs=[
                io.MultiType.Input(
                    "images", types=[io.Video, io.Image],
                    tooltip="A video, from LoadLongVideo for constant memory, or frames.",
                ),
                io.String.Input(
                    "text", default="person",
                    tooltip="What the mask covers, in a few words; several things end with full stops: 'man. dog.'",
                ),
                io.Combo.Input(
                    "mode", options=list(MODES), default=MODES[0],
                    tooltip="tracked: objects are found, then carried from frame to frame. faithful: every frame on "
                    "its own, as Gen-L-Video does it.",
                ),
                io.Combo.Input(
                    "detector", options=detector_names(),
                    tooltip="What finds the objects: a Grounding DINO, or for the demo model's drawn shapes no "
                    "network at all; SAM 3 needs none.",
                ),
                io.Combo.Input(
                    "segmenter", options=segmenter_names(),
                    tooltip="What makes the masks, as above. SAM 2 has a memory of the objects; SAM 3 also finds them "
                    "itself; SAM (sam-vit) looks at single frames.",
                ),
                io.Float.Input(
                    "box_threshold", default=0.25, min=0.0, max=1.0, step=0.01,
                    tooltip="How sure the detector must be of an object: lower finds more, and more that is wrong.",
                ),
                io.Float.Input(
                    "text_threshold", default=0.25, min=0.0, max=1.0, step=0.01, advanced=True,
                    tooltip="How sure Grounding DINO must be of a word for an object's label to have it. Does nothing "
                    "with SAM 3.",
                ),
                io.Int.Input(
                    "max_objects", default=0, min=0, max=100,
                    tooltip="At most so many objects in a frame. 0: all, in faithful mode 2.",
                ),
                io.Combo.Input(
                    "order", options=list(ORDERS), default=ORDERS[0], advanced=True,
                    tooltip="Which objects count where there are more than max_objects: the best scores, or the first "
                    "in the detector's order.",
                ),
                io.String.Input(
                    "objects", default="",
                    tooltip="Which of the objects make the mask: their numbers or labels in the preview, with commas, "
                    "e.g. '2' or 'dog, 3'. Empty: all.",
                ),
                io.Int.Input(
                    "redetect_every", default=30, min=0, max=10_000,
                    tooltip="Tracked: look for new objects in every so many frames, and more often after the start "
                    "and cuts; 0 is only when one gets lost.",
                ),
                io.Int.Input(
                    "fill_holes", default=400, min=0, max=1_000_000,
                    tooltip="Fill holes of an object's mask with fewer pixels than this.",
                ),
                io.Int.Input(
                    "grow", default=0, min=-256, max=256, tooltip="Grow the mask by so many pixels; below 0 shrink it."
                ),
                io.Int.Input(
                    "feather", default=0, min=0, max=256, tooltip="Soften the edge over so many pixels to either side."
                ),
                io.Int.Input(
                    "smooth", default=0, min=0, max=30,
                    tooltip="Smooth over time: a pixel is what it is in most of so many frames before and after.",
                ),
                io.Boolean.Input("invert", default=False, tooltip="Mask everything but the objects."),
                io.Combo.Input(
                    "when_empty", options=list(WHEN_EMPTY), default=WHEN_EMPTY[0],
                    tooltip="What happens in frames where nothing is found: an empty mask, the last mask again, or an "
                    "error.",
                ),
                io.Int.Input(
                    "preview_size", default=512, min=16, max=16384, advanced=True,
                    tooltip="Longer side of the preview in pixels, at most that of the frames.",
                ),
                download_input(),
                io.String.Input(
                    "detector_id", default="", optional=True, advanced=True,
                    tooltip="Another Grounding DINO in place of the one above: a Hugging Face id, or a folder in "
                    "models/transformers.",
                ),
                io.String.Input(
                    "segmenter_id", default="", optional=True, advanced=True,
                    tooltip="Another SAM, SAM 2 or SAM 3 in place of the one above, in the same way.",
                ),
                io.Model.Input(
                    "sam3_model", optional=True,
                    tooltip="ComfyUI's own SAM 3, from Load Checkpoint in newer releases, in place of detector and "
                    "segmenter; needs sam3_conditioning.",
                ),
                io.Conditioning.Input(
                    "sam3_conditioning", optional=True,
                    tooltip="The text through CLIP Text Encode with SAM 3's CLIP; 'text' above then only names it.",
                ),
                io.Model.Input(
                    "rtdetr_model", optional=True,
                    tooltip="ComfyUI's own RT-DETR v4, from Load Diffusion Model in newer releases, in place of "
                    "detector; 'text' must then name COCO's classes, such as 'person. dog.'",
                ),
                io.Boolean.Input(
                    "sam3_memory", default=False, optional=True, advanced=True,
                    tooltip="Follow objects with the memory tracker of sam3_model, by how they looked before. Slower. "
                    "Needs sam3_model and tracked mode.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="One mask a frame."),
                BoundingBox.Output(
                    display_name="boxes",
                    tooltip="For each frame a list of the chosen objects: x, y, width, height, score, label, id. Core "
                    "nodes with bboxes take it.",
                ),
                io.String.Output(
                    display_name="objects",
                    tooltip="All objects of all frames as JSON: id, label, score, box (left, top, right, bottom).",
                ),
                io.Image.Output(
                    display_name="preview", tooltip="The frames with masks, numbers and labels; what is not in the "
                    "mask is dark.",
                ),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, text: str | None = None, objects: str | None = None) -> bool | Wrong:
        """Shows an empty text before anything is loaded. A linked input is None."""
        try:
            if text is not None:
                prompt_text(text)
            Selection.parse(objects or "")
        except ValueError as error:
            return Wrong.of(error, "text", "objects")
        if connected("sam3_conditioning") and lacks("sam3_model"):
            return Wrong({"sam3_model": _NO_SAM3})
        return True

    @classmethod
    def execute(
        cls,
        images: Any,
        text: str,
        mode: str,
        detector: str,
        segmenter: str,
        box_threshold: float,
        text_threshold: float,
        max_objects: int,
        order: str,
        objects: str,
        redetect_every: int,
        fill_holes: int,
        grow: int,
        feather: int,
        smooth: int,
        invert: bool,
        when_empty: str,
        preview_size: int,
        allow_download: bool,
        detector_id: str = "",
        segmenter_id: str = "",
        sam3_model: Any = None,
        sam3_conditioning: Any = None,
        rtdetr_model: Any = None,
        sam3_memory: bool = False,
    ) -> io.NodeOutput:
        with naming("GroundedMask"):
            source = frame_source(images)
            selection = Selection.parse(objects)
            options = TrackOptions(text, mode, box_threshold, text_threshold, max_objects, order, redetect_every)
            if sam3_conditioning is not None and sam3_model is None:
                raise ValueError(_NO_SAM3)
            if sam3_model is not None and rtdetr_model is not None:
                raise ValueError(
                    "sam3_model and rtdetr_model are connected. Disconnect one: SAM 3 finds objects itself."
                )
            if sam3_memory and sam3_model is None:
                raise ValueError(
                    "sam3_memory is on, but no sam3_model is connected. Connect the MODEL that Load Checkpoint gives "
                    "for SAM 3 in newer releases of ComfyUI, or turn it off: the segmenters of the menu have memories "
                    "of their own."
                )
            if sam3_model is not None:
                track = host_tracker(options, sam3_model, sam3_conditioning, sam3_memory, source.num_frames)
            else:
                models = detector_id.strip() or detector, segmenter_id.strip() or segmenter
                track = tracker_of(options, *models, allow_download, source.height * source.width, rtdetr_model)
            finish = Finish(grow, feather, smooth, invert, when_empty)
            masks = make_masks(source, track, MaskOptions(selection, fill_holes, finish, preview_size))
        return io.NodeOutput(masks.mask, masks.boxes(), masks.as_json(), masks.preview)
