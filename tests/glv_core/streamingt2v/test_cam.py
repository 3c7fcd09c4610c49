"""Conditional attention against convolutions and attention written out in loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from glv_core.streamingt2v import ConditionEncoder, CrossAttentionMerger, cam


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module, seed=1):
    for index, parameter in enumerate(module.parameters()):
        parameter.data = random(*parameter.shape, seed=seed + index) * 0.3
    return module.requires_grad_(False)


def conv_by_hand(layer, image):
    """``c h w``, one place at a time."""
    stride = layer.stride[0]
    padded = functional.pad(image, (1, 1, 1, 1))
    rows, columns = (image.shape[1] - 1) // stride + 1, (image.shape[2] - 1) // stride + 1
    out = torch.zeros(layer.out_channels, rows, columns)
    for y in range(rows):
        for x in range(columns):
            patch = padded[:, y * stride : y * stride + 3, x * stride : x * stride + 3]
            out[:, y, x] = torch.einsum("ocij,cij->o", layer.weight, patch) + layer.bias
    return out


def encode_by_hand(encoder, image, norms=()):
    def silu(x):
        return x / (1 + torch.exp(-x))

    x = silu(conv_by_hand(encoder.conv_in, image))
    for index, block in enumerate(encoder.blocks):
        x = conv_by_hand(block, x)
        if norms:
            mean, var = x.mean(0), x.var(0, unbiased=False)
            normal = (x - mean) / (var + 1e-5).sqrt()
            x = normal * norms[index].weight[:, None, None] + norms[index].bias[:, None, None]
        x = silu(x)
    return conv_by_hand(encoder.conv_out, x)


@pytest.mark.parametrize("layer_norms", [False, True])
def test_the_encoder_is_its_convolutions_in_turn(layer_norms):
    encoder = filled(ConditionEncoder(10, (3, 4, 5, 6), layer_norms))
    frames = random(2, 2, 3, 16, 8).clamp(-1, 1)
    wanted = [[encode_by_hand(encoder, frame, encoder.norms) for frame in clip] for clip in frames]
    got = encoder(frames)
    assert got.shape == (2, 2, 10, 2, 1)
    torch.testing.assert_close(got, torch.stack([torch.stack(clip) for clip in wanted]), rtol=1e-4, atol=1e-5)


def test_the_published_encoder_has_the_papers_strides_and_no_norms():
    encoder = ConditionEncoder(device="meta")
    assert [block.stride[0] for block in encoder.blocks] == [1, 2, 1, 2, 1, 2]
    widths = [(block.in_channels, block.out_channels) for block in encoder.blocks]
    assert widths == [(32, 32), (32, 96), (96, 96), (96, 256), (256, 256), (256, 512)]
    assert encoder(torch.zeros(2, 8, 3, 256, 256, device="meta")).shape == (2, 8, 320, 32, 32)
    assert not [name for name in encoder.state_dict() if "norm" in name]
    assert len(ConditionEncoder(layer_norms=True, device="meta").norms) == 6


def test_zeros_at_its_end_say_nothing():
    encoder = filled(ConditionEncoder(10, (3, 4, 5, 6)))
    for parameter in encoder.conv_out.parameters():
        parameter.zero_()
    assert not encoder(random(1, 2, 3, 8, 8)).any()


@pytest.mark.parametrize("shape", [(1, 8, 3, 20, 16), (1, 8, 4, 16, 16), (8, 3, 16, 16)])
def test_frames_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 8"):
        ConditionEncoder(10, (3, 4, 5, 6))(torch.zeros(shape))


def merge_by_hand(merger, hidden, seen, head_width):
    """One clip, pixel, head and frame at a time."""
    out = hidden.clone()
    clips, frames, channels, height, width = hidden.shape
    groups = channels // 32
    for clip in range(clips):
        normal = torch.empty_like(hidden[clip])
        for group in range(32):
            part = slice(group * groups, (group + 1) * groups)
            some = hidden[clip][:, part]
            normal[:, part] = (some - some.mean()) / (some.var(unbiased=False) + 1e-6).sqrt()
        normal = normal * merger.norm.weight[:, None, None] + merger.norm.bias[:, None, None]
        for y in range(height):
            for x in range(width):
                asking = normal[:, :, y, x] @ merger.proj_in.weight.T + merger.proj_in.bias
                told = seen[clip, :, :, y, x]
                attention = merger.attention
                q, k, v = (
                    asking @ attention.to_q.weight.T,
                    told @ attention.to_k.weight.T,
                    told @ attention.to_v.weight.T,
                )
                found = torch.zeros(frames, channels)
                for start in range(0, channels, head_width):
                    part = slice(start, start + head_width)
                    for frame in range(frames):
                        scores = torch.stack([q[frame, part] @ key[part] for key in k]) / head_width**0.5
                        found[frame, part] = torch.einsum("k,kc->c", scores.exp() / scores.exp().sum(), v[:, part])
                found = found @ attention.to_out[0].weight.T + attention.to_out[0].bias
                out[clip, :, :, y, x] += found @ merger.proj_out.weight.T + merger.proj_out.bias
    return out


@pytest.mark.parametrize("head_width", [8, 64])
def test_merging_is_attention_of_each_pixel_on_itself(head_width):
    merger = filled(CrossAttentionMerger(64, head_width))
    assert merger.attention.heads == 64 // head_width
    hidden, seen = random(2, 4, 64, 2, 3), random(2, 3, 64, 2, 3, seed=1)
    wanted = merge_by_hand(merger, hidden, seen, head_width)
    torch.testing.assert_close(merger(hidden, seen), wanted, rtol=1e-4, atol=1e-4)


def test_zeros_at_its_end_leave_the_chunk_as_it_was_bit_for_bit():
    merger = filled(CrossAttentionMerger(32, 8))
    for parameter in merger.proj_out.parameters():
        parameter.zero_()
    hidden = random(2, 16, 32, 4, 4)
    assert torch.equal(merger(hidden, random(2, 8, 32, 4, 4, seed=1)), hidden)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(8)))
def test_the_order_of_the_frames_before_means_nothing(order):
    merger = filled(CrossAttentionMerger(32, 8))
    hidden, seen = random(1, 16, 32, 2, 2), random(1, 8, 32, 2, 2, seed=1)
    torch.testing.assert_close(merger(hidden, seen[:, list(order)]), merger(hidden, seen), rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(y=st.integers(0, 2), x=st.integers(0, 3), frame=st.integers(0, 7))
def test_a_pixel_of_the_frames_before_changes_that_pixel_alone(y, x, frame):
    merger = filled(CrossAttentionMerger(32, 8))
    hidden, seen = random(2, 16, 32, 3, 4), random(2, 8, 32, 3, 4, seed=1)
    other = seen.clone()
    other[1, frame, :, y, x] += 1
    changed = (merger(hidden, seen) != merger(hidden, other)).any(2)
    assert changed[1, :, y, x].all()
    changed[1, :, y, x] = False
    assert not changed.any()


def test_clips_do_not_see_each_other():
    merger = filled(CrossAttentionMerger(32, 8))
    hidden, seen = random(2, 16, 32, 2, 2), random(2, 8, 32, 2, 2, seed=1)
    alone = torch.cat([merger(hidden[i : i + 1], seen[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(merger(hidden, seen), alone, rtol=1e-5, atol=1e-5)


def test_many_pixels_are_done_in_pieces(monkeypatch):
    merger = filled(CrossAttentionMerger(32, 8))
    hidden, seen = random(2, 4, 32, 3, 3), random(2, 8, 32, 3, 3, seed=1)
    whole = merger(hidden, seen)
    monkeypatch.setattr(cam, "_SEQUENCES", 20)
    torch.testing.assert_close(merger(hidden, seen), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 32, 2, 2), (2, 8, 32, 4, 2), (2, 8, 64, 2, 2), (2, 32, 2, 2)])
def test_features_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="condition frames of the latent's size"):
        CrossAttentionMerger(32, 8)(random(2, 16, 32, 2, 2), torch.zeros(shape))
