"""The loop over chunks, with a sampler of the test's."""

from __future__ import annotations

import pytest
import torch

from glv_core.streaming import AnchorChoice, RunFolder, plan_chunks, stream


class Counting:
    """Goes on counting from the last known latent frame; prompts say by how much a chunk is offset."""

    latent_frame_size = 1

    def __init__(self, prompts=None):
        self.prompts = prompts or {}
        self.made, self.seen = [], []
        self.stop_at = None

    def cache_inputs(self, chunk):
        return {"prompt": self.prompts.get(chunk.index, 0)}

    def sample(self, chunk, known, anchor):
        if chunk.index == self.stop_at:
            raise KeyboardInterrupt
        self.made.append(chunk.index)
        self.seen.append((None if known is None else known.flatten().tolist(), anchor))
        begin = -1.0 if known is None else float(known[0, 0, -1, 0, 0])
        new = begin + torch.arange(1.0, chunk.length - chunk.overlap + 1) + self.prompts.get(chunk.index, 0)
        front = torch.zeros(0) if known is None else known[0, 0, :, 0, 0]
        return torch.cat([front, new]).view(1, 1, -1, 1, 1)


def numbers(video):
    return video.flatten().tolist()


CHUNKS = plan_chunks(20, 6, 2)


def test_each_chunk_goes_on_where_the_last_one_ended():
    sampler = Counting()
    assert numbers(stream(sampler, CHUNKS, 20)) == list(range(20))
    assert sampler.made == [0, 1, 2, 3, 4]
    assert sampler.seen[2][0] == [8, 9]


def test_a_given_video_is_extended_and_not_changed():
    given = torch.arange(100.0, 105.0).view(1, 1, 5, 1, 1)
    before = given.clone()
    video = stream(Counting(), plan_chunks(12, 6, 2, 5), 12, given=given)
    assert numbers(video) == list(range(100, 112))
    assert torch.equal(given, before)
    assert numbers(stream(Counting(), (), 3, given=given)) == [100, 101, 102]


def test_what_a_chunk_makes_of_its_overlap_counts():
    class Moving(Counting):
        def sample(self, chunk, known, anchor):
            made = super().sample(chunk, known, anchor)
            made[:, :, : chunk.overlap] += 0.5
            return made

    video = numbers(stream(Moving(), plan_chunks(8, 4, 2), 8))
    # Chunks of four: 0..3, then 2.5 3.5 with 4 5 behind, then 4.5 5.5 with 6 7 behind.
    assert video == [0, 1, 2.5, 3.5, 4.5, 5.5, 6, 7]


def test_interrupted_it_goes_on_at_the_chunk_in_flight(tmp_path):
    whole = stream(Counting(), CHUNKS, 20)
    sampler = Counting()
    sampler.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        stream(sampler, CHUNKS, 20, folder=RunFolder(tmp_path))
    assert sampler.made == [0, 1, 2]
    sampler = Counting()
    events = []
    video = stream(
        sampler, CHUNKS, 20, folder=RunFolder(tmp_path), on_chunk=lambda c, found: events.append((c.index, found))
    )
    assert sampler.made == [3, 4]
    assert torch.equal(video, whole)
    assert events == [(0, True), (1, True), (2, True), (3, False), (4, False)]


def test_another_prompt_redoes_its_chunk_and_what_follows(tmp_path):
    stream(Counting(), CHUNKS, 20, folder=RunFolder(tmp_path))
    changed = Counting({2: 50})
    video = stream(changed, CHUNKS, 20, folder=RunFolder(tmp_path))
    assert changed.made == [2, 3, 4]
    assert torch.equal(video, stream(Counting({2: 50}), CHUNKS, 20))
    back = Counting()
    stream(back, CHUNKS, 20, folder=RunFolder(tmp_path))
    assert back.made == []  # what was made before is still there


def test_a_longer_video_keeps_what_it_has(tmp_path):
    stream(Counting(), plan_chunks(12, 6, 2), 12, folder=RunFolder(tmp_path))
    sampler = Counting()
    assert numbers(stream(sampler, CHUNKS, 20, folder=RunFolder(tmp_path))) == list(range(20))
    assert sampler.made == [3, 4]


