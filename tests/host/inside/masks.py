"""GroundedMask and SamIdMap on tiny models. Runs inside ComfyUI."""

import functools
import gc
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
import sys

import torch
import transformers
import video_files
from tiny_sam import tiny_dino, tiny_sam, tiny_sam2, tiny_sam3
from vision import anonymous_memory, models_folder


def alone(function):
    """Run on one thread: networks as tiny as these spend their time waiting for one another's threads."""

    @functools.wraps(function)
    def call(**arguments):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(**arguments)
        finally:
            torch.set_num_threads(threads)

    return call


def pack(name: str):
    import importlib

    return importlib.import_module(f"long_video_pack.{name}")


def loaded(name: str, model: str, processor: str):
    folder = models_folder() / name
    return (
        getattr(transformers, model).from_pretrained(folder).eval(),
        getattr(transformers, processor).from_pretrained(folder),
    )


def clip(path: str, length: int, size: tuple[int, int] = (96, 128)) -> torch.Tensor:
    """Frames ``t h w 3`` uint8, as models take them."""
    frames = pack("glv_core.video_io").read_video(path)[0][:length].movedim(-1, 1).float()
    return torch.nn.functional.interpolate(frames, size, mode="area").movedim(1, -1).round().to(torch.uint8)


def image(*given) -> torch.Tensor:
    """The same as an IMAGE, as nodes take them."""
    return clip(*given).float() / 255


@alone
def detector(path: str) -> dict:
    """Against the library's own post-processing."""
    adapter = pack("glv_core.hosts.transformers.grounding_dino")
    model, processor = loaded(tiny_dino(), "GroundingDinoForObjectDetection", "GroundingDinoProcessor")
    frames = clip(path, 3)
    images = list(frames.movedim(-1, 1))
    inputs = processor(images=images, text=["man. dog."] * 3, return_tensors="pt")
    theirs = processor.post_process_grounded_object_detection(
        model(**inputs), inputs.input_ids, threshold=0.5, text_threshold=0.0, target_sizes=[(96, 128)] * 3
    )
    adapter.PIXELS_PER_FORWARD = 2 * 64 * 85
    ours = adapter.GroundingDinoDetector(model, processor, " Man. dog", 0.5, 0.0).detect(frames)
    all_of_them = adapter.GroundingDinoDetector(model, processor, "man. dog", 0.0, 0.0).detect(frames)
    difference = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        inside = other["boxes"].clamp(min=0).minimum(torch.tensor([128, 96, 128, 96]))
        difference = max(difference, float((torch.tensor([each.box for each in mine]) - inside).abs().max()))
        difference = max(difference, float((torch.tensor([each.score for each in mine]) - other["scores"]).abs().max()))
    labels = {each.label for found in all_of_them for each in found}
    return {
        "count": [len(found) for found in ours], "every": [len(found) for found in all_of_them],
        "difference": difference, "labels": sorted(labels),
    }  # fmt: skip


@alone
def boxes_of_a_frame(path: str) -> dict:
    """SAM's masks against the library's own post-processing, and regions."""
    adapter = pack("glv_core.hosts.transformers.sam")
    model, processor = loaded(tiny_sam(), "SamModel", "SamProcessor")
    frame = clip(path, 1)[0]
    boxes = [(10, 10, 100, 60), (50, 30, 120, 90)]
    image = frame.movedim(-1, 0)
    inputs = processor(images=image, input_boxes=[[list(box) for box in boxes]], return_tensors="pt")
    outputs = model(**inputs, multimask_output=False)
    theirs = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])[
        0
    ][:, 0]
    segmenter = adapter.SamSegmenter(model, processor, prompts_per_forward=7)
    ours = segmenter.segment(frame, boxes)
    calls = []
    regions = segmenter.regions(frame, 5, 0.0, 0.5, lambda done, total: calls.append([done, total]))
    regions = torch.stack(list(regions.masks()))
    one_pass = torch.stack(list(adapter.SamSegmenter(model, processor).regions(frame, 5, 0.0, 0.5).masks()))
    return {
        "different": float((ours ^ theirs).float().mean()), "area": float(theirs.float().mean()),
        "regions": len(regions), "same": torch.equal(regions, one_pass), "calls": calls,
        "shape": list(regions.shape[1:]), "strict": len(segmenter.regions(frame, 5, 2.0, 0.5)),
    }  # fmt: skip


