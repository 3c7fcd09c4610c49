"""The window engine in the host: loops, noise, memory, phases, plans and previews. Runs inside ComfyUI."""

import threading
import time

import tiny
import torch


def largest_difference(a, b) -> float:
    return float((a - b).abs().max())


def offload_latent(frames: int, mask: bool) -> dict:
    """The same run with the latent on the device and in host memory, and the shapes of the tensors that were moved.

    Without a graphics card both are the CPU: what can be checked is the result, and that the tensors were asked over.
    """
    latent = tiny.latent(frames)
    if mask:
        latent["samples"] = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(5))
        latent["noise_mask"] = torch.zeros(1, 1, frames, 4, 4)
        latent["noise_mask"][:, :, frames // 2 :] = 1
    asked = []
    original = torch.Tensor.cpu

    def cpu(self):
        asked.append(tuple(self.shape))
        return original(self)

    plain = tiny.co_denoise(tiny.wan(), latent)
    torch.Tensor.cpu = cpu
    try:
        kept = tiny.co_denoise(tiny.wan(), latent, offload_latent=True)
    finally:
        torch.Tensor.cpu = original
    return {"difference": largest_difference(plain, kept), "moved": [s for s in asked if len(s) == 5]}


def stable_prefix() -> float:
    """The noise that the sampler starts from, for 13 and 21 latent frames: difference in the frames both have."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import LongVideoNoise, NoiseOptions

    model = tiny.wan(1)
    made = [
        LongVideoNoise(model, 11, NoiseOptions("stable"), 17, 8).generate_noise(tiny.latent(frames))
        for frames in (13, 21)
    ]
    return largest_difference(made[0], made[1][:, :, :13])


def noise_node(kind: str) -> float:
    """LongNoise with SamplerCustomAdvanced against the sampler node's own noise."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Guider_Basic, SamplerCustomAdvanced
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
    from long_video_pack.nodes.long_noise import LongNoise

    model = tiny.wan()
    guider = Guider_Basic(CoDenoiseModel.execute(model, **_windows()).args[0])
    guider.set_conds(tiny.conditioning(1))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 4)
    noise = LongNoise.execute(model, 7, kind, 0.5, 17, 8).args[0]
    theirs = SamplerCustomAdvanced.execute(
        noise, guider, comfy.samplers.sampler_object("euler"), sigmas, tiny.latent(13)
    ).args[0]["samples"]
    return largest_difference(theirs, tiny.co_denoise(model, tiny.latent(13), cfg=1.0, noise=kind))


def _windows(**changed) -> dict:
    return {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0, **changed}


def given_noise_is_kept() -> bool:
    """No kind of noise changes the latent that it is made for."""
    from long_video_pack.glv_core.noise import NOISES

    latent = tiny.latent(13)
    before = latent["samples"].clone()
    for kind in NOISES:
        tiny.co_denoise(tiny.wan(1), latent, steps=1, noise=kind)
    return torch.equal(before, latent["samples"])


def stepwise(sampler: str, split: int, steps: int = 6) -> dict:
    """KSamplerAdvanced in two parts, 0 to split and split to the end, against one run: the same for these samplers."""
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    import nodes

    model = CoDenoiseModel.execute(tiny.wan(), **_windows()).args[0]
    positive, negative = tiny.scheduled("a | b", 49), tiny.conditioning(0)
    run = nodes.KSamplerAdvanced().sample
    common = (7, steps, 3.0, sampler, "simple", positive, negative)
    model = model.clone()
    whole = run(model, "enable", *common, tiny.latent(13), 0, steps, "disable")[0]["samples"]
    first = run(model, "enable", *common, tiny.latent(13), 0, split, "enable")[0]
    second = run(model, "disable", *common, first, split, steps, "disable")[0]["samples"]
    return {"difference": largest_difference(whole, second), "scale": float(whole.std())}


