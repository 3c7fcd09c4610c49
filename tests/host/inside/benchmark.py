"""Videos for ``benchmarks/windows.py``: the demo model with this pack's windows or core's. Runs inside ComfyUI."""

import time

import numpy as np
import torch

_LOADED = {}


def _pipeline():
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    if not _LOADED:
        _LOADED["demo"] = LoadVideoPipeline.execute("demo model (built in)", "transformer").args
    return _LOADED["demo"]


def video(row: dict, prompt: str, seed: int, steps: int, cfg: float, length: int, window: int, path: str) -> dict:
    """Makes a video and saves its frames ``t h w c``.

    Returns the spans of its windows at every step, the windows and the latent frames that went through the model for
    one prompt, the latter with those that a host shows beside a window and throws away, and the time.
    """
    model, clip, vae = _pipeline()
    model, counted = model.clone(), []

    def count(apply_model, arguments):
        outputs = arguments["cond_or_uncond"]  # one for each part of the batch; 0 is the prompt's
        rows = arguments["input"].shape[0] // len(outputs) * outputs.count(0)
        counted.append((rows, rows * arguments["input"].shape[2]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(count)
    positive, negative = ([[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in (prompt, ""))
    latent = {"samples": torch.zeros(1, 16, length, 8, 8)}
    begin = time.perf_counter()
    run = _core if row["core"] else _ours
    samples, spans = run(model, row, positive, negative, latent, seed, steps, cfg, window)
    seconds = time.perf_counter() - begin
    frames = vae.decode(samples)
    np.save(path, frames.reshape(-1, *frames.shape[-3:]).float().numpy())
    windows, shown = map(sum, zip(*counted, strict=True))
    return {"spans": spans, "windows": windows, "frames": shown, "seconds": seconds}


def _ours(model, row, positive, negative, latent, seed, steps, cfg, window):
    from long_video_pack.glv_core.co_denoise import CoDenoiseSettings, Phase
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.co_denoise_phase import CoDenoisePhase
    from long_video_pack.nodes.long_noise import LongNoise

    more = dict(row.get("more", {}))
    phases = more.pop("phases", ())
    ratio = row.get("ratio", 4)  # frames of a latent frame
    frames = {overlap: ratio * overlap for overlap in range(window)}
    if "noise_overlap" in more:
        overlap = frames[more.pop("noise_overlap")]
        noise = LongNoise.execute(model, seed, more.pop("noise"), 0.5, ratio * (window - 1) + 1, overlap)
        more["initial_noise"] = noise.args[0]
    chain = ()
    for phase in phases:
        chain = CoDenoisePhase.execute(
            phase["start"], phase.get("schedule", "unchanged"), frames.get(phase.get("overlap"), -1),
            phase.get("stride", 0), phase.get("merge", "unchanged"), chain,
            ratio * (phase["window"] - 1) + 1 if "window" in phase else 0,
        ).args[0]  # fmt: skip
    samples = CoDenoiseKSampler.execute(
        model, seed, steps, cfg, "uni_pc", "simple", positive, negative, latent, 1.0, window=ratio * (window - 1) + 1,
        overlap=frames[row["overlap"]], schedule=row["schedule"], merge=row.get("merge", "pyramid"), phases=chain,
        **more,
    ).args[0]["samples"]  # fmt: skip
    apart = ("noise", "initial_noise", "fresh_noise_until", "step_cache")
    more = {key: value for key, value in more.items() if key not in apart}
    settings = CoDenoiseSettings(
        window,
        row["overlap"],
        row["schedule"],
        row.get("merge", "pyramid"),
        phases=tuple(Phase(**p) for p in phases),
        seed=seed,
        **more,
    )
    length = samples.shape[2] if not samples.is_nested else samples.unbind()[0].shape[2]
    plan = [settings.windows(length, step, steps) for step in range(steps)]
    return samples, [[[each.start, each.stop] for each in step] for step in plan]


def _core(model, row, positive, negative, latent, seed, steps, cfg, window):
    """Core's own context windows, as its node puts them on a model."""
    import comfy.context_windows as context_windows

    import nodes

    patched = model.clone()
    handler = context_windows.IndexListContextHandler(
        context_schedule=context_windows.get_matching_context_schedule(row["schedule"]),
        fuse_method=context_windows.get_matching_fuse_method(row.get("merge", "pyramid")),
        context_length=window, context_overlap=row["overlap"], context_stride=1, closed_loop=False, dim=2,
        freenoise=row.get("freenoise", False),
    )  # fmt: skip
    patched.model_options["context_handler"] = handler
    context_windows.create_prepare_sampling_wrapper(patched)
    if row.get("freenoise"):
        context_windows.create_sampler_sample_wrapper(patched)
    windows = []
    original = handler.get_context_windows

    def listen(model, x_in, model_options):
        made = original(model, x_in, model_options)
        windows.append([[each.index_list[0], each.index_list[-1] + 1] for each in made])
        return made

    handler.get_context_windows = listen
    samples = nodes.common_ksampler(patched, seed, steps, cfg, "uni_pc", "simple", positive, negative, latent)[0]
    return samples["samples"], windows[:steps]


def _wan_1_3b(tiny_model: bool):
    """Wan 2.1 1.3B's shape with random weights in bfloat16, loaded by the stock loader."""
    import comfy.ldm.wan.model
    import comfy.ops
    import comfy.sd

    size = dict(dim=128, ffn_dim=64, num_heads=1, num_layers=2) if tiny_model else dict(
        dim=1536, ffn_dim=8960, num_heads=12, num_layers=30
    )  # fmt: skip
    module = comfy.ldm.wan.model.WanModel(
        model_type="t2v", in_dim=16, operations=comfy.ops.disable_weight_init, dtype=torch.bfloat16, device="cpu",
        **size,
    )  # fmt: skip
    return comfy.sd.load_diffusion_model_state_dict(_random(module).state_dict())


def _ltx_2(tiny_model: bool):
    """LTX-2's width with random weights in bfloat16, 4 of its 48 layers."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    size = {"num_layers": 4} if not tiny_model else dict(
        attention_head_dim=24, num_attention_heads=2, cross_attention_dim=48, caption_channels=64, num_layers=1,
        audio_cross_attention_dim=32, audio_attention_head_dim=16, audio_num_attention_heads=2,
        connector_attention_head_dim=16, connector_num_attention_heads=4, connector_num_layers=1,
    )  # fmt: skip
    made = comfy.supported_models.LTXAV({**comfy.supported_models.LTXAV.unet_config, **size})
    made.set_inference_dtype(torch.bfloat16, None)
    model = made.get_model({}, "", torch.device("cpu"))
    _random(model.diffusion_model)
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    management = comfy.model_management
    return kind(model, load_device=management.get_torch_device(), offload_device=management.unet_offload_device())


def _random(module: torch.nn.Module) -> torch.nn.Module:
    """A network with random weights."""
    torch.manual_seed(1)
    for name, value in module.named_parameters():
        value.data.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.02)
    return module.requires_grad_(False)


def _empty(kind: str, frames: int, width: int, height: int) -> dict:
    """An empty LATENT of so many frames, of LTX-2 with its sound at 25 fps."""
    import comfy.nested_tensor

    if kind == "wan":
        return {"samples": torch.zeros(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)}
    video = torch.zeros(1, 128, (frames - 1) // 8 + 1, height // 32, width // 32)
    return {"samples": comfy.nested_tensor.NestedTensor([video, torch.zeros(1, 8, frames, 16)])}


def gpu(kind: str, row: dict, frames: int, steps: int, width: int, height: int, tiny_model: bool) -> dict:
    """Sampling random weights of a ``kind``, "wan" or "ltx"; a run of one window warms up.

    Returns seconds, those in the network's forward passes, how many these were, and the peak of the device's memory.
    """
    import comfy.model_management

    if kind not in _LOADED:
        _LOADED.clear()  # one model at a time
        comfy.model_management.unload_all_models()
        _LOADED[kind] = {"wan": _wan_1_3b, "ltx": _ltx_2}[kind](tiny_model)
    model = _LOADED[kind].clone()
    count, spent = 0, 0.0
    cuda = torch.cuda.is_available() and not tiny_model

    def now() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def call(apply_model, arguments):
        nonlocal count, spent
        begin = now()
        output = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        spent, count = spent + now() - begin, count + 1
        return output

    model.set_model_unet_function_wrapper(call)
    text = (512, 4096) if kind == "wan" else (256, 128 if tiny_model else 2 * 3840)
    positive, negative = ([[torch.randn(1, *text), {}]] for _ in range(2))
    run, window = _core if row["core"] else _ours, row["window"]

    def sample(frames, steps):
        run(model, row, positive, negative, _empty(kind, frames, width, height), 0, steps, 5.0, window)

    sample(row.get("ratio", 4) * (window - 1) + 1, 1)
    comfy.model_management.soft_empty_cache()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    count, spent = 0, 0.0
    begin = now()
    sample(frames, steps)
    seconds = now() - begin
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return {"seconds": seconds, "spent": spent, "forwards": count, "peak": peak}


def overhead(frames: int, steps: int = 8) -> dict:
    """Time of a sampling run over that of the forward passes in it, on the demo model: of the model alone, and of the
    host's evaluation of a window (its conditions put together, the model, its output taken apart)."""
    import comfy.samplers

    import nodes

    model, clip, _ = _pipeline()
    model = model.clone()
    spent = {"model": 0.0, "evaluation": 0.0}

    def timed(name, function, *arguments, **more):
        begin = time.perf_counter()
        output = function(*arguments, **more)
        spent[name] += time.perf_counter() - begin
        return output

    def call(apply_model, arguments):
        return timed("model", apply_model, arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(call)
    conditioning = [[clip.encode_from_tokens(clip.tokenize("a red circle moving right on a white background")), {}]]
    latent = {"samples": torch.zeros(1, 16, (frames - 1) // 4 + 1, 8, 8)}
    row = {"schedule": "shifted", "overlap": 2, "merge": "pyramid", "more": {"windows_per_forward": 1}}

    def run():
        if frames <= 61:
            nodes.common_ksampler(model, 0, steps, 1.0, "euler", "simple", conditioning, conditioning, latent)
        else:
            _sample_only(model, row, conditioning, latent, steps)

    evaluate = comfy.samplers._calc_cond_batch_outer
    comfy.samplers._calc_cond_batch_outer = lambda *arguments: timed("evaluation", evaluate, *arguments)
    try:
        run()
        spent.update(model=0.0, evaluation=0.0)
        begin = time.perf_counter()
        run()
        whole = time.perf_counter() - begin
    finally:
        comfy.samplers._calc_cond_batch_outer = evaluate
    return {name: whole / seconds for name, seconds in spent.items()}


def _sample_only(model, row, conditioning, latent, steps):
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    CoDenoiseKSampler.execute(
        model, 0, steps, 1.0, "euler", "simple", conditioning, conditioning, latent, 1.0, window=61,
        overlap=4 * row["overlap"], schedule=row["schedule"], merge=row["merge"], **row["more"],
    )  # fmt: skip


def growth(frames: int) -> dict:
    """The largest batch of a run, and by how many bytes the process's peak memory grew."""
    import gc
    import resource

    model = _pipeline()[0].clone()
    batches = []

    def call(apply_model, arguments):
        batches.append(arguments["input"].shape[0])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(call)
    conditioning = [[torch.randn(1, 512, 4096), {}]]
    latent = {"samples": torch.zeros(1, 16, (frames - 1) // 4 + 1, 8, 8)}
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _sample_only(model, {"schedule": "shifted", "overlap": 4, "merge": "pyramid", "more": {}}, conditioning, latent, 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"batch": max(batches), "growth": max(0, after - before) * 1024}


def tiled(schedule: str, merge: str, overlap: int, prompt: str, seed: int, steps: int, length: int, path: str) -> dict:
    """Makes a video of twice the demo model's width in tiles of its own size and saves its frames ``t h w c``.

    Returns where the tiles begin at every step, in pixels, and the time. ``schedule`` and ``merge`` stand in for the
    pack's own.
    """
    from long_video_pack.glv_core import tiles
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    model, clip, vae = _pipeline()
    positive, negative = ([[clip.encode_from_tokens(clip.tokenize(text)), {}]] for text in (prompt, ""))
    size, before = (length, 8, 16), (tiles.SCHEDULE, tiles.MERGE)
    tiles.SCHEDULE, tiles.MERGE = schedule, merge
    begin = time.perf_counter()
    try:
        samples = CoDenoiseKSampler.execute(
            model, seed, steps, 2.0, "uni_pc", "simple", positive, negative, {"samples": torch.zeros(1, 16, *size)},
            1.0, window=61, overlap=16, tile_width=64, tile_height=64, tile_overlap=overlap,
        ).args[0]["samples"]  # fmt: skip
        lefts = [[8 * each.left for each in tiles.Tiling(8, 8, overlap // 8).tiles(size[1:], step)]
                 for step in range(steps)]  # fmt: skip
    finally:
        tiles.SCHEDULE, tiles.MERGE = before
    seconds = time.perf_counter() - begin
    frames = vae.decode(samples)
    np.save(path, frames.reshape(-1, *frames.shape[-3:]).float().numpy())
    return {"lefts": lefts, "seconds": seconds}
