"""GroundedMask and SamIdMap on tiny models with random weights, in a real ComfyUI."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

CLIP = str(Path(__file__).parent.parent / "clips" / "astronaut.mp4")


def test_detections_are_the_librarys(inside):
    result = inside("masks", "detector", path=CLIP)
    assert min(result["count"]) >= 1
    assert result["every"] == [6, 6, 6]
    assert result["difference"] < 1e-3
    assert set(result["labels"]) <= {"man", "dog"} and result["labels"]


def test_masks_of_boxes_are_the_librarys(inside):
    result = inside("masks", "boxes_of_a_frame", path=CLIP)
    assert result["different"] == 0
    assert 0.02 < result["area"] < 0.98
    assert result["regions"] >= 1
    assert result["shape"] == [96, 128]
    assert result["same"]
    assert result["calls"] == [[7, 25], [14, 25], [21, 25], [25, 25]]
    assert result["strict"] == 0


def test_sam2_forgets_only_what_it_never_looks_at(inside):
    """64 frames: the same masks as with every frame kept, and no more kept at the end than after 20."""
    result = inside("masks", "carried", path=CLIP)
    assert result["different"] == 0
    assert result["area"][1] > 0.02 and result["area"][0] < 0.98
    assert max(result["held"]) == max(result["held"][:20])
    assert result["library"] > 2 * max(result["held"])
    assert result["corrected"] == [1] and result["after"] == [2]
    assert result["alone"] == [1, 96, 128]
    assert result["fresh"] == 0


def test_sam2_in_older_releases_and_in_16_bits(inside):
    result = inside("masks", "carried_otherwise", path=CLIP)
    assert result["older"] == result["scores"]
    assert all(0.5 < score < 1 for score in result["scores"])
    assert result["half"] == pytest.approx(result["scores"], abs=0.02)
    assert result["different"] == 0
    assert max(result["area"]) > 0.02 and min(result["area"]) < 0.98


@pytest.mark.parametrize(
    ("version", "segmenter", "works"),
    [("5.0.0", "tiny_sam2", False), ("5.0.1.dev0", "tiny_sam3", False), ("5.0rc1", "tiny_sam2", False),
     ("5.0.0", "tiny_sam", True), ("5.1.0", "tiny_sam2", True), ("4.57.6", "tiny_sam2", True)],
)  # fmt: skip
def test_the_releases_that_cannot_run_sam_2_are_named(inside, version, segmenter, works):
    message = inside("masks", "refused_by_version", path=CLIP, version=version, segmenter=segmenter)
    assert (message == "made") if works else (f"does not work in transformers {version}" in message), message


def test_sam3_forgets_only_what_it_never_looks_at(inside):
    result = inside("masks", "followed", path=CLIP)
    assert result["found"] >= 40
    assert result["different"] == 0
    assert max(result["held"]) <= 1.2 * max(result["held"][:24])
    assert result["library"] > 2 * max(result["held"])
    assert all(ids == list(range(1, len(ids) + 1)) and ids for ids in result["alone"])
    assert result["strict"] == [[], []]
    assert set(result["labels"]) <= {"man", "dog"}
    assert result["one"] == 1


@pytest.fixture(scope="module")
def outputs(inside):
    known: dict = {}

    def call(**changes):
        key = repr(sorted(changes.items()))
        if key not in known:
            known[key] = inside("masks", "outputs", path=CLIP, **changes)
        return known[key]

    return call


@pytest.mark.parametrize("mode", ["tracked", "faithful"])
@pytest.mark.parametrize("segmenter", ["tiny_sam", "tiny_sam2", "tiny_sam3"])
def test_outputs(outputs, mode, segmenter):
    result = outputs(mode=mode, segmenter=segmenter, box_threshold=0.2)
    assert result["shapes"] == [[5, 96, 128], [5, 96, 128, 3]]
    assert result["range"][0] >= 0 and result["range"][1] == 1
    facts = result["objects"]
    assert (facts["width"], facts["height"], len(facts["frames"]), len(result["boxes"])) == (128, 96, 5, 5)
    for boxes, frame in zip(result["boxes"], facts["frames"]):
        assert [box["id"] for box in boxes] == [each["id"] for each in frame if each["chosen"]]
        for box in boxes:
            assert 0 <= box["x"] < box["x"] + box["width"] <= 128
            assert 0 <= box["y"] < box["y"] + box["height"] <= 96
            assert 0 <= box["score"] <= 1 and box["label"] in ("man", "dog")
    assert any(result["boxes"])


@pytest.mark.parametrize("mode", ["tracked", "faithful"])
@pytest.mark.parametrize("segmenter", ["tiny_sam", "tiny_sam2", "tiny_sam3"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 3), (3, 3)])
def test_frames_of_few_pixels(inside, mode, segmenter, size):
    """Of which a library can't tell rows from colours."""
    shapes = inside("masks", "of_size", path=CLIP, height=size[0], width=size[1], mode=mode, segmenter=segmenter)
    assert shapes == [[2, *size], [2, *size, 3]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("frame", [0, 5])
def test_frames_that_are_no_numbers_are_refused(inside, frame, value):
    message = inside("masks", "not_a_number", path=CLIP, frame=frame, value=value, mode="faithful")
    assert f"images has values that are no numbers in frame {frame}" in message, message
    assert message.endswith("(0)" if frame == 0 else "(4)")


FAITHFUL = dict(mode="faithful")
SAM3 = dict(segmenter="tiny_sam3", box_threshold=0.0)


@pytest.mark.parametrize(
    ("change", "base"),
    [
        (dict(mode="faithful"), {}),
        (dict(text="cat. red."), FAITHFUL),
        (dict(segmenter="tiny_sam2"), FAITHFUL),
        (dict(segmenter_id="tiny_sam2", segmenter="missing"), FAITHFUL),
        (dict(box_threshold=0.97), FAITHFUL | dict(max_objects=6)),
        (dict(max_objects=1), FAITHFUL),
        (dict(order="best"), FAITHFUL | dict(max_objects=1, box_threshold=0.0)),
        (dict(order="best"), FAITHFUL | dict(max_objects=1) | SAM3),
        (dict(max_objects=3), FAITHFUL | SAM3),
        (dict(box_threshold=0.5), FAITHFUL | SAM3),
        (dict(objects="2"), FAITHFUL),
        (dict(fill_holes=5000), FAITHFUL),
        (dict(grow=6), FAITHFUL),
        (dict(grow=-6), FAITHFUL),
        (dict(feather=6), FAITHFUL),
        (dict(smooth=2), FAITHFUL),
        (dict(invert=True), FAITHFUL),
        (dict(preview_size=64), FAITHFUL),
    ],
)
def test_every_input_does_something(outputs, change, base):
    if "segmenter_id" in change:  # it stands in for the menu
        assert outputs(**base, **change)["digests"] == outputs(**base, segmenter="tiny_sam2")["digests"]
        return
    assert outputs(**(base | change))["digests"] != outputs(**base)["digests"]


@pytest.mark.parametrize(("mode", "same", "other"), [("faithful", "first", "best"), ("tracked", "best", "first")])
def test_the_order_that_is_meant_by_auto(outputs, mode, same, other):
    """Faithful is Gen-L-Video's: the first two boxes of the detector."""
    changes = dict(mode=mode, box_threshold=0.0) | ({} if mode == "faithful" else dict(max_objects=2))
    auto = outputs(**changes)
    assert auto["digests"] == outputs(**changes, order=same)["digests"]
    assert auto["digests"] != outputs(**changes, order=other)["digests"]
    assert max(map(len, auto["boxes"])) == 2


@pytest.mark.parametrize("segmenter", ["tiny_sam", "tiny_sam2", "tiny_sam3"])
def test_faithful_has_two_objects_where_nothing_else_is_said(outputs, segmenter):
    assert max(map(len, outputs(**FAITHFUL, segmenter=segmenter, box_threshold=0.0)["boxes"])) == 2
    assert max(map(len, outputs(**FAITHFUL, segmenter=segmenter, box_threshold=0.0, max_objects=3)["boxes"])) == 3


def test_frames_with_nothing_in_them(inside):
    held = inside("masks", "nothing_in_between", path=CLIP, when_empty="hold last")
    assert held["same"][1:4] == [1, 1, 1] and min(held["areas"]) > 0
    assert held["boxes"][2:4] == [0, 0] and held["log"] == ""
    empty = inside("masks", "nothing_in_between", path=CLIP, when_empty="empty")
    assert [area > 0 for area in empty["areas"]] == [True, True, False, False, True, True]
    error = inside("masks", "nothing_in_between", path=CLIP, when_empty="error")
    assert "Nothing is found in frame 2" in error


def test_objects_that_are_in_no_frame(inside):
    error = inside("masks", "nothing_in_between", path=CLIP, when_empty="error", objects="suti")
    assert "In frame 0" in error and "objects names: suti" in error and "1 (suit)" in error
    error = inside("masks", "nothing_in_between", path=CLIP, when_empty="error", objects="suit.")
    assert "In frame 2" in error and "Found there: nothing" in error
    made = inside("masks", "nothing_in_between", path=CLIP, when_empty="empty", objects="suti, 1")
    assert "objects names suti, which is in no frame; found: 1 (suit)" in made["log"]


def test_text_threshold_changes_labels_and_detector_id_the_detector(inside, outputs):
    differ = []
    for text in ("man. dog dog dog", "man man man. dog", "dog. man man man", "dog dog dog. man"):
        words = FAITHFUL | dict(text=text, max_objects=20, box_threshold=0.0)
        strict = outputs(**words, text_threshold=1.0)  # the phrase of the one surest word
        loose = outputs(**words, text_threshold=0.0)  # the phrase whose words are surest together
        differ.append(strict["objects"] != loose["objects"])
    assert any(differ)
    same = outputs(**FAITHFUL, detector="missing", detector_id="tiny_dino")
    assert same["digests"] == outputs(**FAITHFUL)["digests"]


def test_the_tracker_gets_its_options(inside):
    assert inside("masks", "tracker_options", path=CLIP) == [[30, 0, "best"]]
    changes = dict(redetect_every=7, max_objects=3, order="first")
    assert inside("masks", "tracker_options", path=CLIP, **changes) == [[7, 3, "first"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(text=" . "), ["GroundedMask: text is empty"]),
        (dict(objects="0"), ["objects names 0"]),
        (dict(detector="IDEA-Research/grounding-dino-tiny"), ["detector", "Missing: config.json", "allow_download"]),
        (dict(segmenter="facebook/sam3"), ["segmenter", "tokenizer.json or vocab.json", "allow_download"]),
        (dict(segmenter="tiny_dino"), ["segmenter", "grounding-dino", "sam2_video"]),
        (dict(segmenter_id="../x"), ["segmenter", "name of a folder"]),
        (dict(when_empty="error", box_threshold=1.0), ["Nothing is found in frame 0"]),
        (dict(sam3_model="x"), ["not ComfyUI's SAM 3"]),
    ],
)
def test_mistakes_are_named(inside, arguments, words):
    if "sam3_model" in arguments:
        message = inside("masks", "host_sam3_refused", path=CLIP, conditioned=True)
        assert "no sam3_conditioning" in inside("masks", "host_sam3_refused", path=CLIP, conditioned=False)
        alone = inside("masks", "host_sam3_refused", path=CLIP, conditioned=True, model_missing=True)
        assert "GroundedMask: sam3_conditioning is connected, but no sam3_model" in alone
        alone = inside("masks", "host_sam3_refused", path=CLIP, conditioned=True, model_missing=True, memory=True)
        assert "GroundedMask: sam3_memory is on, but no sam3_model" in alone
        without = inside("masks", "host_sam3_refused", path=CLIP, conditioned=True, memory=True)
        assert "GroundedMask: sam3_memory is on, but" in without and "has no track_step" in without
    else:
        message = inside("masks", "refused", path=CLIP, **arguments)
    assert not [each for each in words if each not in message], message


