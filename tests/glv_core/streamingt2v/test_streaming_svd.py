"""StreamingSVD's numbers, and its file taken apart by hand-written names."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from tiny_streaming_svd import NETWORK, WIDTHS, added_weights, merger_names, randomly

from glv_core.streaming import plan_chunks
from glv_core.streamingt2v import ConditionEncoder, CrossAttentionMerger
from glv_core.streamingt2v.shapes import image_shapes
from glv_core.streamingt2v.sizes import ImageSizes
from glv_core.streamingt2v.streaming_svd import (
    ANCHOR_FRAME,
    AUGMENTATION,
    CHUNK,
    FPS_ID,
    MOTION_BUCKET,
    OVERLAP,
    load_svd_checkpoint,
    split_svd_weights,
)

SKIPS = (64, 64, 64, 128)
#: Of a network: a convolution, a residual block, a halving, and a wider residual block; some of their names.
BASE = {
    "time_embed.0.weight": (256, 64), "label_emb.0.0.weight": (256, 768), "input_blocks.0.0.weight": (64, 8, 3, 3),
    "input_blocks.1.0.out_layers.3.weight": (64, 64, 3, 3), "input_blocks.1.1.time_stack.0.norm1.weight": (64,),
    "input_blocks.2.0.op.weight": (64, 64, 3, 3), "input_blocks.3.0.out_layers.3.weight": (128, 128, 3, 3),
    "middle_block.0.out_layers.3.weight": (128, 128, 3, 3), "output_blocks.0.0.out_layers.3.weight": (128, 128, 3, 3),
    "out.2.weight": (4, 64, 3, 3),
}  # fmt: skip
TOWER = image_shapes(ImageSizes(24, 28, 2, 4, 17, 16, 12, 5, 11))


@pytest.fixture(scope="module")
def weights():
    clip = {f"conditioner.embedders.0.open_clip.model.{name}": shape for name, shape in TOWER.items()}
    more = {
        "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
        "conditioner.embedders.3.encoder.x.weight": (2, 2),
    }
    base = {NETWORK + name: shape for name, shape in BASE.items()}
    return {**randomly(base | clip | more, 1), **added_weights(BASE, SKIPS)}


def test_the_frames_of_chunks_are_those_of_the_specification():
    """25 frames, then 18 new ones a chunk; for 100 frames five chunks after the first, which make 115."""
    assert (CHUNK, OVERLAP, ANCHOR_FRAME, MOTION_BUCKET, FPS_ID, AUGMENTATION) == (25, 7, 6, 127, 6, 0.02)
    for frames, later, made in ((25, 0, 25), (26, 1, 43), (43, 1, 43), (44, 2, 61), (100, 5, 115), (115, 5, 115)):
        chunks = plan_chunks(frames, CHUNK, OVERLAP)
        assert (len(chunks) - 1, chunks[-1].stop) == (later, made)
        assert [chunk.overlap for chunk in chunks] == [0] + [7] * later
        assert [chunk.first_new for chunk in chunks[1:]] == [25 + 18 * number for number in range(later)]


def test_weights_are_sorted_by_their_names(weights):
    parts = split_svd_weights(weights)
    assert (parts.skips, parts.encoder_widths) == (SKIPS, WIDTHS)
    assert list(parts.base) == list(BASE)
    assert list(parts.branch) == [name for name in BASE if not name.startswith("out")]
    assert parts.base["input_blocks.0.0.weight"] is weights["model.diffusion_model.input_blocks.0.0.weight"]
    assert parts.branch["input_blocks.0.0.weight"] is weights["controlnet.input_blocks.0.0.weight"]
    assert list(parts.image_encoder) == [name for name in TOWER if name.startswith("visual.")]
    assert list(parts.vae) == ["encoder.conv_in.weight"]
    encoder = ConditionEncoder(64, WIDTHS, layer_norms=True)
    encoder.load_state_dict(parts.encoder)
    for number, width in enumerate(SKIPS):
        inside = f"input_blocks.{number}."
        merger = {name.removeprefix(inside): each for name, each in parts.mergers.items() if name.startswith(inside)}
        CrossAttentionMerger(width).load_state_dict(merger)
    assert sum(name.startswith("mid_block.") for name in parts.mergers) == 11 and len(parts.mergers) == 5 * 11


def test_the_published_network_has_twelve_mergers_and_one():
    """Of the published widths: three blocks a level, the last of which halves, and no halving at the end."""
    base = {"input_blocks.0.0.weight": (320, 8, 3, 3)}
    for number in range(1, 12):
        level = number // 3 if number % 3 else number // 3 - 1
        width = (320, 640, 1280, 1280)[level]
        kind = "out_layers.3" if number % 3 else "op"
        base[f"input_blocks.{number}.0.{kind}.weight"] = (width, width, 3, 3)
    meta = {NETWORK + name: torch.empty(shape, device="meta") for name, shape in base.items()}
    with pytest.raises(ValueError) as found:
        split_svd_weights(meta)
    assert "mergers lacks input_blocks.0.norm.weight" in str(found.value)
    assert f"and {13 * 11 - 3} more" in str(found.value)


@pytest.mark.parametrize("left_out", ["conditioner.", "first_stage_model."])
def test_what_the_host_has_itself_may_be_missing(weights, left_out):
    parts = split_svd_weights({name: each for name, each in weights.items() if not name.startswith(left_out)})
    assert not (parts.image_encoder if left_out == "conditioner." else parts.vae)


def without(weights, name):
    assert name in weights
    return {each: weight for each, weight in weights.items() if each != name}


MERGER = "model.diffusion_model.cross_attention_merger_mid_block.temporal_transformer.proj_out.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: without(w, MERGER), r"mergers lacks mid_block\.proj_out\.bias\."),
        (lambda w: {**w, MERGER: torch.zeros(2)},
         r"mergers has in another shape mid_block\.proj_out\.bias \(2, not 128\)"),
        (lambda w: {**w, **randomly(merger_names("input_blocks.4", 64), 1)},
         r"mergers has the unknown input_blocks\.4\."),
        (lambda w: without(w, "controlnet.input_blocks.2.0.op.weight"),
         r"copy of the UNet's way down lacks input_blocks\.2\.0\.op\.weight"),
        (lambda w: {**w, "controlnet.out.2.weight": torch.zeros(1)},
         r"copy of the UNet's way down has the unknown out\.2\.weight"),
        (lambda w: without(w, "controlnet.controlnet_cond_embedding.norms.5.bias"),
         r"condition encoder lacks norms\.5\.bias"),
        (lambda w: without(w, "conditioner.embedders.0.open_clip.model.visual.proj"),
         r"image encoder lacks visual\.proj"),
        (lambda w: {**w, "base_model.x": torch.zeros(1)}, r"no part has the unknown base_model\.x"),
        (lambda w: {"some.weight": torch.zeros(1)}, r"no Stable Video Diffusion's UNet"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_part_by_part(weights, change, words):
    with pytest.raises(ValueError, match=words):
        split_svd_weights(change(weights))


def test_a_file_is_read_and_its_name_said(weights, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    parts = load_svd_checkpoint(path)
    assert torch.equal(parts.mergers["mid_block.proj_out.bias"], weights[MERGER])
    save_file(without(weights, MERGER), path)
    with pytest.raises(ValueError, match=r"model\.safetensors: These are not StreamingSVD's weights\. mergers lacks"):
        load_svd_checkpoint(path)


def test_of_a_pickle_only_the_weights_are_read(weights, tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": weights, "optimizer_states": [{"x": torch.zeros(3)}]}, path)
    assert torch.equal(load_svd_checkpoint(path).mergers["mid_block.proj_out.bias"], weights[MERGER])

    class Harm:
        def __reduce__(self):
            return (print, ("it ran",))

    path.write_bytes(pickle.dumps({"state_dict": {"x": Harm()}}))
    with pytest.raises(ValueError, match="cannot be read"):
        load_svd_checkpoint(path)
