"""The window engine in the host: loops, noise, memory, phases, plans and previews."""

import threading
from types import SimpleNamespace

import comfy.ldm.wan.vae
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import nodes
import pytest
import tiny
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic, SamplerCustomAdvanced
from long_video_pack.glv_core.hosts.comfy.co_denoise import handler as handler_module
from long_video_pack.glv_core.hosts.comfy.co_denoise import progress as progress_module
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import LongVideoNoise, NoiseOptions
from long_video_pack.glv_core.noise import NOISES
from long_video_pack.glv_core.window_schedules import windows_for
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
from long_video_pack.nodes.long_noise import LongNoise
from long_video_pack.nodes.vae_decode_loop import VAEDecodeLoop
from long_video_pack.nodes.window_plan import WindowPlan
from PIL import Image
from torch.testing import assert_close

pytestmark = pytest.mark.every_host


def windows(**changed) -> dict:
    return {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0, **changed}


def close(a, b, atol: float = 1e-5) -> None:
    assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize(("length", "mask"), [(13, False), (13, True), (5, False)])
def test_an_offloaded_latent_gives_the_same(wan, monkeypatch, length, mask):
    """Without a graphics card all is on the CPU: what can be checked is the result, and that tensors were asked for."""
    latent = tiny.latent(length)
    if mask:
        latent["samples"] = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(5))
        latent["noise_mask"] = torch.zeros(1, 1, length, 4, 4)
        latent["noise_mask"][:, :, length // 2 :] = 1
    plain = tiny.co_denoise(wan, latent)
    asked, original = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: (asked.append(tuple(self.shape)), original(self))[1])
    close(tiny.co_denoise(wan, latent, offload_latent=True), plain)
    assert (1, 16, length, 4, 4) in asked


@pytest.mark.parametrize("offload", [True, False])
def test_a_single_window_is_this_pack_s_only_where_it_has_to_move(wan, monkeypatch, offload):
    calls, original = [], handler_module.CoDenoiseHandler.execute
    monkeypatch.setattr(
        handler_module.CoDenoiseHandler, "execute", lambda self, *given: (calls.append(1), original(self, *given))[1]
    )
    tiny.co_denoise(wan, tiny.latent(5), steps=1, offload_latent=offload)
    assert bool(calls) == offload


def test_stable_noise_of_a_longer_latent_starts_like_a_shorter_ones(wan):
    noise = LongVideoNoise(wan, 11, NoiseOptions("stable"), 17, 8)
    short, long = (noise.generate_noise(tiny.latent(length)) for length in (13, 21))
    assert torch.equal(short, long[:, :, :13])


@pytest.mark.parametrize("kind", list(NOISES))
def test_the_noise_node_makes_what_the_sampler_makes(wan, kind):
    guider = Guider_Basic(CoDenoiseModel.execute(wan, **windows()).args[0])
    guider.set_conds(tiny.conditioning(1))
    sigmas = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", 4)
    noise = LongNoise.execute(wan, 7, kind, 0.5, 17, 8).args[0]
    euler, latent = comfy.samplers.sampler_object("euler"), tiny.latent(13)
    theirs = SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).args[0]["samples"]
    close(theirs, tiny.co_denoise(wan, latent, cfg=1.0, noise=kind))
    assert not latent["samples"].any()  # and no tensor of the caller's is changed


