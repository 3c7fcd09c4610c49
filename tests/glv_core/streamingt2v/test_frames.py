"""Frame arithmetic against the released formula, and against which chunk is seen in which frame."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glv_core.streamingt2v.frames import chunked_length, join_chunks, plan_frames


@pytest.mark.parametrize(
    ("asked", "made"),
    [(16, 16), (23, 16), (24, 24), (31, 24), (56, 56), (80, 80), (81, 80), (240, 240), (600, 600), (1200, 1200)],
)
def test_lengths_by_hand(asked, made):
    assert chunked_length(asked) == made


def test_the_length_is_eight_n_and_eight():
    for asked in range(16, 1301):
        generations = (asked - 8) // 8  # the first of them is the video that it starts from
        assert chunked_length(asked) == 16 + 8 * (generations - 1)
        assert len(plan_frames(asked)) == generations


@given(st.data())
def test_joined_chunks_are_the_planned_video(data):
    chunk = data.draw(st.integers(2, 40))
    overlap = data.draw(st.integers(1, chunk - 1))
    asked = data.draw(st.integers(chunk, 300))
    plan = plan_frames(asked, chunk, overlap)
    # Frame number of everything that every chunk holds, and which chunk it is of.
    made = [torch.arange(each.start, each.stop) for each in plan]
    video = torch.cat(list(join_chunks(made, overlap)))
    assert video.tolist() == list(range(chunked_length(asked, chunk, overlap)))
    assert asked - len(video) < chunk - overlap
    owners = torch.cat(list(join_chunks([torch.full((chunk,), each.index) for each in plan], overlap)))
    assert owners.tolist() == [max(0, -(-(f + 1 - chunk) // (chunk - overlap))) for f in range(len(owners))]


def test_all_of_the_first_chunk_and_the_last_eight_of_every_other():
    chunks = [torch.full((16, 2), float(k)) for k in range(3)]
    assert torch.cat(list(join_chunks(chunks)))[:, 0].tolist() == [0] * 16 + [1] * 8 + [2] * 8


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((15, 16, 8), "num_frames is 15 and chunk 16 frames; .* Raise num_frames to 16 or more, or lower chunk"),
        ((80, 16, 0), "overlap is 0 frames and chunk 16; .* Lower overlap or raise chunk"),
        ((80, 16, 16), "overlap is 16 frames and chunk 16"),
    ],
)
def test_bad_sizes_say_what_to_do(sizes, message):
    with pytest.raises(ValueError, match=message):
        chunked_length(*sizes)
