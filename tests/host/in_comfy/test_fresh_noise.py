"""Early fresh noise; the oracle is a loop written by hand, of runs of the host's own."""

import combined
import comfy.sample
import comfy.samplers
import nodes
import pytest
import tiny
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic, Noise_RandomNoise, SamplerCustomAdvanced
from long_video_pack.glv_core.hosts.comfy.co_denoise import progress as progress_module
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import PhaseOptions
from long_video_pack.glv_core.hosts.comfy.co_denoise.run import Run
from long_video_pack.glv_core.noise import step_seed
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from torch.testing import assert_close

pytestmark = pytest.mark.every_host
SEED = 7


def windowed(model, fresh=0.0, **changed):
    options = {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}
    return CoDenoiseModel.execute(model, fresh_noise_until=fresh, **{**options, **changed}).args[0]


def close(a, b, scale=5e-4):
    assert_close(a, b, rtol=0, atol=scale * max(1.0, float(b.std())))


def draw(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(model, latent, fresh, sampler, steps=4, noised=None):
    """So many steps with fresh noise, then the sampler, all of them runs of the host's.

    A run of one step of Euler down to no noise is the prediction at its level. ``noised``: clean, noise, level -> x.
    """
    noised = noised or (lambda x0, noise, sigma: (1 - sigma) * x0 + sigma * noise)
    sampling, base = model.get_model_object("model_sampling"), model.model
    sigmas = comfy.samplers.KSampler(model, steps, torch.device("cpu"), sampler, "simple").sigmas

    def run(noise, latent, sampler, sigmas):
        return comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.sampler_object(sampler), sigmas, tiny.conditioning(1),
            tiny.conditioning(0), latent, seed=SEED,
        )  # fmt: skip

    noise, given = draw(latent.shape, SEED), latent
    for step in range(fresh):
        x0 = run(noise, given, "euler", torch.tensor([sigmas[step], 0.0]))
        x = noised(base.process_latent_in(x0), draw(latent.shape, step_seed(SEED, step)), sigmas[step + 1])
        noise = torch.zeros_like(latent)
        given = base.process_latent_out(sampling.inverse_noise_scaling(sigmas[step + 1], x))
    return run(noise, given, sampler, sigmas[fresh:])


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_it_is_a_loop_written_by_hand_and_then_the_sampler(sampler):
    wan = tiny.wan(1)
    made = tiny.ksampler(windowed(wan, 0.5), tiny.latent(9, 2, 2), sampler=sampler, cfg=1.0)
    close(made, by_hand(windowed(wan), tiny.latent(9, 2, 2)["samples"], 2, sampler))


@pytest.mark.parametrize("frames", [5, 13])
@pytest.mark.parametrize(("until", "fresh"), [(0.01, 1), (0.25, 1), (0.26, 2), (0.95, 4)])
def test_the_steps_before_the_share_are_fresh(wan, frames, until, fresh):
    """In one window and in several; the last step, which ends without noise, may be one of them."""
    made = tiny.co_denoise(wan, tiny.latent(frames), cfg=1.0, fresh_noise_until=until)
    whole = min(fresh, 3)  # by hand as well as fresh, the last step is the prediction
    close(made, by_hand(windowed(wan), tiny.latent(frames)["samples"], whole, "euler"))
    assert (made - tiny.co_denoise(wan, tiny.latent(frames), cfg=1.0)).abs().max() > 0.01


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "uni_pc"])
def test_none_is_bit_identical_to_the_host(wan, sampler):
    expected = tiny.ksampler(wan, tiny.latent(5), sampler=sampler)
    assert torch.equal(tiny.co_denoise(wan, tiny.latent(5), sampler=sampler, fresh_noise_until=0.0), expected)
    assert torch.equal(tiny.ksampler(windowed(wan, 0.0), tiny.latent(5), sampler=sampler), expected)


def test_image_models_with_frames_as_batch():
    """Their noise is added to the clean latent, which keeps its size."""
    model = tiny.sd15()
    texts = {"positive": tiny.text(1), "negative": tiny.text(0)}
    latent = {"samples": torch.zeros(6, 4, 4, 4)}
    made = tiny.co_denoise(model, latent, window=3, overlap=1, cfg=1.0, steps=2, fresh_noise_until=0.5, **texts)
    sigmas = comfy.samplers.KSampler(model, 2, torch.device("cpu"), "euler", "simple").sigmas
    plain = windowed(model, window=3, overlap=1)

    def run(noise, given, sigmas):
        arguments = (plain, noise, 1.0, comfy.samplers.sampler_object("euler"), sigmas, *texts.values(), given)
        return comfy.sample.sample_custom(*arguments, seed=SEED)

    x0 = run(draw((6, 4, 4, 4), SEED), latent["samples"], torch.tensor([sigmas[0], 0.0]))
    x = plain.model.process_latent_in(x0) + sigmas[1] * draw((6, 4, 4, 4), step_seed(SEED, 0))
    close(made, run(torch.zeros(6, 4, 4, 4), plain.model.process_latent_out(x), sigmas[1:]))


