"""What stands beside this pack in ComfyUI: its own windows, memory, devices and latents. Runs inside ComfyUI."""

import contextlib
import io
import logging
from types import SimpleNamespace
from unittest import mock

import comfy.context_windows
import comfy.model_management
import comfy.nested_tensor
import comfy.patcher_extension
import tiny
import torch


@contextlib.contextmanager
def warnings_of(name: str):
    """The messages of a logger."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger(name).addHandler(handler)
    try:
        yield text
    finally:
        logging.getLogger(name).removeHandler(handler)


def cores_windows(model, freenoise: bool, length: int = 17):
    """A MODEL through core's node for Wan."""
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    return WanContextWindowsManualNode.execute(
        model, length, 4, "standard_static", 1, False, "pyramid", freenoise
    ).args[0]  # fmt: skip


def _wrappers(model) -> list:
    kinds = comfy.patcher_extension.WrappersMP
    names = (kinds.OUTER_SAMPLE, kinds.PREPARE_SAMPLING, kinds.SAMPLER_SAMPLE)
    return sorted({key for name in names for key in model.wrappers.get(name, {}) if model.wrappers[name][key]})


def core_before_ours(freenoise: bool) -> dict:
    """Core's context windows before CoDenoiseKSampler, CoDenoiseModel and StreamingExtend: ours alone count."""
    import streaming
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    module = "long_video_pack.glv_core.hosts.comfy.co_denoise.patch"
    windowed = cores_windows(tiny.wan(), freenoise)
    with warnings_of(module) as said:
        differences = {
            "sampler": tiny.co_denoise(windowed, tiny.latent(13)) - tiny.co_denoise(tiny.wan(), tiny.latent(13)),
            "one window": tiny.co_denoise(windowed, tiny.latent(5)) - tiny.ksampler(tiny.wan(), tiny.latent(5)),
            "streaming": streaming.extend(windowed)[0] - streaming.extend(tiny.wan())[0],
        }
        options = dict(window=17, overlap=8, schedule="static", merge="pyramid", windows_per_forward=0)
        patched = CoDenoiseModel.execute(windowed, **options).args[0]
        plain = CoDenoiseModel.execute(tiny.wan(), **options).args[0]
        differences["model"] = tiny.ksampler(patched, tiny.latent(13)) - tiny.ksampler(plain, tiny.latent(13))
    return {
        "differences": {name: float(value.abs().max()) for name, value in differences.items()},
        "wrappers": _wrappers(patched),
        "said": said.getvalue(),
        "untouched": [type(windowed.model_options["context_handler"]).__name__, _wrappers(windowed)],
    }


def core_after_ours(freenoise: bool) -> float:
    """Core's node behind Co-Denoise Model: core's windows count, and nothing of ours is in their way."""
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    options = dict(window=9, overlap=4, schedule="shifted", merge="flat", windows_per_forward=0)
    both = cores_windows(CoDenoiseModel.execute(tiny.wan(), **options).args[0], freenoise)
    core = cores_windows(tiny.wan(), freenoise)
    return float((tiny.ksampler(both, tiny.latent(13)) - tiny.ksampler(core, tiny.latent(13))).abs().max())


def _free(room: float):
    """The host's ``get_free_memory`` where so much is free."""
    return lambda device=None, torch_free_too=False: (room, room) if torch_free_too else room


def room_of_a_dynamic_patcher(rows: int) -> dict:
    """Batches where weights that can be paged out would make room for all windows, but only ``rows`` are free."""
    found = {}
    for dynamic in (False, True):
        recorder = tiny.Recorder(tiny.wan(1))
        kind = type(recorder.model)
        room = recorder.model.model.memory_required([rows, 16, 5, 4, 4]) * 1.5 + 1
        with (
            mock.patch.object(kind, "get_free_memory", lambda self, device: 1e12),
            mock.patch.object(kind, "is_dynamic", lambda self, dynamic=dynamic: dynamic, create=True),
            mock.patch.object(comfy.model_management, "get_free_memory", _free(room)),
            mock.patch.object(comfy.model_management, "load_models_gpu", lambda *args, **kwargs: None),
        ):
            tiny.co_denoise(recorder.model, tiny.latent(49), steps=1, cfg=1.0)
        found["dynamic" if dynamic else "plain"] = [shape[0] for shape in recorder.shapes]
    return found


