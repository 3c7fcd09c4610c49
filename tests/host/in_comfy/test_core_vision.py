"""What ComfyUI's own detectors, pose and depth nodes give, taken by ControlPreprocess and GroundedMask."""

import controls
import numpy as np
import pytest
import tiny
import tiny_controls
import tiny_sam
import torch
import video_files

pytestmark = pytest.mark.every_host

try:
    import comfy.ldm.rt_detr.rtdetr_v4 as rtdetr_v4
except ImportError:
    rtdetr_v4 = None

needs_rtdetr = pytest.mark.skipif(rtdetr_v4 is None, reason="this ComfyUI has no RT-DETR")
SMALL = {"short_side": 64, "multiple": 8}


@pytest.fixture(scope="module")
def rtdetr():
    """ComfyUI's RT-DETR with few channels and random weights, as a MODEL, which sees people, bears and cars."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    class Few(rtdetr_v4.RTv4):
        def __init__(self, device=None, dtype=None, operations=None, **_config):
            super().__init__(
                num_queries=12, enc_h=32, dec_h=32, enc_ff=32, dec_ff=32, device=device, dtype=dtype,
                operations=operations,
            )  # fmt: skip

    Few.__module__ = rtdetr_v4.__name__
    config = comfy.supported_models.RT_DETR_v4({"image_model": "RT_DETR_v4", "enc_h": 32})
    config.set_inference_dtype(torch.float32, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtdetr_v4, "RTv4", Few)
        model = comfy.model_base.RT_DETR_v4(config)
    network = model.diffusion_model
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for each in network.parameters():
            each.copy_(torch.randn(each.shape, generator=generator) * max(1, each[0].numel()) ** -0.5)
        for module in network.modules():
            if isinstance(module, (torch.nn.LayerNorm, torch.nn.BatchNorm2d)):
                module.reset_parameters()
        network.decoder.up.fill_(0.5)
        network.decoder.reg_scale.fill_(4)
        for head in network.decoder.dec_score_head:
            head.bias.fill_(-8)
            head.bias[[0, 2, 77]], head.weight[[0, 2, 77]] = 0, 0
        network.decoder.pre_bbox_head.layers[-1].bias[2:] += 4  # boxes of more than a pixel
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def clip(count=4):
    """Frames of 160 x 128, of which a control is 80 x 64."""
    return controls.frames()[:count, :128, :160]


def run(kind, images=None, **connected):
    """The node's images; ``connected`` are inputs of the node, or options of the kind."""
    from long_video_pack.nodes.control_preprocess import ControlPreprocess

    inputs = ControlPreprocess.define_schema().inputs
    options = {"kind": kind, **controls.defaults(inputs, "kind", kind)}
    outer = {each.id for each in inputs}
    options |= {name: connected.pop(name) for name in list(connected) if name not in outer}
    images = clip() if images is None else images
    return video_files.execute(ControlPreprocess, images=images, kind=options, **SMALL, **connected).args[0]


def figure(x=0.5, y=0.5, score=0.9):
    """18 keypoints around a place, in shares of the image: ``18 3``."""
    turn = np.arange(18) * 0.7 + 0.13
    return np.stack([x + 0.2 * np.cos(turn), y + 0.3 * np.sin(turn), np.full(18, score)], 1)


def keypoints(figures, width=160, height=128, **more):
    """POSE_KEYPOINT: a list of people for every frame, each ``18 3`` in shares of the image."""
    return [
        {"canvas_width": width, "canvas_height": height, "people": [
            {"pose_keypoints_2d": (each * (width, height, 1)).flatten().tolist(), "face_keypoints_2d": None, **more}
            for each in people
        ]} for people in figures
    ]  # fmt: skip


def drawn(figures):
    """The same, drawn in the control's size of 80 x 64."""
    from long_video_pack.glv_core.perception.controls.pose_drawing import draw_poses

    people = [[each * (80, 64, 1) for each in people] for people in figures]
    return torch.from_numpy(draw_poses(people, 64, 80)).float() / 255


STILL = {"hold": 0, "smoothing": 0.0}


