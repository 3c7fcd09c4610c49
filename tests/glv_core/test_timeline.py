from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.timeline import Compression, Place, Timebase, frames_in

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

WAN = Compression.causal(4)
EVEN = Compression((4,))
PATTERN = Compression((1, 4, 4, 4, 4))
H3 = Compression((1, 4, 4, 4, 4), rest=2)
compressions = st.builds(
    Compression, st.lists(st.integers(1, 12), min_size=1, max_size=6).map(tuple), st.integers(0, 3)
)


@pytest.mark.parametrize(
    ("frames", "ratio", "latent_frames"),
    [(81, 4, 21), (61, 4, 16), (1, 4, 1), (2, 4, 2), (5, 4, 2), (6, 4, 3), (97, 8, 13), (16, 1, 16), (31, 6, 6)],
)
def test_latent_frames_of_causal_vaes(frames, ratio, latent_frames):
    assert Compression.causal(ratio).num_latent_frames(frames) == latent_frames
    assert Timebase(frames, 16, Compression.causal(ratio)).num_latent_frames == latent_frames


def test_a_length_in_frames_or_seconds():
    assert frames_in(3.5, "seconds", 24) == 84 and frames_in(1.02, "seconds", 24) == 24
    assert frames_in(81.4, "frames", 24) == 81


def test_frames_of_a_causal_latent():
    timebase = Timebase(13, 16, WAN)
    assert [list(timebase.frames_of(i)) for i in range(4)] == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert [timebase.centre_of(i) for i in range(4)] == [0, 2.5, 6.5, 10.5]


def test_the_centre_of_a_latent_frame_lies_within_the_video():
    # 10 frames fill one of the last latent frame's four, 9 ... 12, whose mean would be 10.5.
    assert [Timebase(10, 16, WAN).centre_of(i) for i in range(4)] == [0, 2.5, 6.5, 9]


def test_frames_of_a_latent_that_is_not_causal():
    assert EVEN.num_latent_frames(8) == 2
    assert [list(EVEN.frames_of(i)) for i in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_pattern_of_frames():
    # MiniMax H3: 5 latent frames hold 17 frames, and a clip of 5 k + 2 latent frames has 17 k + 5.
    assert [len(PATTERN.frames_of(i)) for i in range(7)] == [1, 4, 4, 4, 4, 1, 4]
    assert [PATTERN.num_frames(5 * k + 2) for k in range(4)] == [5, 22, 39, 56]
    assert [PATTERN.num_latent_frames(frames) for frames in (1, 2, 17, 18, 19, 124)] == [1, 2, 5, 6, 7, 37]
    assert PATTERN.grain == 5 and PATTERN.ratio == 3.4 and WAN.grain == 1 and WAN.ratio == 4


@given(st.integers(1, 3000), compressions)
def test_every_frame_is_in_exactly_one_latent_frame(frames, compression):
    count = compression.num_latent_frames(frames)
    held = [frame for i in range(count) for frame in compression.frames_of(i)]
    assert held == list(range(len(held)))
    assert frames <= len(held) == compression.num_frames(count)
    assert count == 1 or compression.num_frames(count - 1) < frames


@given(st.integers(1, 500), compressions)
def test_the_clock_of_a_latent(latent_frames, compression):
    timebase = Timebase.of_latent(latent_frames, 24, compression)
    assert timebase.num_latent_frames == latent_frames
    assert timebase.frames_of(latent_frames - 1)[-1] == timebase.num_frames - 1


@pytest.mark.parametrize(("frames", "span"), [(0, 0), (1, 1), (2, 1), (16, 4), (24, 6), (30, 8)])
def test_an_overlap_in_latent_frames(frames, span):
    assert WAN.latent_span(frames) == span
    assert WAN.frame_span(span) == 4 * span
    assert type(WAN.latent_span(frames)) is type(WAN.frame_span(span)) is int


def test_the_ratio_is_whole_where_all_are_alike():
    assert type(WAN.ratio) is type(Compression((4, 4)).ratio) is int
    assert Compression((1, 2)).ratio == 1.5


def test_without_compression_a_latent_frame_is_a_frame():
    assert Compression.causal(1) == Compression()
    assert Timebase(9, 8).num_latent_frames == 9 and Timebase(9, 8).centre_of(4) == 4


def test_seconds():
    assert Timebase(48, 16).seconds == 3
    assert Timebase(8, 0.5).seconds == 16


def test_a_place_in_a_longer_video_sees_its_ends_beyond_them():
    assert Place(2, 5).indices(2) == [2, 3]
    assert Place(-2, 5).indices(4) == [0, 0, 0, 1] and Place(3, 5).indices(4) == [3, 4, 4, 4]


@pytest.mark.parametrize(("value", "name"), [(WAN, "first"), (Timebase(9, 8), "fps"), (Place(2, 5), "start")])
def test_what_describes_a_video_cannot_be_changed(value, name):
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Timebase(0, 16), "num_frames is 0"),
        (lambda: Timebase(2.5, 16), "num_frames is 2.5"),
        (lambda: Timebase(8, 0), "fps is 0"),
        (lambda: Timebase(8, float("nan")), "fps is nan"),
        (lambda: Compression.causal(0), "Frames in a latent frame is 0"),
        (lambda: Compression(()), "pattern is empty"),
        (lambda: Compression((4,), -1), "first is -1"),
    ],
)
def test_bad_values(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_centre_of_a_latent_frame_that_is_partly_filled_lies_in_the_video():
    """Three frames of a causal VAE of 4: the second latent frame would hold 1 to 4, and its centre would be 2.5."""
    short = Timebase(3, 16, Compression.causal(4))
    assert [short.centre_of(index) for index in range(2)] == [0, 2]
    assert Timebase(5, 16, Compression.causal(4)).centre_of(1) == 2.5


@pytest.mark.parametrize(
    ("asked", "latent_frames"),
    [(1, 2), (5, 2), (13, 2), (14, 7), (16, 7), (22, 7), (30, 7), (31, 12), (39, 12), (48, 17), (56, 17)],
)
def test_what_a_clip_of_h3_knows_is_a_clip(asked, latent_frames):
    """Clips of it have 5, 22, 39 ... frames in 2, 7, 12 ... latent frames."""
    assert H3.overlap(asked) == latent_frames


def test_what_a_clip_of_others_knows_is_any_stretch():
    assert [WAN.overlap(frames) for frames in (1, 5, 6, 16, 18)] == [1, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("frames", "clip"), [(1, 1), (4, 1), (5, 5), (21, 5), (22, 22), (38, 22), (39, 39), (124, 124), (140, 124)]
)
def test_the_longest_clip_of_h3_in_so_many_frames(frames, clip):
    assert H3.num_frames_of_clip(frames) == clip
