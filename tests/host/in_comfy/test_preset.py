"""Presets: every output is the value that it is named after, and the sampler takes them."""

import pytest
import tiny
import torch

pytestmark = pytest.mark.every_host


def outputs(name, node=None):
    from long_video_pack.nodes.gen_l_video_preset import GenLVideoPreset

    node = node or GenLVideoPreset
    names = [each.display_name for each in node.define_schema().outputs]
    return dict(zip(names, node.execute(name).args, strict=True))


@pytest.mark.parametrize(("mode", "changed"), [
    ("mix", {"select_every": 2}),
    ("edit", {"window": 15, "overlap": 10, "control_strength": 0.8, "select_every": 2}),
    ("control", {"window": 15, "overlap": 10, "control_strength": 0.6, "strength": 0.2, "start_at_step": 40,
                 "select_every": 2}),
    ("pose", {"window": 16, "overlap": 12, "inverted": False, "select_every": 3}),
    ("one-shot tuning:", {"window": 16, "overlap": 12, "select_every": 6}),
    ("one-shot tuning mix", {"window": 16, "overlap": 12, "select_every": 6}),
])  # fmt: skip
def test_outputs_are_what_they_are_named_after(mode, changed):
    from long_video_pack.glv_core.editing.presets import PRESETS

    shared = {
        "window": 20, "overlap": 15, "schedule": "static", "merge": "flat", "prompt_blending": "one_per_window",
        "steps": 50, "cfg": 12.5, "sampler_name": "ddim", "scheduler": "ddim_uniform", "seed": 33, "strength": 1.0,
        "start_at_step": 0, "inverted": True, "control_strength": 1.0,
    }  # fmt: skip
    assert outputs(next(name for name in PRESETS if name.startswith(mode))) == {**shared, **changed}


def test_the_sampler_takes_them():
    given = outputs("mix: car-turn (depth, prompts that change)")
    latent = tiny.latent(25)
    made = tiny.co_denoise(
        tiny.wan(), latent, steps=2, **{key: given[key] for key in ("window", "overlap", "schedule", "merge", "seed")},
        cfg=given["cfg"], sampler=given["sampler_name"], scheduler=given["scheduler"],
        prompt_blending=given["prompt_blending"], positive=tiny.scheduled("a | b", 97),
    )  # fmt: skip
    assert made.shape == latent["samples"].shape and bool(torch.isfinite(made).all()) and made.std() > 0.1


VIDEO = {
    "steps": 400, "batch_size": 1, "learning_rate": 1e-4, "rank": 32, "text_drop": 0.1, "clip_drop": 0.4,
    "method": "low_rank", "identifiers": "continuous", "ema_decay": 0.98,
}  # fmt: skip


@pytest.mark.parametrize(("begins", "values"), [
    ("Gen-L-Video: hike", {"steps": 200, "batch_size": 3, "learning_rate": 9e-5, "rank": 16, "window": 16, "stride": 4,
                           "text_drop": 0.1, "clip_drop": 0.4, "method": "gen_l_video", "identifiers": "bank",
                           "ema_decay": 0.0}),
    ("Gen-L-Video: its script", {"steps": 500, "batch_size": 1, "learning_rate": 3e-5, "rank": 16, "window": 16,
                                 "stride": 4, "text_drop": 0.3, "clip_drop": 0.3, "method": "gen_l_video",
                                 "identifiers": "bank", "ema_decay": 0.0}),
    ("Wan", {**VIDEO, "window": 81, "stride": 20}),
    ("LTX-2", {**VIDEO, "window": 121, "stride": 32}),
    ("MiniMax H3", {**VIDEO, "window": 124, "stride": 34}),
    ("demo model", {**VIDEO, "steps": 150, "batch_size": 8, "learning_rate": 1.5e-3, "rank": 16, "window": 61,
                    "stride": 16}),
])  # fmt: skip
def test_outputs_of_a_tuning_are_what_they_are_named_after(begins, values):
    from long_video_pack.glv_core.tuning.presets import PRESETS
    from long_video_pack.nodes.tuning_preset import TuningPreset

    found = outputs(next(name for name in PRESETS if name.startswith(begins)), TuningPreset)
    assert found == pytest.approx(values)
