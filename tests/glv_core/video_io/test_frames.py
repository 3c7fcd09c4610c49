"""Frames in other sizes, and in pieces of other lengths."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glv_core.video_io import center_crop_resize, rechunk


@pytest.mark.parametrize(
    ("width", "height", "box"), [(32, 24, (0, 0, 64, 48)), (24, 24, (8, 0, 56, 48)), (32, 8, (0, 16, 64, 32))]
)
def test_the_middle_in_the_size_asked_for(width, height, box):
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 4, 64), indexing="ij")
    frame = torch.stack([rows.sin(), columns.cos(), (rows + columns).sin()], -1)
    frames = ((frame + 1) * 127).round().to(torch.uint8)[None]
    made = center_crop_resize(frames, width, height)
    theirs = Image.fromarray(frames[0].numpy()).resize((width, height), Image.Resampling.BICUBIC, box)
    assert made.shape == (1, height, width, 3) and made.dtype == torch.uint8
    assert np.abs(made[0].numpy().astype(int) - np.asarray(theirs, dtype=int)).max() <= 3


def test_the_same_size_is_untouched():
    frames = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    assert center_crop_resize(frames, 8, 8) is frames


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_the_same_frames_in_other_pieces(sizes, first, then, keep_rest):
    frames = torch.arange(sum(sizes))
    made = [piece.tolist() for piece in rechunk(frames.split(sizes) if sizes else [], first, then, keep_rest)]
    expected, at = [], 0
    while at < len(frames):
        size = first if at == 0 else then
        part = frames[at : at + size].tolist()
        if len(part) == size or keep_rest:
            expected.append(part)
        at += size
    assert made == expected
