"""StreamingExtend with a step cache, and with ways of blending prompts: what they do, cost, change in a chunk's key and
refuse.
"""

import json
import os

import combined
import families
import folder_paths
import pytest
import rows_parts
import streaming
import tiny
import torch
from long_video_pack.glv_core.streaming import chunk_seed
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

pytestmark = pytest.mark.every_host
BLENDINGS = ("predictions", "embeddings", "embeddings_spherical", "one_per_window", "attention")
#: What the options of a chunk's key were before there were a step cache and ways of blending prompts.
OPTIONS = {
    "length_frames", "chunk_frames", "overlap_frames", "window_frames", "window_overlap_frames", "schedule", "merge",
    "anchor", "drift_correction", "blend", "run_name", "tile_width", "tile_height", "tile_overlap",
}  # fmt: skip
WINDOWS = [
    pytest.param({"length": 29}, id="one window"),
    pytest.param({"length": 57, "chunk": 33, "window": 17, "window_overlap": 8}, id="windows"),
]


def counting(model):
    """A clone of a MODEL, and a list that grows by the rows of each forward pass."""
    recorder = tiny.Recorder(model)
    return recorder.model, lambda: sum(shape[0] for shape in recorder.shapes)


def found(report: str) -> int:
    """The chunks that were found."""
    return int(report.partition(" chunks were found")[0].rpartition(" ")[2])


def two_prompts(frames: int, fps: float, make, words: str = "a | b") -> list:
    """A CONDITIONING of a schedule, whose entries ``make`` makes of a number."""

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, tokens):
            return make(tokens)

    return MultiPromptSchedule.execute(Clip(), words, frames, fps, "linear", 8.0).args[0]


@pytest.mark.parametrize("shape", WINDOWS)
def test_a_step_cache_leaves_out_forward_passes_of_every_chunk(wan, shape):
    model, rows = counting(wan)
    options = {"steps": 10, "cfg": 2.0, **shape}
    plain, _ = streaming.extend(model, **options)
    all_rows = rows()
    exact, _ = streaming.extend(model, step_cache=1e-9, **options)
    assert torch.equal(exact, plain) and rows() == 2 * all_rows
    cached, _ = streaming.extend(model, step_cache=0.4, **options)
    computed = rows() - 2 * all_rows
    assert all_rows / 10 * 2 < computed < 0.85 * all_rows
    error = (cached - plain).abs().mean(dim=(0, 1, 3, 4)) / plain.abs().mean()
    assert error.min() > 0 and error.mean() < 0.3


def test_a_step_cache_keeps_video_and_sound():
    model = combined.model("ltx")
    spy = combined.Spy(model)
    options = {
        "latent": combined.latent("ltx", 6), "length": combined.frames_of("ltx", 10), "chunk": 41, "overlap": 16,
        "steps": 12, "positive": combined.text("ltx", 1, frame_rate=24), "negative": combined.text("ltx", 0),
    }  # fmt: skip
    plain = streaming.extend(model, **options)[0].unbind()
    count = len(spy.calls)
    cached = streaming.extend(model, step_cache=0.4, **options)[0].unbind()
    assert count == 24 and 4 < len(spy.calls) - count < count
    for one, other in zip(plain, cached, strict=True):
        assert 0 < (one - other).abs().mean() < 0.3 * one.abs().mean()


def test_both_models_of_a_chunk_have_a_step_cache():
    high, low = counting(tiny.wan()), counting(tiny.wan(3))
    options = {"length": 17, "steps": 16, "low_noise_model": low[0]}
    plain, _ = streaming.extend(high[0], **options)
    assert (high[1](), low[1]()) == (8, 8)
    cached, _ = streaming.extend(high[0], step_cache=0.5, **options)
    assert 2 < high[1]() - 8 < 8 and 2 < low[1]() - 8 < 8
    assert not torch.equal(cached, plain)


def test_prompts_are_blended_as_by_the_sampler_at_its_cost(wan):
    """One chunk that sees two prompts; the oracle is Co-Denoise KSampler with one window."""
    model, rows = counting(wan)
    positive = tiny.scheduled("a | b", 17, frames=4.0)
    made, costs = {}, {}
    for blending in BLENDINGS:
        before = rows()
        made[blending], _ = streaming.extend(model, length=17, positive=positive, prompt_blending=blending)
        costs[blending] = rows() - before
        oracle = tiny.co_denoise(
            wan, tiny.latent(5), window=17, overlap=0, seed=chunk_seed(5, 0), steps=3, cfg=1.0, positive=positive,
            prompt_blending=blending,
        )  # fmt: skip
        assert torch.equal(made[blending], oracle)
    assert costs == {**dict.fromkeys(BLENDINGS, 3), "predictions": 6}
    auto, _ = streaming.extend(model, length=17, positive=positive)
    assert torch.equal(auto, made["attention"])
    for blending in BLENDINGS[1:]:
        assert (made[blending] - made["predictions"]).abs().max() > 1e-3
    alone = [streaming.extend(wan, length=17, positive=tiny.conditioning(ord(name)))[0] for name in "ab"]
    assert min((made["one_per_window"] - each).abs().max() for each in alone) < 1e-4