def passes(prompt_blending: str) -> dict:
    """Rows of the forward passes of one step, windows one by one without guidance, with two prompts over 20 frames."""
    recorder = tiny.Recorder(tiny.wan())
    tiny.co_denoise(
        recorder.model, tiny.latent(20), overlap=0, steps=1, cfg=1.0, per_forward=1, prompt_blending=prompt_blending,
        positive=tiny.scheduled("a | b", 77),
    )  # fmt: skip
    return {"rows": [shape[0] for shape in recorder.shapes]}


def mixed_prompt_is_the_mix_of_embeddings() -> float:
    """One window at the middle of a transition: with ``embeddings`` it is a plain KSampler with the mean embedding."""
    positive = tiny.scheduled("0: a\n8: b", 17, frames=8.0)
    a, b = (entry[0] for entry in positive)
    ours = tiny.co_denoise(tiny.wan(), tiny.latent(5), positive=positive, prompt_blending="embeddings", cfg=1.0)
    # Latent frame 2 holds frames 5 to 8; its centre 6.5 is 2.5 / 8 into the fade from 4 to 12.
    share = 2.5 / 8
    theirs = tiny.ksampler(tiny.wan(), tiny.latent(5), positive=[[a.lerp(b, share), {}]], cfg=1.0)
    return largest_difference(ours, theirs)


def loop_rotation() -> dict:
    """A closed loop from turned noise is the turned loop: the loop point is a frame like any other."""
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    import comfy.sample

    turn, frames = 4, 16
    model = CoDenoiseModel.execute(tiny.wan(), **_windows(closed_loop=True, overlap=4)).args[0]
    noise = torch.randn(1, 16, frames, 4, 4, generator=torch.Generator().manual_seed(1))

    def run(start):
        empty = torch.zeros_like(start)
        return comfy.sample.sample(
            model, start, 4, 3.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), empty, seed=1
        )

    one, turned = run(noise), run(noise.roll(turn, dims=2))
    return {"difference": largest_difference(one.roll(turn, dims=2), turned), "scale": float(one.std())}