def test_poses_of_others_are_drawn_in_the_control_s_size():
    people = [[figure()], [figure(0.3), figure(0.7, 0.4)], [], [figure(0.6)]]
    wanted = drawn(people)
    assert wanted[0].any() and not wanted[2].any()
    assert torch.equal(run("pose", pose_keypoints=keypoints(people), **STILL), wanted)
    other = keypoints(people, 1000, 333, hand_left_keypoints_2d=[1.0] * 63)
    assert torch.equal(run("pose", pose_keypoints=other, **STILL), wanted)
    shares = keypoints(people, 1, 1)  # as some nodes write them, whatever they say of the canvas
    for frame in shares:
        frame["canvas_width"], frame["canvas_height"] = 640, 480
    assert torch.equal(run("pose", pose_keypoints=shares, **STILL), wanted)


def test_poses_of_others_are_held_smoothed_and_cut_by_their_score():
    people = [[figure(0.3 + 0.05 * number)] if number != 4 else [] for number in range(9)]
    images = clip(9)
    given = keypoints(people)
    held = run("pose", images, pose_keypoints=given, hold=3, smoothing=0.0)
    between = (people[3][0] + people[5][0]) / 2
    assert torch.equal(held, drawn([*people[:4], [between], *people[5:]]))
    jitter = [[each + np.array([0.05 * (-1) ** number, 0, 0]) for each in those] for number, those in enumerate(people)]
    smooth = run("pose", images, pose_keypoints=keypoints(jitter), hold=3, smoothing=2.0)
    rough = run("pose", images, pose_keypoints=keypoints(jitter), hold=3, smoothing=0.0)
    assert smooth.diff(dim=0).abs().mean() < 0.7 * rough.diff(dim=0).abs().mean()
    low = figure()
    low[5, 2] = 0.29
    unseen = figure()
    unseen[5] = 0
    images = clip(1)
    assert torch.equal(run("pose", images, pose_keypoints=keypoints([[low]]), **STILL), drawn([[unseen]]))
    all_of_it = run("pose", images, pose_keypoints=keypoints([[low]]), keypoint_score=0.2, **STILL)
    assert torch.equal(all_of_it, drawn([[low]]))


def broken_number(frames):
    frames[1]["people"][0]["pose_keypoints_2d"][4] = float("nan")
    return frames


def short(frames):
    del frames[0]["people"][0]["pose_keypoints_2d"][50:]
    return frames


def far(frames):
    frames[2]["people"][0]["pose_keypoints_2d"][0] = 1e9
    return frames


@pytest.mark.parametrize(("change", "words"), [
    (lambda frames: frames[:3], "pose_keypoints has 3 frames, the clip 4"),
    (lambda frames: {"people": []}, "pose_keypoints is dict, not a list"),
    (lambda frames: [{"canvas_width": 0, "canvas_height": 5, "people": []}] * 4, "frame 0 has no canvas_width"),
    (broken_number, "frame 1 has keypoints that are no numbers"),
    (short, "frame 0 has pose_keypoints_2d of .50. numbers; it must be 54"),
    (far, "keypoint of frame 2 lies at 1e.09, far outside of its canvas of 160 x 128"),
])  # fmt: skip
def test_poses_that_are_none_are_named(change, words):
    given = change(keypoints([[figure()]] * 4))
    with pytest.raises(ValueError, match=f"ControlPreprocess: .*{words}"):
        run("pose", pose_keypoints=given)