def test_the_stop_button(inside):
    assert inside("masks", "interrupted", path=CLIP, mode="faithful") == {"frames": 3}
    assert 3 <= inside("masks", "interrupted", path=CLIP, mode="tracked")["frames"] <= 6


@pytest.mark.parametrize("mode", ["tracked", "faithful"])
def test_the_hosts_own_sam3(inside, mode):
    """With a stand-in that has the calls of ComfyUI's SAM 3 which the pack makes; this ComfyUI has none."""
    result = inside("masks", "host_sam3", path=CLIP, mode=mode)
    assert result["iou"] > 0.9
    assert result["labels"] == ["suit"]
    assert result["most"] == 1  # doubles and what it is not sure of do not count
    assert result["largest"] == 1


def test_room_is_made_for_masks_in_the_size_of_the_frames(inside):
    """Bytes that the host is asked for beside the weights, with frames of 96 x 128 and twice that."""
    small, large = inside("masks", "room", path=CLIP)
    assert all(b - a == 3 * 96 * 128 * 256 for a, b in zip(small, large, strict=True)) and len(small) == 3


def test_id_maps(inside):
    result = inside("masks", "id_maps", path=CLIP)
    assert result["shape"] == [2, 96, 128, 3]
    assert result["regions"] >= 1
    assert result["numbers"] == list(range(min(result["numbers"]), result["regions"] + 1))
    assert result["scaled"] < 1e-6
    assert result["blue"] == 0
    assert result["coarse differs"] and result["quality differs"] and result["stability differs"]
    assert result["empty"] == 0
    assert "Missing" in result["missing"] and "SamIdMap" in result["missing"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("mode", "segmenter", "length", "size"),
    [("faithful", "tiny_sam", 400, (192, 256)), ("tracked", "tiny_sam2", 1200, (96, 128))],
)
def test_memory_does_not_grow_with_the_length(inside_alone, mode, segmenter, length, size):
    """From 50 frames of a file to many: anonymous memory in MB, and the most images in a forward pass.

    Faithful mode, where no frame knows of another, has fewer and larger ones. Kept, frames of uint8 alone would be 56
    MB more, and in tracked mode 42.
    """
    few = inside_alone("masks", "memory", length=50, mode=mode, segmenter=segmenter, size=size)
    many = inside_alone("masks", "memory", length=length, mode=mode, segmenter=segmenter, size=size)
    assert many["shape"] == [length, *size]
    assert many["memory"] - few["memory"] < 30, (few, many)
    assert many["largest"] == few["largest"] <= 4


