"""The diffusers host, on tiny random pipelines of every supported kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import AutoencoderKLWan

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.demo import MODEL_DIR
from glv_core.demo.clips import Scene, render
from glv_core.fusion import merge_weights
from glv_core.hosts.diffusers import (
    UnsupportedDenoiserError,
    co_denoising,
    generate,
    make_scheduler,
    timebase_for,
)
from glv_core.hosts.diffusers.forward import step_of
from glv_core.hosts.diffusers.generate import decode_loop
from glv_core.noise import NoiseSettings, long_noise
from glv_core.prompts import parse_schedule
from glv_core.timeline import Timebase

FPS = 8
KINDS = ("wan", "text_to_video_sd", "animatediff")
FRAMES = {"wan": 33, "text_to_video_sd": 9, "animatediff": 9}  # 9 latent frames each
TWO = "a red circle moving right | a blue square cat dog"
SETTINGS = CoDenoiseSettings(window=4, overlap=2, schedule="static")


def video(pipeline, name, settings, text=TWO, transition_frames=4, **options):
    """Latents of a short run (or frames, by output_type)."""
    timebase = timebase_for(pipeline, options.pop("num_frames", FRAMES[name]), FPS)
    schedule = parse_schedule(text, num_frames=timebase.num_frames, fps=FPS, transition_frames=transition_frames)
    defaults = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "latent", "guidance_scale": 4.0}
    return generate(pipeline, schedule, timebase, settings, **{"negative_prompt": "blurry", **defaults, **options})


def denoiser(pipeline):
    return getattr(pipeline, "transformer", None) or pipeline.unet


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_one_window_and_one_prompt_is_the_plain_pipeline_bit_for_bit(tiny_pipelines, name, guidance):
    pipeline = tiny_pipelines(name)
    ours = video(
        pipeline, name, CoDenoiseSettings(window=9, overlap=2), "a red circle", guidance_scale=guidance, seed=5
    )
    plain = pipeline(
        "a red circle",
        negative_prompt="blurry",
        num_frames=FRAMES[name],
        num_inference_steps=2,
        guidance_scale=guidance,
        height=32,
        width=32,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).frames
    assert torch.equal(ours, plain)


@pytest.mark.parametrize(("name", "anchor"), [*((name, False) for name in KINDS), ("wan", True)])
def test_the_merged_output_is_a_dense_sum_over_windows_and_prompts(tiny_pipelines, name, anchor):
    """Oracle: call the denoiser for every window and prompt on its own, weigh and add in float64. With an anchor it is
    called with the latent frame before a window in front of it, which is cut off again.
    """
    settings = replace(SETTINGS, causal_anchor=anchor)
    pipeline = tiny_pipelines(name)
    module = denoiser(pipeline)
    timebase = timebase_for(pipeline, FRAMES[name], FPS)
    schedule = parse_schedule(TWO, num_frames=FRAMES[name], fps=FPS, transition_frames=8 if name == "wan" else 4)
    torch.manual_seed(1)
    channels = module.config.in_channels
    x = torch.randn(2, channels, 9, 4, 4)
    text = torch.randn(2, 3, 5, 16)  # a negative prompt and two prompts, of two rows; 5 tokens
    negative, prompts = text[0, 0], text[:, 1:]
    rows = torch.stack([torch.cat([negative, negative]), prompts[1].flatten(0, 1)])  # row 0 is unconditional
    timestep = torch.tensor(500)
    pipeline.scheduler.set_timesteps(2)

    def call(latent, embeds):
        if name == "animatediff":
            embeds = embeds.repeat_interleave(latent.shape[2], dim=0)
        time = timestep.expand(latent.shape[0]) if name == "wan" else timestep
        with torch.no_grad():
            return module(latent, time, encoder_hidden_states=embeds, return_dict=False)[0]

    windows = SETTINGS.windows(9, 0)
    weights = merge_weights("pyramid", windows, 9)
    expected = torch.zeros_like(x, dtype=torch.float64)
    for window, weight in zip(windows, weights, strict=True):
        lead = 1 if anchor and window.start else 0
        part = x[:, :, window.start - lead : window.stop]
        unguided = call(part[:1], negative[None])
        for k, frame in enumerate(window.indices):
            share = schedule.weights(timebase.centre_of(frame))
            mix = unguided[0, :, lead + k].double()
            expected[0, :, frame] += weight[k].double() * mix
            guided = sum(
                share[p] * call(part[1:], prompts[1, p][None])[0, :, lead + k].double()
                for p in range(2)
                if share[p] > 0
            )
            expected[1, :, frame] += weight[k].double() * guided
    assert 0 < schedule.weights(timebase.centre_of(4))[0] < 1, "no blended frame: the test would miss the blending"
    with co_denoising(pipeline, settings, timebase, schedule, text_length=5):
        merged = call(x, rows)
    torch.testing.assert_close(merged.double(), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["shifted", "shifted_trimmed"])
@pytest.mark.parametrize("name", KINDS)
def test_folded_windows_equal_windows_one_by_one(tiny_pipelines, name, schedule):
    pipeline = tiny_pipelines(name)
    one = video(pipeline, name, CoDenoiseSettings(4, 1, schedule, windows_per_forward=1))
    for size in (3, 0):
        folded = video(pipeline, name, CoDenoiseSettings(4, 1, schedule, windows_per_forward=size))
        torch.testing.assert_close(folded, one, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("blending", ["predictions", "attention"])
def test_folded_windows_behind_an_anchor_equal_windows_one_by_one(tiny_pipelines, blending):
    """The first window is as long as the others with what stands before them, and has no anchor itself."""
    settings = CoDenoiseSettings(4, 1, "shifted_trimmed", causal_anchor=True, prompt_blending=blending)
    one, folded = (video(tiny_pipelines("wan"), "wan", replace(settings, windows_per_forward=each)) for each in (1, 0))
    torch.testing.assert_close(folded, one, atol=1e-3, rtol=1e-3)
    without = video(tiny_pipelines("wan"), "wan", replace(settings, causal_anchor=False))
    assert (folded - without).abs().max() > 1e-3


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("name", ["wan", "animatediff"])
def test_no_forward_holds_more_windows_than_asked(tiny_pipelines, name, size, monkeypatch):
    pipeline = tiny_pipelines(name)
    module, own_batch, seen = denoiser(pipeline), 1 if name == "wan" else 2, []
    original = module.forward

    def spy(*args, **kwargs):
        seen.append(len(kwargs["hidden_states"] if name == "wan" else kwargs["sample"]))
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "forward", spy)
    video(pipeline, name, CoDenoiseSettings(4, 3, windows_per_forward=size))
    assert max(seen) == (size or 4) * own_batch


def test_each_window_costs_a_forward_for_each_active_prompt_and_one_unconditional(tiny_pipelines, monkeypatch):
    pipeline = tiny_pipelines("wan")
    rows = 0
    original = pipeline.transformer.forward

    def spy(*args, **kwargs):
        nonlocal rows
        rows += len(kwargs["hidden_states"])
        return original(*args, **kwargs)

    monkeypatch.setattr(pipeline.transformer, "forward", spy)
    video(pipeline, "wan", SETTINGS, transition_frames=0, num_inference_steps=1)
    # Windows 0-4, 2-6, 4-8, 5-9; the cut is at frame 17 (of 33), where latent frame 5 begins: two windows see both.
    assert rows == (1 + 2 + 2 + 1) + 4


@pytest.mark.parametrize(
    "change",
    [
        {"window": 5},
        {"overlap": 3},
        {"schedule": "shifted"},
        {"merge": "flat"},
        {"merge": "hann"},
        {"text": "a cat | a blue square cat dog"},
        {"text": "a red circle moving right"},
        {"transition_frames": 16},
        {"negative_prompt": "a dog left"},
        {"guidance_scale": 6.0},
        {"num_inference_steps": 3},
        {"seed": 1},
        {"height": 48},
        {"width": 48},
        {"num_frames": 37},
        {"sigmas": [1.0, 0.2, 0.0]},
        {"latents": torch.zeros(1, 16, 9, 4, 4)},
        {"scheduler": "UniPCMultistepScheduler"},
        {"output_type": "frames"},
        {"stride": 2},
        {"closed_loop": True},
        {"phases": (Phase(0.5, merge="flat"),)},
        {"prompt_blending": "embeddings"},
        {"prompt_blending": "embeddings_spherical"},
        {"prompt_blending": "one_per_window"},
        {"noise": NoiseSettings("stable", 4, 2)},
        {"noise": NoiseSettings("shuffled", 4, 2)},
        {"noise": NoiseSettings("mixed", shared=0.9)},
    ],
    ids=str,
)
def test_every_option_changes_the_result(tiny_pipelines, change):
    pipeline = tiny_pipelines("wan")
    base = {"window": 4, "overlap": 2, "schedule": "static", "merge": "pyramid"}
    fields = set(CoDenoiseSettings.__dataclass_fields__) - {"seed"}
    own = {key: value for key, value in change.items() if key in fields}
    rest = {key: value for key, value in change.items() if key not in fields}
    if "scheduler" in rest:
        rest["scheduler"] = make_scheduler(pipeline.scheduler, rest["scheduler"])
    before = video(pipeline, "wan", CoDenoiseSettings(**base))
    after = video(pipeline, "wan", CoDenoiseSettings(**{**base, **own}), **rest)
    assert before.shape != after.shape or (before - after).abs().max() > 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_mixed_prompts_are_denoised_once_with_the_mix_of_their_embeddings(tiny_pipelines, name):
    """Oracle: the denoiser called for every window with embeddings mixed here, per frame where the text is."""
    pipeline = tiny_pipelines(name)
    module = denoiser(pipeline)
    timebase = timebase_for(pipeline, FRAMES[name], FPS)
    schedule = parse_schedule(TWO, num_frames=FRAMES[name], fps=FPS, transition_frames=8 if name == "wan" else 4)
    settings = CoDenoiseSettings(4, 2, "static", closed_loop=True, prompt_blending="embeddings")
    torch.manual_seed(1)
    x = torch.randn(1, module.config.in_channels, 9, 4, 4)
    prompts = torch.randn(2, 5, 16)
    pipeline.scheduler.set_timesteps(2)
    timestep = torch.tensor(500)
    second = torch.tensor([schedule.weights(timebase.centre_of(frame))[1] for frame in range(9)])
    windows, seen = settings.windows(9, 0), []
    expected = torch.zeros_like(x)
    for window, weight in zip(windows, merge_weights("pyramid", windows, 9), strict=True):
        frames = list(window.indices)
        low, share = int(window.centre), window.centre % 1
        centre = (1 - share) * second[low] + share * second[(low + 1) % 9]
        seen.append(float(centre))
        if name == "animatediff":
            text = torch.stack([prompts[0].lerp(prompts[1], second[frame]) for frame in frames])
        else:
            text = prompts[0].lerp(prompts[1], centre)[None]
        time = timestep.expand(1) if name == "wan" else timestep
        with torch.no_grad():
            made = module(x[:, :, frames], time, encoder_hidden_states=text, return_dict=False)[0]
        for place, frame in enumerate(frames):
            expected[:, :, frame] += weight[place] * made[:, :, place]
    assert any(0 < value < 1 for value in seen)
    with co_denoising(pipeline, settings, timebase, schedule, text_length=5):
        merged = call_denoiser(module, x, timestep.expand(1) if name == "wan" else timestep, prompts, name)
    torch.testing.assert_close(merged, expected, atol=2e-4, rtol=1e-4)


def call_denoiser(module, x, timestep, prompts, name):
    text = prompts.flatten(0, 1)[None]
    if name == "animatediff":
        text = text.repeat_interleave(x.shape[2], dim=0)
    with torch.no_grad():
        return module(x, timestep, encoder_hidden_states=text, return_dict=False)[0]


def test_mixed_prompts_cost_one_pass_a_window(tiny_pipelines):
    passes = {}
    for blending in ("predictions", "embeddings", "one_per_window", "attention"):
        seen = []
        settings = CoDenoiseSettings(4, 2, "static", prompt_blending=blending)
        video(tiny_pipelines("wan"), "wan", settings, guidance_scale=1.0, progress=seen.append)
        passes[blending] = seen[-1].num_passes
    assert passes == {"predictions": 7, "embeddings": 4, "one_per_window": 4, "attention": 4}


@pytest.mark.parametrize(("window", "lengths"), [(3, [9, 3]), (9, [3, 9])])
def test_windows_of_each_step_have_the_phase_s_length(tiny_pipelines, monkeypatch, window, lengths):
    """A step whose window holds the whole latent is the plain pipeline's, bit for bit."""
    pipeline, calls = tiny_pipelines("wan"), []
    original = pipeline.transformer.forward

    def spy(*args, **kwargs):
        output = original(*args, **kwargs)
        calls.append((int(kwargs["timestep"].flatten()[0]), kwargs["hidden_states"], output[0]))
        return output

    monkeypatch.setattr(pipeline.transformer, "forward", spy)
    settings = CoDenoiseSettings(lengths[0], 1, "static", "flat", phases=(Phase(0.5, window=window),))
    changing = video(pipeline, "wan", settings, "a red circle", guidance_scale=1.0)
    levels = list(dict.fromkeys(level for level, *_ in calls))
    seen = [[x.shape[2] for level, x, _ in calls if level == each for _ in x] for each in levels]
    assert seen == [[9] if length == 9 else [3] * 4 for length in lengths]
    first = calls[0]
    calls.clear()
    plain = video(pipeline, "wan", CoDenoiseSettings(9, 1), "a red circle", guidance_scale=1.0)
    assert not torch.equal(changing, plain)
    if lengths[0] == 9:
        assert torch.equal(first[1], calls[0][1]) and torch.equal(first[2], calls[0][2])


