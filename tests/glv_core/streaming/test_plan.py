"""Which chunk makes which part of a video."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glv_core.streaming import chunk_seed, plan_chunks, ramp


@st.composite
def sizes(draw):
    chunk = draw(st.integers(2, 40))
    return draw(st.integers(1, 300)), chunk, draw(st.integers(1, chunk - 1)), draw(st.integers(0, 80))


@given(sizes())
def test_every_latent_frame_is_given_or_new_in_exactly_one_chunk(sizes):
    length, chunk, overlap, there = sizes
    chunks = plan_chunks(length, chunk, overlap, there)
    new = [frame for each in chunks for frame in range(each.first_new, each.stop)]
    assert sorted(new) == new
    assert len(set(new)) == len(new)
    assert set(range(there)) | set(new) >= set(range(length))
    assert not set(range(there)) & set(new)
    for number, each in enumerate(chunks):
        assert each.index == number
        assert each.length == chunk
        assert each.start >= 0
        # All that is known is there when the chunk begins, and as much of it as was asked for.
        assert each.overlap == min(overlap, each.first_new)
        assert each.first_new < length


@given(sizes(), st.integers(0, 100))
def test_a_longer_video_begins_with_the_same_chunks(sizes, more):
    length, chunk, overlap, there = sizes
    short = plan_chunks(length, chunk, overlap, there)
    assert plan_chunks(length + more, chunk, overlap, there)[: len(short)] == short


def test_the_arithmetic_of_streamingt2v():
    # 16 frames, then 8 new ones a chunk with 8 known: 240 frames take 29 chunks.
    chunks = plan_chunks(240, 16, 8)
    assert len(chunks) == 29
    assert [(c.start, c.overlap) for c in chunks[:3]] == [(0, 0), (8, 8), (16, 8)]
    assert chunks[-1].stop == 240


def test_given_video_as_long_as_the_whole_needs_no_chunk():
    assert plan_chunks(10, 5, 2, 10) == ()
    assert plan_chunks(10, 5, 2, 12) == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0, 5, 2), "length is 0"), ((9, 5, 5), "overlap is 5"), ((9, 5, 0), "overlap is 0"), ((9, 5, 2, -1), "given is")],
)
def test_sizes_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_chunks(*arguments)


def test_seeds_differ_by_chunk_and_seed_and_are_the_same_for_ever():
    seeds = {chunk_seed(seed, index) for seed in range(20) for index in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert chunk_seed(7, 3) == 3647706739097066463  # kept runs depend on it


@given(st.integers(1, 60), st.floats(0, 1))
def test_a_ramp_holds_the_first_and_rises_below_one(overlap, share):
    values = ramp(overlap, share)
    assert len(values) == overlap
    assert values[0] == 0
    assert all(a <= b for a, b in pairwise(values))
    assert values[-1] < 1
    steps = [b - a for a, b in pairwise(values) if b > a]
    assert all(abs(step - steps[0]) < 1e-9 for step in steps)


def test_a_ramp_of_half():
    assert ramp(4, 0.5) == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert ramp(4, 0) == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="blend is 2"):
        ramp(4, 2)


@given(chunk=st.integers(1, 8), overlap=st.integers(0, 7), given=st.integers(0, 60), length=st.integers(1, 200))
def test_chunks_begin_on_the_grain_whatever_is_given(chunk, overlap, given, length):
    """MiniMax H3: chunks and overlaps of 5 n + 2 latent frames, at multiples of 5."""
    if overlap >= chunk:
        return
    size, known = 5 * chunk + 2, 5 * overlap + 2
    done = given
    for each in plan_chunks(length, size, known, given, grain=5):
        assert each.start % 5 == 0 and each.length == size
        assert each.first_new == done  # nothing is left out, and nothing made twice
        assert each.overlap >= min(known, done) and each.overlap - known < 5
        done = each.stop
    assert done >= length
