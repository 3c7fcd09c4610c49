"""One-shot tuning on tiny random pipelines: what is trained, by what, and that nothing else changes."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from glv_core.hosts.comfy.loading.wan_keys import transformer_to_original
from glv_core.hosts.diffusers import UnsupportedDenoiserError
from glv_core.hosts.diffusers.tuned_layers import CHOICES, TunedLayers
from glv_core.hosts.diffusers.tuning import noised, tune
from glv_core.tuning import Tuned, TuningOptions, draws_of_step, read_state, read_tuned, write_tuned

PIPELINES = ("wan", "wan_vace", "text_to_video_sd", "animatediff")
PROMPT = "a red circle moving right"
OPTIONS = TuningOptions(steps=3, window=4, stride=2, rank=2, text_drop=0.0, clip_drop=0.0)
LENGTH = 9
#: A seed whose first window does not begin with the video.
LATE = next(seed for seed in range(99) if draws_of_step(replace(OPTIONS, seed=seed), LENGTH, 0)[0].start == 4)


def denoiser(pipeline):
    return getattr(pipeline, "transformer", None) or pipeline.unet


def latents_for(pipeline, length=LENGTH, seed=0):
    channels, side = (16, 4) if hasattr(pipeline, "transformer") else (4, 8)
    return torch.randn(1, channels, length, side, side, generator=torch.Generator().manual_seed(seed))


def run(pipeline, options=OPTIONS, **more):
    return tune(pipeline, more.pop("latents", latents_for(pipeline)), more.pop("prompt", PROMPT), options, **more)


def losses_of(pipeline, options=OPTIONS, **more):
    seen = []
    run(pipeline, options, on_step=lambda losses: seen.append(losses[-1]), **more)
    return seen


def weights_of(tuned: Tuned) -> dict[str, torch.Tensor]:
    own = {} if tuned.identifiers is None else tuned.identifiers.tensors()
    return {**tuned.lora, **own}


def same(first: Tuned, second: Tuned) -> bool:
    a, b = weights_of(first), weights_of(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", PIPELINES)
def test_only_what_is_trained_changes_and_the_pipeline_is_as_before(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    module = denoiser(pipeline)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    flags = [parameter.requires_grad for parameter in module.parameters()]
    attributes, drawn = set(vars(module)), torch.get_rng_state()
    tuned = run(pipeline, replace(OPTIONS, identifiers="bank", steps=6, keep=0.5), keep_prompts=["a cat", "a dog"])
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    assert [parameter.requires_grad for parameter in module.parameters()] == flags
    assert all(parameter.grad is None for parameter in module.parameters())
    assert set(vars(module)) == attributes
    assert not any(part._forward_hooks for part in module.modules())
    assert torch.equal(torch.get_rng_state(), drawn)
    ups = {key: value for key, value in tuned.lora.items() if "lora_up" in key or "lora_B" in key}
    assert len(ups) == len(TunedLayers(module).chosen("attention"))
    assert all(value.any() and value.dtype == torch.float32 for value in ups.values())
    assert tuned.identifiers.layers == tuple(TunedLayers(module).identified())


def test_what_is_not_trained_is_set_aside(tiny_pipelines, monkeypatch):
    pipeline, moves = tiny_pipelines("wan"), []
    for name in ("text_encoder", "vae"):
        monkeypatch.setattr(getattr(pipeline, name), "to", lambda device, name=name: moves.append((name, str(device))))
    run(pipeline, replace(OPTIONS, steps=1), on_step=lambda losses: moves.append("step"))
    moved = [("text_encoder", "cpu"), ("vae", "cpu")]
    assert moves == [*moved, "step", *moved]


def test_an_error_on_the_way_leaves_the_pipeline_as_before(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    before = list(pipeline.transformer.state_dict())

    def stop(losses):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipeline, replace(OPTIONS, identifiers="bank"), on_step=stop, recompute=True)
    assert list(pipeline.transformer.state_dict()) == before
    assert not any(part._forward_hooks for part in pipeline.transformer.modules())
    assert not pipeline.transformer.is_gradient_checkpointing


@pytest.mark.parametrize("name", PIPELINES)
def test_layers_are_those_of_the_attention(tiny_pipelines, name):
    """Against the classes' own names: Wan's attn1 sees the video and attn2 the text; of the UNets' layers over time
    both see the video, and so does all of their first transformer.
    """
    module = denoiser(tiny_pipelines(name))
    parts = TunedLayers(module)

    def of_text(key):
        over_time = any(part in key for part in ("temp_attentions", "transformer_in", "motion_modules"))
        return "cross_attn" in key or ("attn2" in key and not over_time)

    every = parts.chosen("attention")
    linear = [key for key, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    attended = [key for key in linear if "attn" in key and not key.startswith("vace_")]
    assert len(every) == len(attended) == len(set(every))
    assert parts.chosen("cross_attention") == [key for key in every if of_text(key)] != []
    assert parts.chosen("self_attention") == [key for key in every if not of_text(key)] != []
    more = [key for key in parts.chosen("attention_and_feed_forward") if key not in every]
    between = [key for key in linear if (".ff" in key) and not key.startswith("vace_")]
    assert len(more) == len(between) == len(set(more)) > 0
    queries = [key for key in every if key.endswith((".q", ".to_q"))]
    assert parts.chosen("queries") == queries
    assert list(parts.identified()) == [key for key in queries if not of_text(key)]


def test_wans_files_have_the_names_that_comfyui_reads(tiny_pipelines, tmp_path):
    """Against the table by which whole models are renamed for ComfyUI."""
    pipeline = tiny_pipelines("wan_vace")
    native = transformer_to_original(pipeline.transformer.state_dict())
    wanted = {
        f"diffusion_model.{key.removesuffix('.weight')}"
        for key, value in native.items()
        if key.startswith("blocks.") and "attn." in key and value.ndim == 2
    }
    tuned = run(pipeline, replace(OPTIONS, identifiers="continuous"), about={"family": "Wan"})
    write_tuned(tmp_path / "a.safetensors", tuned)
    held = load_file(tmp_path / "a.safetensors")
    lora = {key: value for key, value in held.items() if key.startswith("diffusion_model.")}
    assert set(lora) == {key + end for key in wanted for end in (".lora_down.weight", ".lora_up.weight", ".alpha")}
    for key in wanted:
        out, inner = native[key.removeprefix("diffusion_model.") + ".weight"].shape
        assert lora[f"{key}.lora_down.weight"].shape == (2, inner)
        assert lora[f"{key}.lora_up.weight"].shape == (out, 2)
        assert lora[f"{key}.alpha"] == 2
    assert {key.split(".")[0] for key in set(held) - set(lora)} == {"clip_identifiers"}
    again = read_tuned(tmp_path / "a.safetensors")
    assert same(again, tuned)
    assert set(again.identifiers.layers) == {key for key in wanted if key.endswith("self_attn.q")}
    said = {"family": "Wan", "prompt": PROMPT, "layers": "attention", **asdict(OPTIONS), "identifiers": "continuous"}
    assert again.about == {**said, "losses": tuned.about["losses"]}
    assert len(tuned.about["losses"]) == 3


def test_unets_files_have_the_names_of_diffusers(tiny_pipelines):
    pipeline = tiny_pipelines("animatediff")
    lora = run(pipeline, replace(OPTIONS, steps=1)).lora
    layers = {key.rsplit(".", 2)[0] for key in lora}
    assert {key.rsplit(".", 2)[1] for key in lora} == {"lora_A", "lora_B"}
    assert all(isinstance(pipeline.unet.get_submodule(key.removeprefix("unet.")), torch.nn.Linear) for key in layers)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noise_and_targets_are_those_of_diffusers(prediction):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(prediction_type=prediction)
    clean, noise = torch.randn(2, 1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for share, level in ((0.0, 0), (0.5, 500), (0.9999, 999), (1.0, 999)):
        noisy, wanted, timestep = noised(scheduler, clean, noise, share)
        level = torch.tensor([level])
        assert torch.equal(timestep, level)
        torch.testing.assert_close(noisy, scheduler.add_noise(clean, noise, level))
        own = {"epsilon": noise, "v_prediction": scheduler.get_velocity(clean, noise, level), "sample": clean}
        torch.testing.assert_close(wanted, own[prediction])


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_noise_of_flow_matching_has_the_shift_of_the_scheduler(shift):
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    clean, noise = torch.randn(2, 1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    euler = FlowMatchEulerDiscreteScheduler(shift=shift)
    unipc = UniPCMultistepScheduler(use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction")
    for number in (0, 400, 900):  # of the 1000 levels that the scheduler makes of equal parts: 1, 0.999 ...
        for scheduler in (euler, unipc):
            noisy, wanted, timestep = noised(scheduler, clean, noise, 1 - number / 1000)
            level = euler.timesteps[number : number + 1]
            torch.testing.assert_close(timestep, level)
            torch.testing.assert_close(noisy, euler.scale_noise(clean, level, noise))
            torch.testing.assert_close(wanted, noise - clean)


@pytest.mark.parametrize("name", PIPELINES)
def test_the_first_loss_is_that_of_the_denoiser_itself(tiny_pipelines, name):
    """By hand: the window, noise and level of the draw, and a call as the pipeline makes it."""
    pipeline = tiny_pipelines(name)
    module, latents = denoiser(pipeline), latents_for(pipeline)
    for text_drop, prompt in ((0.0, PROMPT), (0.999999, "")):
        options = replace(OPTIONS, steps=1, text_drop=text_drop, seed=LATE)
        [draw] = draws_of_step(options, LENGTH, 0)
        assert draw.start == 4
        clean = latents[:, :, draw.start : draw.start + 4]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(draw.seed))
        if hasattr(pipeline, "transformer"):
            sigma = 3 * draw.share / (1 + 2 * draw.share)
            noisy, wanted, level = (1 - sigma) * clean + sigma * noise, noise - clean, torch.tensor([1000 * sigma])
            text = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)[0]
        else:
            level = torch.tensor([int(1000 * draw.share)])
            noisy, wanted = pipeline.scheduler.add_noise(clean, noise, level), noise
            text = pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
        more = {}
        if name == "animatediff":
            text = text.repeat_interleave(4, 0)
        if name == "wan_vace":
            video, mask, images = pipeline.preprocess_conditions(
                None, None, None, 1, 32, 32, 33, torch.float32, torch.device("cpu")
            )
            hint = pipeline.prepare_video_latents(video, mask, images, None, torch.device("cpu"))
            hint = torch.cat([hint, pipeline.prepare_masks(mask, images)], dim=1)
            more = {"control_hidden_states": hint[:, :, draw.start : draw.start + 4]}
        with torch.no_grad():
            made = module(noisy, timestep=level, encoder_hidden_states=text, **more).sample
        [loss] = losses_of(pipeline, options)
        assert loss == pytest.approx(float((made - wanted).square().mean()), rel=1e-4)


def test_a_bank_is_trained_by_the_windows_of_its_clip_alone(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    for seed in range(3):
        options = replace(OPTIONS, steps=2, seed=seed, identifiers="bank", stride=3)
        starts = {draw.start for step in range(2) for draw in draws_of_step(options, LENGTH, step)}
        seen = {min(-(-start // 3), 2) for start in starts}  # starts are 0, 3 and, for the end of the video, 5
        tuned = run(pipeline, options)
        assert tuned.identifiers.places.count == 3
        for clip in range(3):
            parts = tuned.identifiers.tensors().items()
            ups = [value for key, value in parts if key.endswith(f".{clip}.up")]
            assert len(ups) == 2
            assert all(bool(value.any()) == (clip in seen) for value in ups)


def test_without_its_identifier_a_window_trains_none(tiny_pipelines):
    tuned = run(tiny_pipelines("wan"), replace(OPTIONS, identifiers="bank", clip_drop=1.0))
    assert not any(value.any() for key, value in tuned.identifiers.tensors().items() if key.endswith(".up"))


def test_there_is_no_end_to_the_clips_of_a_bank(tiny_pipelines, tmp_path):
    pipeline = tiny_pipelines("wan")
    options = replace(OPTIONS, window=2, stride=1, steps=12, identifiers="bank", learning_rate=1e-2)
    tuned = run(pipeline, options, latents=latents_for(pipeline, 120))
    write_tuned(tmp_path / "a.safetensors", tuned)
    identifiers = read_tuned(tmp_path / "a.safetensors").identifiers
    assert identifiers.places.count == 119
    trained = {int(key.split(".")[-2]) for key, value in identifiers.tensors().items() if ".up" in key and value.any()}
    assert trained == {draw.start for step in range(12) for draw in draws_of_step(options, 120, step)}
    assert max(trained) > 50


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(tiny_pipelines, tmp_path):
    pipeline, state = tiny_pipelines("wan"), tmp_path / "a.state.safetensors"
    options = replace(OPTIONS, steps=6, batch=2, identifiers="continuous", clip_drop=0.4, text_drop=0.3)
    whole, cut, before = [], [], []

    def stop(losses):
        cut[:] = losses
        if len(losses) == 3:
            raise KeyboardInterrupt

    expected = run(pipeline, options, on_step=lambda losses: whole.append(losses[-1]))
    with pytest.raises(KeyboardInterrupt):
        run(pipeline, options, state=state, on_step=stop)
    assert len(read_state(state).losses) == 3
    tuned = run(pipeline, options, state=state, on_start=before.extend, on_step=lambda losses: cut.append(losses[-1]))
    assert before == whole[:3]
    assert cut == whole
    assert same(tuned, expected)


@pytest.mark.parametrize(
    "change",
    [{"prompt": "a cat"}, {"layers": "queries"}, {"seed": 5}, {"rank": 3}, {"latents": 1}, {"keep": 1.0}],
    ids=str,
)
def test_what_other_options_left_is_not_gone_on_with(tiny_pipelines, tmp_path, change):
    pipeline, state, before = tiny_pipelines("wan"), tmp_path / "a.state.safetensors", []
    run(pipeline, replace(OPTIONS, steps=1), state=state)
    run(pipeline, replace(OPTIONS, steps=2), state=state, on_start=before.append)
    assert len(before[0]) == 1
    options = {name: value for name, value in change.items() if hasattr(OPTIONS, name)}
    more = {name: value for name, value in change.items() if name not in options}
    if "latents" in more:
        more["latents"] = latents_for(pipeline, seed=1)
    if "keep" in options:
        more["keep_prompts"] = ["a cat"]
    run(pipeline, replace(OPTIONS, steps=2, **options), state=state, on_start=before.append, **more)
    assert before[1] == []


def test_every_choice_of_layers_trains_those(tiny_pipelines):
    pipeline = tiny_pipelines("wan")
    for choice in CHOICES:
        lora = run(pipeline, replace(OPTIONS, steps=1), layers=choice).lora
        assert {key.removesuffix(".alpha") for key in lora if key.endswith(".alpha")} == set(
            TunedLayers(pipeline.transformer).chosen(choice)
        )


def test_prompts_that_are_kept_change_less(tiny_pipelines):
    """Measured by the network with the weights merged into it by hand."""
    import copy

    pipeline = tiny_pipelines("wan")
    options = replace(OPTIONS, steps=25, learning_rate=1e-2)
    x = latents_for(pipeline, 4, seed=7)

    def drift(tuned):
        changed = copy.deepcopy(pipeline.transformer)
        merge(changed, tuned)
        text = pipeline.encode_prompt("a cat", do_classifier_free_guidance=False, max_sequence_length=512)[0]
        with torch.no_grad():
            made, before = (
                each(x, timestep=torch.tensor([700.0]), encoder_hidden_states=text).sample
                for each in (changed, pipeline.transformer)
            )
        return float((made - before).square().mean())

    free = run(pipeline, options)
    kept = run(pipeline, replace(options, keep=10.0), keep_prompts=["a cat"])
    assert 0 < drift(kept) < 0.5 * drift(free)
    first = losses_of(pipeline, replace(OPTIONS, steps=1))
    assert losses_of(pipeline, replace(OPTIONS, steps=1, keep=10.0), keep_prompts=["a cat"]) == first


def merge(transformer, tuned, strength=1.0):
    """Low-rank weights added to a Wan transformer's own."""
    names = {"self_attn": "attn1", "cross_attn": "attn2", "o": "to_out.0", "q": "to_q", "k": "to_k", "v": "to_v"}
    with torch.no_grad():
        for key, up in tuned.lora.items():
            if key.endswith(".lora_up.weight"):
                layer = key.removesuffix(".lora_up.weight")
                path = [names.get(part, part) for part in layer.split(".")[1:]]
                down = tuned.lora[f"{layer}.lora_down.weight"]
                transformer.get_submodule(".".join(path)).weight += strength * up @ down