def held(session) -> int:
    """Tensors and entries that a session keeps."""
    count = sum(frame is not None for frame in session.processed_frames.values())
    for outputs in session.output_dict_per_obj.values():
        count += sum(len(entries) for kind in outputs.values() for entries in kind.values())
    for past in (session.point_inputs_per_obj, session.mask_inputs_per_obj, session.frames_tracked_per_obj):
        count += sum(len(entries) for entries in past.values())
    return count


@alone
def carried(path: str) -> dict:
    """SAM 2 with sessions that are pruned, against the library's session with every frame kept."""
    adapter = pack("glv_core.hosts.transformers.sam2_video")
    model, processor = loaded(tiny_sam2(), "Sam2VideoModel", "Sam2VideoProcessor")
    frames = clip(path, 32)
    frames = torch.cat([frames, frames.flip(0)])
    boxes = {1: (10, 10, 60, 60), 2: (50, 30, 120, 90)}
    session = processor.init_video_session()
    segmenter = adapter.Sam2Segmenter(model, processor)
    different, sizes, area = 0.0, [], []
    for number, frame in enumerate(frames):
        pixels = processor(images=frame.movedim(-1, 0), return_tensors="pt").pixel_values
        ours = segmenter.step(frame)
        if number == 0:
            ours = segmenter.add(boxes)
            processor.add_inputs_to_inference_session(
                session, 0, [1, 2], input_boxes=[[list(box) for box in boxes.values()]], original_size=(96, 128)
            )
        outputs = model(inference_session=session, frame_idx=number, frame=pixels)
        theirs = processor.post_process_masks([outputs.pred_masks], [(96, 128)])[0][:, 0]
        masks = torch.stack([ours[1].mask, ours[2].mask])
        different = max(different, float((masks ^ theirs).float().mean()))
        area.append(float(theirs.float().mean()))
        sizes.append(sum(held(each) for each in segmenter._sessions.values()))
    corrected = segmenter.add({1: (5, 5, 40, 40)})
    segmenter.forget([1, 9])
    after = sorted(segmenter.step(frames[0]))
    return {
        "different": different, "area": [min(area), max(area)], "held": sizes, "library": held(session),
        "corrected": sorted(corrected), "after": after,
        "alone": list(segmenter.segment(frames[0], [boxes[1]]).shape), "fresh": len(segmenter.fresh()._sessions),
    }  # fmt: skip


