"""Memory, errors, other latents and the rest of the host's features. Runs inside ComfyUI."""

import uuid

import comfy.model_management
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise import run as run_module


def largest_batches(lengths: list) -> list:
    """For each length in frames: the largest batch of a forward pass, with the default number of windows a pass."""
    result = []
    for frames in lengths:
        recorder = tiny.Recorder(tiny.wan(1))
        tiny.co_denoise(recorder.model, tiny.latent((frames - 1) // 4 + 1, 2, 2), steps=1, cfg=1.0)
        result.append(max(recorder.shapes, key=lambda shape: shape[0] * shape[2]))
    return result


def estimated_shapes(frames: int) -> dict:
    """What the host's memory estimate was asked for before loading, and the largest call that was made."""
    asked = []
    recorder = tiny.Recorder(tiny.wan(1))
    real_model = recorder.model.model
    original = real_model.memory_required

    def memory_required(shape, cond_shapes=None):
        asked.append(list(shape))
        return original(shape, cond_shapes=cond_shapes or {})

    real_model.memory_required = memory_required
    try:
        tiny.co_denoise(recorder.model, tiny.latent((frames - 1) // 4 + 1), steps=1, per_forward=1)
    finally:
        del real_model.memory_required
    return {"before_loading": asked[:2], "calls": recorder.shapes}


def batches_by_memory(free: int) -> list:
    """Batches of the forward passes when ``free`` rows of one window fit in memory by the host's own estimate."""
    recorder = tiny.Recorder(tiny.wan(1))
    patcher_class = type(recorder.model)
    original = patcher_class.get_free_memory
    window_row = [1, 16, 5, 4, 4]
    room = recorder.model.model.memory_required([free, *window_row[1:]]) * 1.5 + 1
    patcher_class.get_free_memory = lambda self, device: room
    try:
        tiny.co_denoise(recorder.model, tiny.latent(49), steps=1, cfg=1.0)
    finally:
        patcher_class.get_free_memory = original
    return [shape[0] for shape in recorder.shapes]


def out_of_memory(fits: int) -> dict:
    """A model that runs out of memory above ``fits`` rows: goes on with fewer windows, same result, says so once."""
    import logging

    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    keep = Keep(logging.WARNING)
    run_module.log.addHandler(keep)
    model = tiny.wan(1)
    expected = tiny.co_denoise(model, tiny.latent(33), cfg=1.0, per_forward=1)
    failing = model.clone()
    rows = []

    def call(apply_model, arguments):
        if arguments["input"].shape[0] > fits:
            raise comfy.model_management.OOM_EXCEPTION("out of memory, says the test")
        rows.append(arguments["input"].shape[0])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    failing.set_model_unet_function_wrapper(call)
    try:
        result = tiny.co_denoise(failing, tiny.latent(33), cfg=1.0)
    finally:
        run_module.log.removeHandler(keep)
    return {
        "difference": float((result - expected).abs().max()),
        "rows": max(rows),
        "messages": [message for message in messages if "memory" in message],
    }


def changes(first: dict, second: dict, frames: int = 13) -> float:
    """Largest difference between two settings of the sampler: above 0 when the option has an effect."""
    positive = tiny.scheduled("a | b", 4 * (frames - 1) + 1)
    from long_video_pack.nodes.co_denoise_phase import CoDenoisePhase

    for settings in (first, second):
        if "phases" in settings:
            settings["phases"] = CoDenoisePhase.execute(**settings["phases"]).args[0]
    results = [tiny.co_denoise(tiny.wan(), tiny.latent(frames), positive=positive, **s) for s in (first, second)]
    return float((results[0] - results[1]).abs().max())


def schedule_changes(first: dict, second: dict) -> float:
    """The same for settings of MultiPromptSchedule."""
    results = []
    for settings in (first, second):
        settings = {"text": "a | b", **settings}
        positive = tiny.scheduled(settings.pop("text"), 49, **settings)
        results.append(tiny.co_denoise(tiny.wan(), tiny.latent(13), positive=positive))
    return float((results[0] - results[1]).abs().max())


def prompt_reaches_its_frames() -> list:
    """How much each latent frame changes when only the second of two prompts changes (windows without overlap)."""
    results = [
        tiny.co_denoise(
            tiny.wan(), tiny.latent(20), overlap=0, steps=1,
            positive=tiny.scheduled(f"0: a\n37: {second}", 77, transition="hard"),
        )
        for second in ("b", "c")
    ]  # fmt: skip
    return (results[0] - results[1]).abs().amax(dim=(0, 1, 3, 4)).tolist()


def same_length_and_height() -> bool:
    """A latent whose length equals its height, with a reference latent: nothing is cut along the wrong axis."""
    model = tiny.wan()
    positive = tiny.conditioning(1)
    positive[0][1]["reference_latents"] = [torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(3))]
    one = tiny.co_denoise(model, tiny.latent(8, 8, 8), positive=positive, per_forward=1)
    many = tiny.co_denoise(model, tiny.latent(8, 8, 8), positive=positive, per_forward=3)
    return bool(torch.isfinite(one).all()) and torch.allclose(one, many, atol=1e-3)


def noise_mask() -> dict:
    """With a noise mask over the second half, the first half stays as given."""
    given = torch.randn(1, 16, 13, 4, 4, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 1, 13, 4, 4)
    mask[:, :, 7:] = 1
    result = tiny.co_denoise(tiny.wan(), {"samples": given, "noise_mask": mask})
    return {
        "kept": float((result - given)[:, :, :7].abs().max()),
        "made": float((result - given)[:, :, 7:].abs().min(dim=2).values.mean()),
    }


def custom_guider() -> float:
    """CoDenoiseModel with SamplerCustomAdvanced against CoDenoiseKSampler: largest difference."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Guider_Basic, Noise_RandomNoise, SamplerCustomAdvanced
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

    model = tiny.wan()
    options = dict(window=17, overlap=8, schedule="static", merge="pyramid", windows_per_forward=0)
    patched = CoDenoiseModel.execute(model, **options).args[0]
    guider = Guider_Basic(patched.clone())
    positive = tiny.scheduled("a | b", 49)
    guider.set_conds(positive)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 4)
    theirs = SamplerCustomAdvanced.execute(
        Noise_RandomNoise(7), guider, comfy.samplers.sampler_object("euler"), sigmas, tiny.latent(13)
    ).args[0]["samples"]
    ours = tiny.co_denoise(model, tiny.latent(13), positive=positive, cfg=1.0)
    return float((theirs - ours).abs().max())


def plain_ksampler_takes_the_schedule() -> bool:
    samples = tiny.ksampler(tiny.wan(), tiny.latent(5), positive=tiny.scheduled("a | b", 17))
    return bool(torch.isfinite(samples).all())


def the_model_and_latent_are_not_changed() -> bool:
    model, latent = tiny.wan(), tiny.latent(13)
    before = latent["samples"].clone()
    options = dict(model.model_options)
    tiny.co_denoise(model, latent)
    return torch.equal(before, latent["samples"]) and model.model_options == options and model.wrappers == {}


def resized_conds() -> list:
    """Frames of a window's condition by the host's own interface, for video and for frames as batch."""
    from types import SimpleNamespace

    import comfy.conds
    import comfy.latent_formats
    from long_video_pack.glv_core.windows import Window

    from long_video_pack.glv_core.hosts.comfy.co_denoise.handler import CoDenoiseHandler
    from long_video_pack.glv_core.hosts.comfy.co_denoise.options import WindowOptions

    seen = []
    images = SimpleNamespace(latent_format=comfy.latent_formats.SD15())
    for model, shape, axis in ((tiny.wan().model, [1, 1, 9, 1, 1], 2), (images, [9, 1, 1, 1], 0)):
        frames = torch.arange(9.0).reshape(shape)
        entry = tiny.conditioning(1)[0][1] | {
            "model_conds": {"c_concat": comfy.conds.CONDNoiseShape(frames)},
            "uuid": uuid.uuid4(),
        }
        handler = CoDenoiseHandler(WindowOptions(4, 2, "static", "flat"))
        handler.begin(model, {}, frames.shape)
        [resized] = handler.get_resized_cond([entry], frames, Window(3, 4))
        assert resized["model_conds"]["c_concat"].cond.shape[axis] == 4
        seen.append(resized["model_conds"]["c_concat"].cond.flatten().tolist())
    return seen


def interrupted_after(forwards: int) -> int:
    """Forward passes that were made when the user interrupts during pass number ``forwards``."""
    recorder = tiny.Recorder(tiny.wan(1))
    shapes = recorder.shapes
    inner = recorder.model.model_options["model_function_wrapper"]

    def call(apply_model, arguments):
        if len(shapes) + 1 == forwards:
            comfy.model_management.interrupt_current_processing()
        return inner(apply_model, arguments)

    recorder.model.set_model_unet_function_wrapper(call)
    try:
        tiny.co_denoise(recorder.model, tiny.latent(49), per_forward=1, cfg=1.0)
    except comfy.model_management.InterruptProcessingException:
        return len(shapes)
    raise AssertionError("it was not interrupted")


def frames_as_batch() -> dict:
    """An image model (SD 1.5's architecture) with frames as batch: windows over the batch, folded equals apart."""
    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import comfy.model_base
    import comfy.ops
    import comfy.supported_models

    config = dict(
        image_size=32, in_channels=4, out_channels=4, model_channels=320, num_res_blocks=[1], channel_mult=[1],
        num_head_channels=64, transformer_depth=[1], transformer_depth_middle=0, transformer_depth_output=[1, 1],
        use_spatial_transformer=True, context_dim=768, use_linear_in_transformer=False, adm_in_channels=None,
        use_temporal_attention=False, num_heads=-1, legacy=False,
    )  # fmt: skip
    net = openaimodel.UNetModel(**config, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.03)
    supported = comfy.supported_models.SD15(dict(config, disable_unet_model_creation=False))
    supported.unet_config = config
    import comfy.model_patcher

    base = comfy.model_base.BaseModel(
        supported, comfy.model_base.ModelType.EPS, device="cpu", unet_model=lambda **kwargs: net
    )
    model = comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))
    recorder = tiny.Recorder(model)
    embedding = torch.randn(1, 77, 768, generator=generator)
    other = torch.randn(1, 77, 768, generator=generator)
    positive = tiny.scheduled("a | b", 6)
    for entry, tensor in zip(positive, (embedding, other)):
        entry[0] = tensor
    negative = [[torch.zeros(1, 77, 768), {}]]
    latent = {"samples": torch.zeros(6, 4, 4, 4)}
    arguments = dict(window=3, overlap=1, positive=positive, negative=negative, steps=1)
    one = tiny.co_denoise(recorder.model, latent, per_forward=1, **arguments)
    rows_apart = max(shape[0] for shape in recorder.shapes)
    many = tiny.co_denoise(recorder.model, latent, per_forward=4, **arguments)
    return {
        "difference": float((one - many).abs().max()),
        "scale": float(one.std()),
        "rows": [rows_apart, max(shape[0] for shape in recorder.shapes)],
    }


def error(case: str) -> str:
    """The message of the error that a bad value gives; fails where the model was called first."""
    from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
    from long_video_pack.nodes.long_latent import LongLatent
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    recorder = tiny.Recorder(tiny.wan(1))
    windows = dict(window=17, overlap=8, schedule="static", merge="flat", windows_per_forward=0)

    class Vae:
        latent_dim, latent_channels = 3, 16
        upscale_ratio = (lambda a: max(0, a * 4 - 3), 8, 8)

        def spacial_compression_encode(self):
            return 8

        def temporal_compression_decode(self):
            return 4

    class AudioVae(Vae):
        latent_dim = 1

    def long_latent(vae=None, width=64, height=64, length=61.0, unit="frames", fps=16.0, batch_size=1):
        return LongLatent.execute(vae or Vae(), width, height, length, unit, fps, batch_size)

    def schedule(clip="clip", text="a | b", length=49, fps=16.0, transition="linear", frames=8.0):
        return MultiPromptSchedule.execute(clip, text, length, fps, transition, frames)

    def control():
        import comfy.controlnet

        net = comfy.controlnet.ControlBase()
        net.cond_hint_original = torch.zeros(9, 3, 8, 8)
        net.get_models = lambda: []
        positive = tiny.conditioning(1)
        positive[0][1]["control"] = net
        return tiny.co_denoise(recorder.model, tiny.latent(13), positive=positive)

    cases = {
        "overlap": lambda: tiny.co_denoise(recorder.model, tiny.latent(13), window=16, overlap=16),
        "overlap_model": lambda: CoDenoiseModel.execute(recorder.model, **{**windows, "overlap": 17}),
        "schedule": lambda: CoDenoiseModel.execute(recorder.model, **{**windows, "schedule": "zigzag"}),
        "merge": lambda: CoDenoiseModel.execute(recorder.model, **{**windows, "merge": "lumpy"}),
        "family": lambda: tiny.co_denoise(recorder.model, {"samples": torch.ones(1, 128, 13, 4, 4)}),
        "image_latent": lambda: tiny.co_denoise(recorder.model, {"samples": torch.zeros(1, 16, 4, 4)}),
        "empty_latent": lambda: tiny.co_denoise(recorder.model, tiny.latent(0)),
        "other_length": lambda: tiny.co_denoise(recorder.model, tiny.latent(21), positive=tiny.scheduled("a | b", 49)),
        "other_length_negative": lambda: tiny.co_denoise(
            recorder.model, tiny.latent(21), negative=tiny.scheduled("a | b", 49)
        ),
        "control": control,
        "length": lambda: long_latent(length=0.0),
        "length_seconds": lambda: long_latent(length=0.01, unit="seconds"),
        "width": lambda: long_latent(width=100),
        "audio_vae": lambda: long_latent(vae=AudioVae()),
        "clip": lambda: schedule(clip=None),
        "empty_prompt": lambda: schedule(text="0: a\n10:\n20: b"),
        "empty_text": lambda: schedule(text="  \n"),
        "outside": lambda: schedule(text="0: a\n60: b"),
        "syntax": lambda: schedule(text="0: a\n12x: b"),
        "transition": lambda: schedule(transition="wobble"),
    }
    try:
        cases[case]()
    except ValueError as problem:
        assert not recorder.shapes, "the model was called before the check"
        return str(problem)
    raise AssertionError("no error")


def folder_errors(base: str) -> dict:
    """Messages for folders that cannot be loaded."""
    import json
    import pathlib

    import folder_paths
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    models = pathlib.Path(folder_paths.get_folder_paths("diffusers")[0])

    def make(name, index):
        folder = models / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_index.json").write_text(index if isinstance(index, str) else json.dumps(index))

    make("cog", {"_class_name": "CogVideoXPipeline", "transformer": ["diffusers", "CogVideoXTransformer3DModel"]})
    wan = {
        "_class_name": "WanPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    make("half", wan)
    make("broken", "{")
    (models.parent / "outside").mkdir(exist_ok=True)
    (models.parent / "outside" / "model_index.json").write_text(json.dumps(wan))
    messages = {}
    for name in ("cog", "half", "broken", "missing", "../outside"):
        try:
            LoadVideoPipeline.execute(name, "transformer")
        except ValueError as problem:
            messages[name] = str(problem)
    return messages
