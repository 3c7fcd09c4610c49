"""Composites against an oracle that goes pixel by pixel, and what has to be the original's own bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.editing.composite import composite, composite_frames, finished_mask
from glv_core.editing.composite_clip import composite_clip
from glv_core.video_io import Waveform, open_clip, read_audio, save_video, tone_map


def random(*shape, seed=0, kind=torch.uint8):
    values = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    return (values * 256).floor().clamp(0, 255).to(torch.uint8) if kind == torch.uint8 else values


def oracle(original, edited, mask, grow):
    """Pixel by pixel in whole numbers, of equal sizes and without a soft edge: which pixels lie within the disc."""
    result = original.numpy().copy()
    count, height, width = mask.shape
    for t in range(count):
        inside = np.argwhere(mask[t].numpy() >= 0.5)
        for y in range(height):
            for x in range(width):
                if any((y - a) ** 2 + (x - b) ** 2 <= grow**2 for a, b in inside):
                    result[t, y, x] = edited[t, y, x].numpy()
    return torch.from_numpy(result)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 4), st.sampled_from([torch.uint8, torch.float32]))
def test_inside_is_the_edit_and_outside_the_original_bit_for_bit(seed, grow, kind):
    original, edited = random(3, 9, 11, 3, seed=seed, kind=kind), random(3, 9, 11, 3, seed=seed + 1, kind=kind)
    mask = (random(3, 9, 11, seed=seed + 2, kind=torch.float32) > 0.95).float()
    result = composite(original, edited, mask, grow)
    assert result.dtype == kind and torch.equal(result, oracle(original, edited, mask, grow))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(-2, 3), st.integers(0, 4), st.sampled_from([torch.uint8, torch.float32]))
def test_a_soft_edge_changes_nothing_beyond_its_reach(seed, grow, feather, kind):
    """Farther from the grown mask than the edge is soft: the original's bits, whatever the edit holds there."""
    original = random(2, 24, 24, 3, seed=seed, kind=kind)
    edited = random(2, 24, 24, 3, seed=seed + 1, kind=torch.float32)
    mask = torch.zeros(2, 24, 24)
    mask[0, 8:13, 9:14] = mask[1, 10:15, 4:9] = 1
    edited[:, 0, 0] = math.nan
    result = composite(original, edited, mask, grow, feather)
    changed = (result != original).any(-1)
    for t in range(2):
        at = (mask[t] > 0).nonzero().float()
        places = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij"), -1).float()
        reach = (places[:, :, None] - at).abs().amax(-1).amin(-1)  # rows or columns to the nearest masked pixel
        assert not changed[t][reach > max(grow, 0) + feather].any()
    assert changed[0, 10, 11] and changed[1, 12, 6]  # the middles


