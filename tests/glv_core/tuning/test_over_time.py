"""Layers over time against sums written out: what they add, what they are at first, and their files."""

import pytest
import torch

from glv_core.tuning.over_time import LayersOverTime

BLOCKS = {"down.0.block": (12, 3), "middle.block": (8, 2)}


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def layers(awake=True):
    made = LayersOverTime(BLOCKS, seeded())
    if awake:
        for index, weight in enumerate(made.parameters()):
            weight.data += torch.randn(weight.shape, generator=seeded(index)) * 0.3
    return made


def frames(clips, length, tokens=4, width=12, seed=5):
    return torch.randn(clips * length, tokens, width, generator=seeded(seed))


def by_hand(made, block, clip):
    """One clip ``frames tokens width``, in double: a place, a head and a frame at a time."""
    weights = {name.removeprefix(f"{block}."): each.double() for name, each in made.tensors().items()}
    heads, clip = BLOCKS[block][1], clip.double()
    size = clip.shape[-1] // heads
    out = torch.zeros_like(clip)
    for place in range(clip.shape[1]):
        x = clip[:, place]
        middle = x - x.mean(-1, keepdim=True)
        x = middle / (middle.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        x = x * weights["norm.weight"] + weights["norm.bias"]
        q, k, v = (x @ weights[f"attention.to_{part}.weight"].T for part in "qkv")
        for frame in range(len(clip)):
            seen = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                scores = torch.stack([q[frame, part] @ k[other, part] for other in range(len(clip))]) / size**0.5
                seen.append(scores.softmax(0) @ v[:, part])
            out[frame, place] = weights["attention.to_out.weight"] @ torch.cat(seen) + weights["attention.to_out.bias"]
    return clip + out


def test_it_is_attention_over_the_frames_of_each_place():
    made, x = layers(), frames(2, 5)
    wanted = torch.cat([by_hand(made, "down.0.block", clip) for clip in x.chunk(2)])
    torch.testing.assert_close(made.add("down.0.block", x, 2).double(), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - x).abs().max() > 0.1


def test_nothing_is_changed_at_first():
    made, x = layers(awake=False), frames(2, 5)
    assert torch.equal(made.add("down.0.block", x, 2), x)
    assert torch.equal(made.add("middle.block", x[..., :8], 1), x[..., :8])


def test_first_weights_are_those_of_a_linear_layer_and_come_from_the_generator():
    before = torch.get_rng_state()
    one, same, other = (LayersOverTime({"b": (64, 8)}, seeded(seed)).tensors() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for part in "qkv":
        name = f"b.attention.to_{part}.weight"
        assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])
        assert 0.98 / 8 < float(one[name].abs().max()) <= 1 / 8  # evenly to one over the root of the width
        assert abs(float(one[name].std()) - 3**-0.5 / 8) < 2e-3
    assert not torch.equal(one["b.attention.to_q.weight"], one["b.attention.to_k.weight"])
    assert not one["b.attention.to_out.weight"].any() and not one["b.attention.to_out.bias"].any()


def test_the_attention_is_trained_and_the_norm_is_not():
    made, x = layers(), frames(1, 4)
    parts = ["attention.to_k.weight", "attention.to_out.bias", "attention.to_out.weight", "attention.to_q.weight",
             "attention.to_v.weight"]  # fmt: skip
    assert sorted(made.trained()) == sorted(f"{block}.{part}" for block in BLOCKS for part in parts)
    made.add("down.0.block", x).square().sum().backward()
    for name, weight in made.trained().items():
        assert (weight.grad is not None and bool(weight.grad.any())) == name.startswith("down")
    assert all(weight.grad is None for weight in made.norms.parameters())


def test_a_frame_moves_its_own_clip_alone():
    made, x = layers(), frames(2, 3)
    changed = x.clone()
    changed[4] += torch.arange(12)  # not the same everywhere, which the norm would take away
    moved = (made.add("down.0.block", changed, 2) - made.add("down.0.block", x, 2)).abs().amax(dim=(1, 2)) > 1e-4
    assert moved.tolist() == [False] * 3 + [True] * 3


def test_they_can_be_left_out_for_a_while():
    made, x = layers(), frames(1, 4)
    plain = made.add("down.0.block", x)
    with made.left_out():
        assert made.add("down.0.block", x) is x
    assert torch.equal(made.add("down.0.block", x), plain)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_activations_keep_their_type(kind):
    made, x = layers(), frames(1, 4)
    out = made.add("down.0.block", x.to(kind))
    assert out.dtype == kind and {weight.dtype for weight in made.parameters()} == {torch.float32}
    torch.testing.assert_close(out.float(), made.add("down.0.block", x), atol=0.1, rtol=0.05)


def test_a_file_gives_them_back():
    made, x = layers(), frames(2, 3)
    again = LayersOverTime.of_tensors(made.tensors(), {block: heads for block, (_, heads) in BLOCKS.items()})
    assert again.blocks == made.blocks and again.sizes == BLOCKS
    assert torch.equal(again.add("down.0.block", x, 2), made.add("down.0.block", x, 2))
    assert list(again.trained()) == list(made.trained())
    name = "middle.block.attention.to_v.weight"
    before = made.tensors()[name].clone()
    again.trained()[name].data += 1
    assert torch.equal(made.tensors()[name], before)


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.pop("middle.block.attention.to_v.weight"), r"lack middle.block.attention.to_v.weight"),
    (lambda t: t.pop("middle.block.norm.weight"), r"lack middle.block.norm.weight"),
    (lambda t: t.update({"up.norm.weight": torch.ones(8)}), r"have no place for up.norm.weight"),
    (lambda t: t.update({"middle.block.attention.to_out.bias": torch.ones(9)}),
     r"middle.block.attention.to_out.bias of the layers over time is \[9\], not \[8\]"),
])  # fmt: skip
def test_other_weights_are_refused_by_name(change, words):
    tensors = layers().tensors()
    change(tensors)
    with pytest.raises(ValueError, match=words):
        LayersOverTime.of_tensors(tensors, {block: heads for block, (_, heads) in BLOCKS.items()})


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="b has 3 heads, which do not divide its width, 8"):
        LayersOverTime({"b": (8, 3)})
    with pytest.raises(ValueError, match="A batch of 5 frames cannot be 2 clips"):
        layers().add("down.0.block", frames(1, 5), 2)