@pytest.mark.parametrize(("first", "then", "passes"), [
    ("embeddings", "predictions", [4, 7]), ("predictions", "attention", [7, 4]), ("attention", "embeddings", [4, 4]),
])  # fmt: skip
def test_blending_changes_at_the_phase_s_step(tiny_pipelines, first, then, passes):
    """Oracle: two runs of one Euler step without phases, each with its own blending."""
    seen, pipeline = [], tiny_pipelines("wan")
    start = torch.randn(1, 16, 9, 4, 4, generator=torch.Generator().manual_seed(4))
    euler = make_scheduler(pipeline.scheduler, "FlowMatchEulerDiscreteScheduler")

    def run(blending, latents, sigmas, **more):
        settings = CoDenoiseSettings(4, 2, "static", prompt_blending=blending, **more)
        options = {"guidance_scale": 1.0, "scheduler": euler, "sigmas": sigmas, "progress": seen.append}
        return video(pipeline, "wan", settings, latents=latents, **options)

    ours = run(first, start, [1.0, 0.5, 0.0], phases=(Phase(0.5, prompt_blending=then),))
    assert [max(each.num_passes for each in seen if each.step == step) for step in (0, 1)] == passes
    halfway = (start + run(first, start, [1.0, 0.0])) / 2
    torch.testing.assert_close(ours, run(then, halfway, [0.5, 0.0]), atol=4e-6, rtol=0)
    assert (ours - run(first, halfway, [0.5, 0.0])).abs().max() > 2e-5  # these networks hardly heed their text


