"""Streaming on native models with tiny random weights. Runs inside ComfyUI."""

import json
import os

import comfy.ldm.wan.model
import comfy.ldm.wan.vae
import comfy.model_management
import comfy.ops
import comfy.sd
import families
import folder_paths
import tiny
import torch

CHUNK, OVERLAP = 17, 8  # 5 latent frames, 2 of them known


class Spy:
    """A clone of a MODEL that keeps what its network is given."""

    def __init__(self, model):
        self.model = model.clone()
        self.calls = []
        calls = self.calls

        def network(executor, x, timestep, *args, **kwargs):
            # LTX's keyframes come by position: the only tensor with three coordinates of each token.
            four = [each for each in args if isinstance(each, torch.Tensor) and each.ndim == 4]
            named = {"keyframe_idxs": four[0]} if four else {}
            kept = {k: v.clone() for k, v in {**named, **kwargs}.items() if isinstance(v, torch.Tensor)}
            calls.append({"x": x.clone(), "timestep": timestep.clone(), **kept})
            return executor(x, timestep, *args, **kwargs)

        import comfy.patcher_extension

        self.model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "spy", network)


def extend(model, *, length=33, latent=None, positive=None, negative=None, steps=3, seed=5, cfg=1.0, **options):
    from long_video_pack.nodes.streaming_extend import StreamingExtend

    positive = tiny.conditioning(1) if positive is None else positive
    negative = tiny.conditioning(0) if negative is None else negative
    defaults = {"chunk": CHUNK, "overlap": OVERLAP, "run_name": "", "sampler_name": "euler", "width": 32, "height": 32}
    values = {**defaults, **options}
    scheduler = values.pop("scheduler", "simple")
    output = StreamingExtend.execute(
        model, positive, negative, length, seed, steps, cfg, values.pop("sampler_name"), scheduler,
        values.pop("chunk"), values.pop("overlap"), latent, **values,
    )  # fmt: skip
    return output.args[0]["samples"], output.args[1]