@pytest.mark.parametrize("split", [1, 4, 5])
@pytest.mark.parametrize("options", [
    {"phases": (PhaseOptions(0.0, stride=2), PhaseOptions(0.5, stride=1))}, {"merge": "random_cut", "noise": "mixed"},
    {"scheduler": "karras"},
], ids=str)  # fmt: skip
def test_two_samplers_make_what_one_makes(wan, steps_seen, split, options):
    """4 of 6 steps are fresh: the first sampler ends among them, with them and behind them."""
    options = {"steps": 6, "schedule": "shifted", "cfg": 1.0, "fresh_noise_until": 0.6, **options}
    whole = tiny.co_denoise(wan, tiny.latent(13), **options)
    assert [step for step, _ in steps_seen] == [*range(6)] and {total for _, total in steps_seen} == {6}
    one = list(steps_seen)
    steps_seen.clear()
    first = tiny.co_denoise(wan, tiny.latent(13), end_at_step=split, return_with_leftover_noise=True, **options)
    close(tiny.co_denoise(wan, {"samples": first}, add_noise=False, start_at_step=split, **options), whole)
    assert steps_seen == one


def test_a_part_of_the_noise_has_the_steps_of_its_part(wan):
    """denoise 0.5 makes the last 4 steps of 8, of which 0.6 of the whole leaves one."""
    latent = {"samples": draw((1, 16, 13, 4, 4), 3)}
    made = {until: tiny.co_denoise(wan, latent, denoise=0.5, cfg=1.0, fresh_noise_until=until) for until in
            (0.0, 0.5, 0.6, 0.62, 0.63)}  # fmt: skip
    assert torch.equal(made[0.0], made[0.5]) and torch.equal(made[0.6], made[0.62])
    assert (made[0.5] - made[0.6]).abs().max() > 0.01 and (made[0.62] - made[0.63]).abs().max() > 0.01


def test_custom_samplers_and_guiders(wan):
    guider = Guider_Basic(windowed(wan, 0.5))
    guider.set_conds(tiny.conditioning(1))
    sigmas = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", 4)
    sampler = comfy.samplers.sampler_object("euler")
    function = sampler.sampler_function
    arguments = (Noise_RandomNoise(SEED), guider, sampler, sigmas, tiny.latent(13))
    theirs = SamplerCustomAdvanced.execute(*arguments).args[0]["samples"]
    close(theirs, tiny.co_denoise(wan, tiny.latent(13), cfg=1.0, fresh_noise_until=0.5))
    assert sampler.sampler_function is function  # which other runs share
    # An inversion adds no noise, from whichever end it is looked at.
    rising = (Noise_RandomNoise(SEED), guider, sampler, sigmas.flip(0)[1:], {"samples": draw((1, 16, 13, 4, 4), 3)})
    plain = Guider_Basic(windowed(wan))
    plain.set_conds(tiny.conditioning(1))
    one, other = (
        SamplerCustomAdvanced.execute(rising[0], each, *rising[2:]).args[0]["samples"] for each in (guider, plain)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("sampler", ["euler", "ddim", "dpmpp_2m_sde"])
def test_what_a_noise_mask_covers_is_kept_under_the_noise_of_the_run(wan, sampler):
    """The model sees the kept part as the sampler alone shows it, at every step."""
    given, mask = draw((1, 16, 5, 4, 4), 5), torch.zeros(1, 1, 5, 4, 4)
    mask[:, :, 2:] = 1
    seen = {}
    for fresh in (0.0, 0.6):
        model, inputs = wan.clone(), []
        model.set_model_unet_function_wrapper(
            lambda apply, given, inputs=inputs: (
                inputs.append(given["input"].clone()), apply(given["input"], given["timestep"], **given["c"])
            )[1]
        )  # fmt: skip
        latent = {"samples": given, "noise_mask": mask}
        made = tiny.co_denoise(model, latent, sampler=sampler, cfg=1.0, fresh_noise_until=fresh)
        assert (made - given)[:, :, :2].abs().max() < 1e-4 and (made - given)[:, :, 2:].abs().mean() > 0.1
        seen[fresh] = torch.stack(inputs)
    assert seen[0.0].shape == seen[0.6].shape
    close(seen[0.6][:, :, :, :2], seen[0.0][:, :, :, :2])  # dpmpp_2m_sde begins a ten-thousandth below the first level
    assert ((seen[0.6] - seen[0.0])[1:, :, :, 2:].abs().amax(dim=(1, 2, 3, 4, 5)) > 0.1).all()


@pytest.mark.parametrize("sampler", ["euler", "heun", "uni_pc", "dpm_adaptive"])
def test_steps_are_counted_over_the_whole_run(wan, sampler):
    def counted(model):
        calls = []
        comfy.sample.sample(
            model, draw((1, 16, 13, 4, 4), SEED), 4, 1.0, sampler, "simple", tiny.conditioning(1),
            tiny.conditioning(0), tiny.latent(13)["samples"], seed=SEED,
            callback=lambda step, x0, x, total: calls.append((step, total, x0.shape == x.shape)),
        )  # fmt: skip
        return calls

    calls, plain = counted(windowed(wan, 0.5)), counted(windowed(wan))
    if sampler == "dpm_adaptive":  # it chooses its steps itself
        assert [step for step, *_ in calls] == [*range(len(calls))] and len(calls) > 2
    else:
        assert calls == plain and len(calls) >= 4
    assert {call[1:] for call in calls} == {(4, True)}


def test_the_bar_and_the_preview_go_on(wan, monkeypatch):
    values = []

    class Bar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value, total, preview=None):
            values.append((value, total))

    monkeypatch.setattr(progress_module.comfy.utils, "ProgressBar", Bar)
    tiny.co_denoise(wan, tiny.latent(13), cfg=1.0, per_forward=1, fresh_noise_until=0.5)
    assert {total for _, total in values} == {16} and {value for value, _ in values} == {*range(1, 17)}