def test_a_phase_of_attention_is_refused_before_the_first_forward_pass(tiny_pipelines, monkeypatch):
    pipeline, calls = tiny_pipelines("text_to_video_sd"), []
    monkeypatch.setattr(pipeline.unet, "forward", lambda *args, **kwargs: calls.append(1))
    settings = CoDenoiseSettings(4, 2, phases=(Phase(0.5, prompt_blending="attention"),))
    with pytest.raises(ValueError, match="prompt_blending is attention"):
        video(pipeline, "text_to_video_sd", settings)
    assert not calls


@pytest.mark.parametrize("name", KINDS)
def test_noise_of_a_kind_is_what_the_run_starts_from(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    settings = NoiseSettings("stable", 4, 2)
    channels = denoiser(pipeline).config.in_channels
    noise = long_noise(torch.empty(1, channels, 9, *video(pipeline, name, SETTINGS).shape[3:]), 5, settings)
    ours = video(pipeline, name, SETTINGS, noise=settings, seed=5)
    assert torch.equal(ours, video(pipeline, name, SETTINGS, latents=noise, height=None, width=None, seed=5))


def test_independent_noise_is_the_pipelines_own(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    assert torch.equal(video(pipeline, "wan", SETTINGS), video(pipeline, "wan", SETTINGS, noise=NoiseSettings()))


def test_a_closed_loop_decodes_to_whole_latent_frames(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    settings = CoDenoiseSettings(4, 2, closed_loop=True)
    frames = video(pipeline, "wan", settings, output_type="frames")
    assert len(frames) == 36


def test_a_decoded_loop_is_a_piece_of_the_endless_video():
    vae = AutoencoderKLWan.from_pretrained(MODEL_DIR, subfolder="vae", torch_dtype=torch.float32)
    clip = render(Scene("circle", "red", "white", "right", 10.0, 32.0), 33).transpose(0, 1)[None] * 2 - 1
    mean, std = (torch.tensor(n).view(1, -1, 1, 1, 1) for n in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        raw = vae.encode(clip).latent_dist.mode()[:, :, 1:]
        rounds = vae.decode(torch.cat([raw] * 3, dim=2), return_dict=False)[0]
    endless = (rounds[0, :, -32:].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1)
    frames = decode_loop(SimpleNamespace(vae=vae), (raw - mean) / std, 4)
    assert frames.shape == endless.shape
    assert (frames - endless).abs().max() < 0.02
    at_once = vae.decode(raw, return_dict=False)[0]
    assert at_once.shape[2] == 29, "decoded without its past, the loop lacks frames"


def test_the_same_options_give_the_same_result(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    assert torch.equal(video(pipeline, "wan", SETTINGS), video(pipeline, "wan", SETTINGS))


def test_sigmas_are_used_as_given_and_euler_steps_the_merged_velocity(tiny_pipelines):
    """Oracle: an Euler loop over the long latent, written here, with the merged velocity at each sigma."""
    pipeline = tiny_pipelines("wan")
    sigmas = [1.0, 0.7, 0.31, 0.0]
    timebase = timebase_for(pipeline, 33, FPS)
    schedule = parse_schedule(TWO, num_frames=33, fps=FPS)
    torch.manual_seed(3)
    noise = torch.randn(1, 16, 9, 4, 4)
    ours = video(pipeline, "wan", SETTINGS, transition_frames=8, latents=noise, sigmas=sigmas, height=None, width=None)
    assert pipeline.scheduler.shift == 3.0
    assert "set_timesteps" not in vars(pipeline.scheduler)
    prompts = schedule.prompts
    with torch.no_grad():
        embeds = [
            pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=512)[0]
            for text in (*prompts, "blurry")
        ]
    cond, uncond = torch.cat(embeds[:2], 1), torch.cat([embeds[2]] * 2, 1)
    x = noise
    pipeline.scheduler.set_timesteps(3)
    with co_denoising(pipeline, SETTINGS, timebase, schedule, text_length=512), torch.no_grad():
        for sigma, following in pairwise(sigmas):
            time = torch.tensor([sigma * 1000])
            v = pipeline.transformer(x, time, encoder_hidden_states=cond, return_dict=False)[0]
            u = pipeline.transformer(x, time, encoder_hidden_states=uncond, return_dict=False)[0]
            x = x + (following - sigma) * (u + 4.0 * (v - u))
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 0.5], [0.5, 1.0, 0.0]])
def test_sigmas_out_of_order_are_refused(tiny_pipelines, sigmas):
    with pytest.raises(ValueError, match="sigmas must be"):
        video(tiny_pipelines("wan"), "wan", SETTINGS, sigmas=sigmas)


def test_sigmas_need_a_scheduler_that_takes_them(tiny_pipelines):
    with pytest.raises(ValueError, match="DDIMScheduler does not take sigmas"):
        video(tiny_pipelines("animatediff"), "animatediff", SETTINGS, sigmas=[1.0, 0.0])
    shifting = make_scheduler(tiny_pipelines("wan").scheduler, "UniPCMultistepScheduler", 5.0)
    with pytest.raises(ValueError, match="would change the sigmas"):
        video(tiny_pipelines("wan"), "wan", SETTINGS, sigmas=[1.0, 0.5, 0.0], scheduler=shifting)


@pytest.mark.parametrize(
    "name",
    [
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "UniPCMultistepScheduler",
        "DPMSolverMultistepScheduler",
    ],
)
def test_any_flow_scheduler_works_with_moving_windows(tiny_pipelines, name):
    pipeline = tiny_pipelines("wan")
    seen = []
    latents = video(
        pipeline,
        "wan",
        CoDenoiseSettings(4, 2, "shifted"),
        num_inference_steps=4,
        scheduler=make_scheduler(pipeline.scheduler, name),
        progress=seen.append,
    )
    assert latents.isfinite().all()
    assert sorted({report.step for report in seen}) == [0, 1, 2, 3]
    assert {report.num_steps for report in seen} == {4}
    assert type(pipeline.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"


def test_steps_count_distinct_timesteps():
    heun = torch.tensor([900.0, 600.0, 600.0, 300.0, 300.0])
    assert [step_of(t, heun) for t in heun] == [(0, 3), (1, 3), (1, 3), (2, 3), (2, 3)]
    assert step_of(torch.tensor([310.0, 310.0]), heun) == (2, 3)
    assert step_of(880, heun) == (0, 3)


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_trimmed_to_the_length_asked_for(tiny_pipelines, name):
    frames = video(tiny_pipelines(name), name, SETTINGS, num_frames=18, output_type="frames", num_inference_steps=1)
    assert frames.shape == (18, 32, 32, 3)
    assert frames.dtype == torch.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


class Stop(Exception):
    pass


def test_an_exception_leaves_the_pipeline_as_it_was(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    plain = pipeline.transformer.forward
    before, scheduler = dict(vars(pipeline)), pipeline.scheduler

    def stop(progress):
        if progress.step == 1:
            raise Stop

    with pytest.raises(Stop):
        video(pipeline, "wan", SETTINGS, progress=stop, scheduler=make_scheduler(scheduler), sigmas=[1.0, 0.5, 0.0])
    assert "forward" not in vars(pipeline.transformer)
    assert pipeline.transformer.forward == plain
    assert pipeline.scheduler is scheduler
    assert vars(pipeline).keys() == before.keys()
    assert pipeline._progress_bar_config == before["_progress_bar_config"]


def test_a_forward_that_was_set_on_the_module_is_put_back(fresh_wan):
    pipeline = fresh_wan()
    original = pipeline.transformer.forward

    def hooked(*args, **kwargs):
        return original(*args, **kwargs)

    pipeline.transformer.forward = hooked
    video(pipeline, "wan", SETTINGS, num_inference_steps=1)
    assert pipeline.transformer.forward is hooked


def test_two_transformers_are_both_windowed(fresh_wan, tiny_pipelines):
    """Wan 2.2: with equal weights in both halves the result is that of one transformer."""
    single = tiny_pipelines("wan")
    double = fresh_wan(transformer_2=single.transformer, boundary_ratio=0.5)
    latents = [video(p, "wan", SETTINGS, num_inference_steps=4) for p in (single, double)]
    torch.testing.assert_close(*latents, atol=1e-5, rtol=1e-5)


def test_a_timestep_for_every_token_is_cut_with_the_windows(fresh_wan, tiny_pipelines):
    """Wan 2.2 5B gives a timestep per token; all equal, they mean the same as one."""
    latents = [video(p, "wan", SETTINGS) for p in (tiny_pipelines("wan"), fresh_wan(expand_timesteps=True))]
    torch.testing.assert_close(*latents, atol=1e-4, rtol=1e-4)


def test_other_denoisers_are_refused_by_name(fresh_wan):
    pipeline = fresh_wan()

    class SomeTransformer(torch.nn.Module):
        pass

    object.__setattr__(pipeline, "transformer", SomeTransformer())
    with pytest.raises(UnsupportedDenoiserError, match=r"SomeTransformer .*WanTransformer3DModel"):
        video(pipeline, "wan", SETTINGS)


def test_inputs_that_cannot_be_cut_are_refused(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    timebase = timebase_for(pipeline, 33, FPS)
    schedule = parse_schedule("a cat", num_frames=33, fps=FPS)
    x, text = torch.zeros(1, 16, 9, 4, 4), torch.zeros(1, 5, 16)
    with co_denoising(pipeline, SETTINGS, timebase, schedule, 5):
        with pytest.raises(UnsupportedDenoiserError, match="encoder_hidden_states_image"):
            pipeline.transformer(x, torch.tensor([5.0]), text, encoder_hidden_states_image=torch.zeros(1, 2, 3))
        with pytest.raises(ValueError, match="text embeddings are"):
            pipeline.transformer(x, torch.tensor([5.0]), text[:, :4])
        with pytest.raises(ValueError, match="8 latent frames; the timebase says 9"):
            pipeline.transformer(x[:, :, :8], torch.tensor([5.0]), text)


def test_bad_arguments_are_named(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    with pytest.raises(ValueError, match="output_type 'gif'"):
        video(pipeline, "wan", SETTINGS, output_type="gif")
    with pytest.raises(ValueError, match=r"latents have the shape"):
        video(pipeline, "wan", SETTINGS, latents=torch.zeros(1, 16, 8, 4, 4))
    schedule = parse_schedule("a cat", num_frames=9, fps=FPS)
    with pytest.raises(ValueError, match="4 frames in a latent frame and the timebase 1"):
        generate(pipeline, schedule, Timebase(9, FPS), SETTINGS)
    with pytest.raises(ValueError, match=r"over 9 frames \(3 latent frames\), but the latent holds 33"):
        generate(pipeline, schedule, timebase_for(pipeline, 33, FPS), SETTINGS)


def test_schedulers_keep_flow_matching(tiny_pipelines):
    flow = tiny_pipelines("wan").scheduler
    unipc = make_scheduler(flow, "UniPCMultistepScheduler")
    assert (unipc.config.use_flow_sigmas, unipc.config.flow_shift) == (True, 3.0)
    assert make_scheduler(unipc, "FlowMatchEulerDiscreteScheduler", 7.0).config.shift == 7.0
    assert make_scheduler(flow, None, 2.0).config.shift == 2.0
    with pytest.raises(ValueError, match="does no flow matching"):
        make_scheduler(flow, "DDIMScheduler")
    with pytest.raises(ValueError, match="no scheduler 'UNet3DConditionModel'"):
        make_scheduler(flow, "UNet3DConditionModel")
    with pytest.raises(ValueError, match="must be above 0"):
        make_scheduler(flow, None, 0.0)
    ddim = tiny_pipelines("animatediff").scheduler
    assert type(make_scheduler(ddim, "EulerDiscreteScheduler")).__name__ == "EulerDiscreteScheduler"
    with pytest.raises(ValueError, match="flow shift of 3"):
        make_scheduler(ddim, None, 3.0)
