"""Follow-Your-Pose's layers against loops written out, and its public weights against the list of their names."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from glv_core.editing import follow_your_pose as layers
from glv_core.editing.follow_your_pose import (
    PoseAdapter,
    TemporalAttention,
    TemporalConv,
    TemporalLayers,
    as_clips,
    as_frames,
    conv_rank,
    first_and_previous,
)
from glv_core.editing.follow_your_pose_weights import ADAPTER, adapter_shapes, place_of, public_shapes, split_weights

#: Names and shapes of the public network: of the authors' classes at their real size, without weights.
MANIFEST = json.loads((Path(__file__).parent / "follow_your_pose_manifest.json").read_text())


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(module, seed=1):
    for index, parameter in enumerate(module.parameters()):
        parameter.data = random(*parameter.shape, seed=seed + index) * 0.3
    return module.requires_grad_(False)


@pytest.mark.parametrize(
    ("clips", "frames", "table"),
    [
        (1, 5, [(0, 0), (0, 0), (0, 1), (0, 2), (0, 3)]),
        (2, 3, [(0, 0), (0, 0), (0, 1), (3, 3), (3, 3), (3, 4)]),
        (3, 1, [(0, 0), (1, 1), (2, 2)]),
    ],
)
def test_a_frame_sees_the_first_of_its_clip_and_the_one_before(clips, frames, table):
    tokens = random(clips * frames, 4, 6)
    seen = first_and_previous(tokens, clips)
    wanted = torch.stack([torch.cat((tokens[first], tokens[previous])) for first, previous in table])
    assert torch.equal(seen, wanted)


def attention_by_hand(module, x):
    """One sequence, one head, one frame at a time."""
    out = torch.zeros_like(x)
    size = x.shape[-1] // module.heads
    for sequence in range(x.shape[0]):
        q, k, v = (x[sequence] @ layer.weight.T for layer in (module.to_q, module.to_k, module.to_v))
        for head in range(module.heads):
            part = slice(head * size, (head + 1) * size)
            for frame in range(x.shape[1]):
                scores = torch.stack([q[frame, part] @ k[other, part] for other in range(x.shape[1])]) / size**0.5
                out[sequence, frame, part] = scores.softmax(0) @ v[:, part]
    return out @ module.to_out.weight.T + module.to_out.bias


def test_attention_over_time_is_the_loop(monkeypatch):
    module = filled(TemporalAttention(12, 3))
    x = random(7, 5, 12)
    wanted = attention_by_hand(module, x)
    torch.testing.assert_close(module(x), wanted, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(layers, "_SEQUENCES", 6)  # two sequences in a call
    calls = []
    attend = functional.scaled_dot_product_attention
    monkeypatch.setattr(functional, "scaled_dot_product_attention", lambda *a: calls.append(len(a[0])) or attend(*a))
    torch.testing.assert_close(module(x), wanted, atol=1e-5, rtol=1e-5)
    assert calls == [2, 2, 2, 1]


def test_a_convolution_over_time_that_begins_at_zero_is_no_change():
    module = filled(TemporalConv(8, 4))
    x = random(6, 8, 5)
    middle = functional.conv1d(functional.pad(x, (1, 1)), module.down.weight)
    torch.testing.assert_close(module(x), x + functional.conv1d(functional.pad(middle, (1, 1)), module.up.weight))
    assert not torch.equal(module(x), x)
    nn.init.zeros_(module.up.weight)
    assert torch.equal(module(x), x)


def test_the_layers_over_time_stay_inside_each_clip():
    module = filled(TemporalLayers(8, 2))
    x = random(6, 4, 8)
    both = module(x, 2)
    torch.testing.assert_close(both, torch.cat((module(x[:3]), module(x[3:]))), atol=1e-6, rtol=1e-6)
    assert (both - module(x, 1)).abs().max() > 1e-3
    changed = x.clone()
    changed[4] += 1
    assert torch.equal(module(changed, 2)[:3], both[:3])
    assert all((module(changed, 2)[frame] - both[frame]).abs().max() > 1e-4 for frame in (3, 4, 5))


def test_the_layers_over_time_come_in_their_order_with_their_residuals():
    module = filled(TemporalLayers(8, 2))
    x = random(5, 3, 8)
    by_place = x.transpose(0, 1)
    attended = by_place + attention_by_hand(module.attention, functional.layer_norm(
        by_place, (8,), module.norm.weight, module.norm.bias))  # fmt: skip
    wanted = module.conv(attended.transpose(1, 2)).permute(2, 0, 1)
    torch.testing.assert_close(module(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", [first_and_previous, as_clips, TemporalLayers(4, 2)])
@pytest.mark.parametrize("clips", [2, 0])
def test_a_batch_that_is_no_clips_is_refused(function, clips):
    with pytest.raises(ValueError, match=f"5 frames cannot be {clips} clips"):
        function(random(5, 3, 4), clips)


def test_a_norm_between_is_of_all_frames_of_a_clip():
    norm = filled(nn.GroupNorm(2, 4))
    x = random(6, 4, 3, 5) * torch.arange(1, 7).view(6, 1, 1, 1)
    pooled = as_frames(norm(as_clips(x, 2)))
    for part in (slice(0, 3), slice(3, 6)):
        groups = x[part].unflatten(1, (2, 2))
        mean = groups.mean(dim=(0, 2, 3, 4), keepdim=True)
        deviation = (groups.var(dim=(0, 2, 3, 4), keepdim=True, correction=0) + norm.eps).sqrt()
        wanted = ((groups - mean) / deviation).flatten(1, 2) * norm.weight.view(4, 1, 1) + norm.bias.view(4, 1, 1)
        torch.testing.assert_close(pooled[part], wanted)
    assert (pooled - norm(x)).abs().max() > 0.1
    torch.testing.assert_close(as_frames(norm(as_clips(x, 6))), norm(x))  # clips of one frame
    assert torch.equal(as_frames(as_clips(x, 2)), x)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 192), (72, 104)])
def test_the_pose_encoder_makes_a_feature_for_each_of_four_levels(height, width):
    adapter = filled(PoseAdapter((4, 8, 16, 16)))
    features = adapter(random(2, 3, height, width).sigmoid())
    sizes, wanted = (height // 8, width // 8), []
    for channels in (4, 8, 16, 16):
        wanted.append((2, channels, *sizes))
        sizes = tuple((size + 1) // 2 for size in sizes)  # as the UNet halves
    assert [tuple(feature.shape) for feature in features] == wanted
    assert all(feature.abs().max() > 0 for feature in features)


def meta(shapes):
    return {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}


def test_the_names_and_shapes_are_the_public_ones():
    ours = public_shapes() | {ADAPTER + name: shape for name, shape in adapter_shapes().items()}
    assert ours == {name: tuple(shape) for name, shape in MANIFEST.items()}
    assert len(MANIFEST) == 686 + 16 * 9 + 38


def test_every_public_weight_is_used_once_and_none_is_left_over():
    public = meta(MANIFEST)
    weights = split_weights(public)
    modules = {
        block: TemporalLayers(each["norm.weight"].shape[0], 8, device="meta")
        for block, each in weights.temporal.items()
    }
    for block, each in weights.temporal.items():
        modules[block].load_state_dict(each, assign=True)  # strict: all of them, of their shapes
    PoseAdapter(device="meta").load_state_dict(weights.adapter, assign=True)
    used = [*weights.unet.values(), *weights.adapter.values()]
    used += [weight for each in weights.temporal.values() for weight in each.values()]
    assert sorted(map(id, used)) == sorted(map(id, public.values()))
    assert len(weights.unet) == 686 and len(modules) == 16
    assert {conv_rank(width) for width in (320, 640, 1280)} == {160}


def test_places_are_those_of_stable_diffusion():
    places = {
        "down_blocks.0.resnets.0.time_emb_proj.bias": "input_blocks.1.0.emb_layers.1.bias",
        "down_blocks.1.downsamplers.0.conv.weight": "input_blocks.6.0.op.weight",
        "down_blocks.3.resnets.1.conv2.weight": "input_blocks.11.0.out_layers.3.weight",
        "mid_block.resnets.1.norm1.weight": "middle_block.2.in_layers.0.weight",
        "up_blocks.0.upsamplers.0.conv.bias": "output_blocks.2.1.conv.bias",
        "up_blocks.2.upsamplers.0.conv.bias": "output_blocks.8.2.conv.bias",
        "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.2.bias":
            "output_blocks.11.1.transformer_blocks.0.ff.net.2.bias",
    }  # fmt: skip
    assert {name: place_of(name) for name in places} == {name: (place, "") for name, place in places.items()}
    assert place_of("mid_block.attentions.0.transformer_blocks.0.attn_temp.to_out.0.bias") == (
        "middle_block.1.transformer_blocks.0", "attention.to_out.bias",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"no weight 'blocks\.0\.weight'"):
        place_of("blocks.0.weight")


def test_weights_of_several_gpus_and_without_an_adapter():
    public = meta(public_shapes())
    weights = split_weights({f"module.{name}": weight for name, weight in public.items()})
    assert len(weights.unet) == 686 and weights.adapter == {}


def test_other_weights_are_refused_by_their_names():
    public = meta(MANIFEST)
    plain = {name: weight for name, weight in public.items() if "temp" not in name}
    with pytest.raises(ValueError, match=r"UNet .* lacks .*attentions\.0.*norm_temp\.weight.* and 141 more"):
        split_weights(plain)
    with pytest.raises(ValueError, match=r"unknown weights conv_outside\.weight\. Choose"):
        split_weights({**public, "conv_outside.weight": public["conv_out.weight"]})
    wrong = {**public, "conv_out.weight": torch.empty(3, 320, 3, 3, device="meta")}
    with pytest.raises(ValueError, match=r"another shape are conv_out\.weight \(3x320x3x3, not 4x320x3x3\)"):
        split_weights(wrong)
    del public["skeleton_adapter.body.4.in_conv.bias"]
    with pytest.raises(ValueError, match=r"pose encoder .* lacks body\.4\.in_conv\.bias"):
        split_weights(public)
    with pytest.raises(ValueError, match=r"lacks conv_in\.weight"):
        split_weights({})