@pytest.mark.parametrize(("kind", "connected", "words"), [
    ("canny", {"pose_keypoints": []}, "pose_keypoints is connected, but kind is 'canny'. Choose 'pose', or disconnect"),
    ("pose", {"da3_geometry": {}}, "da3_geometry is connected, but kind is 'pose'. Choose 'depth' or 'normal'"),
    ("hed", {"rtdetr_model": object()}, "rtdetr_model is connected, but kind is 'hed'"),
    ("pose", {"pose_keypoints": [], "hint": torch.zeros(1, 4, 4, 3)}, "pose_keypoints and hint are connected"),
    ("pose", {"pose_keypoints": [], "rtdetr_model": object()}, "rtdetr_model and pose_keypoints are connected"),
    ("pose", {"rtdetr_model": object()}, "rtdetr_model is connected, but detector is 'openpose'"),
    ("depth", {"da3_geometry": {"depth": torch.ones(3, 5, 5)}}, "da3_geometry has 3 frames, the clip 4"),
    ("normal", {"da3_geometry": {"image": torch.ones(4, 5, 5)}}, "da3_geometry is dict without a depth"),
])  # fmt: skip
def test_what_a_kind_has_no_use_for_is_named(kind, connected, words):
    with pytest.raises(ValueError, match=f"ControlPreprocess: .*{words}"):
        run(kind, **connected)


def vitpose(**more):
    return {"detector": {
        "detector": "vitpose", "pose_model": tiny_controls.vitpose(), "person_detector": "nobody/has-it",
        "person_threshold": 0.0, "keypoint_threshold": 0.0, "allow_download": False, **more,
    }}  # fmt: skip


@needs_rtdetr
def test_rtdetr_finds_what_core_s_own_node_finds(rtdetr):
    from comfy_extras.nodes_rtdetr import RTDETR_detect
    from long_video_pack.glv_core.hosts.comfy.vision.host_rtdetr import HostRtDetr

    frames = (clip() * 255).round()
    names = ("person", "teddy bear", "dog")
    found = HostRtDetr(rtdetr, ". ".join(names), 0.02).detect(frames.to(torch.uint8))
    (theirs,) = RTDETR_detect.execute(rtdetr, frames / 255, 0.02, "all", 1000).args
    assert sum(map(len, found)) > 0
    width, height = frames.shape[2], frames.shape[1]
    for ours, boxes in zip(found, theirs):
        wanted = [each for each in boxes if each["label"] in names]
        assert [each.label for each in ours] == [each["label"] for each in wanted]
        for one, other in zip(ours, wanted):
            edges = (other["x"], other["y"], other["x"] + other["width"], other["y"] + other["height"])
            cut = [min(max(edge, 0), limit) for edge, limit in zip(edges, (width, height) * 2)]
            assert one.box == pytest.approx(cut, abs=1e-3) and one.score == pytest.approx(other["score"], abs=1e-5)


@needs_rtdetr
def test_rtdetr_finds_the_people_for_vitpose(rtdetr, monkeypatch):
    """Poses lie in its boxes, and other boxes give other poses."""
    from long_video_pack.glv_core.hosts.comfy.vision.host_rtdetr import HostRtDetr

    made = run("pose", rtdetr_model=rtdetr, **vitpose(), **STILL)
    assert made.shape == (4, 64, 80, 3) and made.any()
    assert not run("pose", rtdetr_model=rtdetr, **vitpose(person_threshold=1.0), **STILL).any()
    seen = []
    monkeypatch.setattr(HostRtDetr, "boxes", lambda self, frames: seen.append(frames.shape) or [[[8.0, 8, 24, 40]]] * 4)
    boxed = run("pose", rtdetr_model=rtdetr, **vitpose(), **STILL)
    assert seen == [(4, 64, 80, 3)] and boxed.any() and not torch.equal(boxed, made)
    assert not boxed[:, :, 52:].any()  # the box with ViTPose's border, and a joint's radius


@needs_rtdetr
def test_another_model_is_no_rtdetr(rtdetr):
    with pytest.raises(ValueError, match="ControlPreprocess: rtdetr_model is WanModel, which is not ComfyUI's RT-DETR"):
        run("pose", rtdetr_model=tiny.wan(), **vitpose())


def masked(**changes):
    from long_video_pack.nodes.grounded_mask import GroundedMask

    given = {
        "images": clip(), "text": "person. teddy bear", "segmenter": tiny_sam.tiny_sam(), "detector": "nobody/has-it",
        "box_threshold": 0.02, "fill_holes": 0, "preview_size": 64,
    }  # fmt: skip
    return video_files.execute(GroundedMask, **(given | changes)).args