def wan_22_5b():
    module = comfy.ldm.wan.model.WanModel(
        model_type="t2v", dim=128, ffn_dim=64, num_heads=1, num_layers=2, in_dim=48, out_dim=48,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return comfy.sd.load_diffusion_model_state_dict(families.weights_of(module))


def wan_i2v_21():
    """With the CLIP image projection that only 2.1 has."""
    module = comfy.ldm.wan.model.WanModel(
        model_type="i2v", dim=128, ffn_dim=64, num_heads=1, num_layers=2, in_dim=36, flf_pos_embed_token_number=None,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return comfy.sd.load_diffusion_model_state_dict(families.weights_of(module))


def chunks_of(spy, steps):
    """The first call of every chunk."""
    return spy.calls[::steps]


def text_to_video():
    """Wan T2V: the overlap is held; every sampler, also those that add noise."""
    results = {}
    for sampler in ("euler", "euler_ancestral", "dpmpp_2m_sde", "uni_pc", "lcm", "dpm_2"):
        samples, report = extend(tiny.wan(), sampler_name=sampler, blend=0.0, steps=4)
        again, _ = extend(tiny.wan(), sampler_name=sampler, blend=0.0, steps=4, length=17)
        # The first chunk is what it is without a second one, and its end is the overlap of the second.
        results[sampler] = [
            float((samples[:, :, :5] - again).abs().max()), float(again.std()), bool(torch.isfinite(samples).all()),
            list(samples.shape),
        ]  # fmt: skip
    return {"samplers": results, "report": report}


def blending():
    """With blend the end of the overlap is redone, its beginning is not."""
    model = tiny.wan()
    plain, _ = extend(model, length=17)
    samples, _ = extend(model, length=33, blend=1.0, overlap=12)
    change = (samples[:, :, :5] - plain).abs().amax(dim=(0, 1, 3, 4))
    return change.tolist()


def first_chunk_is_the_ksampler():
    from long_video_pack.glv_core.streaming import chunk_seed

    model = tiny.wan()
    samples, _ = extend(model, length=17, cfg=3.0)
    plain = tiny.ksampler(model, tiny.latent(5), seed=chunk_seed(5, 0), steps=3, cfg=3.0)
    return bool(torch.equal(samples, plain))


def clean_frames(name):
    """The overlap goes in clean, with a timestep of zero, where the family says so."""
    if name == "wan22":
        model, latent = wan_22_5b(), tiny.latent(1, 4, 4, channels=48)
        conds = [tiny.conditioning(1), tiny.conditioning(0)]
        options = {}
    else:
        model, latent, conds = families.ltx()
        latent = {"samples": latent["samples"][:, :, :1]}
        options = {"chunk": 33, "overlap": 16, "length": 65}
    spy = Spy(model)
    samples, report = extend(spy.model, latent=latent, positive=conds[0], negative=conds[1], **options)
    first, second = chunks_of(spy, 3)[:2]
    known = model.model.process_latent_in(samples[:, :, 3:5])
    frames = second["x"].shape[2]
    timestep = second["timestep"].float().reshape(1, frames, -1)
    return {
        "report": report,
        "clean": float((second["x"][:, :, :2] - known).abs().max()),
        "noisy": float((second["x"][:, :, 2:]).std()),
        "timesteps": timestep.amax(dim=(0, 2)).tolist(),
        "first": float(first["timestep"].min()),
    }


def clean_frames_anchor(name):
    """Wan 2.2 5B: an anchor before the overlap. LTX: a guide one chunk in the past."""
    if name == "wan22":
        model, conds, options = wan_22_5b(), [tiny.conditioning(1), tiny.conditioning(0)], {}
        latent = tiny.latent(1, 4, 4, channels=48)
    else:
        model, latent, conds = families.ltx()
        latent = {"samples": latent["samples"][:, :, :1]}
        options = {"chunk": 33, "overlap": 16, "length": 65}
    spy = Spy(model)
    samples, _ = extend(spy.model, latent=latent, positive=conds[0], negative=conds[1], anchor="first", **options)
    second = chunks_of(spy, 3)[1]
    process = model.model.process_latent_in
    place = 0 if name == "wan22" else -1
    found = {
        "frames": second["x"].shape[2],
        "anchor": float((second["x"][:, :, place] - process(samples[:, :, :1])[:, :, 0]).abs().max()),
        "shape": list(samples.shape),
    }
    if name == "ltx":
        found["times"] = second["keyframe_idxs"][0, 0].unique().tolist()
    return found


def image_condition(kind):
    """Wan I2V: the overlap's latents and their mask are the first frames of the image condition."""
    model = wan_i2v_21() if kind == "2.1" else comfy.sd.load_diffusion_model_state_dict(
        dict(tiny.wan_weights(2, "t2v", 36))
    )  # fmt: skip
    start = {"samples": torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(3))}
    spy = Spy(model)
    samples, report = extend(spy.model, latent=start, anchor="first" if kind == "anchor" else "none", blend=0.0)
    calls = chunks_of(spy, 3)
    process = model.model.process_latent_in
    found = {
        "report": report,
        "shape": list(samples.shape),
        "kept": bool(torch.equal(samples[:, :, :1], start["samples"])),
    }
    for number, call in enumerate(calls[:2]):
        mask, image = call["x"][:, 16:20], call["x"][:, 20:36]
        found[f"mask {number}"] = mask.mean(dim=(0, 1, 3, 4)).tolist()
        lead = 1 if kind == "anchor" and number else 0
        known = start["samples"] if number == 0 else samples[:, :, 3:5]
        count = known.shape[2]
        found[f"image {number}"] = float((image[:, :, lead : lead + count] - process(known)).abs().max())
        found[f"rest {number}"] = float(image[:, :, lead + count :].abs().max())
        if lead:
            found[f"anchor {number}"] = float((image[:, :, :1] - process(start["samples"])).abs().max())
    return found


def svd():
    """The host's own class for Stable Video Diffusion, with a small network."""
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.SVD_img2vid(
        {
            "in_channels": 8, "out_channels": 4, "model_channels": 64, "channel_mult": [1, 1], "num_res_blocks": [1, 1],
            "transformer_depth": [1, 0], "transformer_depth_output": [1, 1, 0, 0], "transformer_depth_middle": 1,
            "context_dim": 16, "use_linear_in_transformer": True, "adm_in_channels": 768, "num_classes": "sequential",
            "use_temporal_attention": True, "use_temporal_resblock": True,
            "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images",
            "merge_factor": 0.0, "video_kernel_size": [3, 1, 1], "disable_temporal_crossattention": False,
            "image_size": 32, "legacy": False, "use_checkpoint": False, "use_spatial_transformer": True,
            "dtype": torch.float32,
        }
    )  # fmt: skip
    model = config.get_model({}, "")
    model.diffusion_model.load_state_dict(families.weights_of(model.diffusion_model))
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def svd_image_condition() -> dict:
    """SVD: the first known frame is the start image of every frame, raw; without guidance's half there is none."""
    generator = torch.Generator().manual_seed(3)
    start = {"samples": torch.randn(1, 4, 4, 4, generator=generator)}
    image = {"concat_latent_image": start["samples"], "motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.0}
    positive = families.embedding(1, 1, 16, **image)
    negative = families.embedding(0, 1, 16, **{**image, "concat_latent_image": torch.zeros(1, 4, 4, 4)})
    spy = Spy(svd())
    samples, report = extend(
        spy.model, latent=start, positive=positive, negative=negative, length=12, chunk=6, overlap=2, cfg=2.0, blend=0.0
    )
    calls = chunks_of(spy, 3)
    found = {"report": report, "shape": list(samples.shape), "kept": bool(torch.equal(samples[:1], start["samples"]))}
    known_at = [0, 4, 8]
    for number, call in enumerate(calls):
        halves = call["x"][:, 4:].chunk(2)  # each of six frames; the host puts them in an order of its own
        wanted = samples[known_at[number]].expand_as(halves[0])
        found[f"image {number}"] = min(float((half - wanted).abs().max()) for half in halves)
        found[f"nothing {number}"] = min(float(half.abs().max()) for half in halves)
        found[f"frames {number}"] = len(halves[0])
    return found


def prompts_follow_the_timeline():
    """A prompt that begins behind the first chunk: until then the video is that of the first prompt alone."""
    model = tiny.wan()
    alone = [extend(model, positive=tiny.scheduled("0: " + name, 33))[0] for name in "ab"]
    mixed = extend(model, positive=tiny.scheduled("0: a\n20: b", 33, transition="hard"))[0]
    return {
        "first as a alone": float((mixed[:, :, :4] - alone[0][:, :, :4]).abs().max()),
        "end as a alone": float((mixed[:, :, -2:] - alone[0][:, :, -2:]).abs().max()),
        "differ": float((alone[0] - alone[1]).abs().max()),
    }


def options_have_an_effect(changes: list) -> list:
    """How far the video is from that of the defaults, for each change of the options."""
    base = {"length": 57, "chunk": 33, "overlap": 8, "window": 17, "window_overlap": 8, "cfg": 2.0}
    model = tiny.wan()

    def run(changed):
        samples, _ = extend(model, **{**base, **changed})
        return samples

    plain = run({})
    return [float((run(change) - plain).abs().max()) if change else 0.0 for change in changes]


def co_denoised_chunk():
    recorder = tiny.Recorder(tiny.wan())
    extend(recorder.model, chunk=33, overlap=8, window=17, window_overlap=8, length=57)
    return sorted({shape[2] for shape in recorder.shapes})


def run_folders():
    """Found again, redone from a changed prompt on, and the manifest."""
    model = tiny.wan()
    base = os.path.join(folder_paths.get_output_directory(), "long_video_runs", "a", "b")

    def files():
        return {name for name in os.listdir(base) if name.endswith(".safetensors")} if os.path.isdir(base) else set()

    def run(text, **options):
        before = files()
        samples, report = extend(
            model, length=57, run_name="a/b", positive=tiny.scheduled(text, 57, transition="hard"), **options
        )
        return samples, len(files() - before), report

    first, new_first, _ = run("0: a\n40: b")
    again, new_again, report = run("0: a\n40: b")
    _, new_prompt, _ = run("0: a\n40: c")
    # A model with the same weights, loaded anew, is the same model; another is not.
    model = tiny.wan()
    _, new_model, _ = run("0: a\n40: b")
    model = tiny.wan(3)
    _, new_other, _ = run("0: a\n40: b")
    model = tiny.wan()
    lora = {"diffusion_model.head.head.weight": ("diff", (torch.ones(64, 128),))}
    model.add_patches(lora, 0.5)
    _, new_lora, _ = run("0: a\n40: b")
    with open(os.path.join(base, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    return {
        "equal": bool(torch.equal(first, again)),
        "new": [new_first, new_again, new_prompt, new_model, new_other, new_lora],
        "report": report,
        "manifest": [len(manifest["chunks"]), manifest["description"]["sampler"]["steps"]],
    }


def fingerprints() -> dict:
    """Hashes of MODELs that should be equal or differ."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3, RescaleCFG
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash

    def shifted(shift=5.0):
        return ModelSamplingSD3().patch(tiny.wan(), shift)[0]

    rescale = RescaleCFG()
    return {
        "anew": model_hash(shifted()) == model_hash(shifted()),
        "shift": model_hash(shifted()) == model_hash(shifted(6.0)),
        "rescale": [
            model_hash(rescale.patch(shifted(), amount)[0]) for amount in (0.5, 0.5, 0.7)
        ],
    }  # fmt: skip


def lora_weights(seed: int = 1, dtype=torch.float16) -> dict:
    """A LoRA for the tiny Wan's query of the first block, as its file has it."""
    generator = torch.Generator().manual_seed(seed)
    name = "diffusion_model.blocks.0.self_attn.q"
    shapes = {"lora_A": (4, 128), "lora_B": (128, 4)}
    return {f"{name}.{part}.weight": torch.randn(shape, generator=generator).mul(0.3).to(dtype)
            for part, shape in shapes.items()}  # fmt: skip


def _with_closure(amount: float):
    """A MODEL with an object patch that refers to the network itself, as other packs make them."""
    model = tiny.wan()
    base, block = model.model, model.model.diffusion_model.blocks[0]
    original = type(base).extra_conds

    def extra_conds(**kwargs):
        assert block is base.diffusion_model.blocks[0] and amount
        return original(base, **kwargs)

    model.add_object_patch("extra_conds", extra_conds)
    return model


def _with_hook(strength: float, weights: dict):
    """Conditioning whose LoRA holds for one prompt, with a keyframe that changes its strength on the way."""
    import comfy.hooks

    group = comfy.hooks.create_hook_lora(weights, strength, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for at, amount in ((0.0, 1.0), (0.5, 0.4)):
        keyframes.add(comfy.hooks.HookKeyframe(strength=amount, start_percent=at))
    group.set_keyframes_on_hooks(keyframes)
    embedding, _ = tiny.conditioning(1)[0]
    return [[embedding, {"hooks": group}]]


def kinds_of_models() -> dict:
    """Name -> what makes the MODEL and conditioning; ``other`` names make one that must differ."""
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    def lora(strength, seed=1):
        return comfy.sd.load_lora_for_models(tiny.wan(), None, lora_weights(seed), strength, 0)[0]

    def bypass(strength, seed=1):
        return comfy.sd.load_bypass_lora_for_models(tiny.wan(), None, lora_weights(seed), strength, 0)[0]

    def demo():
        return LoadVideoPipeline.execute("demo model (built in)", "transformer").args[0]

    plain = tiny.conditioning(1)
    made = {
        "plain": lambda: (tiny.wan(), plain),
        "demo": lambda: (demo(), plain),
        "closure": lambda: (_with_closure(0.5), plain),
        "closure other": lambda: (_with_closure(0.7), plain),
        "lora": lambda: (lora(0.5), plain),
        "lora other": lambda: (lora(0.6), plain),
        "lora other weights": lambda: (lora(0.5, 2), plain),
        "hook": lambda: (tiny.wan(), _with_hook(0.5, lora_weights())),
        "hook other": lambda: (tiny.wan(), _with_hook(0.6, lora_weights())),
        "hook other weights": lambda: (tiny.wan(), _with_hook(0.5, lora_weights(2))),
        "quantised": lambda: (quantised_wan(), plain),
    }
    if hasattr(comfy.sd, "load_bypass_lora_for_models"):
        made["bypass"] = lambda: (bypass(0.5), plain)
        made["bypass other"] = lambda: (bypass(0.6), plain)
        made["bypass other weights"] = lambda: (bypass(0.5, 2), plain)
    return made


def quantised_wan():
    """The tiny Wan with a layer in the host's scaled fp8, as its loaders keep such checkpoints."""
    from comfy.quant_ops import QuantizedTensor

    model = tiny.wan()
    layer = model.model.diffusion_model.blocks[0].ffn[0]
    weight = QuantizedTensor.from_float(layer.weight.detach().clone(), "TensorCoreFP8E4M3Layout", scale="recalculate")
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model


def found_again(name: str) -> dict:
    """A video streamed twice with one MODEL, and with one made anew: how many chunks were found each time."""
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash, value_hash

    make = kinds_of_models()[name]
    model, positive = make()
    before = [model_hash(model), value_hash(positive)]
    options = {"run_name": f"again {name}", "steps": 2, "latent": tiny.latent(1, 4, 4)}
    reports = []
    for used in ((model, positive), (model, positive), make()):
        _, report = extend(used[0], positive=used[1], **options)
        reports.append(int(report.split(" chunks were found")[0].rsplit(" ", 1)[1]))
    after = [model_hash(model), value_hash(positive)]
    while_loaded = _while_loaded(model)
    return {"found": reports, "same": before == after, "loaded": while_loaded == before[0], "hash": before}


def hashes(kind: str) -> dict:
    """The hashes of a kind of MODEL and of those that must differ from it."""
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash, value_hash

    made = {name: make() for name, make in kinds_of_models().items() if name.startswith(kind)}
    return {name: [model_hash(m), value_hash(c)] for name, (m, c) in made.items()}


def other_hashes() -> dict:
    """Hashes of what a CONDITIONING or a patch may hold beside: equal for equal things, whatever a run left in them."""
    import comfy.hooks
    import comfy.model_patcher
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import value_hash

    def patcher(seed, strength=1.0):
        torch.manual_seed(seed)
        cpu = torch.device("cpu")
        made = comfy.model_patcher.ModelPatcher(torch.nn.Linear(4, 4), cpu, cpu)
        made.add_patches({"weight": ("diff", (torch.ones(4, 4),))}, strength)
        return made

    def hook(value, used=False):
        made = comfy.hooks.TransformerOptionsHook({"patches": {"attn1": [value]}})
        made._skip_adding = used
        return made

    def closure(weights):
        adapter = next(iter(comfy.sd.load_lora_for_models(tiny.wan(), None, weights, 1.0, 0)[0].patches.values()))[0][1]
        return lambda: adapter

    makers = {
        "patcher": [lambda: patcher(1), lambda: patcher(1), lambda: patcher(2), lambda: patcher(1, 0.5)],
        "hook": [lambda: hook(1), lambda: hook(1, used=True), lambda: hook(2)],
        "closure": [lambda: closure(lora_weights(1)), lambda: closure(lora_weights(1)),
                    lambda: closure(lora_weights(2))],
    }  # fmt: skip
    return {name: [value_hash(make()) for make in each] for name, each in makers.items()}


def control_hashes() -> dict:
    """Hashes of ControlNets: of one made twice, and of those that differ from it in one thing each."""
    import comfy.controlnet
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import value_hash

    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Linear(4, 4)

    def adapter(seed=1, **more):
        made = comfy.controlnet.T2IAdapter(network(seed), 3, 8, "nearest-exact", device=torch.device("cpu"))
        made.cond_hint_original = torch.full((1, 3, 8, 8), 0.5)
        for name, value in more.items():
            setattr(made, name, value)
        return made

    def hash_of(control):
        return value_hash([[torch.zeros(1), {"control": control}]])

    vae, other = wan_vae(), wan_vae()
    with torch.no_grad():
        next(other.first_stage_model.parameters()).add_(1)
    changes = {
        "weights": adapter(2), "strength": adapter(strength=0.5), "hint": adapter(cond_hint_original=torch.ones(1)),
        "mask": adapter(extra_concat_orig=[torch.ones(1, 1, 8, 8)]), "compression": adapter(compression_ratio=16),
        "kind of strength": adapter(strength_type=comfy.controlnet.StrengthType.LINEAR_UP),
        "range": adapter(timestep_percent_range=(0.0, 0.5)), "before": adapter(previous_controlnet=adapter(2)),
        "vae": adapter(vae=vae), "another vae": adapter(vae=other),
        "argument": adapter(extra_args={"control_type": [1]}),
    }  # fmt: skip
    used = adapter(vae=vae)
    before = hash_of(used)
    vae.decode(torch.zeros(1, 16, 1, 4, 4))
    used.cond_hint = torch.ones(1)  # what a run leaves behind
    used.timestep_range = (1000.0, 0.0)
    return {
        "same": [hash_of(adapter()) == hash_of(adapter()), hash_of(used) == before],
        "hashes": {"plain": hash_of(adapter()), **{name: hash_of(each) for name, each in changes.items()}},
    }


def _while_loaded(model) -> str:
    """The hash of a MODEL whose weights and patches are on the device, as in the middle of a run."""
    from long_video_pack.glv_core.hosts.comfy.streaming.hashes import model_hash

    patched = model.clone()
    comfy.model_management.load_models_gpu([patched], force_patch_weights=True)
    patched.pre_run()
    try:
        return model_hash(model)
    finally:
        patched.cleanup()
        comfy.model_management.unload_all_models()


def interrupted():
    """Interrupting keeps what is finished; the next run goes on and is the same as one without a break."""
    model = tiny.wan()
    calls = 0
    original = comfy.model_management.throw_exception_if_processing_interrupted

    def interrupt_at(count):
        def check():
            nonlocal calls
            calls += 1
            if calls == count:
                raise comfy.model_management.InterruptProcessingException

        return check

    spy = tiny.Recorder(model)
    comfy.model_management.throw_exception_if_processing_interrupted = interrupt_at(10_000)
    positive = tiny.scheduled("0: a\n40: b", 57, transition="hard")  # through the handler, which asks
    try:
        extend(spy.model, length=57, positive=positive)
        total, calls = calls, 0
        comfy.model_management.throw_exception_if_processing_interrupted = interrupt_at(total * 2 // 3)
        try:
            extend(model, length=57, positive=positive, run_name="interrupted")
            stopped = False
        except comfy.model_management.InterruptProcessingException:
            stopped = True
    finally:
        comfy.model_management.throw_exception_if_processing_interrupted = original
    plain, _ = extend(model, length=57, positive=positive)
    resumed, report = extend(model, length=57, positive=positive, run_name="interrupted")
    return {
        "stopped": stopped,
        "equal": bool(torch.equal(plain, resumed)),
        "report": report,
    }


def masked_start() -> dict:
    """A LATENT with a mask, as core's image-to-video nodes make it: only what the mask says is there."""
    samples = torch.randn(1, 16, 5, 4, 4, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 1, 5, 4, 4)
    mask[:, :, :1] = 0
    extended, _ = extend(tiny.wan(), latent={"samples": samples, "noise_mask": mask}, length=33, blend=0.0)
    mask[:, :, 3] = 0
    message = refused(latent={"samples": samples, "noise_mask": mask})[0]
    return {
        "kept": bool(torch.equal(extended[:, :, :1], samples[:, :, :1])),
        "made": float((extended[:, :, 1:5] - samples[:, :, 1:5]).abs().max()),
        "message": message,
    }


def controls_are_cut() -> dict:
    """VACE frames of the whole video: each chunk's network gets its part; of another length they are refused."""
    model, _, (positive, negative) = families.wan_vace()
    frames = torch.zeros(1, 32, 9, 4, 4) + torch.arange(9.0).view(1, 1, 9, 1, 1)
    extras = {**positive[0][1], "vace_frames": [frames], "vace_mask": [torch.ones(1, 64, 9, 4, 4)]}
    spy = Spy(model)
    extend(spy.model, positive=[[positive[0][0], extras]], negative=[[negative[0][0], extras]], length=33)
    process = model.model.process_latent_in
    seen = []
    for call in chunks_of(spy, 3):
        context = call["vace_context"]
        expected = process(frames[:, :16])
        part = context.reshape(-1, *context.shape[-4:])[:1, :16]
        apart = torch.stack([(expected[:, :, k] - part[:, :, 0]).abs().max() for k in range(9)])
        seen.append([int(apart.argmin()), part.shape[2]])
    short = {**extras, "vace_frames": [frames[:, :, :5]]}
    message = refused(positive=[[positive[0][0], short]], length=33)[0]
    return {"first": seen, "message": message}


def refused(**options):
    """The message of what is refused, and that nothing was sampled."""
    recorder = tiny.Recorder(tiny.wan())
    latent = options.pop("latent_shape", None)
    if latent is not None:
        options["latent"] = {"samples": torch.ones(latent)}
    if "prompt_length" in options:
        options["positive"] = tiny.scheduled("0: a\n5: b", options.pop("prompt_length"))
    try:
        extend(recorder.model, **options)
    except Exception as error:
        return [str(error), len(recorder.shapes)]
    return ["nothing refused", len(recorder.shapes)]


def wan_vae():
    module = comfy.ldm.wan.vae.WanVAE(
        dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], dropout=0.0,
    )  # fmt: skip
    return comfy.sd.VAE(sd=families.weights_of(module))


def encodings_are_kept() -> dict:
    """A VAE that never gives the same bits twice: the second run finds the chunks of the first all the same."""
    model = comfy.sd.load_diffusion_model_state_dict(dict(tiny.wan_weights(2, "t2v", 36)))
    vae = wan_vae()
    encode, runs = vae.encode, []
    vae.encode = lambda pixels: runs.append(1) or encode(pixels) + len(runs) * 1e-6
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    options = {"vae": vae, "anchor": "image", "run_name": "encodings", "length": 33}
    found = {}
    for name, start, anchor in (
        ("first", image, 1 - image),
        ("again", image, 1 - image),
        ("other", 1 - image, image),
    ):
        runs.clear()
        _, report = extend(model, image=start, anchor_image=anchor, **options)
        found[name] = {"report": report, "encoded": len(runs)}
    return found


def image_start():
    """An image through the VAE is the first latent frame; an anchor image is encoded as well."""
    model = comfy.sd.load_diffusion_model_state_dict(dict(tiny.wan_weights(2, "t2v", 36)))
    vae = wan_vae()
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    samples, report = extend(model, image=image, vae=vae, anchor="image", anchor_image=1 - image)
    without, _ = extend(model, image=image, vae=vae)
    return {
        "first": float((samples[:, :, :1] - vae.encode(image)).abs().max()),
        "anchor": float((samples - without).abs().max()),
        "report": report,
    }
