"""Frames in pieces of other sizes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from glv_core.video_io import regroup


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_the_same_frames_in_other_pieces(sizes, first, then, keep_rest):
    frames = torch.arange(sum(sizes))
    made = [piece.tolist() for piece in regroup(frames.split(sizes) if sizes else [], first, then, keep_rest)]
    expected, at = [], 0
    while at < len(frames):
        size = first if at == 0 else then
        part = frames[at : at + size].tolist()
        if len(part) == size or keep_rest:
            expected.append(part)
        at += size
    assert made == expected
