"""Windows behind the latent frame before them, so that none of theirs is taken for a video's first one."""

import combined
import pytest
import tiny
import torch
from families import wan_i2v
from long_video_pack.nodes.window_plan import WindowPlan
from test_engine import WanVae

pytestmark = pytest.mark.every_host


def shown(model, length=13, **options):
    """The latent frames that each forward pass of one step is shown."""
    model, inputs = model.clone(), []

    def keep(apply_model, given):
        inputs.append(given["input"].clone())
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(keep)
    noise = torch.arange(float(length)).view(1, 1, length, 1, 1).expand(1, 16, length, 4, 4)
    given = {"cfg": 1.0, "steps": 2, "overlap": 4, "per_forward": 1, "add_noise": False, "start_at_step": 1, **options}
    tiny.co_denoise(model, {"samples": noise.clone()}, causal_anchor=True, **given)
    calls = [call[0, 0].flatten(1)[:, 0].tolist() for call in inputs]
    first, second = calls[0][:2]  # the host scales and shifts what it is given
    return [[round((value - first) / (second - first)) for value in each] for each in calls]


def test_every_window_but_the_first_is_shown_behind_the_latent_frame_before_it():
    assert shown(tiny.wan()) == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8], [7, 8, 9, 10, 11, 12]]


def test_a_start_image_in_front_of_windows_stays_there():
    model, _, (positive, negative) = wan_i2v()
    seen = shown(model, positive=positive, negative=negative)
    assert seen == [[0, 1, 2, 3, 4], [0, 4, 5, 6, 7, 8], [0, 8, 9, 10, 11, 12]]
    seen = shown(model, positive=positive, negative=negative, start_image="first_window")
    assert seen == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8], [7, 8, 9, 10, 11, 12]]


def test_in_a_loop_the_first_latent_frame_is_the_only_one_of_its_kind():
    seen = shown(tiny.wan(), length=12, closed_loop=True, overlap=0)
    assert len(seen) > 2
    for window in seen:
        start = window[0] if window[0] == 0 else window[1]
        lead = [] if start == 0 else [start - 1]
        assert window == [*lead, *((start + place) % 12 for place in range(5))]


def test_windows_are_what_the_host_makes_of_them_and_the_latent_frame_before():
    """One step without overlap: each window is core's own sample of six latent frames, of which five are kept."""
    noise = torch.randn(1, 16, 10, 4, 4, generator=torch.Generator().manual_seed(8))
    options = {"cfg": 1.0, "steps": 2, "start_at_step": 1, "add_noise": False}
    whole = tiny.co_denoise(tiny.wan(), {"samples": noise}, overlap=0, causal_anchor=True, **options)
    for first, part in ((0, noise[:, :, :5]), (1, noise[:, :, 4:])):
        alone = tiny.co_denoise(tiny.wan(), {"samples": part}, window=97, overlap=0, **options)
        torch.testing.assert_close(whole[:, :, 5 * first : 5 * first + 5], alone[:, :, first:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("blending", ["predictions", "attention"])
def test_folded_windows_equal_windows_one_by_one(blending):
    options = {
        "positive": tiny.scheduled("a | b | c", 81), "schedule": "shifted_trimmed", "prompt_blending": blending,
        "causal_anchor": True, "steps": 3,
    }  # fmt: skip
    one, folded = (tiny.co_denoise(tiny.wan(), tiny.latent(21), per_forward=each, **options) for each in (1, 4))
    torch.testing.assert_close(folded, one, rtol=0, atol=2e-3 * float(one.std()))


def test_the_sound_of_the_latent_frame_before_is_shown_with_it():
    """LTX-2: windows of 7 latent frames; the sound in front is that of the latent frame in front."""
    model = combined.model("ltx")
    spy = combined.Spy(model)
    made = tiny.co_denoise(
        model, combined.latent("ltx", 14), window=combined.frames_of("ltx", 7), overlap=0, steps=1, cfg=1.0,
        positive=combined.text("ltx", 1), negative=combined.text("ltx", 0), per_forward=1, causal_anchor=True,
    )  # fmt: skip
    assert [call["streams"][0].shape[2] for call in spy.calls] == [7, 8]
    sound = combined.sound_of("ltx", 14)
    first, second = (call["streams"][1].shape[2] for call in spy.calls)
    edges = [round(index * sound / 14) for index in range(15)]
    assert (first, second) == (edges[7], edges[14] - edges[6])
    assert [each.shape for each in made.unbind()] == [
        each.shape for each in combined.latent("ltx", 14)["samples"].unbind()
    ]


def test_a_loop_that_one_window_holds_is_as_without():
    """LTX-2, whose sound would be written back a latent frame late if the window were shown behind one of its own."""
    made = [
        tiny.co_denoise(
            combined.model("ltx"),
            combined.latent("ltx", 8),
            window=combined.frames_of("ltx", 12),
            overlap=0,
            steps=3,
            cfg=1.0,
            positive=combined.text("ltx", 1),
            negative=combined.text("ltx", 0),
            schedule="shifted",
            closed_loop=True,
            causal_anchor=anchor,
        ).unbind()
        for anchor in (False, True)
    ]
    for plain, anchored in zip(*made, strict=True):
        assert torch.equal(plain, anchored)


def test_the_plan_counts_it():
    sizes = {"window": 17, "overlap": 4, "schedule": "shifted_trimmed", "merge": "pyramid"}
    *_, ratio, _ = WindowPlan.execute(WanVae(), 77, 16.0, 4, windows_per_forward=0, causal_anchor=True, **sizes).args
    model, frames = tiny.wan().clone(), []

    def keep(apply_model, given):
        frames.append(given["input"].shape[0] * given["input"].shape[2])
        return apply_model(given["input"], given["timestep"], **given["c"])

    model.set_model_unet_function_wrapper(keep)
    tiny.co_denoise(model, tiny.latent(20), steps=4, cfg=1.0, causal_anchor=True, **sizes)
    assert ratio == pytest.approx(sum(frames) / (4 * 20))


def test_models_without_a_use_for_it_refuse_it():
    with pytest.raises(ValueError, match=r"^CoDenoiseKSampler: causal_anchor is on, .* Switch causal_anchor off"):
        tiny.co_denoise(tiny.sd15(), {"samples": torch.zeros(20, 4, 8, 8)}, causal_anchor=True)


@pytest.mark.skipif(not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3")
def test_h3_whose_windows_begin_as_clips_do_refuses_it():
    with pytest.raises(ValueError, match="causal_anchor is on"):
        tiny.co_denoise(
            combined.model("h3"), combined.latent("h3", 22), cfg=1.0, positive=combined.text("h3", 1),
            window=combined.frames_of("h3", 7), overlap=0, causal_anchor=True,
        )  # fmt: skip