@pytest.mark.parametrize("sampler", ["euler", "dpm_2", "heun"])
def test_start_and_end_step(wan, sampler):
    """KSamplerAdvanced in two parts, to step 3 and from there, against one run."""
    model = CoDenoiseModel.execute(wan, **windows()).args[0].clone()
    run = nodes.KSamplerAdvanced().sample
    common = (7, 6, 3.0, sampler, "simple", tiny.scheduled("a | b", 49), tiny.conditioning(0))
    whole = run(model, "enable", *common, tiny.latent(13), 0, 6, "disable")[0]["samples"]
    first = run(model, "enable", *common, tiny.latent(13), 0, 3, "enable")[0]
    second = run(model, "disable", *common, first, 3, 6, "disable")[0]["samples"]
    close(second, whole, 1e-3 * max(1, float(whole.std())))


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpm_2", "dpmpp_2s_ancestral", "dpmpp_sde", "seeds_2"])
def test_every_evaluation_has_its_step_s_windows_and_one_noise_level(wan, monkeypatch, sampler):
    """The model predicts an empty video, so that what is left in the latent is noise."""
    wan.set_model_unet_function_wrapper(lambda apply_model, arguments: torch.zeros_like(arguments["input"]))
    seen, evaluation, original = [], handler_module.Evaluation, handler_module.co_denoise_streams

    class Listening(evaluation):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(SimpleNamespace(sigma=float(self.timestep.flatten()[0]), starts=[], off=0.0))

    def spy(xs, step, settings, denoise_windows, *more, **named):
        seen[-1].off = float((xs[0].float().std(dim=(0, 1, 3, 4)) / seen[-1].sigma - 1).abs().max())

        def listen(now):
            seen[-1].starts = [window.start for window in now]
            return denoise_windows(now)

        return original(xs, step, settings, listen, *more, **named)

    monkeypatch.setattr(handler_module, "Evaluation", Listening)
    monkeypatch.setattr(handler_module, "co_denoise_streams", spy)
    tiny.co_denoise(wan, tiny.latent(13, 16, 16), schedule="shifted", sampler=sampler, steps=4, cfg=1.0)
    sigmas = comfy.samplers.KSampler(wan, 4, "cpu", sampler, "simple").sigmas.tolist()
    for each in seen:
        begun = max(step for step in range(4) if sigmas[step] >= each.sigma * (1 - 1e-4))
        assert sorted(each.starts) == sorted(window.start for window in windows_for("shifted", 13, 5, 2, begun)), each
        assert each.off < 0.08, each
    between = [each for each in seen if min(abs(each.sigma - sigma) for sigma in sigmas) > 1e-3]
    assert bool(between) == (sampler not in ("euler", "euler_ancestral"))


@pytest.mark.parametrize(("blending", "rows"), [
    ("predictions", [1, 1, 1, 2]), ("embeddings", [1] * 4), ("embeddings_spherical", [1] * 4),
    ("one_per_window", [1] * 4),
])  # fmt: skip
def test_only_windows_that_touch_a_transition_pay_for_two_prompts(recorder, blending, rows):
    # Four windows of 5 latent frames; the fade of 8 frames around frame 38.5 mixes latent frame 10 alone, in window 3.
    tiny.co_denoise(
        recorder.model, tiny.latent(20), overlap=0, steps=1, cfg=1.0, per_forward=1, prompt_blending=blending,
        positive=tiny.scheduled("a | b", 77),
    )  # fmt: skip
    assert sorted(shape[0] for shape in recorder.shapes) == rows


def test_mixed_prompts_are_mixed_as_the_timeline_says(wan):
    """One window at the middle of a transition: with ``embeddings`` it is a plain KSampler with the mean embedding."""
    positive = tiny.scheduled("0: a\n8: b", 17, frames=8.0)
    a, b = (entry[0] for entry in positive)
    ours = tiny.co_denoise(wan, tiny.latent(5), positive=positive, prompt_blending="embeddings", cfg=1.0)
    # Latent frame 2 holds frames 5 to 8; its centre 6.5 is 2.5 / 8 into the fade from 4 to 12.
    close(ours, tiny.ksampler(wan, tiny.latent(5), positive=[[a.lerp(b, 2.5 / 8), {}]], cfg=1.0))


@pytest.mark.parametrize("blending", ["embeddings", "one_per_window"])
def test_mixing_keeps_apart_what_differs_in_more_than_the_prompt(wan, blending):
    """A schedule whose entries come twice, for the first and the second half of the sampling: the same as once."""
    once = tiny.scheduled("a | b", 49)
    halves = [
        [tensor, {**extras, "start_percent": start, "end_percent": end}]
        for start, end in ((0.0, 0.5), (0.5, 1.0))
        for tensor, extras in once
    ]
    close(*(tiny.co_denoise(wan, tiny.latent(13), positive=each, prompt_blending=blending) for each in (once, halves)))


