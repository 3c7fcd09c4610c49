"""Invert Long Latent: what it gives, the sampler makes into the video again."""

from itertools import pairwise

import comfy.model_base
import comfy.samplers
import pytest
import tiny
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.every_host

STEPS = 6
WINDOWS = {"window": 17, "overlap": 8, "schedule": "shifted", "merge": "pyramid", "windows_per_forward": 0}


def nodes():
    from long_video_pack.nodes import co_denoise_ksampler, invert_long_latent

    return invert_long_latent.InvertLongLatent, co_denoise_ksampler.CoDenoiseKSampler


def video(frames=13, channels=16, batch=False):
    """Latents that change along the video."""
    generator = torch.Generator().manual_seed(3)
    shape = (frames, channels, 8, 8) if batch else (1, channels, frames, 4, 4)
    return {"samples": torch.randn(shape, generator=generator) * 0.7}


def invert(model, latent, *, positive, strength=1.0, refinements=0, scheduler="simple", steps=STEPS, **more):
    node, _ = nodes()
    return node.execute(
        model, positive, latent, steps, scheduler, strength, more.pop("cfg", 1.0), refinements, more.pop("seed", 5),
        more.pop("negative", None), **{**WINDOWS, **more},
    ).args  # fmt: skip


def sample(model, latent, initial, start, *, positive, scheduler="simple", steps=STEPS, sampler="euler", **more):
    _, node = nodes()
    return node.execute(
        model, 5, steps, 1.0, sampler, scheduler, positive, positive, latent, 1.0, start_at_step=start,
        initial_noise=initial, **{**WINDOWS, **more},
    ).args[0]["samples"]  # fmt: skip


def model_of(kind):
    if kind == "flow":
        return tiny.wan(), video(), tiny.conditioning(1)
    model = tiny.sd15()
    if kind == "v":
        sampling = comfy.model_base.model_sampling(model.model.model_config, comfy.model_base.ModelType.V_PREDICTION)
        model.add_object_patch("model_sampling", sampling)
    windows = video(frames=13, channels=4, batch=True)
    return model, windows, tiny.text(1)


#: Windows of 5 latent frames for models whose latent frames are frames.
SMALL = {"flow": {}, "eps": {"window": 5, "overlap": 2}, "v": {"window": 5, "overlap": 2}}


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["flow", "eps", "v"])
def test_sampling_brings_the_video_back(kind, strength):
    model, latent, positive = model_of(kind)
    errors = []
    for refinements in (0, 12):
        noise, same, start = invert(
            model, latent, positive=positive, strength=strength, refinements=refinements, **SMALL[kind]
        )
        assert same is latent and start == (0 if strength == 1 else 3)
        made = sample(model, latent, noise, start, positive=positive, **SMALL[kind])
        errors.append(float((made - latent["samples"]).abs().mean() / latent["samples"].abs().mean()))
    assert errors[1] < 0.02 and errors[1] < errors[0]


@pytest.mark.parametrize(("steps", "strength"), [(6, 1.0), (6, 0.5), (15, 0.5)])
def test_a_scheduler_with_more_levels_than_steps(steps, strength):
    """``ddim_uniform`` has a level too many where the steps do not divide 1000; KSampler counts from the first."""
    model, latent, positive = model_of("flow")
    options = {"positive": positive, "scheduler": "ddim_uniform", "steps": steps}
    noise, _, start = invert(model, latent, strength=strength, refinements=12, **options)
    made = sample(model, latent, noise, start, **options)
    assert float((made - latent["samples"]).abs().mean() / latent["samples"].abs().mean()) < 0.02


def test_other_noise_makes_another_video():
    model, latent, positive = model_of("flow")
    _, _, start = invert(model, latent, positive=positive, refinements=12)
    other = sample(model, latent, None, start, positive=positive)
    assert float((other - latent["samples"]).abs().mean()) > 0.2


def test_one_window_is_ddim_inversion_written_out():
    """The steps by hand, with the bare network."""
    model, latent, positive = model_of("eps")
    latent = {"samples": latent["samples"][:4]}
    noise, _, _ = invert(model, latent, positive=positive, window=5, overlap=2)
    got = noise.generate_noise(latent)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS).tolist()[::-1]
    clean = latent["samples"] * model.model.latent_format.scale_factor
    net, sampling = model.model.diffusion_model, model.model.model_sampling
    x, text = clean, positive[0][0].expand(4, -1, -1)
    for low, high in pairwise(sigmas):
        z = x / (1 + low**2) ** 0.5
        time = sampling.timestep(torch.tensor([high] * 4)).float()
        x = x + (high - low) * net(z, time, context=text)
    assert_close(got, (x - clean) / (1 + sigmas[-1] ** 2) ** 0.5, rtol=1e-3, atol=1e-3)


def test_windows_are_those_of_the_sampler_at_the_same_level():
    """Every evaluation has the windows that the sampler has at that noise level."""
    model, latent, positive = model_of("flow")
    noise, _, start = invert(model, latent, positive=positive, refinements=12)
    moved = sample(model, latent, noise, start, positive=positive, schedule="static", overlap=0)
    kept = sample(model, latent, noise, start, positive=positive)
    error = [float((made - latent["samples"]).abs().mean()) for made in (kept, moved)]
    assert error[0] < 0.2 * error[1]


