"""How a frame goes through ControlPreprocess: what it is turned into on its way, what skeletons cost, small frames."""

import time
from pathlib import Path

import controls
import pytest
import tiny_controls
import torch
import video_files
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.every_host


def run(kind, images, short_side=0, multiple=1, **options):
    from long_video_pack.nodes.control_preprocess import ControlPreprocess

    inputs = ControlPreprocess.define_schema().inputs
    options = {"kind": kind, **controls.defaults(inputs, "kind", kind), **options}
    return video_files.execute(
        ControlPreprocess, images=images, kind=options, short_side=short_side, multiple=multiple
    ).args[0]  # fmt: skip


class Floats(TorchDispatchMode):
    """Counts what makes floating-point numbers of as many values as a frame has, by the name of the operation."""

    def __init__(self, least):
        super().__init__()
        self.least, self.seen = least, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point() and result.numel() >= self.least:
            given = [each.untyped_storage().data_ptr() for each in args if isinstance(each, torch.Tensor)]
            if result.untyped_storage().data_ptr() not in given:
                self.seen.append(function.name())
        return result


@pytest.mark.parametrize("kind", ["canny", "scribble"])
def test_a_frame_of_a_file_becomes_numbers_with_a_point_once(monkeypatch, kind):
    """Decoded, resized and drawn as bytes; divided by 255 at the end, in 4 pieces of 8 frames."""
    from long_video_pack.glv_core.hosts.comfy.vision import control_images
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo
    from long_video_pack.glv_core.video_io import open_clip

    clip = LongVideo(open_clip(controls.CLIP).trimmed(num_frames=32))
    monkeypatch.setattr(control_images._Output, "_image", lambda self, frame: None)  # the progress bar's
    with Floats(192 * 256) as floats:
        made = run(kind, clip)
    assert made.shape == (32, 192, 256, 3) and made.any()
    assert floats.seen == ["aten::zeros", *["aten::div.Tensor"] * 4]  # the first is the result


def vitpose():
    return {"detector": {
        "detector": "vitpose", "pose_model": tiny_controls.vitpose(), "person_detector": tiny_controls.rt_detr(),
        "person_threshold": 0.0, "keypoint_threshold": 0.0, "allow_download": False,
    }}  # fmt: skip


def test_skeletons_cost_little_beside_their_networks(monkeypatch):
    """Five people in each of 24 frames: all of the node over the two networks and their processors alone, which here
    are tiny: 1.3. Drawing limb after limb in Python took 13 times as long as they."""
    from long_video_pack.glv_core.hosts.transformers import pose

    random = torch.Generator().manual_seed(0)
    corners = (torch.rand(5, 2, generator=random) * 100).tolist()
    monkeypatch.setattr(pose.PersonDetector, "boxes", lambda self, frames, given=pose.PersonDetector.boxes: (
        given(self, frames) and [[[*corner, 90.0, 120.0] for corner in corners]] * len(frames)
    ))  # fmt: skip
    spent, given = [], pose.PoseEstimator.people

    def timed(self, frames):
        start = time.process_time()
        found = given(self, frames)
        spent.append(time.process_time() - start)
        return found

    monkeypatch.setattr(pose.PoseEstimator, "people", timed)
    frames, options = torch.rand(24, 256, 256, 3, generator=random), vitpose()
    run("pose", frames[:8], **options)  # loaded
    ratios = []
    for _ in range(3):
        spent.clear()
        start = time.process_time()
        made = run("pose", frames, **options)
        ratios.append((time.process_time() - start) / sum(spent))
    assert made[0].any()
    assert min(ratios) < 1.65


KINDS = {
    "canny": dict, "scribble": dict, "hough": dict, "pose": lambda: {"detector": {"detector": "openpose"}},
    "pose of ViTPose": vitpose, "depth": lambda: {"model": tiny_controls.depth_anything()},
    "normal": lambda: {"model": tiny_controls.dpt()}, "seg": lambda: {"model": tiny_controls.segformer(150)},
}  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 1), (5, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_few_pixels(monkeypatch, kind, size):
    """Of one colour: no edges, lines or strokes, no depth; and nothing that is no number."""
    from long_video_pack.glv_core.hosts.comfy.vision import control_models, pose_control
    from long_video_pack.glv_core.hosts.comfy.vision.vision_models import VisionModel
    from long_video_pack.glv_core.perception.networks.mlsd import MLSD
    from long_video_pack.glv_core.perception.networks.openpose_body import OpenPoseBody

    def blank(name):
        network = {"mlsd": MLSD, "openpose": OpenPoseBody}[name]()
        network.load_state_dict(controls.zeros(network))
        return VisionModel(Path("."), network.eval(), None, torch.float32)

    for place in (control_models, pose_control):
        monkeypatch.setattr(place, "load_annotator", blank)
    made = run(kind.split()[0], torch.full((2, *size, 3), 0.8), **KINDS[kind]())
    assert made.shape == (2, *size, 3) and made.isfinite().all()
    if kind in ("canny", "scribble", "pose", "hough"):
        assert not made.any()
    if kind in ("seg", "normal"):
        assert (made[0] == made[1]).all() and made.any()


@pytest.mark.parametrize("kind", ["hed", "fake_scribble", "sketch"])
def test_what_needs_more_pixels_says_so(kind):
    with pytest.raises(
        ValueError, match=f"ControlPreprocess: The images are 1 x 1 pixels, and {kind} needs at least 16"
    ):
        run(kind, torch.zeros(2, 1, 1, 3))