def test_both_enter_a_chunk_s_key_where_they_change_it(wan):
    folder = os.path.join(folder_paths.get_output_directory(), "long_video_runs", "options")
    text = tiny.scheduled("0: a\n40: b", 57, transition="hard")  # which the first three of five chunks do not see

    def run(**options):
        return found(streaming.extend(wan, length=57, steps=4, run_name="options", **{"positive": text} | options)[1])

    def options_of_keys():
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            return [set(chunk["options"]) for chunk in json.load(file)["chunks"]]

    assert run() == 0
    assert options_of_keys() == [OPTIONS] * 5
    assert run(step_cache=0.0, prompt_blending="auto") == 5
    assert run(prompt_blending="predictions") == 3
    assert options_of_keys() == [OPTIONS] * 3 + [OPTIONS | {"prompt_blending"}, OPTIONS]
    assert run(prompt_blending="predictions") == 5
    assert run(prompt_blending="one_per_window") == 3
    assert run(step_cache=0.4) == 0
    assert options_of_keys() == [OPTIONS | {"step_cache"}] * 5
    assert [run(step_cache=0.4), run(step_cache=0.3), run()] == [5, 0, 5]
    one = tiny.conditioning(1)
    assert [run(positive=one), run(positive=one, prompt_blending="embeddings")] == [0, 5]


def test_an_anchor_before_a_chunk_may_see_the_prompt_before():
    """The first chunk goes on from latent frame 3 of a video that is there, where the second prompt begins."""
    model, text = streaming.wan_22_5b(), tiny.scheduled("0: a\n8: b", 29, transition="hard")
    given = {"samples": torch.randn(1, 48, 5, 4, 4, generator=torch.Generator().manual_seed(4))}

    def run(blending, folder="", positive=text):
        return streaming.extend(
            model, latent=given, length=29, positive=positive, anchor="first", prompt_blending=blending, run_name=folder
        )[0]

    made = {blending: run(blending) for blending in ("attention", "predictions")}
    assert not torch.equal(made["attention"], made["predictions"])
    for blending, each in made.items():
        assert torch.equal(run(blending, "anchored"), each)
    # Another prompt before, which nothing but the anchor of the first chunk sees, makes another chunk.
    other = tiny.scheduled("0: c\n8: b", 29, transition="hard")
    fresh = run("attention", positive=other)
    assert not torch.equal(fresh, made["attention"])
    assert torch.equal(run("attention", "anchored", other), fresh)
    # So does one that the chunk sees as well, but only later.
    later, sooner = (tiny.scheduled(f"0: a\n{at}: b\n20: a", 29, transition="hard") for at in (8, 2))
    run("attention", "twice", later)
    assert torch.equal(run("attention", "twice", sooner), run("attention", positive=sooner))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step_cache": -0.1}, "step_cache is -0.1; it must be 0.0 to 3.0"),
        ({"step_cache": 0.2, "steps": 3}, "step_cache is 0.2 and steps 3, of which the first two and the last are"),
        ({"prompt_blending": "both"}, "both"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_forward_pass(wan, options, words):
    model, rows = counting(wan)
    with pytest.raises(ValueError, match=r"^StreamingExtend: ") as refused:
        streaming.extend(model, length=33, **options)
    assert words in str(refused.value) and rows() == 0


def test_a_step_cache_needs_steps_of_each_model_to_leave_out(wan):
    low = tiny.wan(3)
    with pytest.raises(ValueError, match="the first two of each model and the last are always computed"):
        streaming.extend(wan, length=17, steps=4, low_noise_model=low, step_cache=0.5)
    for more in ({"steps": 4}, {"steps": 6, "low_noise_model": low}):
        streaming.extend(wan, length=17, step_cache=0.5, **more)


def test_attention_is_refused_where_frames_are_the_batch():
    model, rows = counting(tiny.sd15())
    with pytest.raises(ValueError, match=r"prompt_blending is attention, which .* does not support"):
        streaming.extend(
            model, length=8, chunk=4, overlap=1, positive=tiny.text(1), negative=tiny.text(0),
            prompt_blending="attention",
        )  # fmt: skip
    assert rows() == 0


def test_attention_is_refused_beside_the_guides_that_ltx_takes_as_anchors():
    model, latent, (_, negative) = families.ltx()
    model, rows = counting(model)
    latent = {"samples": latent["samples"][:, :, :1]}
    options = {
        "latent": latent, "negative": negative, "chunk": 33, "overlap": 16, "length": 65, "anchor": "first",
        "prompt_blending": "attention",
    }  # fmt: skip

    def text(number):
        return rows_parts.text(number, 64, attention_mask=torch.ones(1, 8, dtype=torch.long))

    several = two_prompts(65, 24.0, text)
    with pytest.raises(ValueError, match=r"does not support LTX guide frames .* Set prompt_blending to predictions"):
        streaming.extend(model, positive=several, **options)
    assert rows() == 0
    for changed in ({"positive": text(1)}, {"positive": several, "anchor": "none"}):
        samples, _ = streaming.extend(model, **{**options, **changed})
        assert samples.isfinite().all()


@pytest.mark.skipif(not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3")
def test_embeddings_that_cannot_be_mixed_are_refused():
    model = combined.model("h3")
    spy = combined.Spy(model)
    frames = combined.frames_of("h3", 37)
    options = {
        "latent": combined.latent("h3", 17), "length": frames, "chunk": combined.frames_of("h3", 17), "overlap": 22,
        "steps": 1, "negative": combined.text("h3", 0), "prompt_blending": "embeddings",
    }  # fmt: skip
    several = two_prompts(frames, 24.0, lambda number: combined.text("h3", number))
    with pytest.raises(ValueError, match="cannot have embeddings of prompts mixed"):
        streaming.extend(model, positive=several, **options)
    assert not spy.calls
    streaming.extend(model, positive=combined.text("h3", 1), **options)
    assert spy.calls