def test_through_the_api(server, inside):
    """A video file to masks, boxes, preview and id map in a workflow; what it makes is in the output folder."""
    models = server.base / "models" / "transformers"
    inside("tiny_sam", "copy_all", target=str(models))
    shutil.copy(CLIP, server.base / "input" / "astronaut.mp4")
    prompt = {
        "1": {"class_type": "LoadLongVideo", "inputs": {
            "file": "astronaut.mp4", "start": 0.5, "length": 8, "fps": 0.0}},
        "2": {"class_type": "GroundedMask", "inputs": {
            "images": ["1", 0], "text": "man. dog.", "mode": "tracked", "detector": "tiny_dino",
            "segmenter": "tiny_sam3", "box_threshold": 0.2, "text_threshold": 0.25, "max_objects": 2, "order": "best",
            "objects": "", "redetect_every": 30, "fill_holes": 400, "grow": 2, "feather": 3, "smooth": 1,
            "invert": False, "when_empty": "empty", "preview_size": 256, "allow_download": False}},
        "3": {"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "mask"}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["2", 3], "filename_prefix": "preview"}},
        "6": {"class_type": "PreviewAny", "inputs": {"source": ["2", 2]}},
        "7": {"class_type": "SamIdMap", "inputs": {
            "images": ["1", 0], "segmenter": "tiny_sam", "points_per_side": 3, "quality": 0.0, "stability": 0.2,
            "scale": "0 to 1", "allow_download": False}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "ids"}},
    }  # fmt: skip
    history, messages = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    facts = json.loads(history["outputs"]["6"]["text"][0])
    assert len(facts["frames"]) == 8 and facts["width"] == 256
    for node in ("4", "5", "8"):
        assert len(history["outputs"][node]["images"]) == 8
    bars = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "progress"]
    assert [bar["value"] for bar in bars if bar["node"] == "2"][-1] == 8
    images = [m for m in messages if isinstance(m, bytes) and b"\xff\xd8\xff" in m[:200]]
    assert images
