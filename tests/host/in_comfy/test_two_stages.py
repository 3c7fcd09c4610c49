"""Two samplers that share the steps, as with a model for high and one for low noise, make what one would."""

import uuid

import comfy.model_management
import comfy.samplers
import nodes
import pytest
import streaming
import tiny
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from long_video_pack.glv_core.co_denoise import Stage
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import PhaseOptions, WindowOptions
from long_video_pack.glv_core.hosts.comfy.co_denoise.patch import patch_model
from long_video_pack.glv_core.hosts.comfy.co_denoise.run import Run
from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

pytestmark = pytest.mark.every_host
MOVING = {"schedule": "shifted", "phases": (PhaseOptions(0.0, stride=2), PhaseOptions(0.5, stride=1))}


def close(a, b, scale=2e-4):
    torch.testing.assert_close(a, b, rtol=0, atol=scale * max(1.0, float(b.std())))


def in_two(model, latent, split, **options):
    """CoDenoiseKSampler twice: to a step, and from there."""
    first = tiny.co_denoise(model, latent, end_at_step=split, return_with_leftover_noise=True, **options)
    return tiny.co_denoise(model, {"samples": first}, add_noise=False, start_at_step=split, **options)


@pytest.mark.parametrize("options", [
    MOVING, {"schedule": "shifted_random"}, {"merge": "random_cut"}, {"noise": "shuffled"}, {"scheduler": "karras"},
    {"sampler": "heun"}, {"schedule": "static", "phases": (PhaseOptions(0.4, overlap_frames=0),)},
], ids=str)  # fmt: skip
def test_two_samplers_make_what_one_makes(wan, steps_seen, options):
    arguments = {"steps": 6, "positive": tiny.scheduled("a | b", 49), **options}
    whole = tiny.co_denoise(wan, tiny.latent(13), **arguments)
    one = list(steps_seen)
    steps_seen.clear()
    close(in_two(wan, tiny.latent(13), 2, **arguments), whole)
    assert steps_seen == one and {total for _, total in one} == {6}


@pytest.mark.parametrize(("split", "shift"), [(1, None), (3, None), (5, None), (2, 1.0), (3, 12.0)])
def test_core_s_advanced_sampler_behind_the_model_node_does_too(wan, steps_seen, split, shift):
    """It says nothing of the whole schedule, which is found from the noise levels, whatever shift a node sets."""
    shifted = wan if shift is None else ModelSamplingSD3().patch(wan, shift)[0]
    model = patch_model(shifted, WindowOptions(17, 8, **MOVING))
    comfy.model_management.unload_all_models()  # a node's shift is put on the model when it is loaded
    run = nodes.KSamplerAdvanced().sample
    common = (7, 6, 3.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0))
    whole = run(model, "enable", *common, tiny.latent(13), 0, 6, "disable")[0]["samples"]
    one = list(steps_seen)
    steps_seen.clear()
    first = run(model, "enable", *common, tiny.latent(13), 0, split, "enable")[0]
    close(run(model, "disable", *common, first, split, 6, "disable")[0]["samples"], whole)
    assert steps_seen == one == [(step, 6) for step in range(6)]


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_a_whole_run_is_known_as_one(wan, steps_seen, scheduler):
    tiny.ksampler(patch_model(wan, WindowOptions(17, 8)), tiny.latent(13), steps=4, cfg=1.0, scheduler=scheduler)
    count = len(comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), scheduler, 4)) - 1
    left_out = int(scheduler == "ddim_uniform")  # this one begins a step below the highest noise
    assert {total for _, total in steps_seen} == {count + left_out} and steps_seen[0][0] == left_out


def test_a_part_of_the_noise_is_a_part_of_the_schedule(wan, steps_seen):
    """denoise 0.5 makes the last 4 steps of 8."""
    tiny.co_denoise(wan, tiny.latent(13), steps=4, denoise=0.5, cfg=1.0)
    assert steps_seen == [(4, 8), (5, 8), (6, 8), (7, 8)]
    steps_seen.clear()
    tiny.ksampler(patch_model(wan, WindowOptions(17, 8)), tiny.latent(13), steps=4, denoise=0.5, cfg=1.0)
    assert steps_seen == [(4, 8), (5, 8), (6, 8), (7, 8)]