def test_between_it_is_mixed_by_what_the_mask_says():
    original = torch.full((1, 1, 5, 3), 100, dtype=torch.uint8)
    edited = torch.full((1, 1, 5, 3), 201, dtype=torch.uint8)
    mask = torch.tensor([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    assert composite(original, edited, mask)[0, 0, :, 0].tolist() == [100, 125, 150, 176, 201]
    # An edit in 0..1 means the same shades.
    assert composite(original, edited / 255, mask)[0, 0, :, 0].tolist() == [100, 125, 150, 176, 201]
    floats = composite(original / 255, edited, mask)[0, 0, :, 0]
    assert torch.allclose(floats * 255, torch.tensor([100, 125.25, 150.5, 175.75, 201]), atol=1e-3)
    four = torch.cat([original, torch.full((1, 1, 5, 1), 7, dtype=torch.uint8)], -1)
    assert composite(four, edited, mask)[..., 3].unique().tolist() == [7]


def test_an_edit_of_other_proportions_is_the_middle_of_the_original():
    """640 x 360 cropped to a square of 32: what the edit shows lies in the middle 360 x 360 of the original."""
    original = torch.zeros(1, 36, 64, 3)
    edited = torch.zeros(1, 32, 32, 3)
    edited[:, :, :16] = 0.25
    edited[:, :, 16:] = 0.75
    result = composite(original, edited, torch.ones(1, 36, 64))
    assert not result[:, :, :14].any() and not result[:, :, 50:].any()
    assert torch.allclose(result[:, :, 14:30], torch.tensor(0.25), atol=1e-5)
    assert torch.allclose(result[:, :, 34:50], torch.tensor(0.75), atol=1e-5)
    tall = composite(torch.zeros(1, 40, 16, 3), torch.ones(1, 8, 8, 3), torch.ones(1, 5, 2))
    assert tall[0, 12:28].min() > 1 - 1e-6 and not tall[0, :12].any() and not tall[0, 28:].any()
    # A mask that was made on the crop lies where the crop does.
    square = composite(torch.zeros(1, 40, 16, 3), torch.ones(1, 40, 16, 3), torch.ones(1, 4, 4))
    assert torch.allclose(square, tall, atol=1e-6)


def test_cropped_rows_stay():
    """A VAE leaves out what is no multiple of 8: 20 rows become 16, two above and two below stay as they were."""
    original, edited = random(1, 20, 32, 3, seed=1), random(1, 16, 32, 3, seed=2)
    result = composite(original, edited, torch.ones(1, 20, 32))
    assert torch.equal(result[:, 2:18], edited)
    assert torch.equal(result[:, :2], original[:, :2]) and torch.equal(result[:, 18:], original[:, 18:])
    # Proportions that were kept and rounded are the whole: 9 x 16 from 54 x 97.
    assert (composite(torch.zeros(1, 54, 97, 3), torch.ones(1, 9, 16, 3), torch.ones(1, 54, 97)) > 0.99).all()


def test_masks_are_brought_to_the_size_of_the_original():
    small = torch.zeros(1, 4, 4)
    small[:, :, 2:] = 1
    large = finished_mask(small, 16, 16)
    assert torch.equal(large[0, :, :6], torch.zeros(16, 6)) and torch.allclose(large[0, :, 10:], torch.ones(16, 6))
    assert finished_mask(small, 16, 16, grow=2).sum() > finished_mask(small, 16, 16, grow=-2).sum()
    assert torch.equal(finished_mask(torch.tensor([[[0.3, 0.7]]]), 1, 2), torch.tensor([[[0.3, 0.7]]]))
    assert finished_mask(torch.tensor([[[0.3, 0.7]]]), 1, 2, grow=-1).tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize(("frames", "edits", "masks"), [(40, 40, 40), (40, 21, 40), (40, 21, 21), (21, 40, 1)])
def test_pieces_are_the_whole(frames, edits, masks):
    original, edited = random(frames, 6, 6, 3, seed=1), random(edits, 6, 6, 3, seed=2)
    mask = (random(masks, 6, 6, seed=3) > 128).float()
    parts = list(composite_frames(original.split(7), edited.split(9), mask))
    assert max(map(len, parts)) <= 16
    result = torch.cat(parts)
    count = min(frames, edits)
    assert torch.equal(result[:count], composite(original[:count], edited[:count], mask[:count]))
    assert len(result) == frames and torch.equal(result[count:], original[count:])


@pytest.mark.parametrize(
    ("shapes", "feather", "words"),
    [
        ((3, 2, 3), 0, "original has 3 frames, edited 2 and mask 3"),
        ((3, 3, 2), 0, "mask 2"),
        ((3, 3, 3), -1, "feather is -1 pixels; it must be 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(shapes, feather, words):
    original, edited, mask = (torch.zeros(count, 4, 4, 3) for count in shapes)
    with pytest.raises(ValueError, match=words):
        composite(original, edited, mask[..., 0], feather=feather)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    sound = Waveform(torch.sin(torch.arange(48_000) / 10)[None], 16_000)
    return open_clip(save_video(path, random(40, 16, 16, 3, seed=4), 20, crf=0, audio=sound))


def test_a_clip_of_it_is_read_like_any_other(clip):
    edited = random(40, 16, 16, 3, seed=5)
    mask = (random(40, 16, 16, seed=6) > 128).float()
    made = composite_clip(clip, lambda deep: edited.split(11), mask)
    original = torch.cat(list(clip.frames()))
    whole = torch.cat(list(made.frames()))
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, torch.where(mask[..., None] > 0, edited, original))
    assert torch.equal(torch.cat(list(made.frames())), whole)  # again
    assert not made.is_whole and (made.num_frames, made.seconds, made.fps) == (40, 2.0, 20)
    deep = torch.cat(list(made.frames(deep=True)))
    assert deep.dtype == torch.float32 and torch.allclose(deep * 255, whole.float(), atol=1e-3)
    assert max(map(len, made.frames(batch=5))) == 5


def test_a_part_of_it_is_that_part(clip):
    edited = random(40, 16, 16, 3, seed=5)
    made = composite_clip(clip, lambda deep: [edited], torch.ones(1, 16, 16))
    part = made.trimmed(0.5, 12)
    assert torch.equal(torch.cat(list(part.frames())), edited[10:22])
    assert torch.equal(torch.cat(list(made.cut(1.0, 0.25).frames())), edited[20:25])
    assert torch.equal(torch.cat(list(made.trimmed(fps=10).frames())), edited[::2])
    assert torch.equal(torch.cat(list(made.trimmed(fps=40).frames())), edited.repeat_interleave(2, 0))
    assert torch.equal(read_audio(part.audio()), read_audio(clip.trimmed(0.5, 12).audio()))
    # Of a clip that is a part itself.
    later = composite_clip(clip.trimmed(1.0), lambda deep: [edited[:20]], torch.zeros(1, 16, 16))
    original = torch.cat(list(clip.frames()))
    assert torch.equal(torch.cat(list(later.trimmed(0.25).frames())), original[25:])
    sound = read_audio(clip.trimmed(1.25).audio())
    assert sound.abs().max() > 0.5 and torch.equal(read_audio(later.trimmed(0.25).audio()), sound)
    # An edit of an edit.
    twice = composite_clip(later, lambda deep: [255 - edited[:20]], torch.ones(1, 16, 16)).trimmed(0.25)
    assert torch.equal(torch.cat(list(twice.frames())), 255 - edited[5:20])
    assert torch.equal(read_audio(twice.audio()), sound)


def test_hdr_of_it_is_tone_mapped_as_any(tmp_path):
    frames = torch.linspace(0.1, 1, 6).view(6, 1, 1, 1).expand(6, 64, 96, 3)
    path = save_video(tmp_path / "a.mkv", frames, 20, pixel_format="yuv420p10le", color_space="HDR", crf=4)
    original = open_clip(path)
    made = composite_clip(original, lambda deep: original.frames(deep=deep), torch.ones(1, 64, 96))
    expected = tone_map(torch.cat(list(original.frames(deep=True))), "HDR")
    sdr = made.as_sdr()
    assert (made.color_space, sdr.color_space) == ("HDR", "sRGB")
    assert (torch.cat(list(sdr.frames(deep=True))) - expected).abs().max() < 1e-4
    assert (torch.cat(list(sdr.trimmed(0.1).frames(4))).float() / 255 - expected[2:]).abs().max() < 0.003
