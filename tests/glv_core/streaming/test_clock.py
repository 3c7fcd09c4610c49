"""Video and sound chunk by chunk: every chunk has its elements of both, and both are whole in the end."""

from __future__ import annotations

import pytest
import torch

from glv_core.streaming import AnchorChoice, Chunk, Clock, RunFolder, SoundClock, plan_chunks, stream_all
from glv_core.video_models import LTX_2, MINIMAX_H3

#: Compression, elements of sound for a frame, and length, chunk and overlap in latent frames.
VIDEOS = {
    "h3": (MINIMAX_H3.compression, 5 / 3, 62, 17, 7),
    "h3 long": (MINIMAX_H3.compression, 5 / 3, 302, 37, 12),
    "ltx at 24": (LTX_2.compression, 25 / 24, 31, 9, 3),
    "ltx at 25": (LTX_2.compression, 1.0, 40, 13, 2),
    "ltx at 60": (LTX_2.compression, 25 / 60, 31, 9, 3),
}
each_video = pytest.mark.parametrize("name", VIDEOS)


def planned(name, given=0):
    compression, rate, length, chunk, overlap = VIDEOS[name]
    clocks = (Clock(), SoundClock(3, 4, rate, compression))
    return clocks, plan_chunks(length, chunk, overlap, given, compression.grain), length


def frames(compression, count):
    """Frames of a clip, counted one latent frame after the other."""
    total = 0
    for index in range(count):
        total += 1 if index == 0 and compression.first else compression.pattern[
            (index - bool(compression.first)) % len(compression.pattern)
        ]  # fmt: skip
    return total


@each_video
def test_a_chunk_s_sound_is_a_clip_s_and_lies_where_its_frames_do(name):
    compression, rate, *_ = VIDEOS[name]
    clocks, chunks, _ = planned(name)
    assert len(chunks) > 3
    for chunk in chunks:
        part = clocks[1].part(chunk)
        clip = frames(compression, chunk.length)
        assert len(part) == round(rate * clip)
        last = frames(compression, chunk.stop)
        assert part.stop == round(rate * last)
        assert abs(part.start - rate * (last - clip)) <= 1
        if chunk.start:
            assert clocks[1].length(chunk.first_new) > part.start  # something is known


class Numbered:
    """Says of every element when in the video it is, and which chunk made it, and keeps what it was told."""

    latent_frame_size = 2

    def __init__(self, clocks):
        self.clocks, self.told, self.made = clocks, [], []

    def cache_inputs(self, chunk):
        return {}

    def sample(self, chunk, known, anchor):
        self.told.append([each.clone() for each in known])
        self.made.append(chunk.index)
        video = torch.zeros(1, 2, chunk.length, 1, 1)
        video[0, 0, :, 0, 0] = torch.arange(float(chunk.start), chunk.stop)
        part = self.clocks[1].part(chunk)
        sound = torch.zeros(1, 2, 2, len(part))
        sound[0, 0, 0] = torch.arange(float(part.start), part.stop)
        video[0, 1], sound[0, 1] = chunk.index, chunk.index
        if known:
            video[:, :, : known[0].shape[2]] = known[0]
            own = known[1][..., self.clocks[1].before(chunk) :]
            sound[..., : own.shape[3]] = own
        return [video, sound]


@each_video
@pytest.mark.parametrize("begin", ["empty", "given"])
def test_both_streams_are_whole_and_every_chunk_is_told_their_end(name, begin):
    compression, rate, length, _, overlap = VIDEOS[name]
    count = 0 if begin == "empty" else 3 * overlap
    clocks, chunks, _ = planned(name, count)
    sampler = Numbered(clocks)
    given = []
    if count:
        given = [torch.zeros(1, 2, count, 1, 1), torch.zeros(1, 2, 2, round(rate * frames(compression, count)))]
        given[0][0, 0, :, 0, 0] = torch.arange(float(count))
        given[1][0, 0, 0] = torch.arange(float(given[1].shape[3]))
        given[0][0, 1], given[1][0, 1] = -1, -1
    before = [each.clone() for each in given]
    video, sound = stream_all(sampler, chunks, length, clocks=clocks, given=given)
    assert all(torch.equal(one, other) for one, other in zip(before, given, strict=True))
    assert video[0, 0].flatten().tolist() == list(range(length))
    assert sound[0, 0, 0].tolist() == list(range(round(rate * frames(compression, length))))
    makers = [-1] * bool(count) + [chunk.index for chunk in chunks]
    for stream in (video[0, 1].flatten(), sound[0, 1, 0]):
        assert stream.unique().tolist() == makers and (stream.diff() >= 0).all()
    for chunk, told in zip(chunks, sampler.told, strict=True):
        if not chunk.overlap:
            assert told == []
            continue
        assert told[0][0, 0].flatten().tolist() == list(range(chunk.start, chunk.first_new))
        part = clocks[1].part(chunk)
        first, last = max(0, part.start - 4), round(rate * frames(compression, chunk.first_new))
        assert told[1][0, 0, 0].tolist() == list(range(first, last))


