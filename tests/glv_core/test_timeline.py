import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.timeline import Timebase

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.mark.parametrize(
    ("frames", "compression", "latent_frames"),
    [(81, 4, 21), (61, 4, 16), (1, 4, 1), (2, 4, 2), (5, 4, 2), (6, 4, 3), (97, 8, 13), (16, 1, 16), (31, 6, 6)],
)
def test_latent_frames_of_causal_vaes(frames, compression, latent_frames):
    timebase = Timebase(frames, 16, compression)
    assert timebase.num_latent_frames == latent_frames
    assert timebase.latent_length(frames) == latent_frames


def test_frames_of_a_causal_latent():
    timebase = Timebase(13, 16, 4)
    assert [list(timebase.frames_of(i)) for i in range(4)] == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert [timebase.centre_of(i) for i in range(4)] == [0, 2.5, 6.5, 10.5]


def test_frames_of_a_latent_that_is_not_causal():
    timebase = Timebase(8, 16, 4, causal=False)
    assert timebase.num_latent_frames == 2
    assert [list(timebase.frames_of(i)) for i in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@given(st.integers(1, 3000), st.integers(1, 12), st.booleans())
def test_every_frame_is_in_exactly_one_latent_frame(frames, compression, causal):
    timebase = Timebase(frames, 24, compression, causal)
    held = [frame for i in range(timebase.num_latent_frames) for frame in timebase.frames_of(i)]
    assert held == list(range(len(held)))
    assert frames <= len(held) < frames + compression


@given(st.integers(1, 500), st.integers(1, 12), st.booleans())
def test_from_latent_frames_is_the_inverse(latent_frames, compression, causal):
    timebase = Timebase.from_latent_frames(latent_frames, 24, compression, causal)
    assert timebase.num_latent_frames == latent_frames
    assert timebase.frames_of(latent_frames - 1)[-1] == timebase.num_frames - 1


@pytest.mark.parametrize(("frames", "span"), [(0, 0), (1, 1), (2, 1), (16, 4), (24, 6), (30, 8)])
def test_an_overlap_in_latent_frames(frames, span):
    assert Timebase(81, 16, 4).latent_span(frames) == span


def test_seconds():
    assert Timebase(48, 16).seconds == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 16), "num_frames is 0"),
        ((2.5, 16), "num_frames is 2.5"),
        ((8, 0), "fps is 0"),
        ((8, float("nan")), "fps is nan"),
        ((8, 16, 0), "temporal_compression is 0"),
    ],
)
def test_bad_values(arguments, words):
    with pytest.raises(ValueError, match=words):
        Timebase(*arguments)