@pytest.mark.parametrize("change", [
    {"schedule": "static"}, {"merge": "flat"}, {"overlap": 4}, {"window": 21}, {"isolated_clips": True},
    {"strength": 0.5}, {"refinements": 2}, {"scheduler": "karras"}, {"steps": 8}, {"closed_loop": True},
    {"schedule": "shifted_random", "seed": 1}, {"positive": "other"}, {"cfg": 3.0, "negative": "other"},
])  # fmt: skip
def test_every_option_changes_the_noise(change):
    model, latent, positive = model_of("flow")
    change = {key: tiny.conditioning(9) if value == "other" else value for key, value in change.items()}
    arguments = {"positive": positive}
    base = invert(model, latent, **arguments)[0].generate_noise(latent)
    assert not torch.equal(invert(model, latent, **{**arguments, **change})[0].generate_noise(latent), base)


def test_a_drawn_schedule_follows_the_seed():
    model, latent, positive = model_of("flow")
    drawn = [
        invert(model, latent, positive=positive, schedule="shifted_random", seed=seed)[0].generate_noise(latent)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_the_largest_batch_does_not_grow_with_the_length():
    largest = []
    for frames in (13, 60):
        recorder = tiny.Recorder(tiny.wan(1))
        invert(recorder.model, video(frames), positive=tiny.conditioning(1), steps=2)
        assert {shape[2] for shape in recorder.shapes} == {5}
        largest.append(max(shape[0] for shape in recorder.shapes))
    assert largest[0] == largest[1] == 4


def test_prompts_along_the_video_and_masks_of_the_latent():
    """A schedule is read by its windows; a noise mask is the sampler's affair."""
    model, latent, _ = model_of("flow")
    prompts = tiny.scheduled("a | b", 49)
    noise = invert(model, latent, positive=prompts, refinements=12)[0]
    made = sample(model, latent, noise, 0, positive=prompts)
    assert float((made - latent["samples"]).abs().mean()) < 0.02
    masked = {**latent, "noise_mask": torch.zeros(13, 4, 4)}
    assert torch.equal(
        invert(model, masked, positive=prompts, refinements=12)[0].generate_noise(masked), noise.generate_noise(latent)
    )


def test_offloaded_latents_give_the_same_noise():
    model, latent, positive = model_of("flow")
    plain, kept = (
        invert(model, latent, positive=positive, offload_latent=offload)[0].generate_noise(latent)
        for offload in (False, True)
    )
    assert_close(kept, plain, rtol=0, atol=1e-4)


def test_it_can_be_interrupted_and_leaves_the_model_as_it_was():
    import comfy.model_management

    model, latent, positive = model_of("flow")
    calls = []

    def stop(apply_model, arguments):
        calls.append(1)
        comfy.model_management.interrupt_current_processing(True)
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    stopped = model.clone()
    stopped.set_model_unet_function_wrapper(stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        invert(stopped, latent, positive=positive, windows_per_forward=1)
    assert len(calls) == 1
    assert "context_handler" not in model.model_options


@pytest.mark.parametrize(("change", "text"), [
    ({"latent": {"samples": torch.zeros(1, 16, 13, 4, 4)}}, "nothing to invert"),
    ({"cfg": 4.0}, "Connect one, or set cfg to 1"),
    ({"latent": {"samples": torch.ones(1, 12, 13, 4, 4)}}, "12 channels"),
    ({"overlap": 17}, "overlap"),
    ({"strength": 0.05}, "at least"),
])  # fmt: skip
def test_mistakes_are_said_before_the_first_forward_pass(change, text):
    recorder = tiny.Recorder(tiny.wan())
    arguments = {"positive": tiny.conditioning(1), "latent": video()}
    arguments.update(change)
    with pytest.raises(ValueError, match=text):
        invert(recorder.model, arguments.pop("latent"), **arguments)
    assert not recorder.shapes


def test_a_sampler_that_adds_no_noise_or_has_another_latent_refuses_it():
    model, latent, positive = model_of("flow")
    noise, _, _ = invert(model, latent, positive=positive)
    with pytest.raises(ValueError, match="add_noise is off"):
        sample(model, latent, noise, 0, positive=positive, add_noise=False)
    with pytest.raises(ValueError, match="latent that was inverted"):
        sample(model, video(12), noise, 0, positive=positive)


@pytest.mark.parametrize(("values", "text"), [
    ({"steps": 20, "strength": 0.01}, "at least 0.05"), ({"steps": 0}, "1 to 10000"),
    ({"window": 8, "overlap": 8}, "below"),
])  # fmt: skip
def test_the_editor_is_told_before_anything_is_loaded(values, text):
    assert text in nodes()[0].validate_inputs(**values)
    assert nodes()[0].validate_inputs(steps=20, strength=0.5, window=8, overlap=2) is True


def test_any_noise_can_be_the_initial_one():
    """Core's RandomNoise of the seed is what the sampler draws itself, bit for bit; that of another seed is not."""
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    model, latent, positive = model_of("flow")
    own = sample(model, latent, None, 0, positive=positive)
    assert torch.equal(sample(model, latent, Noise_RandomNoise(5), 0, positive=positive, noise="shuffled"), own)
    assert (sample(model, latent, Noise_RandomNoise(6), 0, positive=positive) - own).abs().max() > 0.1


def test_a_custom_sampler_takes_the_noise_too():
    from comfy_extras.nodes_custom_sampler import BasicGuider, SamplerCustomAdvanced
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    model, latent, positive = model_of("flow")
    noise = invert(model, latent, positive=positive, refinements=12)[0]
    patched = CoDenoiseModel.execute(model, **WINDOWS).args[0]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    guider = BasicGuider.execute(patched, positive).args[0]
    made = SamplerCustomAdvanced.execute(noise, guider, comfy.samplers.sampler_object("euler"), sigmas, latent).args[0]
    assert float((made["samples"] - latent["samples"]).abs().mean()) < 0.02