def test_a_damaged_chunk_is_made_again_and_the_rest_kept(tmp_path):
    stream(Counting(), CHUNKS, 20, folder=RunFolder(tmp_path))
    [path] = tmp_path.glob("chunk_00001_*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    sampler = Counting()
    assert numbers(stream(sampler, CHUNKS, 20, folder=RunFolder(tmp_path))) == list(range(20))
    assert sampler.made == [1]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (AnchorChoice("none"), [None, None, None, None, None]),
        (AnchorChoice("first"), [None, 0, 0, 0, 0]),
        (AnchorChoice("first", frame=3), [None, 3, 3, 3, 3]),
        (AnchorChoice("segment", segment_starts=(0, 9), frame=2), [None, 2, 9, 11, 11]),
        (AnchorChoice("last_chunk", frame=2), [None, 5, 9, 13, 17]),
        # Segments begin at 0 and 9: chunks that add frames from 6, 10, 14, 18.
        (AnchorChoice("segment", segment_starts=(0, 9)), [None, 0, 9, 9, 9]),
        (AnchorChoice("image", torch.full((1, 1, 1, 1, 1), 77.0)), [77] * 5),
        (AnchorChoice("last_chunk"), [None, 5, 9, 13, 17]),
    ],
)
def test_anchors(choice, expected):
    sampler = Counting()
    stream(sampler, CHUNKS, 20, anchor=choice)
    assert [None if anchor is None else float(anchor) for _, anchor in sampler.seen] == expected


def test_past_is_the_beginnings_of_all_chunks_before():
    """Chunks begin at 0, 4, 8 and 12, each with two frames that it shares with the one before."""
    sampler = Counting()
    stream(sampler, CHUNKS, 20, anchor=AnchorChoice("past"))
    shown = [None if anchor is None else numbers(anchor) for _, anchor in sampler.seen]
    assert shown == [None, [0, 1], [0, 1, 4, 5], [0, 1, 4, 5, 8, 9], [0, 1, 4, 5, 8, 9, 12, 13]]


def test_drift_is_drawn_back_to_the_anchor():
    class Drifting(Counting):
        def sample(self, chunk, known, anchor):
            generator = torch.Generator().manual_seed(chunk.index)
            made = torch.randn(1, 1, chunk.length, 4, 4, generator=generator) + 3.0 * chunk.index
            if known is not None:
                made[:, :, : chunk.overlap] = known
            return made

    chunks = plan_chunks(22, 6, 2)
    free = stream(Drifting(), chunks, 22)
    held = stream(Drifting(), chunks, 22, drift_correction=1.0)
    assert free[:, :, -1].mean() > 9
    assert abs(held[:, :, -1].mean()) < 2
    assert torch.equal(free[:, :, :6], held[:, :, :6])


def test_space_is_asked_for_before_the_first_chunk_that_is_made(tmp_path, monkeypatch):
    asked = []
    stream(Counting(), plan_chunks(12, 6, 2), 12, folder=RunFolder(tmp_path))
    monkeypatch.setattr(RunFolder, "check_space", lambda self, *sizes: asked.append(sizes))
    stream(Counting(), CHUNKS, 20, folder=RunFolder(tmp_path))
    assert asked == [(2, 4 * 6)]  # three of five chunks are there
    stream(Counting(), CHUNKS, 20, folder=RunFolder(tmp_path))
    assert len(asked) == 1


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="Unknown anchor 'last'"):
        AnchorChoice("last")
    with pytest.raises(ValueError, match="no image is connected"):
        AnchorChoice("image")
    with pytest.raises(ValueError, match="nothing to make"):
        stream(Counting(), (), 5)

    class Short(Counting):
        def sample(self, chunk, known, anchor):
            return torch.zeros(1, 1, 2, 1, 1)

    with pytest.raises(ValueError, match="Chunk 1 has 2 latent frames, not 6"):
        stream(Short(), CHUNKS, 20)