def test_a_loop_has_no_special_place(wan):
    """A closed loop from turned noise is the turned loop."""
    model = CoDenoiseModel.execute(wan, **windows(closed_loop=True, overlap=4)).args[0]
    noise = torch.randn(1, 16, 16, 4, 4, generator=torch.Generator().manual_seed(1))

    def run(start):
        given = tiny.conditioning(1), tiny.conditioning(0), torch.zeros_like(start)
        return comfy.sample.sample(model, start, 4, 3.0, "euler", "simple", *given, seed=1)

    one = run(noise)
    close(run(noise.roll(4, dims=2)), one.roll(4, dims=2), 1e-4 * max(1, float(one.std())))


class WanVae:
    """As much of a VAE as WindowPlan asks."""

    latent_dim, latent_channels = 3, 16
    upscale_ratio = (lambda a: max(0, a * 4 - 3), 8, 8)
    first_stage_model = comfy.ldm.wan.vae.WanVAE.__new__(comfy.ldm.wan.vae.WanVAE)

    def temporal_compression_decode(self):
        return 4


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 2),
        ({"schedule": "shifted", "overlap": 4}, 5),
        ({"schedule": "shifted", "closed_loop": True}, 3),
        ({"schedule": "uniform", "stride": 2}, 2),
        ({"prompt_blending": "embeddings"}, 2),
        ({"windows_per_forward": 2}, 1),
    ],
)
def test_the_plan_says_what_the_run_does(recorder, options, steps):
    positive = tiny.scheduled("a | b | c", 77)
    output = WindowPlan.execute(WanVae(), 77, 16.0, steps, conditioning=positive, **windows(**options))
    image, evaluations, minimum, ratio, peak = output.args
    per_forward = options.pop("windows_per_forward", 0)
    tiny.co_denoise(
        recorder.model, tiny.latent(20), steps=steps, cfg=1.0, positive=positive, per_forward=per_forward, **options
    )
    assert evaluations == sum(shape[0] for shape in recorder.shapes)
    assert minimum == pytest.approx(steps * 20 / 5) and ratio == pytest.approx(evaluations / minimum)
    assert peak == (per_forward or 4)
    assert image.shape[0] == 1 and image.shape[2:] == (1200, 3)
    assert len(output.ui["images"]) == 1
    assert output.ui["text"][0].startswith("80 frames" if "closed_loop" in options else "77 frames")


def test_the_preview_moves_while_the_model_runs_and_ends_with_it(wan, monkeypatch):
    """The model waits in each forward pass until the preview has shown three more images."""
    shown, more = [], threading.Event()

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            return (preview_format, Image.new("RGB", (2, 2), (int(x0.float().mean() * 100) % 256, 0, 0)), 512)

    def hook(value, total, preview, prompt_id=None, node_id=None):
        if preview is not None:
            shown.append(preview[1].tobytes())
            if len(shown) % 3 == 0:
                more.set()

    monkeypatch.setattr(latent_preview, "get_previewer", lambda device, latent_format: Previewer())
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    monkeypatch.setattr(progress_module, "IMAGES_PER_SECOND", 200)

    def slow(apply_model, arguments):
        if shown:
            more.clear()
            assert more.wait(30), "the preview stands still while the model runs"
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    wan.set_model_unet_function_wrapper(slow)
    tiny.co_denoise(wan, tiny.latent(13), steps=3, cfg=1.0, per_forward=1)
    assert len(set(shown)) >= 4  # the frames of a prediction differ, and so do predictions
    assert not [thread for thread in threading.enumerate() if thread.name == "moving preview"]


def test_a_decoded_loop_is_a_piece_of_the_endless_video():
    """The demo VAE on an endless moving stripe: one round, against a long decoding of many rounds."""
    vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args[2]
    frames = torch.zeros(1 + 64 * 2, 64, 64, 3)
    for index in range(len(frames)):
        frames[index, :, torch.arange(index % 64, index % 64 + 16) % 64] = 1.0
    latents = vae.encode(frames)[:, :, -16:]  # one round of 64 frames, with its past
    images = VAEDecodeLoop.execute({"samples": latents}, vae, 8).args[0]
    assert len(images) == 64
    close(images, vae.decode(torch.cat([latents] * 3, dim=2)).reshape(-1, 64, 64, 3)[-64:], 0.02)
