"""The files of StreamingT2V's weights: the list of published names, tiny files of the same pattern, and mistakes."""

import gzip
import json
import os
import pickle
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_streamingt2v import ADDED, PUBLISHED, TINY, VIDXTEND, in_file, tiny_weights

from glv_core.streamingt2v import (
    ConditionEncoder,
    CrossAttentionMerger,
    Sizes,
    TokenMixer,
    TokenResampler,
    checkpoint,
    convert,
    expected_shapes,
    load_checkpoint,
    split_weights,
    weight_files,
)
from glv_core.streamingt2v.sizes import TextSizes, VaeSizes, read_sizes

#: Names and shapes of the published file: of the authors' classes at their real size, without weights.
MANIFEST = json.loads(gzip.decompress((Path(__file__).parent / "manifest.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def weights():
    return tiny_weights()


@pytest.fixture
def ckpt(weights, tmp_path):
    """A training checkpoint, with what an optimizer remembers."""
    path = tmp_path / "streaming_t2v.ckpt"
    moments = {number: {"exp_avg": each / 10, "exp_avg_sq": each**2} for number, each in enumerate(weights.values())}
    states = {"optimizer_states": [{"state": moments}], "epoch": 3, "global_step": 1000, "loops": {"fit_loop": {}}}
    torch.save({"state_dict": weights, **states}, path)
    return path


def parts_of(split):
    return {part: getattr(split, part) for part in checkpoint.PARTS}


def same(some, others):
    return {part: list(each) for part, each in some.items()} == {
        part: list(each) for part, each in others.items()
    } and all(torch.equal(weight, others[part][name]) for part, each in some.items() for name, weight in each.items())


def test_the_published_names_and_shapes_are_known():
    wanted = {
        in_file(part, name): list(shape)
        for part, names in expected_shapes(Sizes()).items()
        for name, shape in names.items()
    }
    assert len(MANIFEST) == 3407
    assert wanted == MANIFEST
    split = split_weights({name: torch.empty(shape, device="meta") for name, shape in MANIFEST.items()})
    assert split.sizes == Sizes()
    counts = {part: len(each) for part, each in parts_of(split).items()}
    assert counts == {
        "base": 1480, "branch": 666, "encoder": 16, "mergers": 143, "mixers": 80, "resampler": 4, "image_encoder": 398,
        "text_encoder": 372, "vae": 248,
    }  # fmt: skip
    assert (
        sum(weight.numel() for weight in split.branch.values())
        + sum(weight.numel() for weight in split.encoder.values())
        == 621_981_664
    )


def test_our_modules_have_the_published_names():
    shapes = expected_shapes(TINY)

    def of(module):
        return {name: tuple(weight.shape) for name, weight in module.state_dict().items()}

    def inside(part, place):
        return {name.removeprefix(place): shape for name, shape in shapes[part].items() if name.startswith(place)}

    for number, width in enumerate(TINY.skips):
        assert of(CrossAttentionMerger(width, 8)) == inside("mergers", f"down_blocks.{number}.")
    assert of(CrossAttentionMerger(64, 8)) == inside("mergers", "mid_block.")
    assert len(TINY.text_layers) == 16
    for layer in TINY.text_layers:
        assert of(TokenMixer(7, 3, 32)) == inside("mixers", f"{layer}.")
    assert of(ConditionEncoder(32, (4, 6, 8, 8))) == shapes["encoder"]
    assert of(TokenResampler(32, 12, 3)) == shapes["resampler"]


def test_channels_of_the_skip_connections():
    assert Sizes().skips == (320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_sizes_are_read_from_shapes(data):
    number = st.integers(1, 9)
    sizes = Sizes(
        widths=tuple(data.draw(st.lists(number.map(lambda n: 32 * n), min_size=2, max_size=5))),
        layers=data.draw(st.integers(1, 3)),
        text_width=data.draw(number),
        head_width=data.draw(number),
        latent_channels=data.draw(number),
        encoder_widths=tuple(data.draw(st.lists(number, min_size=2, max_size=5))),
        text_tokens=data.draw(number),
        anchor_tokens=data.draw(number),
        anchor_inner=data.draw(number),
        text=TextSizes(*data.draw(st.tuples(*[number] * 5))),
        vae=VaeSizes(tuple(data.draw(st.lists(number, min_size=2, max_size=4))), data.draw(number), data.draw(number)),
    )
    assert read_sizes(expected_shapes(sizes)) == sizes


def test_a_training_checkpoint_is_read_without_its_optimizer(ckpt, weights):
    split = load_checkpoint(ckpt)
    assert split.sizes == TINY
    wanted = {part: {} for part in checkpoint.PARTS}
    for part, names in expected_shapes(TINY).items():
        wanted[part] = {name: weights[in_file(part, name)] for name in names}
    got = parts_of(split)
    assert all(set(got[part]) == set(wanted[part]) for part in wanted)
    assert all(torch.equal(got[part][name], each) for part, names in wanted.items() for name, each in names.items())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
@pytest.mark.parametrize("converted", [False, True])
def test_tensors_are_mapped_from_the_file(ckpt, converted):
    path = convert(ckpt) if converted else ckpt
    weights = weight_files.read_tensors(path)
    spans = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    assert all(any(begin <= each.data_ptr() < end for begin, end in spans) for each in weights.values())


def test_vidxtends_names_mean_the_same(tmp_path, weights):
    known = tuple(part for part in PUBLISHED if part != "image_encoder")
    path = tmp_path / "vidxtend.safetensors"
    save_file(tiny_weights(known, VIDXTEND), path)
    split = load_checkpoint(path)
    own = parts_of(split_weights(tiny_weights(known)))
    assert {part: set(each) for part, each in parts_of(split).items()} == {
        part: set(each) for part, each in own.items()
    }
    assert all(
        torch.equal(getattr(split, part)[name], each) for part, some in own.items() for name, each in some.items()
    )
    assert not split.image_encoder and split.base


def test_parts_that_are_not_the_papers_may_be_left_out():
    split = split_weights(tiny_weights(ADDED))
    assert all(getattr(split, part) for part in ADDED)
    assert not (split.base or split.vae or split.text_encoder or split.image_encoder)
    assert split.sizes.widths == TINY.widths


def test_what_old_libraries_stored_beside_is_left_out(weights):
    more = weights | {"text_encoder.text_model.embeddings.position_ids": torch.arange(7)[None]}
    assert same(parts_of(split_weights(more)), parts_of(split_weights(weights)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_copies_in_half_precision_are_taken_as_they_are(weights, dtype):
    split = split_weights({name: weight.to(dtype) for name, weight in weights.items()})
    assert {weight.dtype for part in parts_of(split).values() for weight in part.values()} == {dtype}


def changed(weights, drop=(), add=(), shape=()):
    some = {name: weight for name, weight in weights.items() if name not in drop}
    return some | {name: torch.zeros(1) for name in add} | {name: torch.zeros(5, 6) for name in shape}


def test_all_mistakes_are_said_at_once_by_part(weights):
    merger = "base_model.cross_attention_merger_mid_block.temporal_transformer."
    mixer = "base_model.mid_block.attentions.0.transformer_blocks.0.attn2."
    bad = changed(
        weights,
        drop=[merger + "proj_out.weight", *(name for name in weights if name.startswith("resampler."))],
        add=["base_model.extra.weight", "elsewhere.weight"],
        shape=[mixer + "conv_ln.weight"],
    )
    with pytest.raises(ValueError) as told:
        split_weights(bad)
    assert str(told.value) == (
        "These are not StreamingT2V's weights. UNet has the unknown extra.weight; mergers lacks "
        "mid_block.proj_out.weight; token mixers has in another shape "
        "mid_block.attentions.0.transformer_blocks.0.attn2.conv_ln.weight (5x6, not 32); resampler lacks "
        "context_embedding.0.weight, context_embedding.0.bias, context_embedding.2.weight and 1 more; no part has the "
        "unknown elsewhere.weight. Choose streaming_t2v.ckpt, and download it again if it is that."
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_weight_that_is_missing_or_of_another_shape_is_named(weights, data):
    name = data.draw(st.sampled_from(sorted(weights)))
    inner = name.split(".")[-1]
    with pytest.raises(ValueError, match=rf"lacks .*{inner}|has in another shape"):
        split_weights(changed(weights, drop=[name]))
    with pytest.raises(ValueError, match=r"has in another shape|has the unknown|lacks"):
        split_weights(changed(weights, shape=[name]))


def test_weights_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"copy of the UNet's way down lacks conv_in\.weight"):
        split_weights({"model.diffusion_model.out.2.bias": torch.zeros(4)})


def test_converting_halves_the_weights_and_drops_the_optimizer(ckpt, weights):
    half = convert(ckpt)
    assert half == ckpt.with_name("streaming_t2v.fp16.safetensors")
    assert sorted(os.listdir(ckpt.parent)) == [ckpt.name, half.name]
    written = load_file(half)
    assert set(written) == set(weights)
    assert all(torch.equal(written[name], weight.half()) for name, weight in weights.items())
    assert half.stat().st_size < ckpt.stat().st_size / 5
    split = load_checkpoint(ckpt)
    assert {weight.dtype for part in parts_of(split).values() for weight in part.values()} == {torch.float16}
    assert split.sizes == TINY


def test_converting_again_does_nothing(ckpt, monkeypatch):
    half = convert(ckpt)
    monkeypatch.setattr(checkpoint, "write_half", None)
    assert convert(ckpt) == half
    assert convert(half) == half


def test_a_checkpoint_newer_than_its_copy_is_read_itself(ckpt, weights):
    half = convert(ckpt)
    os.utime(half, (1, 1))
    assert {weight.dtype for weight in load_checkpoint(ckpt).vae.values()} == {torch.float32}
    assert convert(ckpt).stat().st_mtime > 1


def test_the_copy_is_enough(ckpt):
    convert(ckpt)
    ckpt.unlink()
    assert load_checkpoint(ckpt).base


def test_one_tensor_at_a_time_is_in_memory(weights, tmp_path, monkeypatch):
    alive = []
    plain = torch.Tensor.contiguous

    def seen(tensor):
        alive[:] = [each for each in alive if each() is not None]
        assert len(alive) < 2
        out = plain(tensor)
        alive.append(weakref.ref(out))
        return out

    monkeypatch.setattr(torch.Tensor, "contiguous", seen)
    weight_files.write_half(weights, tmp_path / "x.fp16.safetensors")
    assert alive


def test_numbers_too_large_for_half_precision_leave_no_file(weights, tmp_path):
    path = tmp_path / "large.safetensors"
    large = dict(weights)
    large["vae.quant_conv.bias"] = torch.full((8,), 1e6)
    save_file(large, path)
    with pytest.raises(ValueError, match=r"large.safetensors: vae.quant_conv.bias has numbers too large"):
        convert(path)
    assert os.listdir(tmp_path) == ["large.safetensors"]


def test_a_copy_is_not_made_of_other_weights(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"other.safetensors: These are not StreamingT2V's weights"):
        convert(path)
    assert os.listdir(tmp_path) == ["other.safetensors"]


class Trap:
    """A pickle that would run something."""

    def __reduce__(self):
        return os.mkdir, ("must_not_be_made",)


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_files_that_cannot_be_read_say_so(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    with pytest.raises(ValueError, match=rf"{name}: there is no such file"):
        load_checkpoint(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=rf"{name}: it cannot be read \(.+\). Download it again"):
        load_checkpoint(path)
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(ValueError, match=r"empty.ckpt: it holds no weights"):
        load_checkpoint(tmp_path / "empty.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}, "callbacks": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError, match=r"trap.ckpt: it cannot be read"):
        load_checkpoint(tmp_path / "trap.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"plain.ckpt: it cannot be read"):
        load_checkpoint(tmp_path / "plain.ckpt")
    assert not Path("must_not_be_made").exists()
