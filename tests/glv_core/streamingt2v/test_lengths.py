"""Chunks of randomized blending: the published lengths, and buffers filled as the released loop fills them."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.fusion import merge_weights
from glv_core.streamingt2v.lengths import (
    LENGTH_POLICIES,
    PRESETS,
    Chunking,
    chunk_starts,
    chunk_windows,
    chunking_for,
    trimmed_length,
)

PAPER, MIDDLE, LONG = Chunking(24, 8), Chunking(56, 32), Chunking(112, 32)
TOO_SHORT = None
#: Frames of a video, and what is refined of them with each chunking.
TRIMMED = {
    24: (24, TOO_SHORT, TOO_SHORT),
    32: (24, TOO_SHORT, TOO_SHORT),
    40: (40, TOO_SHORT, TOO_SHORT),
    48: (40, TOO_SHORT, TOO_SHORT),
    56: (56, 56, TOO_SHORT),
    80: (72, 80, TOO_SHORT),
    240: (232, 224, 192),
    600: (600, 584, 592),
    1200: (1192, 1184, 1152),
}
CHUNKS = {240: (14, 8, 2), 600: (37, 23, 7), 1200: (74, 48, 14)}


@pytest.mark.parametrize("num_frames", TRIMMED)
@pytest.mark.parametrize(("column", "chunking"), list(enumerate((PAPER, MIDDLE, LONG))))
def test_the_published_lengths(num_frames, column, chunking):
    expected = TRIMMED[num_frames][column]
    if expected is TOO_SHORT:
        with pytest.raises(ValueError, match=f"chunk is {chunking.chunk} frames and the video has {num_frames}"):
            trimmed_length(num_frames, chunking)
        return
    assert trimmed_length(num_frames, chunking) == expected
    windows = chunk_windows(num_frames, chunking, "trim")
    assert windows[-1].stop == expected
    assert [window.start for window in windows] == [
        k * (chunking.chunk - chunking.overlap) for k in range(len(windows))
    ]
    if num_frames in CHUNKS:
        assert len(windows) == CHUNKS[num_frames][column]


def test_covering_moves_the_last_chunk_left():
    assert [window.start for window in chunk_windows(80, PAPER)] == [0, 16, 32, 48, 56]
    assert [window.start for window in chunk_windows(80, PAPER, "trim")] == [0, 16, 32, 48]
    assert [(window.start, window.stop) for window in chunk_windows(20, PAPER)] == [(0, 20)]
    assert [(window.start, window.stop) for window in chunk_windows(24, Chunking(24, 0), "trim")] == [(0, 24)]


@pytest.mark.parametrize(("num_frames", "starts"), [(24, [0]), (48, [0, 16, 24]), (240, [*range(0, 216, 16), 216])])
@pytest.mark.parametrize("merge", ["random_cut", "random_cut_paper"])
def test_the_reported_lengths_are_covered_whole(num_frames, starts, merge):
    """StreamingT2V #6, #8, #48: 24, 48 and 240 frames in chunks of 24, with either merge."""
    assert chunk_starts(num_frames, chunking_for("paper", num_frames)) == starts
    windows = chunk_windows(num_frames, PAPER)
    total = torch.zeros(num_frames)
    for window, weights in zip(windows, merge_weights(merge, windows, num_frames, 3, 5), strict=True):
        total[torch.tensor(window.indices)] += weights
    assert (total == 1).all()


def test_help_says_how_both_merges_cut():
    help_page = (Path(__file__).resolve().parents[3] / "web" / "docs" / "CoDenoiseKSampler.md").read_text("utf-8")
    assert "`random_cut`: no average; in every overlap one window up to a random frame" in help_page
    assert "`random_cut_paper`: the same with one more place for the cut" in help_page


@st.composite
def videos(draw):
    chunk = draw(st.integers(2, 30))
    chunking = Chunking(chunk, draw(st.integers(1, chunk - 1)))
    policy = draw(st.sampled_from(sorted(LENGTH_POLICIES)))
    return draw(st.integers(chunk if policy == "trim" else 1, 150)), chunking, policy