def plan(text: str, frames: int, steps: int, **windows) -> dict:
    """What WindowPlan says, and what a run then does."""
    from long_video_pack.nodes.window_plan import WindowPlan

    class Vae:
        latent_dim, latent_channels = 3, 16
        upscale_ratio = (lambda a: max(0, a * 4 - 3), 8, 8)

        def temporal_compression_decode(self):
            return 4

    positive = tiny.scheduled(text, frames)
    output = WindowPlan.execute(Vae(), frames, 16.0, steps, conditioning=positive, **_windows(**windows))
    image, calls, floor, ratio, peak = output.args
    recorder = tiny.Recorder(tiny.wan(1))
    tiny.co_denoise(
        recorder.model, tiny.latent((frames - 1) // 4 + 1), steps=steps, cfg=1.0, positive=positive,
        per_forward=windows.pop("windows_per_forward", 0), **windows,
    )  # fmt: skip
    rows = [shape[0] for shape in recorder.shapes]
    return {
        "calls": calls, "floor": floor, "ratio": ratio, "peak": peak, "rows": sum(rows), "image": list(image.shape),
        "text": output.ui["text"][0], "saved": len(output.ui["images"]),
    }  # fmt: skip


def moving_preview() -> dict:
    """Pictures that the preview shows while a slow model runs, and whether its thread has ended."""
    import comfy.utils

    shown = []
    original = comfy.utils.PROGRESS_BAR_HOOK

    def hook(value, total, preview, prompt_id=None, node_id=None):
        if preview is not None:
            shown.append(preview[1].tobytes())

    class Previewer:
        def decode_latent_to_preview_image(self, preview_format, x0):
            from PIL import Image

            level = int(x0.float().mean() * 100) % 256
            return (preview_format, Image.new("RGB", (2, 2), (level, 0, 0)), 512)

    import latent_preview

    get = latent_preview.get_previewer
    latent_preview.get_previewer = lambda device, latent_format: Previewer()
    comfy.utils.PROGRESS_BAR_HOOK = hook
    model = tiny.wan(1)

    def slow(apply_model, arguments):
        time.sleep(0.25)
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(slow)
    try:
        tiny.co_denoise(model, tiny.latent(13), steps=3, cfg=1.0, per_forward=1)
    finally:
        comfy.utils.PROGRESS_BAR_HOOK = original
        latent_preview.get_previewer = get
    threads = [thread.name for thread in threading.enumerate() if thread.name == "moving preview"]
    return {"shown": len(shown), "different": len(set(shown)), "threads": threads}


def decoded_loop() -> dict:
    """The demo VAE on an endless moving stripe: frames of the loop, against a long decoding of many rounds."""
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
    from long_video_pack.nodes.vae_decode_loop import VAEDecodeLoop

    vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args[2]
    frames = torch.zeros(1 + 64 * 2, 64, 64, 3)
    for index in range(len(frames)):
        frames[index, :, torch.arange(index % 64, index % 64 + 16) % 64] = 1.0
    latents = vae.encode(frames)[:, :, -16:]  # one round of 64 frames, with its past
    images = VAEDecodeLoop.execute({"samples": latents}, vae, 8).args[0]
    rounds = vae.decode(torch.cat([latents] * 3, dim=2)).reshape(-1, 64, 64, 3)[-64:]
    return {
        "frames": len(images),
        "difference": largest_difference(images, rounds),
    }


def uses_windows(frames: int, offload_latent: bool) -> bool:
    """Whether a latent that fits in one window goes through this pack, which moves windows to the device."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise import handler

    calls = []
    original = handler.CoDenoiseHandler.execute

    def execute(self, *arguments):
        calls.append(1)
        return original(self, *arguments)

    handler.CoDenoiseHandler.execute = execute
    try:
        tiny.co_denoise(tiny.wan(1), tiny.latent(frames), steps=1, offload_latent=offload_latent)
    finally:
        handler.CoDenoiseHandler.execute = original
    return bool(calls)


def two_time_ranges(prompt_blending: str) -> float:
    """A schedule whose entries come twice, for the first and the second half of the sampling: the same as once."""
    once = tiny.scheduled("a | b", 49)
    halves = [
        [tensor, {**extras, "start_percent": start, "end_percent": end}]
        for start, end in ((0.0, 0.5), (0.5, 1.0))
        for tensor, extras in once
    ]
    model = tiny.wan()
    results = [
        tiny.co_denoise(model, tiny.latent(13), positive=positive, prompt_blending=prompt_blending, sampler="euler")
        for positive in (once, halves)
    ]
    return largest_difference(*results)


def evaluations(sampler: str, steps: int = 4) -> dict:
    """Every evaluation of a run whose model predicts an empty video: its noise level, its windows, and how far the
    noise of any latent frame is from that level."""
    import long_video_pack.glv_core.hosts.comfy.co_denoise.handler as handler

    import comfy.samplers

    model = tiny.wan().clone()
    model.set_model_unet_function_wrapper(lambda apply_model, arguments: torch.zeros_like(arguments["input"]))
    seen = []
    original = handler.co_denoise

    def spy(x, step, settings, denoise_windows, **more):
        sigma = float(spy.sigma)
        deviation = x.float().std(dim=(0, 1, 3, 4)) / sigma - 1
        starts = []

        def listen(windows):
            starts.extend(window.start for window in windows)
            return denoise_windows(windows)

        result = original(x, step, settings, listen, **more)
        seen.append({"sigma": sigma, "starts": starts, "off": float(deviation.abs().max())})
        return result

    evaluation = handler.Evaluation

    class Listening(evaluation):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            spy.sigma = self.timestep.flatten()[0]

    handler.co_denoise, handler.Evaluation = spy, Listening
    try:
        tiny.co_denoise(model, tiny.latent(13, 16, 16), schedule="shifted", sampler=sampler, steps=steps, cfg=1.0)
    finally:
        handler.co_denoise, handler.Evaluation = original, evaluation
    sigmas = comfy.samplers.KSampler(model, steps, "cpu", sampler, "simple").sigmas
    return {"sigmas": sigmas.tolist(), "evaluations": seen}