@pytest.mark.parametrize(("add_noise", "start", "end", "leftover"), [
    (True, 0, 10_000, False), (True, 2, 10_000, False), (True, 0, 3, True), (True, 0, 3, False), (False, 2, 4, True),
])  # fmt: skip
def test_one_window_is_core_s_advanced_sampler(wan, add_noise, start, end, leftover):
    words = ["disable", "enable"]
    latent = {"samples": torch.randn(1, 16, 5, 4, 4, generator=torch.Generator().manual_seed(3))}
    theirs = nodes.KSamplerAdvanced().sample(
        wan, words[add_noise], 7, 6, 3.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), latent, start,
        end, words[leftover],
    )[0]["samples"]  # fmt: skip
    ours = tiny.co_denoise(
        wan, latent, steps=6, add_noise=add_noise, start_at_step=start, end_at_step=end,
        return_with_leftover_noise=leftover,
    )  # fmt: skip
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("values", "words"), [
    ({"steps": 6, "start_at_step": 6}, "start_at_step is 6 and steps 6"),
    ({"steps": 0}, "steps is 0; it must be 1 to 10000"), ({"steps": 10_001}, "steps is 10001"),
    ({"start_at_step": -1}, "start_at_step is -1; it must be 0 to "), ({"end_at_step": -1}, "end_at_step is -1"),
    ({"steps": 6, "start_at_step": 3, "end_at_step": 3}, "end_at_step is 3 and start_at_step 3"),
])  # fmt: skip
def test_a_sampler_without_steps_is_refused_before_anything_is_loaded(values, words):
    assert words in CoDenoiseKSampler.validate_inputs(**values)
    assert CoDenoiseKSampler.validate_inputs(steps=6, start_at_step=0, end_at_step=10_000) is True


@pytest.mark.parametrize("kind", ["shuffled", "mixed", "stable"])
def test_the_model_node_brings_its_noise_to_core_s_samplers(wan, kind):
    options = {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}
    model = CoDenoiseModel.execute(wan, noise=kind, **options).args[0]
    close(tiny.ksampler(model, tiny.latent(13)), tiny.co_denoise(wan, tiny.latent(13), noise=kind))
    # A sampler that adds no noise goes on with what the latent brings.
    given = {"samples": tiny.co_denoise(wan, tiny.latent(13), steps=2)}
    common = (7, 4, 3.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), given, 2, 4, "disable")
    plain = CoDenoiseModel.execute(wan, **options).args[0]
    ours, theirs = (nodes.KSamplerAdvanced().sample(each, "disable", *common)[0]["samples"] for each in (model, plain))
    assert torch.equal(ours, theirs)


def test_the_place_of_a_run_in_the_noise_schedule(wan):
    def stage(sigmas):
        run = Run(wan.model, [1, 16, 13, 4, 4], WindowOptions(17, 8))
        step, total = run.step_of(sigmas[0], sigmas)
        return Stage(step, len(sigmas) - 1, total)

    sigmas = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", 20).tolist()
    assert stage(sigmas) == Stage(0, 20, 20)
    assert stage(sigmas[:11]) == Stage(0, 10, 20) and stage(sigmas[10:]) == Stage(10, 10, 20)
    assert stage(sigmas[4:9]) == Stage(4, 4, 20)
    assert stage([*sigmas[:5], 0.0]) == Stage(0, 5, 5)  # what is left of the noise goes in one step


@pytest.mark.parametrize("make", [tiny.wan, streaming.wan_22_5b, streaming.wan_i2v_21])
def test_streaming_goes_on_with_a_second_model(make):
    """The same model twice makes what it makes alone; another one makes something else from its step on."""
    model = make()
    image = {} if make is tiny.wan else {"latent": {"samples": torch.randn(1, model.model.latent_format.latent_channels,
        2, 4, 4, generator=torch.Generator().manual_seed(4))}}  # fmt: skip
    options = {"length": 33, "steps": 4, "seed": 5, **image}
    alone = streaming.extend(model, **options)[0]
    twice, report = streaming.extend(model, low_noise_model=model, switch_at_step=3, **options)
    close(twice, alone)
    assert "From step 3 of 4 on the low-noise model goes on." in report
    other = model.clone()
    other.set_model_unet_function_wrapper(
        lambda apply, given: apply(given["input"], given["timestep"], **given["c"]) * 0.5
    )
    assert (streaming.extend(model, low_noise_model=other, switch_at_step=3, **options)[0] - alone).abs().max() > 0.01
    halves = streaming.extend(model, low_noise_model=other, **options)[1]
    assert "From step 2 of 4 on" in halves


def test_chunks_of_two_models_are_found_again_and_those_of_others_are_not(wan):
    other = wan.clone()
    other.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))

    name = f"two_stages_{uuid.uuid4()}"

    def found(**options):
        report = streaming.extend(wan, run_name=name, **options)[1]
        return int(report.split(" chunks were found")[0].split()[-1])

    two = {"low_noise_model": wan, "switch_at_step": 2}
    assert found(**two) == 0 and found(**two) == 3 and found() == 0
    assert found(**{**two, "switch_at_step": 1}) == 0 and found(**{**two, "low_noise_model": other}) == 0
    assert found(**two) == 3


def test_two_models_that_do_not_go_together_are_refused(wan):
    with pytest.raises(ValueError, match=r"low_noise_model has latents of another kind \(Wan22\) than model \(Wan21\)"):
        streaming.extend(wan, low_noise_model=streaming.wan_22_5b())
    with pytest.raises(ValueError, match=r"switch_at_step is 3 and steps 3.* Use 1 to 2"):
        streaming.extend(wan, low_noise_model=wan, switch_at_step=3)