@pytest.mark.parametrize("name", ["wan", "animatediff"])
def test_recomputing_changes_nothing_but_the_work(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    module, calls = denoiser(pipeline), []
    block = module.blocks[0] if name == "wan" else module.up_blocks[0].resnets[0]
    options = replace(OPTIONS, identifiers="bank")
    handle = block.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        plain = run(pipeline, options)
        count = len(calls)
        again = run(pipeline, options, recompute=True)
    finally:
        handle.remove()
    assert len(calls) - count == 2 * count
    for key, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(again)[key], value, atol=1e-5, rtol=1e-3)


def test_a_half_precision_model_trains_float32_weights(fresh_wan):
    pipeline = fresh_wan()
    pipeline.transformer.to(torch.bfloat16)
    tuned = run(pipeline, replace(OPTIONS, identifiers="continuous"))
    assert all(value.dtype == torch.float32 for value in weights_of(tuned).values())
    assert all(parameter.dtype == torch.bfloat16 for parameter in pipeline.transformer.parameters())
    exact = losses_of(fresh_wan())
    assert losses_of(pipeline) == pytest.approx(exact, rel=0.1)


def test_the_demo_model_learns_a_video():
    """A video of colours that are not in its world. The same draws with a rate of almost nothing show how much of the
    loss is theirs.
    """
    from glv_core.demo import MODEL_DIR
    from glv_core.demo.clips import centred_scene, render
    from glv_core.hosts.diffusers.encode import encode_frames
    from glv_core.hosts.diffusers.folder import load_pipeline, read_model_folder

    pipeline = load_pipeline(read_model_folder(MODEL_DIR), "cpu", "float32")
    shown = render(centred_scene("circle", "red", "black", "right", 20.0), 33).movedim(1, -1)
    latents = encode_frames(pipeline, [(255 * (1 - shown)).to(torch.uint8)])
    options = TuningOptions(steps=30, window=5, stride=2, rank=8, learning_rate=1e-3)
    learned, still = (
        losses_of(pipeline, replace(options, learning_rate=rate), latents=latents, prompt="a cyan circle on white")
        for rate in (1e-3, 1e-12)
    )
    assert learned[0] == pytest.approx(still[0])
    assert all(after < before for after, before in zip(learned[20:], still[20:]))
    assert sum(learned[20:]) < 0.9 * sum(still[20:])


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        ({"window": 10}, {}, ["9 latent frames", "window 10", "Lower window"]),
        ({}, {"layers": "all"}, ["'all'", "cross_attention"]),
        ({"keep": 1.0}, {}, ["keep is 1", "0 prompts"]),
        ({}, {"keep_prompts": ["a cat"]}, ["keep is 0", "1 prompts"]),
    ],
    ids=str,
)
def test_mistakes_are_said_before_the_first_pass(tiny_pipelines, monkeypatch, change, more, words):
    pipeline = tiny_pipelines("wan")
    monkeypatch.setattr(pipeline.transformer, "forward", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(ValueError) as said:
        run(pipeline, replace(OPTIONS, **change), **more)
    assert all(word in str(said.value) for word in words)


def test_models_that_cannot_be_tuned_are_refused(tiny_pipelines, fresh_wan):
    with pytest.raises(UnsupportedDenoiserError, match=r"two denoisers.*Wan 2\.1"):
        run(fresh_wan(transformer_2=fresh_wan().transformer, boundary_ratio=0.5))
    with pytest.raises(ValueError, match="UNet3DConditionModel cannot run its blocks a second time"):
        run(tiny_pipelines("text_to_video_sd"), recompute=True)
    pipeline = fresh_wan()
    run(pipeline, replace(OPTIONS, steps=1))
    TunedLayers(pipeline.transformer).add_lora(["diffusion_model.blocks.0.self_attn.q"], 2)
    before = list(pipeline.transformer.state_dict())
    with pytest.raises(ValueError, match="has low-rank weights already"):
        run(pipeline)
    assert list(pipeline.transformer.state_dict()) == before


def test_the_header_says_what_it_is(tiny_pipelines, tmp_path):
    write_tuned(tmp_path / "a.safetensors", run(tiny_pipelines("wan"), replace(OPTIONS, steps=1)))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["format"] == "gen-l-video tuning"
