"""What the nodes that look at images share, in a real ComfyUI: models in its folders, results in its temp folder."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_large_results_lie_in_a_file(inside):
    result = inside("vision", "mapped_memory")
    assert result["shape"] == [600, 512, 256, 1]
    assert result["grown"] < 60  # of 300 MB
    assert result["files"] == []
    assert (result["mean"], result["view"], result["small"]) == (0.5, 1.5, 0)


def test_a_full_disk_is_said_before(inside):
    assert "GB left" in inside("vision", "no_room")


def test_a_model_is_loaded_once_and_unloaded_by_the_host(inside):
    result = inside("vision", "loading")
    assert result["names"] == ["someone/tiny-vit"]
    assert result["same"] and result["known"] and result["gone"] and result["kept"]
    assert result["anew"]  # after as many others as are kept
    assert result["logits"] == [1, 2]
    assert result["dtype"] == "torch.float32"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(name="someone/missing"), ["Missing: config.json, model.safetensors, preprocessor_config.json",
                                        "https://huggingface.co/someone/missing", "transformers", "allow_download"]),
        (dict(name="someone/missing", allow_download=True), ["could not be downloaded"]),
        (dict(name="missing", allow_download=True), ["no Hugging Face id"]),
        (dict(name="../outside"), ["must be the name of a folder"]),
        (dict(name="/etc"), ["must be the name of a folder"]),
        (dict(name=""), ["must be the name of a folder"]),
        (dict(name="."), ["must be the name of a folder"]),
        (dict(name="part", broken="preprocessor_config.json"), ["Missing: preprocessor_config.json"]),
        (dict(name="shards", broken="shards"), ["Missing: model-00001-of-00002.safetensors"]),
        (dict(name="bert", broken="type"), ["'bert'", "must be one of vit"]),
        (dict(name="pickle", broken="pickle"), ["might run code"]),
        (dict(name="backbone", broken="backbone"), ["backbone to be downloaded", "'microsoft/resnet-50'"]),
        (dict(name="future", broken="README.md"), ["ViTFromTheFuture", "Update transformers"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(inside, arguments, words):
    message = inside("vision", "refused", **arguments)
    assert not [each for each in words if each not in message], message


def test_a_model_that_lacks_weights_is_refused(inside):
    for what in ("head", "names"):
        message = inside("vision", "lacking", what=what)
        assert "does not hold the weights of SegformerForSemanticSegmentation" in message, message
    assert inside("vision", "lacking", what="unused") == "loaded"  # DPT's public files lack a layer that nothing uses


def test_errors_of_files_get_the_name_of_the_node(inside):
    result = inside("vision", "naming_of_files")
    assert [each[:2] for each in result] == [
        ["builtins", "FileNotFoundError"], ["builtins", "OSError"], ["builtins", "PermissionError"]
    ]  # fmt: skip
    assert all(message.startswith("Node: ") for *_, message in result)
