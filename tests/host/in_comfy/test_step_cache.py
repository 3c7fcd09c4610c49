"""The step cache in the host: what it leaves out, with whose threshold, and that other evaluations stay apart."""

import functools

import combined
import pytest
import tiny
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler, CFGGuider, KSamplerSelect, SamplerCustomAdvanced
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_sag import SelfAttentionGuidance
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT
from long_video_pack.glv_core.hosts.comfy.co_denoise import handler as handler_module
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.invert_long_latent import InvertLongLatent
from torch.testing import assert_close

every_host = pytest.mark.every_host
LENGTH = 9
#: Ends before the noise does, so that every step counts in the result.
PART = {"end_at_step": 8, "return_with_leftover_noise": True}


def node(kind, model, *arguments):
    return kind.execute(model, *arguments).args[0]


def passes_of(model):
    """A clone of a MODEL, and a list that grows by the rows of each forward pass."""
    model, rows = model.clone(), []

    def call(apply_model, arguments):
        rows.append(arguments["input"].shape[0])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(call)
    return model, rows


def constant(model):
    """The same, but what it predicts is one number for each prompt, and another where a layer is skipped."""
    model, rows = model.clone(), []

    def call(apply_model, arguments):
        rows.append(arguments["input"].shape[0])
        said = arguments["c"]["c_crossattn"].flatten(1).sum(1) / 100
        if arguments["c"]["transformer_options"].get("patches_replace"):
            said = said - 0.5
        return said.view(-1, 1, 1, 1, 1).expand(arguments["input"].shape).clone()

    model.set_model_unet_function_wrapper(call)
    return model, rows


def sample(model, latent=None, **options):
    return tiny.co_denoise(model, latent or tiny.latent(LENGTH), **{"schedule": "shifted", "steps": 10} | options)


@every_host
def test_with_the_smallest_threshold_all_is_bit_for_bit_as_without(wan):
    model, rows = passes_of(wan)
    plain = sample(model)
    count = len(rows)
    assert torch.equal(sample(model, step_cache=1e-9), plain) and len(rows) == 2 * count


@every_host
@pytest.mark.parametrize(
    "sampler", ["euler", "heun", "dpm_2", "euler_ancestral", "uni_pc", "dpmpp_sde", "dpmpp_2m", "lcm", "dpm_adaptive"]
)
def test_steps_whose_predictions_do_not_change_are_left_out_by_every_sampler_and_change_nothing(wan, sampler):
    model, rows = constant(wan)
    plain = sample(model, sampler=sampler, **PART)
    count = len(rows)
    assert_close(sample(model, sampler=sampler, step_cache=0.05, **PART), plain, rtol=0, atol=1e-3)
    assert 0 < len(rows) - count < 0.75 * count