@alone
def carried_otherwise(path: str) -> dict:
    """SAM 2's scores where the output has none, as in transformers 4.57, and its masks in 16 bits."""
    adapter = pack("glv_core.hosts.transformers.sam2_video")
    frames = clip(path, 6)

    class WithoutScores:
        def __init__(self, outputs):
            self.pred_masks = outputs.pred_masks

    class Older(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.config, self.device, self.dtype = model, model.config, model.device, model.dtype

        def forward(self, **inputs):
            return WithoutScores(self.model(**inputs))

    def steps(model):
        segmenter = adapter.Sam2Segmenter(model, processor)
        seen = []
        for number, frame in enumerate(frames):
            found = segmenter.step(frame)
            seen.append(found if number else segmenter.add({1: (10, 10, 60, 60), 2: (50, 30, 120, 90)}))
        return [found[object_id] for found in seen for object_id in (1, 2)]

    model, processor = loaded(tiny_sam2(), "Sam2VideoModel", "Sam2VideoProcessor")
    newer, older = steps(model), steps(Older(model))
    half = steps(model.to(torch.bfloat16))
    session = processor.init_video_session(dtype=torch.bfloat16)
    different = 0.0
    for number, frame in enumerate(frames):  # the library on its own in 16 bits
        image = frame.movedim(-1, 0)
        pixels = processor(images=image, return_tensors="pt").pixel_values.bfloat16()
        if number == 0:
            processor.add_inputs_to_inference_session(
                session, 0, [1], input_boxes=[[[10, 10, 60, 60]]], original_size=(96, 128)
            )
        outputs = model(inference_session=session, frame_idx=number, frame=pixels)
        theirs = processor.post_process_masks([outputs.pred_masks.float()], [(96, 128)])[0][0, 0]
        different = max(different, float((half[2 * number].mask ^ theirs).float().mean()))
    return {
        "scores": [each.score for each in newer], "older": [each.score for each in older],
        "half": [each.score for each in half],
        "different": different, "area": [float(each.mask.float().mean()) for each in half],
    }  # fmt: skip


@alone
def refused_by_version(path: str, version: str, **changes) -> str:
    arguments(path, 1, **changes)  # makes the models
    library = sys.modules["transformers"]  # which may have replaced itself since this file imported it
    original, library.__version__ = library.__version__, version
    try:
        return refused(path=path, **changes)
    finally:
        library.__version__ = original


@alone
def followed(path: str) -> dict:
    """SAM 3 with a session that is pruned, against the library's with every frame kept."""
    adapter = pack("glv_core.hosts.transformers.sam3_video")
    model, processor = loaded(tiny_sam3(), "Sam3VideoModel", "Sam3VideoProcessor")
    frames = clip(path, 32)
    frames = torch.cat([frames, frames.flip(0)])
    frames, sessions = frames[:40], []

    class Follower(adapter.Sam3Tracker):
        def _new_session(self):
            sessions.append(super()._new_session())
            return sessions[-1]

    follower = Follower(model, processor, "man. dog")
    session = processor.add_text_prompt(processor.init_video_session(), ["man", "dog"])
    different, sizes, found_any = 0.0, [], 0
    for number, (frame, found) in enumerate(zip(frames, follower.track(frames))):
        pixels = processor(images=frame.movedim(-1, 0), return_tensors="pt").pixel_values
        outputs = model(inference_session=session, frame_idx=number, frame=pixels[0])
        theirs = processor.postprocess_outputs(session, outputs, [[96, 128]])
        by_id = dict(zip((theirs["object_ids"] + 1).tolist(), theirs["masks"]))
        for each in found:
            found_any += 1
            different = max(different, float((each.mask ^ by_id[each.id]).float().mean()))
        kept = sessions[0]
        sizes.append(held(kept) + len(kept.suppressed_obj_ids) + len(kept.obj_id_to_tracker_score_frame_wise))
    library = held(session) + len(session.suppressed_obj_ids) + len(session.obj_id_to_tracker_score_frame_wise)
    alone = [[each.id for each in found] for found in follower.per_frame(frames[:2])]
    one = adapter.Sam3Tracker(model, processor, "man. dog", most=1).track(frames[:3])
    strict = list(adapter.Sam3Tracker(model, processor, "man", threshold=1.0).track(frames[:2]))
    return {
        "different": different, "found": found_any, "held": sizes, "library": library, "alone": alone,
        "strict": strict, "labels": sorted({each.label for each in found}),
        "one": max(len(found) for found in one),
    }  # fmt: skip


def arguments(path: str, length: int, **changes) -> dict:
    defaults = {
        "images": image(path, length), "text": "man. dog", "detector": tiny_dino(), "segmenter": tiny_sam(),
        "box_threshold": 0.5, "fill_holes": 0, "preview_size": 128,
    }  # fmt: skip
    for key, value in changes.items():
        defaults[key] = {"tiny_sam2": tiny_sam2, "tiny_sam3": tiny_sam3}[value]() if str(value) in (
            "tiny_sam2", "tiny_sam3") else value  # fmt: skip
    return defaults


def run(path: str, length: int = 5, **changes):
    return video_files.execute(pack("nodes").GroundedMask, **arguments(path, length, **changes)).args


@alone
def outputs(path: str, length: int = 5, **changes) -> dict:
    """Digests of the node's outputs, and facts about them."""
    mask, boxes, objects, preview = run(path, length, **changes)
    return {
        "digests": [digest(mask), hashlib.md5((json.dumps(boxes) + objects).encode()).hexdigest(), digest(preview)],
        "shapes": [list(mask.shape), list(preview.shape)], "range": [float(mask.min()), float(mask.max())],
        "boxes": boxes, "objects": json.loads(objects), "empty": [bool(each.any()) for each in mask],
    }  # fmt: skip


def digest(tensor: torch.Tensor) -> str:
    return hashlib.md5((tensor * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()


@alone
def tracker_options(path: str, **changes) -> list:
    """What the node gives the tracker: interval, most, order."""
    models = pack("glv_core.hosts.comfy.vision.grounding_models")
    original, given = models.Tracker, []
    models.Tracker = lambda *parts: given.append(list(parts[2:])) or original(*parts)
    try:
        run(path, 2, mode="tracked", **changes)
    finally:
        models.Tracker = original
    return given


@alone
def interrupted(path: str, mode: str) -> dict:
    """The stop button, pressed while a frame is looked at for the third time."""
    import comfy.model_management

    adapter = pack("glv_core.hosts.transformers.sam")
    original, frames = adapter.SamSegmenter.segment, []

    def segment(self, frame, boxes):
        frames.append(frame)
        comfy.model_management.interrupt_current_processing(len(frames) >= 3)
        return original(self, frame, boxes)

    adapter.SamSegmenter.segment = segment
    try:
        run(path, 12, mode=mode)
    except comfy.model_management.InterruptProcessingException:
        return {"frames": len(frames)}
    finally:
        adapter.SamSegmenter.segment = original
    return {"frames": -1}


@alone
def refused(path: str, **changes) -> str:
    try:
        run(path, 2, **changes)
    except Exception as error:
        return str(error)
    return "made"


@alone
def of_size(path: str, height: int, width: int, **changes) -> list | str:
    """The shapes of mask and preview of frames of this size, or what the node says of them."""
    frames = torch.nn.functional.interpolate(image(path, 2).movedim(-1, 1), (height, width)).movedim(1, -1)
    small = models_folder() / tiny_dino()
    larger = small.with_name("larger_dino")  # a square of 64 pixels is one pixel to its last layer
    if not larger.exists():
        shutil.copytree(small, larger)
        for config in larger.glob("*processor_config.json"):
            config.write_text(config.read_text().replace(": 64", ": 128").replace(": 107", ": 214"))
    changes["detector"] = larger.name
    try:
        mask, _, _, preview = run(path, 0, images=frames, box_threshold=0.0, **changes)
    except ValueError as error:
        return str(error)
    return [list(mask.shape), list(preview.shape)]


@alone
def not_a_number(path: str, frame: int, value: float, **changes) -> str:
    """What the node says of a clip with such a pixel, and how many frames a network has seen."""
    adapter = pack("glv_core.hosts.transformers.sam")
    original, seen = adapter.SamSegmenter.segment, []
    adapter.SamSegmenter.segment = lambda self, each, boxes: seen.append(each) or original(self, each, boxes)
    frames = image(path, 6)
    frames[frame, 3, 4, 1] = value
    try:
        run(path, 0, images=frames, **changes)
    except ValueError as error:
        return f"{error} ({len(seen)})"
    finally:
        adapter.SamSegmenter.segment = original
    return "made"


class FakeSam3(torch.nn.Module):
    """The calls of ComfyUI's own SAM 3 that the pack makes: reddish pixels are what any text means."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        vision = torch.nn.Module()
        vision.trunk = torch.nn.Identity()
        self.detector = torch.nn.Module()
        self.detector.backbone = torch.nn.ModuleDict({"vision_backbone": vision})

    def _red(self, pixels):
        self.largest = max(self.largest, len(pixels))
        assert pixels.shape[1:] == (3, 1008, 1008)
        return (pixels[:, 0] - pixels[:, 2]) * 20 - 6

    def forward(self, images, text_embeddings, text_mask, threshold, orig_size):
        assert text_embeddings.shape[:2] == text_mask.shape
        red = torch.nn.functional.interpolate(self._red(images)[:, None], orig_size)[:, 0]
        rows, columns = (red[0] > 0).any(1).nonzero(), (red[0] > 0).any(0).nonzero()
        if not len(rows):
            return {"boxes": torch.zeros(1, 1, 4), "scores": torch.tensor([[-5.0]]), "masks": red[:, None]}
        box = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        # As the host's: every query, also the unsure ones (0.38 and less) and doubles.
        boxes, scores = [box, box, torch.tensor([0.0, 0, 9, 9]), box + 1], [1.0, -5.0, -0.5, 2.0]
        return {"boxes": torch.stack(boxes)[None], "scores": torch.tensor([scores]), "masks": red[:, None]}

    def forward_segment(self, images, box_inputs):
        red = self._red(images)
        inside = torch.full_like(red, -10)
        left, top, right, bottom = box_inputs[0].flatten().round().int().tolist()
        inside[:, top:bottom, left:right] = red[:, top:bottom, left:right]
        return inside[:, None]


def fake_host_model():
    import comfy.model_management
    import comfy.model_patcher

    holder = torch.nn.Module()
    holder.diffusion_model = FakeSam3()
    holder.get_dtype = lambda: torch.float32
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(holder, device, device)


@alone
def host_sam3(path: str, mode: str) -> dict:
    model = fake_host_model()
    conditioning = [[torch.zeros(1, 4, 8), {"attention_mask": torch.ones(1, 4)}]]
    mask, boxes, _, _ = run(path, 20, mode=mode, sam3_model=model, sam3_conditioning=conditioning, text="suit")
    largest = model.model.diffusion_model.largest
    del model
    gc.collect()
    frames = image(path, 20)
    red = (frames[..., 0] - frames[..., 2]) * 20 - 6 > 0
    return {
        "iou": float(((mask > 0) & red).sum() / ((mask > 0) | red).sum()),
        "labels": sorted({each["label"] for found in boxes for each in found}),
        "scores": sorted({round(each["score"], 2) for found in boxes for each in found})[:1],
        "most": max(len(found) for found in boxes), "largest": largest,
    }  # fmt: skip


@alone
def nothing_in_between(path: str, when_empty: str, objects: str = "") -> dict | str:
    """Six frames, of which the third and the fourth are black."""
    frames = image(path, 6)
    frames[2:4] = 0
    conditioning = [[torch.zeros(1, 4, 8), {}]]
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        mask, boxes, *_ = run(
            path, 0, images=frames, mode="faithful", text="suit", when_empty=when_empty, objects=objects,
            sam3_model=fake_host_model(), sam3_conditioning=conditioning,
        )  # fmt: skip
    except ValueError as error:
        return str(error)
    finally:
        logging.getLogger().removeHandler(handler)
    same = [int(torch.equal(mask[number], mask[1])) for number in range(6)]
    return {"areas": mask.sum((1, 2)).tolist(), "same": same, "boxes": [len(each) for each in boxes],
            "log": log.getvalue()}  # fmt: skip


@alone
def host_sam3_refused(path: str, conditioned: bool, model_missing: bool = False, memory: bool = False) -> str:
    import tiny

    if model_missing:
        extra = {"sam3_memory": True} if memory else {"sam3_conditioning": [[torch.zeros(1, 4, 8), {}]]}
        return refused(path=path, **extra)
    if memory:
        conditioning = [[torch.zeros(1, 4, 8), {}]]
        return refused(path=path, sam3_model=fake_host_model(), sam3_conditioning=conditioning, sam3_memory=True)
    model = fake_host_model() if not conditioned else tiny.wan()
    conditioning = [[torch.zeros(1, 4, 8), {}]] if conditioned else None
    return refused(path=path, sam3_model=model, sam3_conditioning=conditioning)


@alone
def memory(length: int, mode: str, segmenter: str, size: tuple[int, int]) -> dict:
    """Anonymous memory while and after so many frames of a video in a file are masked."""
    mapped = pack("glv_core.hosts.comfy.video.memory_mapped")
    mapped.MAPPED_FROM = 2**20
    video_io = pack("glv_core.video_io")
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"memory_{os.getpid()}.mp4")
    torch.manual_seed(3)
    image = torch.rand(1, *size, 3)
    video_io.save_video(path, (image.roll(number, 2) for number in range(length)), 16, crf=30)
    clip_of_file = pack("glv_core.hosts.comfy.video.long_video").LongVideo(video_io.open_clip(path))
    largest, peak = [], []
    forward = torch.nn.Conv2d.forward

    def spy(self, pixels):
        largest.append(len(pixels))
        if len(largest) % 200 == 0:
            peak.append(anonymous_memory())
        return forward(self, pixels)

    torch.nn.Conv2d.forward = spy
    try:
        mask, *_ = run(
            path, 0, images=clip_of_file, mode=mode, segmenter=segmenter, max_objects=1, redetect_every=100,
            preview_size=size[1], smooth=2, box_threshold=0.3,
        )  # fmt: skip
    finally:
        torch.nn.Conv2d.forward = forward
        pathlib.Path(path).unlink()
    return {"memory": max([*peak, anonymous_memory()]), "largest": max(largest), "shape": list(mask.shape)}


@alone
def room(path: str) -> list[list[int]]:
    models = pack("glv_core.hosts.comfy.vision.grounding_models")
    original, asked = models.use_together, []
    models.use_together = lambda loaded, memory: asked.append(memory) or original(loaded, memory)
    try:
        for size in ((96, 128), (192, 256)):
            frames = image(path, 1, size)
            run(path, 0, images=frames, mode="faithful")
            run(path, 0, images=frames, segmenter="tiny_sam3")
            video_files.execute(pack("nodes").SamIdMap, images=frames, segmenter=tiny_sam(), points_per_side=1)
    finally:
        models.use_together = original
    return [asked[:3], asked[3:]]


@alone
def id_maps(path: str) -> dict:
    frames = image(path, 2)
    node = pack("nodes").SamIdMap

    def made(**changes):
        defaults = {
            "images": frames, "segmenter": tiny_sam(), "points_per_side": 5, "quality": 0.0, "stability": 0.5,
            "scale": "0 to 255",
        }  # fmt: skip
        return video_files.execute(node, **{**defaults, **changes}).args[0]

    numbers = made()
    small = made(scale="0 to 1")
    adapter = pack("glv_core.hosts.transformers.sam")
    model, processor = loaded(tiny_sam(), "SamModel", "SamProcessor")
    regions = adapter.SamSegmenter(model, processor).regions(clip(path, 1)[0], 5, 0.0, 0.5)
    found = sorted(set(numbers[0, ..., 0].flatten().int().tolist()))
    try:
        made(segmenter="", segmenter_id="facebook/sam-vit-base")
        missing = "made"
    except ValueError as error:
        missing = str(error)
    return {
        "shape": list(numbers.shape), "regions": len(regions), "numbers": found,
        "scaled": float((numbers / 255 - small).abs().max()), "blue": float(numbers[..., 2].max()),
        "coarse differs": not torch.equal(made(points_per_side=2), numbers),
        "quality differs": not torch.equal(made(quality=1.0), numbers),
        "stability differs": not torch.equal(made(stability=0.999), numbers),
        "empty": float(made(quality=1.0).max()), "missing": missing,
    }  # fmt: skip
