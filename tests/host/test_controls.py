"""ControlPreprocess in a real ComfyUI, on a real clip that ships with the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

CLIP = Path(__file__).resolve().parent.parent / "clips" / "astronaut.mp4"


def test_edges_of_the_real_clip(inside, tmp_path):
    result = inside("controls", "edges", path=str(tmp_path / "edges.png"))
    assert result["shapes"] == [[4, 128, 160, 3]] * 5
    assert result["grey"]
    assert {kind: count for kind, count in result["colours"].items() if kind != "hed"} == {
        "canny": 2, "scribble": 2, "fake_scribble": 2, "sketch": 2
    }  # fmt: skip
    assert result["colours"]["hed"] > 100
    bright = result["bright"]
    assert 0.01 < bright["canny"] < 0.2 and 0.2 < bright["scribble"] < 0.7
    assert 0 < bright["sketch"] < 0.3 and bright["fake_scribble"] > 0
    assert all(result["effects"].values()), result["effects"]
    assert result["pieces"] < 0.005  # a whole step of 255 at most


def test_sizes(inside):
    result = inside("controls", "sizes")
    assert result["512"] == [[2, 512, 704, 3], 704, 512]
    assert result["video"] == [32, 192, 256, 3]
    assert result["equal"]
    assert result["100"] == [2, 100, 133, 3]


def test_lines_with_weights_of_the_other_pack(inside):
    result = inside("controls", "hough")
    assert result["shape"] == [3, 96, 120, 3]
    assert result["colours"] == [0.0, 1.0]
    assert 0.001 < result["white"] < 0.9
    assert result["effects"] == [True, True]


def test_poses_of_openpose(inside, tmp_path):
    result = inside("controls", "openpose", path=str(tmp_path / "poses.png"))
    assert result["nobody"] == 0
    assert result["input"] == [3, 3, 184, 248] and result["largest"] == 3  # 512 x 384 frames at 245 x 184
    assert result["drawn"] == [number != 3 for number in range(8)]
    assert all(result["held"])
    assert result["others"]
    assert result["smoothed"]


def test_poses_of_the_demo_models_shapes(inside):
    """Over the border of the frame too; a frame in which nothing is seen is bridged by ``hold``."""
    result = inside("controls", "drawn_poses")
    assert result["equal"]
    assert result["seen"] == [number != 12 for number in range(30)]
    assert all(result["held"])


def test_networks_of_transformers(inside, tmp_path):
    result = inside("controls", "networks_of_transformers", path=str(tmp_path / "networks.png"))
    assert result["shapes"] == [[4, 128, 192, 3]] * 4
    assert result["range"] == [0, 1]
    assert result["grey"]
    assert all(result["effects"].values()), result["effects"]


def test_near_is_bright_for_every_network(inside):
    result = inside("controls_depth", "near_is_bright")
    assert result["types"] == result["known"]
    assert all(result["varied"])
    assert max(result["differences"].values()) < 1e-4, result
    assert inside("controls_depth", "dinov2") == [True] * 3


def test_borders_of_processors_are_removed(inside):
    for name, edges in inside("controls_depth", "borders").items():
        wanted = (64, 191, 80, 239)
        assert all(abs(edge - right) <= 2 for edge, right in zip(edges, wanted, strict=True)), (name, edges)


def test_relief_of_normals_fits_the_network(inside):
    result = inside("controls_depth", "relief")
    assert result["others"] and not result["dpt"]
    assert result["menu"][0] == "Intel/dpt-hybrid-midas" and result["same"]
    assert result["local"] == ["dpt-tiny"]


def test_a_ready_control_video_is_fitted(inside):
    result = inside("controls", "hints")
    assert result["stretch"] == [[10, 64, 96, 3], [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1], 5]
    assert result["each"][:2] == [[10, 64, 96, 3], [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]]
    assert result["soft"] > 5  # interpolated between the rows
    assert result["more"] == result["stretch"][1]


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("hed", {}, ["network-bsds500.pth is missing", "models/annotators"]),
        ("sketch", {"broken": "other"}, ["network-bsds500.pth", "missing ['moduleVgg"]),
        ("hed", {"broken": "pickle"}, ["cannot be loaded as HED"]),
        ("fake_scribble", {"broken": "damaged"}, ["cannot be loaded as HED"]),
        ("depth", {"model": "Intel/dpt-large"}, ["model is 'Intel/dpt-large'", "allow_download"]),
        ("normal", {"model_id": "../../etc"}, ["model is '../../etc'"]),
        ("seg", {"model": "tiny depth_anything"}, ["must be one of segformer"]),
        ("seg", {"model": "tiny segformer 171"}, ["palette is 'ade20k'", "171 classes"]),
        ("seg", {"model": "tiny segformer 150", "palette": "coco_stuff"}, ["COCO-Stuff"]),
        ("pose", {"detector": "vitpose", "pose_model": "someone/else"}, ["pose_model is 'someone/else'"]),
        ("pose", {"detector": "vitpose", "pose_model": "tiny vitpose", "person_detector": "tiny rt_detr thing"},
         ["person_detector knows no 'person'"]),
        ("canny", {"shape": [2, 32, 32]}, ["images has the shape (2, 32, 32)", "Convert Mask to Image"]),
        ("hed", {"short_side": 8, "multiple": 1}, ["8 x 8 pixels", "hed needs at least 16", "Raise short_side"]),
        ("fake_scribble", {"short_side": 15, "multiple": 1}, ["fake_scribble needs at least 16"]),
        ("sketch", {"short_side": 15, "multiple": 1}, ["sketch needs at least 16"]),
        ("canny", {"shape": [0, 32, 32, 3]}, ["images has no frames"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(inside, kind, arguments, words):
    message = inside("controls_limits", "refused", kind=kind, **arguments)
    assert all(word in message.replace("\\", "/") for word in words), message
    assert message.startswith("ValueError: ControlPreprocess: ")


def test_a_video_that_cannot_be_read_is_named(inside):
    assert inside("controls_limits", "lost_video").startswith("FileNotFoundError: ControlPreprocess: ")


def test_annotators_are_loaded_once(inside):
    assert inside("controls_limits", "annotators") == {
        "again": True, "anew": True, "name": "network-bsds500.safetensors", "loads": True
    }  # fmt: skip


def test_progress_and_interrupt(inside):
    result = inside("controls_limits", "interrupted")
    assert result["stopped"]
    assert result["total"] == 64 and result["last"] < 24
    assert result["images"]


def test_memory_does_not_grow_with_the_length(inside_alone):
    """From 50 to 2,000 frames of a file: anonymous memory in MB, and the most frames at a time."""
    few = inside_alone("controls_limits", "memory", length=50)
    many = inside_alone("controls_limits", "memory", length=2000)
    assert many["shapes"] == [[2000, 96, 128, 3]] * 2
    assert many["memory"] - few["memory"] < 60, (few, many)  # depth of the whole clip alone is 98 MB
    assert few["largest"] == many["largest"] == 8


def test_in_a_workflow(server):
    """Through the API: inputs of a kind are called after it, and those of another kind are not asked for."""
    shutil.copy(CLIP, server.base / "input" / CLIP.name)
    prompt = {
        "1": {"class_type": "LoadLongVideo", "inputs": {"file": CLIP.name, "start": 0.5, "length": 4, "fps": 0.0}},
        "2": {
            "class_type": "ControlPreprocess",
            "inputs": {
                "images": ["1", 0], "kind": "canny", "kind.low_threshold": 100.0, "kind.high_threshold": 200.0,
                "short_side": 256, "multiple": 64, "frames_per_forward": 8,
            },
        },
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "canny"}},
        "4": {
            "class_type": "ControlPreprocess",
            "inputs": {
                "images": ["1", 0], "kind": "pose", "kind.hold": 3, "kind.smoothing": 1.0, "kind.detector": "vitpose",
                "kind.detector.pose_model": "usyd-community/vitpose-base-simple",
                "kind.detector.person_detector": "PekingU/rtdetr_r50vd_coco_o365",
                "kind.detector.person_threshold": 0.5, "kind.detector.keypoint_threshold": 0.3,
                "kind.detector.allow_download": False, "hint": ["2", 0],
                "short_side": 0, "multiple": 1, "frames_per_forward": 8,
            },
        },
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "hint"}},
    }  # fmt: skip
    history, messages = server.run(prompt)
    images = [server.base / "output" / each["filename"] for each in history["outputs"]["3"]["images"]]
    assert len(images) == 4
    with Image.open(images[0]) as image:
        assert image.size == (320, 256)
        white = sum(image.convert("L").histogram()[128:]) / (320 * 256)
    assert 0.01 < white < 0.2
    with Image.open(server.base / "output" / history["outputs"]["5"]["images"][0]["filename"]) as image:
        assert image.size == (256, 192)
    assert any(message["type"] == "progress_state" for message in messages if isinstance(message, dict))
    wrong = {**prompt, "2": {**prompt["2"], "inputs": {**prompt["2"]["inputs"], "kind.low_threshold": -1.0}}}
    status, answer = server.post("/prompt", {"prompt": wrong, "client_id": "test"})
    assert status == 400 and "low_threshold" in str(answer["node_errors"])
    info = server.get("/object_info/ControlPreprocess")["ControlPreprocess"]
    options = info["input"]["required"]["kind"][1]["options"]
    assert [each["key"] for each in options] == [
        "canny", "hough", "hed", "scribble", "fake_scribble", "pose", "seg", "depth", "normal", "sketch"
    ]  # fmt: skip
    for each in options:
        for inputs in each["inputs"].values():
            assert all(spec[1].get("tooltip") for spec in inputs.values())


def test_a_control_steers_a_long_video(inside):
    result = inside("controls", "depth_guided_long_video")
    for name in ("control", "other control"):
        assert result[name] == {"shape": [1, 16, 8, 4, 6], "lengths": [5]}
    assert result["trim"] == 0
    assert result["difference"] > 1e-3