@settings(max_examples=150, deadline=None)
@given(videos(), st.sampled_from(["random_cut", "random_cut_paper"]), st.integers(0, 30), st.integers(0, 3))
def test_every_frame_has_one_owner(video, merge, step, seed):
    num_frames, chunking, policy = video
    windows = chunk_windows(num_frames, chunking, policy)
    length = windows[-1].stop
    hop = chunking.chunk - chunking.overlap
    kept = length == num_frames if policy == "cover" else 0 <= num_frames - length < hop
    assert kept and windows[0].start == 0
    assert all(window.length == min(chunking.chunk, num_frames) for window in windows)
    # A buffer of NaN, into which every chunk writes the frames that are its own.
    buffer = torch.full((length,), math.nan)
    written = torch.zeros(length, dtype=torch.int64)
    for index, (window, weights) in enumerate(
        zip(windows, merge_weights(merge, windows, length, step, seed), strict=True)
    ):
        mine = torch.tensor(window.indices)[weights == 1]
        assert set(weights.tolist()) <= {0.0, 1.0}
        buffer[mine] = float(index)
        written[mine] += 1
    assert torch.isfinite(buffer).all()
    assert (written == 1).all()
    for frame, owner in enumerate(buffer.tolist()):
        holders = [index for index, window in enumerate(windows) if frame in window.indices]
        assert int(owner) in holders
    assert buffer.diff().min() >= 0 if length > 1 else True  # left to right, a cut in every overlap
    # Only the last frame of an overlap is certain, to be the right chunk's, and that by the code alone.
    if merge == "random_cut":
        for left, right in pairwise(windows):
            assert buffer[left.stop - 1] > windows.index(left)
            assert right.start < left.stop


@settings(max_examples=60, deadline=None)
@given(videos(), st.integers(0, 2**20))
def test_the_merge_is_the_released_loop(video, seed):
    """Chunks written one after the other, each from a random frame of its overlap on, are owners as the merge has them.

    The draws differ from the released code's, so the cuts are read from the merge and put into the loop.
    """
    num_frames, chunking, policy = video
    windows = chunk_windows(num_frames, chunking, policy)
    length = windows[-1].stop
    weights = merge_weights("random_cut", windows, length, 0, seed)
    merged = torch.full((length,), -1)
    for index, (window, each) in enumerate(zip(windows, weights, strict=True)):
        merged[torch.tensor(window.indices)[each == 1]] = index
    loop = torch.full((length,), -1)
    for index, window in enumerate(windows):
        own = (merged >= index).nonzero().flatten()
        cut = int(own[0]) if len(own) else window.stop
        if index:
            assert 0 <= cut - window.start < windows[index - 1].stop - window.start
        loop[cut : window.stop] = index
    assert torch.equal(loop, merged)


@pytest.mark.parametrize(
    ("preset", "num_frames", "expected"),
    [
        ("auto", 24, (24, 0)),
        ("auto", 56, (56, 0)),
        ("auto", 80, (80, 0)),
        ("auto", 81, (56, 32)),
        ("auto", 240, (56, 32)),
        ("auto", 599, (56, 32)),
        ("auto", 600, (112, 32)),
        ("auto", 1200, (112, 32)),
        ("readme", 80, (80, 0)),
        ("readme", 100, (100, 0)),
        ("readme", 112, (112, 0)),
        ("readme", 240, (112, 32)),
        ("readme", 1200, (112, 32)),
        ("paper", 16, (16, 0)),
        ("paper", 24, (24, 0)),
        ("paper", 25, (24, 8)),
        ("paper", 80, (24, 8)),
        ("paper", 1200, (24, 8)),
        ("streaming_svd", 38, (38, 0)),
        ("streaming_svd", 39, (38, 12)),
        ("streaming_svd", 100, (38, 12)),
    ],
)
def test_presets(preset, num_frames, expected):
    chunking = chunking_for(preset, num_frames)
    assert (chunking.chunk, chunking.overlap) == expected
    assert len(chunk_windows(num_frames, chunking, "trim")) >= 1


def test_where_chunks_start():
    chunking = Chunking(38, 12)
    assert chunk_starts(100, chunking, "trim") == chunk_starts(90, chunking) == [0, 26, 52]
    assert chunk_starts(100, chunking) == [0, 26, 52, 62]
    assert chunk_starts(38, chunking) == chunk_starts(5, chunking) == [0]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("policy", LENGTH_POLICIES)
def test_presets_fit_every_length(preset, policy):
    for num_frames in range(1, 1300):
        chunk_windows(num_frames, chunking_for(preset, num_frames), policy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Chunking(24, 24), "overlap is 24 frames and chunk 24; .* Lower overlap or raise chunk"),
        (lambda: Chunking(24, -1), "overlap is -1 frames and chunk 24"),
        (lambda: Chunking(0, 0), "chunk is 0 frames"),
        (lambda: chunk_windows(80, Chunking(24, 0)), "overlap is 0 frames, chunk 24 and the video has 80; .* Raise"),
        (lambda: chunk_windows(80, Chunking(24, 0), "trim"), "overlap is 0 frames, chunk 24 and the video has 80"),
        (lambda: chunk_windows(20, PAPER, "trim"), "Lower chunk to 20 or less, or cover all frames"),
        (lambda: chunk_windows(0, PAPER), "0 frames"),
        (lambda: chunk_windows(80, PAPER, "stretch"), "Unknown length policy 'stretch'. Known: cover, trim"),
        (lambda: chunking_for("best", 80), "Unknown chunk preset 'best'. Known: auto, readme, paper"),
        (lambda: chunking_for("auto", 0), "0 frames"),
    ],
)
def test_bad_values_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
