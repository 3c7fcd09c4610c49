"""Sizes from public bug reports about other packs and models, with their right outcomes."""

import math

import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from long_video_pack.glv_core.hosts.comfy.editing.refine import RefineOptions, refine_long
from long_video_pack.nodes.long_latent import LongLatent
from long_video_pack.nodes.streaming_extend import StreamingExtend
from long_video_pack.nodes.window_plan import WindowPlan
from test_engine import WanVae

pytestmark = pytest.mark.every_host


class Vae(WanVae):
    """As much of a VAE as LongLatent and WindowPlan ask."""

    def spacial_compression_encode(self):
        return 8


class LtxVae(Vae):
    """The same of LTX: a latent frame holds eight frames."""

    latent_channels = 128
    upscale_ratio = (lambda frames: max(0, 8 * frames - 7), 32, 32)

    def temporal_compression_decode(self):
        return 8


def counted(model):
    """A clone of a MODEL, and a list of the windows of its forward passes."""
    model, rows = model.clone(), []

    def call(apply_model, given):
        rows.append(given["input"].shape[0])
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(call)
    return model, rows


@pytest.mark.parametrize("overlap", [0, 8, 16])
@pytest.mark.parametrize(("asked", "window", "made"), [(479, 241, 481), (97, 81, 97), (179, 81, 181)])
def test_windows_are_counted_as_they_run_and_the_length_is_the_next_legal_one(asked, window, overlap, made):
    """Wan2GP #2194, WanVideoWrapper #1742: frames that were lost or made twice at the end."""
    latent, length, fps = LongLatent.execute(Vae(), 32, 32, float(asked), "frames", 16.0, 1).args
    assert (length, latent["samples"].shape[2]) == (made, (made + 3) // 4)
    sizes = {"window": window, "overlap": overlap, "schedule": "shifted_trimmed", "merge": "pyramid"}
    _, planned, *_ = WindowPlan.execute(Vae(), length, fps, 2, windows_per_forward=0, **sizes).args
    model, rows = counted(tiny.wan(1))
    samples = tiny.co_denoise(model, latent, steps=2, cfg=1.0, **sizes)
    assert sum(rows) == planned
    assert samples.shape[2] == (made + 3) // 4 and samples.isfinite().all()


@pytest.mark.parametrize(("overlap", "held"), [(1, 1), (4, 1), (5, 1), (8, 2), (9, 2)])
def test_a_chunk_leaves_out_what_it_held_and_says_how_overlaps_are_rounded(overlap, held):
    """cosmos-predict2.5 PR #137: frames were lost where the overlap was no whole latent frame."""
    model, rows = counted(tiny.wan(1))

    def extended(length):
        return StreamingExtend.execute(
            model, tiny.conditioning(1), tiny.conditioning(0), length, 5, 1, 1.0, "euler", "simple", 49, overlap, None,
            width=32, height=32, run_name="",
        ).args  # fmt: skip

    (latent, report, _), chunk = extended(161), 13
    chunks = 1 + math.ceil((41 - chunk) / (chunk - held))
    assert latent["samples"].shape[2] == 41 and len(rows) == chunks
    assert f"{chunks} chunks of {chunk} latent frames, {held} of them known" in report
    # The second chunk begins with the end of the first, over which it may take over, and goes on right behind it.
    first, second = (extended(frames)[0]["samples"] for frames in (49, 4 * (2 * chunk - held) - 3))
    alike = chunk - held
    assert torch.equal(second[:, :, :alike], first[:, :, :alike]) and second.shape[2] == 2 * chunk - held
    assert torch.equal(latent["samples"][:, :, : 2 * alike], second[:, :, : 2 * alike])
    assert ("overlap" in report.splitlines()[-1]) == (overlap != 4 * held)
    if overlap != 4 * held:
        assert f"overlap {overlap} is {4 * held}" in report


@pytest.mark.parametrize(("asked", "made"), [(72, 73), (96, 97), (97, 97), (117, 121)])
def test_lengths_of_ltx_are_rounded_up_and_said(asked, made):
    """LTX-Video #207, WhatDreamsCost #154."""
    output = LongLatent.execute(LtxVae(), 64, 64, float(asked), "frames", 24.0, 1)
    assert output.args[1] == made and output.args[0]["samples"].shape[2] == (made + 7) // 8
    assert (output.ui is None) == (asked == made)
    if asked != made:
        assert output.ui["text"] == (f"{asked} frames are rounded up to {made}, the next that fit.",)


@pytest.mark.parametrize("length", [47, 48, 50])
def test_every_latent_frame_is_covered_whatever_the_length(length):
    """Gen-L-Video #4, #12: window 16, hop 8; the last frames of other lengths were never denoised."""
    model = tiny.sd15()
    noise = torch.randn(length, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    options = {"steps": 2, "cfg": 1.0, "add_noise": False, "start_at_step": 1}
    for schedule in ("static", "shifted_trimmed"):
        made = tiny.co_denoise(
            model, {"samples": noise}, window=16, overlap=8, schedule=schedule, positive=tiny.text(1),
            negative=tiny.text(0), **options,
        )  # fmt: skip
        changed = (made - noise).flatten(1).abs().amax(1)
        assert made.shape == noise.shape and (changed > 1e-3).all()


@pytest.mark.parametrize("length", [24, 48, 240])
@pytest.mark.parametrize("merge", ["random_cut", "random_cut_paper"])
def test_streamingt2v_s_lengths_are_refined_whole(length, merge):
    """StreamingT2V #6, #8, #48: chunks of 24 that share 8 leave 40 of 48 frames and 232 of 240 with the tail cut.

    This model sees no frame beside another, so all are what they are in one chunk.
    """
    samples = torch.randn(length, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    sampler, model = SamplerOptions(7, 2, 1.0, "euler", "simple"), tiny.sd15()

    def refined(model, **options):
        chosen = RefineOptions(0.5, merge=merge, windows_per_forward=1, **options)
        return refine_long(model, sampler, tiny.text(1), tiny.text(0), samples, chosen)

    watched, rows = counted(model)
    made = refined(watched, chunks="paper")
    assert rows == [24] * 2 * {24: 1, 48: 3, 240: 15}[length]
    torch.testing.assert_close(made, refined(model, chunks="custom", chunk_frames=length), atol=1e-3, rtol=1e-3)
    assert ((made - samples).flatten(1).abs().amax(1) > 1e-3).all()