@needs_rtdetr
@pytest.mark.parametrize("mode", ["tracked", "faithful"])
def test_rtdetr_finds_objects_to_mask(rtdetr, mode):
    mask, boxes, _, _ = masked(rtdetr_model=rtdetr, mode=mode)
    labels = {each["label"] for found in boxes for each in found}
    assert labels and labels <= {"person", "teddy bear"}
    assert mask.shape == (4, *clip().shape[1:3])
    assert not any(masked(rtdetr_model=rtdetr, mode=mode, box_threshold=1.0)[1])


@needs_rtdetr
@pytest.mark.parametrize(("changes", "words"), [
    ({"text": "person. red man"}, "text names 'red man', which rtdetr_model does not know: it knows COCO's 80 classes"),
    ({"sam3_model": object(), "sam3_conditioning": []}, "sam3_model and rtdetr_model are connected"),
])  # fmt: skip
def test_what_rtdetr_cannot_mask_is_named(rtdetr, changes, words):
    with pytest.raises(ValueError, match=f"GroundedMask: {words}"):
        masked(rtdetr_model=rtdetr, **changes)


def test_a_model_that_is_no_rtdetr_is_named_in_every_host():
    with pytest.raises(ValueError, match="GroundedMask: rtdetr_model is WanModel, which is not ComfyUI's RT-DETR"):
        masked(rtdetr_model=tiny.wan())


def geometry(count=4, **more):
    """A ramp from 1 to 5 metres over the width, which comes nearer; depths are near small."""
    depth = torch.linspace(5, 1, 80).expand(64, 80).repeat(count, 1, 1)
    return {"depth": depth / torch.arange(1, count + 1).view(-1, 1, 1), "mode": "mono", "image": None, **more}


def test_depth_of_the_host_s_geometry():
    """Near is bright, and in the whole clip what has one distance has one brightness."""
    inverse = 1 / geometry()["depth"]
    low, high = inverse[0].quantile(0.01), inverse[3].quantile(0.99)
    wanted = ((inverse - low) / (high - low)).clamp(0, 1)
    made = run("depth", da3_geometry=geometry())
    assert made.shape == (4, 64, 80, 3) and (made[..., 0] - wanted).abs().max() < 1.5 / 255
    alone = run("depth", da3_geometry=geometry(), normalize="each frame")
    assert (alone[0] - alone[3]).abs().max() < 1.5 / 255 and (made[0] - made[3]).abs().max() > 0.5


def test_sky_and_holes_in_the_depth_are_far():
    sky = torch.zeros(4, 64, 80)
    sky[:, :10] = 0.9
    given = geometry(sky=sky)
    given["depth"][:, 50:] = float("nan")
    given["depth"][:, 60:] = 0
    made = run("depth", da3_geometry=given)
    assert not made[:, :10].any() and not made[:, 50:].any() and made[:, 20:40, 40:].all()
    assert (made[:, 20:40] - run("depth", da3_geometry=geometry())[:, 20:40]).abs().max() < 1.5 / 255
    assert not run("depth", da3_geometry={"depth": torch.zeros(4, 8, 8)}).any()


def test_normals_of_the_host_s_geometry():
    made = run("normal", da3_geometry=geometry(), background=0.0)
    flat = run("normal", da3_geometry=geometry(), background=1.0)
    x = made[:, 20:40, 20:60, 0]
    assert (x > 0.5 + 2 / 255).all() and (made[:, 20:40, 20:60, 1] - 0.5).abs().max() < 2 / 255  # it rises to the right
    assert (flat[:, 20:40, 20:60, 0] - 127 / 255).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["canny", "pose", "scribble"])
def test_frames_that_are_no_numbers_are_named(kind):
    images = clip(20)
    images[13, 5, 6, 2] = float("nan")
    with pytest.raises(ValueError, match="ControlPreprocess: images has values that are no numbers in frame 13"):
        run(
            kind,
            images,
            **({"detector": {"detector": "shapes of the demo model (built in)"}} if kind == "pose" else {}),
        )
