"""Refine Long Video: against KSampler, and against predictions written out."""

import numpy as np
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from long_video_pack.glv_core.hosts.comfy.editing.refine import CHUNKS, RefineOptions, refine_long
from long_video_pack.nodes.refine_long_video import RefineLongVideo
from streaming import wan_vae
from torch.testing import assert_close
from video_files import execute

pytestmark = pytest.mark.every_host
SAMPLER = SamplerOptions(7, 4, 3.0, "euler", "simple")


def noised(frames: int, size: int = 4, seed: int = 3) -> torch.Tensor:
    return torch.randn(1, 16, frames, size, size, generator=torch.Generator().manual_seed(seed))


def refined(model, samples, **options):
    chosen = {"strength": 0.5, "chunks": "custom", "chunk_frames": 17, "overlap_frames": 8, **options}
    return refine_long(model, SAMPLER, tiny.conditioning(1), tiny.conditioning(0), samples, RefineOptions(**chosen))


def test_one_chunk_is_ksampler_bit_for_bit():
    samples = noised(5)
    ours = refined(tiny.wan(), samples)
    host = tiny.ksampler(tiny.wan(), {"samples": samples}, denoise=0.5)
    assert torch.equal(ours, host)


def test_strength_zero_gives_the_video_back():
    samples = noised(9)
    assert_close(refined(tiny.wan(), samples, strength=0.0), samples)


def test_chunks_blend_at_random_frames_and_cover_all(monkeypatch):
    """Each latent frame is said by one chunk; overlaps change hands at places that differ from step to step."""
    recorder, said = tiny.Recorder(tiny.wan()), []
    from long_video_pack.glv_core import fusion

    plain = fusion.random_cut
    monkeypatch.setitem(fusion.MERGES, "random_cut", lambda *given: said.append(plain(*given)) or said[-1])
    refined(recorder.model, noised(12))
    assert len(said) >= 4
    assert all({value for window in weights for value in window} <= {0.0, 1.0} for weights in said)
    assert len({str(weights) for weights in said}) > 1


@pytest.mark.parametrize(("policy", "length"), [("cover", 12), ("trim", 11)])
def test_length_policies(policy, length):
    """Chunks of 5 latent frames that share 2: three of them are 11."""
    made = refined(tiny.wan(), noised(12), length_policy=policy)
    assert made.shape[2] == length


def test_presets_choose_chunks():
    options = {name: RefineOptions(0.5, name, 17, 8) for name in CHUNKS}
    from long_video_pack.glv_core.hosts.comfy.families import family_of

    family = family_of(tiny.wan().model)
    found = {
        name: [(c.chunk, c.overlap) for c in (each.chunking(family, n) for n in (81, 241, 1201))]
        for name, each in options.items()
    }
    assert found == {
        "model": [(81, 0), (81, 27), (81, 27)], "auto": [(56, 32), (56, 32), (112, 32)],
        "readme": [(81, 0), (112, 32), (112, 32)], "paper": [(24, 8)] * 3, "streaming_svd": [(38, 12)] * 3,
        "custom": [(17, 8)] * 3,
    }  # fmt: skip


def test_tiles_are_seen_one_by_one():
    recorder = tiny.Recorder(tiny.wan())
    made = refined(recorder.model, noised(5, 8), tile_width=32, tile_overlap=16)
    assert {shape[-2:] for shape in map(tuple, recorder.shapes)} == {(8, 4)}
    assert made.shape[-2:] == (8, 8) and made.isfinite().all()


def test_the_node_scales_and_cuts_bars_off():
    """A square video at 96 x 32 pixels: 32 of them between bars, which are gone in the result."""
    frames = torch.from_numpy(np.random.default_rng(0).random((17, 24, 24, 3), np.float32))
    given = {"video": frames, "vae": wan_vae(), "positive": tiny.conditioning(1), "negative": tiny.conditioning(0)}
    made = execute(RefineLongVideo, model=tiny.wan(), **given, steps=2, width=96, height=32, fit="bars").args[0]
    assert list(made["samples"].shape) == [1, 16, 5, 4, 4]
    made = execute(RefineLongVideo, model=tiny.wan(), **given, steps=2, height=48).args[0]
    assert list(made["samples"].shape) == [1, 16, 5, 6, 6]
    made = execute(RefineLongVideo, model=tiny.wan(), **given, steps=2).args[0]
    assert list(made["samples"].shape) == [1, 16, 5, 4, 4]  # 24 pixels are no whole patches; 32 are nearest


OPTIONS = [
    {"strength": 0.9}, {"chunks": "paper"}, {"chunk": 13}, {"overlap": 4}, {"merge": "pyramid"},
    {"length_policy": "trim"}, {"tile_width": 32}, {"tile_height": 32}, {"seed": 8}, {"steps": 3}, {"cfg": 2.0},
    {"width": 96, "fit": "bars"}, {"sigmas": torch.tensor([0.5, 0.2, 0.0])},
    {"width": 96, "tile_width": 32, "tile_overlap": 24},
]  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    return node()


def node(**changed):
    frames = torch.from_numpy(np.random.default_rng(0).random((45, 48, 48, 3), np.float32))
    given = {
        "video": frames, "vae": wan_vae(), "positive": tiny.conditioning(1), "negative": tiny.conditioning(0),
        "steps": 2, "chunks": "custom", "chunk": 17, "overlap": 8, "tile_overlap": 16,
    }  # fmt: skip
    return execute(RefineLongVideo, model=tiny.wan(), **{**given, **changed}).args[0]["samples"]


@pytest.mark.parametrize("changed", OPTIONS, ids=lambda each: " ".join(each))
def test_every_option_changes_the_result(plain, changed):
    if "tile_overlap" in changed:
        plain = node(**{**changed, "tile_overlap": 0})
    made = node(**changed)
    assert made.shape != plain.shape or not torch.equal(made, plain)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tile_width": 40}, "tile_width is 40"), ({"tile_width": 32, "tile_overlap": 32}, "tile_overlap is 32"),
        ({"overlap": 17}, "overlap is 17"), ({"width": 36}, "width is 36"),
        ({"length_policy": "trim", "chunk": 99}, "chunk is 99"), ({"overlap": 0}, "overlap is 0"),
    ],
)  # fmt: skip
def test_mistakes_are_said(changed, words):
    with pytest.raises(ValueError, match=f"RefineLongVideo.*{words}"):
        node(**changed)