@pytest.mark.parametrize(
    "options",
    [
        {"isolated_clips": True},
        {"closed_loop": True},
        {"offload_latent": True},
        {"start_image": "every_window"},
        {"prompt_blending": "attention"},
        {"schedule": "uniform", "stride": 2},
        {"window": 97},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_kind_of_window_can_be_used_again(wan, options):
    model, rows = passes_of(wan)
    options = {"positive": tiny.scheduled("a | b", 33), "cfg": 1.0, "steps": 6} | options
    plain = sample(model, **options)
    computed = sum(rows)
    cached = sample(model, step_cache=0.4, **options)
    assert sum(rows) - computed < computed
    error = (cached - plain).abs().mean() / plain.abs().mean()
    assert 0 < error < 0.3


@every_host
def test_a_guidance_that_skips_layers_has_predictions_of_its_own(wan):
    model = constant(wan)[0]
    guided = SkipLayerGuidanceDiT.execute(model, 3.0, 0.3, 0.7, "0", "0").args[0]
    plain = sample(guided, **PART)
    assert (plain - sample(model, **PART)).abs().max() > 0.1
    assert_close(sample(guided, step_cache=0.05, **PART), plain, rtol=0, atol=1e-3)


@every_host
def test_where_other_conds_begin_all_is_computed(wan):
    """Two prompts, one for each half of the sampling: no prediction of the first is used for the second."""
    model, rows = constant(wan)
    halves = [
        [tiny.conditioning(seed)[0][0], {"start_percent": start, "end_percent": end}]
        for seed, start, end in ((1, 0.0, 0.5), (2, 0.5, 1.0))
    ]
    plain = sample(model, positive=halves, steps=16, **PART | {"end_at_step": 14})
    count = len(rows)
    cached = sample(model, positive=halves, steps=16, step_cache=0.05, **PART | {"end_at_step": 14})
    assert_close(cached, plain, rtol=0, atol=1e-3)
    assert len(rows) - count < count


@every_host
def test_easy_cache_in_front_is_the_step_cache_with_its_threshold(wan):
    model, rows = passes_of(wan)
    ours = sample(model, step_cache=0.4)
    count = len(rows)
    easy = node(EasyCacheNode, model, 0.4, 0.15, 0.95, False)
    assert torch.equal(sample(easy), ours) and len(rows) == 2 * count
    assert "easycache" in easy.model_options["transformer_options"]
    patched = CoDenoiseModel.execute(easy, window=17, overlap=8, step_cache=0.1).args[0]
    assert "easycache" not in patched.model_options["transformer_options"]
    assert not any("easycache" in group for group in patched.wrappers.values())
    assert patched.model_options["context_handler"].options.step_cache.threshold == 0.1
    late = node(EasyCacheNode, model, 0.4, 0.5, 0.6, False)
    before = len(rows)
    assert not torch.equal(sample(late), ours) and len(rows) - before > count


@every_host
def test_easy_cache_behind_is_refused(wan):
    model, rows = passes_of(wan)
    easy = node(EasyCacheNode, CoDenoiseModel.execute(model, window=17, overlap=8).args[0], 0.2, 0.15, 0.95, False)
    with pytest.raises(
        ValueError, match=r"EasyCache was put on the model behind Co-Denoise Model.*Connect it in front"
    ):
        tiny.ksampler(easy, tiny.latent(LENGTH))
    assert not rows


@every_host
def test_lazy_cache_leaves_out_whole_steps_beside_it(wan):
    model, rows = passes_of(wan)
    plain = sample(model)
    count = len(rows)
    lazy = node(LazyCacheNode, model, 0.4, 0.15, 0.95, False)
    for options in ({}, {"step_cache": 0.2}):
        before = len(rows)
        error = (sample(lazy, **options) - plain).abs().mean() / plain.abs().mean()
        assert len(rows) - before < count and error < 0.3


@every_host
def test_how_many_windows_were_used_again_is_said(wan, monkeypatch):
    said = []
    monkeypatch.setattr(handler_module, "send_text", said.append)
    model, rows = constant(wan)
    sample(model, schedule="static", overlap=0, window=17, cfg=1.0, per_forward=1, step_cache=0.05)
    windows = 10 * 2  # of 5 latent frames, over 9
    assert len(rows) == 3 * 2  # steps 0, 1 and 9
    assert said == [f"Step cache: {windows - len(rows)} of {windows} windows reused"]


@every_host
def test_custom_samplers_use_it_through_the_patch_node(wan):
    model, rows = constant(wan)
    patched = CoDenoiseModel.execute(model, window=17, overlap=8, schedule="shifted", step_cache=0.05).args[0]
    guider = CFGGuider.execute(patched, tiny.conditioning(1), tiny.conditioning(0), 3.0).args[0]
    sigmas = BasicScheduler.execute(patched, "simple", 10, 1.0).args[0]

    class Noise:
        seed = 7

        def generate_noise(self, latent):
            return torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(7))

    run = functools.partial(SamplerCustomAdvanced.execute, Noise(), guider, KSamplerSelect.execute("euler").args[0])
    assert run(sigmas, tiny.latent(LENGTH)).args[0]["samples"].isfinite().all()
    assert 0 < len(rows) < 10


@every_host
def test_an_inversion_computes_all(wan):
    latent = {"samples": torch.randn(1, 16, LENGTH, 4, 4, generator=torch.Generator().manual_seed(3))}
    windows = {"window": 17, "overlap": 8, "schedule": "shifted", "merge": "pyramid", "windows_per_forward": 0}

    def inverted(model):
        noise = InvertLongLatent.execute(
            model, tiny.conditioning(1), latent, 8, "simple", 1.0, 1.0, 0, 5, None, **windows
        )
        return noise.args[0].generate_noise(latent)

    assert torch.equal(inverted(node(EasyCacheNode, wan, 0.4, 0.0, 1.0, False)), inverted(wan))


@every_host
def test_sound_is_used_again_with_its_video():
    model, latent = combined.model("ltx"), combined.latent("ltx", 12)
    spy = combined.Spy(model)

    def run(**options):
        before = len(spy.calls)
        made = tiny.co_denoise(
            model, latent, window=combined.frames_of("ltx", 6), schedule="shifted", overlap=8, steps=8, cfg=1.0,
            positive=combined.text("ltx", 1), negative=combined.text("ltx", 0), **options,
        )  # fmt: skip
        return list(made.unbind()), len(spy.calls) - before

    plain, count = run()
    cached, fewer = run(step_cache=0.5)
    assert fewer < count
    for one, other in zip(cached, plain, strict=True):
        assert 0 < (one - other).abs().mean() / other.abs().mean() < 0.5


def test_guides_behind_the_video_are_used_again_with_it():
    import rows_more  # for newer hosts

    made = rows_more.ltx_guides(12)
    model, rows = passes_of(made.model)
    options = {"window": 33, "overlap": 8, "schedule": "shifted", "steps": 8, "cfg": 1.0}
    options |= {"positive": made.positive, "negative": made.negative}
    plain = tiny.co_denoise(model, made.latent, **options)
    count = sum(rows)
    cached = tiny.co_denoise(model, made.latent, step_cache=0.5, **options)
    assert cached.shape == plain.shape and sum(rows) - count < count
    for part in (slice(0, 12), slice(12, None)):
        assert (cached - plain)[:, :, part].abs().mean() / plain[:, :, part].abs().mean() < 0.5


def test_self_attention_guidance_is_refused():
    model, rows = tiny.sd15(middle=1), []
    model.set_model_unet_function_wrapper(lambda *given: rows.append(given))
    guided = SelfAttentionGuidance().execute(model, 0.7, 2.0)
    guided = guided.args[0] if hasattr(guided, "args") else guided[0]
    latent = {"samples": torch.zeros(7, 4, 8, 8)}
    with pytest.raises(ValueError, match="step_cache leaves out forward passes, and Self-Attention Guidance"):
        tiny.co_denoise(
            guided, latent, window=3, overlap=1, step_cache=0.2, positive=tiny.text(1), negative=tiny.text(0)
        )
    assert not rows