def room_of_several_devices(devices: int, rows: int) -> int:
    """Windows in a forward pass with CFG, where each of several devices has room for so many rows of one window."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise.evaluation import Evaluation
    from long_video_pack.glv_core.hosts.comfy.co_denoise.options import WindowOptions
    from long_video_pack.glv_core.hosts.comfy.co_denoise.run import Run
    from long_video_pack.glv_core.windows import View, Window

    model = tiny.wan(1).model
    room = model.memory_required([rows, 16, 5, 4, 4]) * 1.5 + 1
    model.current_patcher = SimpleNamespace(load_device=torch.device("cpu"), get_free_memory=lambda device: room)
    more = SimpleNamespace(get_free_memory=lambda device: 4 * room)
    clones = {torch.device("cpu"): model.current_patcher, **{f"card {n}": more for n in range(1, devices)}}
    x = torch.zeros(1, 16, 13, 4, 4)
    options = {"multigpu_clones": clones} if devices > 1 else {}
    run = Run(model, x.shape, WindowOptions(17, 8, "static", "flat"))
    evaluation = Evaluation(run, None, model, [], x, torch.zeros(1), options)
    slots = [SimpleNamespace(entry={"model_conds": {}}) for _ in range(2)]  # prompt and negative prompt
    try:
        return evaluation._fitting(View(Window(0, 5)), slots)
    finally:
        model.current_patcher = None


def any_kind_of_out_of_memory() -> dict:
    """Errors by which the host knows that memory ran out: windows are halved; other errors are raised."""
    kinds = tiny.out_of_memory_errors()
    expected = tiny.co_denoise(tiny.wan(1), tiny.latent(33), cfg=1.0, per_forward=1)
    found = {}
    for error in [*kinds, ValueError("something else")]:
        failing = tiny.wan(1).clone()

        def call(apply_model, arguments, error=error):
            if arguments["input"].shape[0] > 2:
                raise error
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        failing.set_model_unet_function_wrapper(call)
        try:
            result = tiny.co_denoise(failing, tiny.latent(33), cfg=1.0)
            found[type(error).__name__] = float((result - expected).abs().max())
        except ValueError as raised:
            found[type(error).__name__] = str(raised)
    return found


def nested_latents_are_previewed() -> dict:
    """The callback of a run whose latents combine images and sound: the images are played."""
    import latent_preview
    from long_video_pack.glv_core.hosts.comfy.co_denoise.progress import WindowProgress

    model = tiny.wan(1)
    seen = []

    class Previewer(latent_preview.Latent2RGBPreviewer):
        def decode_latent_to_preview_image(self, preview_format, x0):
            seen.append(list(x0.shape))
            return (preview_format, None, None)

    factors = model.model.latent_format.latent_rgb_factors
    nested = comfy.nested_tensor.NestedTensor([torch.zeros(1, 16, 3, 4, 4), torch.zeros(1, 8, 20)])
    find = mock.patch.object(latent_preview, "get_previewer", lambda *args: Previewer(factors))
    with find, WindowProgress([2, 2], model) as progress:
        progress.on_step(0, nested, nested, 2)
    return {"shapes": seen[:3]}


def empty_latents_of_other_families() -> dict:
    """An empty latent that was made for another VAE: as the core KSampler takes it."""
    found = {}
    for name, shape, ratios in (
        ("channels", (1, 128, 5, 4, 4), {}),
        ("size", (1, 128, 5, 2, 2), {"downscale_ratio_spacial": 16}),
        ("time", (1, 16, 3, 4, 4), {"downscale_ratio_temporal": 8}),
    ):
        latent = {"samples": torch.zeros(shape), **ratios}
        theirs = tiny.ksampler(tiny.wan(), latent)
        ours = tiny.co_denoise(tiny.wan(), latent, window=101, overlap=8)
        found[name] = [list(theirs.shape) == list(ours.shape), bool(torch.equal(theirs, ours))]
    return found


def long_latent_says_what_it_is_for() -> dict:
    """Long Latent's LATENT, and what is left of it behind the samplers."""
    import streaming
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.long_latent import LongLatent

    latent, *_ = LongLatent.execute(streaming.wan_vae(), 32, 32, 17.0, "frames", 16.0, 1).args
    made = CoDenoiseKSampler.execute(
        tiny.wan(), 7, 2, 1.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), latent, 1.0, window=17,
        overlap=8, schedule="static", merge="flat", windows_per_forward=0,
    ).args[0]  # fmt: skip
    core = __import__("nodes").common_ksampler(
        tiny.wan(), 7, 2, 1.0, "euler", "simple", tiny.conditioning(1), tiny.conditioning(0), latent
    )[0]  # fmt: skip
    return {
        "keys": sorted(latent), "spatial": latent["downscale_ratio_spacial"],
        "temporal": latent["downscale_ratio_temporal"], "dtype": str(latent["samples"].dtype),
        "left": sorted(made), "equal": bool(torch.equal(core["samples"], made["samples"])),
    }  # fmt: skip