def test_each_noise_is_another_and_of_the_chosen_kind(wan, monkeypatch):
    noises, original = [], Run.noised

    def spy(self, x0, sigma, noise):
        noises.append(noise)
        return original(self, x0, sigma, noise)

    monkeypatch.setattr(Run, "noised", spy)
    options = {"cfg": 1.0, "steps": 4, "fresh_noise_until": 0.75}
    tiny.co_denoise(wan, tiny.latent(13, 32, 32), noise="repeated", **options)
    tiny.ksampler(windowed(wan, 0.5, noise="repeated"), tiny.latent(13, 32, 32), cfg=1.0)
    assert len(noises) == 5 and torch.equal(noises[0], noises[3]) and torch.equal(noises[1], noises[4])
    for noise in noises:
        assert torch.equal(noise[:, :, 5:10], noise[:, :, :5]) and torch.equal(noise[:, :, 10:], noise[:, :, :3])
    rows = torch.stack([draw((1, 16, 13, 32, 32), SEED), *noises[:3]])[:, :, :, :5].flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 0.02 and (rows.std(1) - 1).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["ltx", pytest.param("h3", marks=pytest.mark.skipif(
    not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3"))])  # fmt: skip
def test_sound_beside_the_video_gets_its_own(kind):
    options = {"window": combined.frames_of(kind, 7), "overlap": 8, "steps": 2, "cfg": 1.0, "schedule": "shifted"}
    texts = {"positive": combined.text(kind, 1), "negative": combined.text(kind, 0)}

    def made(**more):
        return tiny.co_denoise(combined.model(kind), combined.latent(kind, 12), **options, **texts, **more).unbind()

    plain, fresh, off_device = made(), made(fresh_noise_until=0.5), made(fresh_noise_until=0.5, offload_latent=True)
    for one, other, third in zip(plain, fresh, off_device, strict=True):
        assert one.shape == other.shape and (one - other).abs().mean() > 0.01
        assert_close(third, other, atol=1e-5, rtol=1e-4)


def test_what_cannot_have_it_is_told(recorder):
    class Other(comfy.samplers.Sampler):
        def sample(self, *arguments, **more):
            raise AssertionError("not to be reached")

    guider = Guider_Basic(windowed(recorder.model, 0.5))
    guider.set_conds(tiny.conditioning(1))
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    with pytest.raises(
        ValueError, match=r"fresh_noise_until is 0.5, and the sampler Other .* Set fresh_noise_until to"
    ):
        SamplerCustomAdvanced.execute(Noise_RandomNoise(SEED), guider, Other(), sigmas, tiny.latent(13))
    for until in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"fresh_noise_until is {until}; it must be 0.0 to 0.95"):
            tiny.co_denoise(recorder.model, tiny.latent(13), fresh_noise_until=until)
        with pytest.raises(ValueError, match=rf"CoDenoiseModel: fresh_noise_until is {until:g}"):
            windowed(recorder.model, until)
    with pytest.raises(ValueError, match=r"initial_noise is connected and fresh_noise_until is 0.5"):
        tiny.co_denoise(recorder.model, tiny.latent(13), initial_noise=Noise_RandomNoise(SEED), fresh_noise_until=0.5)
    assert not recorder.shapes
    nodes.common_ksampler(
        windowed(recorder.model, 0.5), SEED, 1, 1.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0),
        tiny.latent(5),
    )  # fmt: skip
    assert recorder.shapes