def test_chunks_of_several_streams_are_found_again(tmp_path):
    clocks, chunks, length = planned("h3")
    first = stream_all(Numbered(clocks), chunks, length, clocks=clocks, folder=RunFolder(tmp_path))
    sampler = Numbered(clocks)
    again = stream_all(sampler, chunks, length, clocks=clocks, folder=RunFolder(tmp_path))
    assert sampler.made == []
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    [path] = tmp_path.glob("chunk_00002_*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])  # the end of the sound
    again = stream_all(sampler, chunks, length, clocks=clocks, folder=RunFolder(tmp_path))
    assert sampler.made == [2]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_chunks_that_go_on_from_other_sound_are_made_again(tmp_path):
    clocks, chunks, length = planned("h3", 7)
    given = [torch.ones(1, 2, 7, 1, 1), torch.ones(1, 2, 2, 37)]
    stream_all(Numbered(clocks), chunks, length, clocks=clocks, given=given, folder=RunFolder(tmp_path))
    sampler = Numbered(clocks)
    given[1][..., -1] = 2
    stream_all(sampler, chunks, length, clocks=clocks, given=given, folder=RunFolder(tmp_path))
    assert sampler.made[0] == 0


def test_a_longer_video_keeps_the_chunks_of_all_streams(tmp_path):
    clocks, chunks, length = planned("h3")
    stream_all(Numbered(clocks), chunks[:2], chunks[1].stop, clocks=clocks, folder=RunFolder(tmp_path))
    sampler = Numbered(clocks)
    stream_all(sampler, chunks, length, clocks=clocks, folder=RunFolder(tmp_path))
    assert sampler.made == list(range(2, len(chunks)))


def test_drift_and_anchors_are_of_the_video_alone():
    class Drifting(Numbered):
        def sample(self, chunk, known, anchor):
            self.anchors = [*getattr(self, "anchors", []), anchor]
            made = super().sample(chunk, known, anchor)
            return [each + torch.randn(each.shape, generator=torch.Generator().manual_seed(3)) for each in made]

    clocks, chunks, length = planned("h3")
    options = {"clocks": clocks, "anchor": AnchorChoice("first")}
    free, drawn = Drifting(clocks), Drifting(clocks)
    videos = [
        stream_all(sampler, chunks[:2], length, drift_correction=strength, **options)
        for sampler, strength in ((free, 0.0), (drawn, 1.0))
    ]
    assert not torch.equal(videos[0][0], videos[1][0])
    assert torch.equal(videos[0][1], videos[1][1])
    assert free.anchors[0] is None and free.anchors[1].shape == (1, 2, 1, 1, 1)


def test_sound_of_another_length_is_named():
    class Short(Numbered):
        def sample(self, chunk, known, anchor):
            video, sound = super().sample(chunk, known, anchor)
            return [video, sound[..., 1:]]

    clocks, chunks, length = planned("h3")
    with pytest.raises(ValueError, match="Chunk 1 has 17 and 92 latent frames, not 17 and 93"):
        stream_all(Short(clocks), chunks, length, clocks=clocks)


def test_a_video_without_its_sound_at_the_beginning():
    """One latent frame is known, as of an image, and no sound: the first chunk makes all of it."""
    clocks, chunks, length = planned("h3", 1)
    sampler = Numbered(clocks)
    given = [torch.full((1, 2, 1, 1, 1), 9.0), torch.zeros(1, 2, 2, 0)]
    video, sound = stream_all(sampler, chunks, length, clocks=clocks, given=given)
    assert [each.shape for each in sampler.told[0]] == [(1, 2, 1, 1, 1), (1, 2, 2, 0)]
    assert video[0, 0, 0] == 9 and sound[0, 0, 0, 0] == 0 and sound[0, 1].min() == 0
    assert chunks[0] == Chunk(0, 0, 17, 1)


def test_sound_that_is_there_already_is_told_and_kept():
    """All of the sound and nothing of the video, as for a video that is made to a song."""
    clocks, chunks, length = planned("h3")
    whole = torch.arange(float(clocks[1].length(length))).expand(1, 2, 2, -1).clone()
    sampler = Numbered(clocks)
    video, sound = stream_all(
        sampler, chunks, length, clocks=clocks, given=[torch.zeros(1, 2, 0, 1, 1), whole],
        anchor=AnchorChoice("last_chunk"), drift_correction=0.5,
    )  # fmt: skip
    assert torch.equal(sound, whole) and video.isfinite().all()
    for chunk, told in zip(chunks, sampler.told, strict=True):
        part = clocks[1].part(chunk)
        assert told[0].shape[2] == chunk.overlap
        assert told[1][0, 0, 0].tolist() == list(range(max(0, part.start - 4), min(part.stop, whole.shape[3])))