def fp16_intermediates() -> dict:
    """With --fp16-intermediates, latents and images between nodes are halves; nothing of ours minds."""
    import streaming
    from long_video_pack.nodes.long_latent import LongLatent
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    vae = streaming.wan_vae()
    latent, *_ = LongLatent.execute(vae, 32, 32, 49.0, "frames", 16.0, 1).args
    short = {"samples": latent["samples"][:, :, :5]}
    ours = tiny.co_denoise(tiny.wan(), short, schedule="shifted")
    theirs = tiny.ksampler(tiny.wan(), short)
    long = tiny.co_denoise(tiny.wan(), latent)
    options = {"run_name": "halves", "latent": {"samples": latent["samples"][:, :, :1]}}
    streamed, report = streaming.extend(tiny.wan(), **options)
    again, found = streaming.extend(tiny.wan(), **options)
    wide = streaming.wan_22_5b()
    clean, _ = streaming.extend(wide, latent=tiny.latent(1, 2, 2, channels=48))
    saved = SaveLongVideo.execute(
        samples={"samples": long}, vae=vae, fps=16.0, filename_prefix="halves", format="mp4", codec="auto", crf=18,
        pixel_format="yuv420p",
    ).args[0]  # fmt: skip
    return {
        "identical": bool(torch.equal(ours, theirs)),
        "types": [str(each.dtype) for each in (latent["samples"], ours, long, streamed)],
        "finite": all(bool(torch.isfinite(each).all()) for each in (long, streamed, clean)),
        "streamed": [bool(torch.equal(streamed, again)), " 0 chunks" in report, " 0 chunks" in found],
        "frames": saved.get_frame_count(),
    }


def models_are_loaded_once_more() -> dict:
    """MODEL, CLIP and VAE of Load Video Pipeline through the host's own ways of making them anew."""
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    model, clip, vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args
    found = {}
    for name, patcher in (("model", model), ("clip", clip.patcher), ("vae", vae.patcher)):
        maker, arguments = patcher.cached_patcher_init
        for how, options in (("plain", {}), ("not dynamic", {"disable_dynamic": True})):
            made = maker(*arguments, **options)
            same = all(
                torch.equal(ours, theirs)
                for ours, theirs in zip(patcher.model.parameters(), made.model.parameters(), strict=True)
            )
            kinds = {type(each.model).__name__ for each in (made, patcher)}
            found[f"{name} {how}"] = [made.model is not patcher.model, len(kinds) == 1, same]
    if hasattr(model, "deepclone_multigpu"):
        found |= _on_another_device(model, clip, vae)
    return found


def _on_another_device(model, clip, vae) -> dict:
    """What the host's nodes for devices make of the three: the same numbers, by networks of their own."""
    latent = {"samples": torch.zeros(1, 16, 5, 8, 8)}
    mask = torch.ones(1, 1, 5, 8, 8)
    mask[:, :, :1] = 0
    prompt = [[clip.encode_from_tokens(clip.tokenize("a red circle")), {}]]
    masked = {"samples": torch.randn(1, 16, 5, 8, 8, generator=torch.Generator().manual_seed(1)), "noise_mask": mask}

    def sampled(used):
        arguments = dict(positive=prompt, negative=prompt, steps=2, cfg=1.0)
        return [tiny.ksampler(used, each, **arguments) for each in (latent, masked)]

    other = model.deepclone_multigpu()
    clip_copy = clip.clone()
    clip_copy.patcher = clip.patcher.deepclone_multigpu()
    clip_copy.cond_stage_model = clip_copy.patcher.model
    vae_copy = vae.patcher.deepclone_multigpu()
    there, here = sampled(other), sampled(model)
    embedding = clip_copy.encode_from_tokens(clip_copy.tokenize("a red circle"))
    return {
        "a model of its own": [other.model is not model.model, bool((here[0] - here[1]).abs().max() > 0.1)],
        "the same samples": [bool(torch.equal(a, b)) for a, b in zip(here, there, strict=True)],
        "the same prompt": [clip_copy.patcher.model is not clip.patcher.model, torch.equal(embedding, prompt[0][0])],
        "the same VAE": [vae_copy.model is not vae.first_stage_model],
    }


def a_lora_for_one_prompt_on_a_dynamic_patcher() -> dict:
    """What the host's samplers make of a dynamic MODEL whose conditioning has hooks: a plain one, by what the loader
    said. The class is set by hand, since a CPU has plain patchers only."""
    import comfy.model_patcher
    import streaming
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    model, clip, _ = LoadVideoPipeline.execute("demo model (built in)", "transformer").args
    hooked = streaming._with_hook(1.0, streaming.lora_weights())
    hooked[0][0] = clip.encode_from_tokens(clip.tokenize("a red circle"))
    plain = [[hooked[0][0], {}]]
    latent = {"samples": torch.zeros(1, 16, 20, 8, 8)}
    arguments = dict(negative=plain, steps=2, cfg=1.0, window=61, overlap=8)
    expected = tiny.co_denoise(model, latent, positive=hooked, **arguments)
    without = tiny.co_denoise(model, latent, positive=plain, **arguments)
    kind = type(model)
    model.__class__ = comfy.model_patcher.ModelPatcherDynamic
    model.non_dynamic_delegate_model = None
    try:
        delegate = model.get_non_dynamic_delegate()
    finally:
        model.__class__ = kind
    result = tiny.co_denoise(delegate, latent, positive=hooked, **arguments)
    return {
        "own": delegate.model is not model.model, "difference": float((result - expected).abs().max()),
        "effect": float((expected - without).abs().max()),
    }  # fmt: skip
