"""What this ComfyUI lacks of what the pack uses. Runs inside ComfyUI."""

import copy
import types

import comfy.conds
import comfy.controlnet
import comfy.hooks
import comfy.model_management
import comfy.nested_tensor
import comfy.patcher_extension
import comfy.sd
import families
import streaming
import tiny
import tiny_sound
import torch
from comfy.weight_adapter.bypass import BypassInjectionManager
from comfy_api.latest import Types, io
from comfy_execution.utils import CurrentNodeContext, get_executing_context


def sampling_run() -> tuple:
    """What ComfyUI's KSampler gives to wrappers: the executor, the guider as it is then, its sampler, an entry of
    its conditions."""
    seen = []

    def outer(executor, *args, **kwargs):
        seen.extend([executor, copy.copy(executor.class_obj), args[2]])
        return executor(*args, **kwargs)

    def inner(executor, guider, *args, **kwargs):
        seen.append(types.SimpleNamespace(**next(iter(guider.conds.values()))[0]))
        return executor(guider, *args, **kwargs)

    model = tiny.wan(1)
    wrappers = comfy.patcher_extension.WrappersMP
    model.add_wrapper_with_key(wrappers.OUTER_SAMPLE, "symbols", outer)
    model.add_wrapper_with_key(wrappers.SAMPLER_SAMPLE, "symbols", inner)
    tiny.ksampler(model, tiny.latent(1), steps=1)
    return tuple(seen)


def objects() -> dict:
    """The objects that symbols in angle brackets belong to.

    They are made by ComfyUI alone, as far as that can be: what the pack sets itself would be there in any case.
    """
    import server  # noqa: F401  (the host's, which a ComfyUI with a server has loaded)
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    model = tiny.wan()
    _, clip, vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args
    lora = comfy.sd.load_lora_for_models(tiny.wan(), None, streaming.lora_weights(), 1.0, 0)[0]
    adapter = next(iter(lora.patches.values()))[0][1]
    group = comfy.hooks.create_hook_lora(streaming.lora_weights(), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0))
    executor, guider, sampler, entry = sampling_run()
    with CurrentNodeContext(prompt_id="a prompt", node_id="7"):
        running = get_executing_context()
    comfy.model_management.load_models_gpu([vae.patcher])
    network = torch.nn.Linear(1, 1)
    unet = tiny.sd15().model.diffusion_model
    blocks = {type(module).__name__: module for module in unet.modules()}
    sd15 = unet
    sound = tiny_sound.ltx_audio_vae(tiny_sound.TWO_STAGES if tiny_sound.HAS_TWO_STAGES else tiny_sound.HIFI)
    found = {}
    if tiny_sound.HAS_MINIMAX:
        found["MiniMax H3 audio VAE"] = tiny_sound.minimax_audio_vae().first_stage_model
        found["MiniMax H3 layout"] = comfy.ldm.minimax.model.PackedLayout(1, 2, 2, 2, 9)
    return {
        **found,
        "LTX audio VAE": getattr(sound, "first_stage_model", sound),
        "MODEL": model,
        "model": model.model,
        "latent format": model.model.latent_format,
        "model sampling": model.get_model_object("model_sampling"),
        "VAE": vae,
        "Wan VAE": vae.first_stage_model,
        "CLIP": clip,
        "CLIP tokenizer": comfy.sd1_clip.SDTokenizer(),
        "Hunyuan network": families.hunyuan()[0].model.diffusion_model,
        "Wan network": model.model.diffusion_model,
        "SD 1 network": sd15,
        "residual block": sd15.input_blocks[1][0],
        "executor": executor,
        "guider": guider,
        "sampler": sampler,
        "condition": comfy.conds.CONDRegular(torch.zeros(1)),
        "condition entry": entry,
        "loaded model": comfy.model_management.current_loaded_models[0],
        "running node": running,
        "hidden inputs": io.HiddenHolder.from_dict({}),
        "input": io.Int.Input("an input"),
        "video components": Types.VideoComponents(images=torch.zeros(1, 8, 8, 3), audio=None, frame_rate=24),
        "combined latent": comfy.nested_tensor.NestedTensor([torch.zeros(1), torch.zeros(1)]),
        "quantised weight": streaming.quantised_wan().model.diffusion_model.blocks[0].ffn[0].weight,
        "image UNet": unet,
        "ResNet block": blocks["ResBlock"],
        "transformer block": blocks["BasicTransformerBlock"],
        "ControlNet": comfy.controlnet.ControlNet(network),
        "ControlLoRA": comfy.controlnet.ControlLora({}),
        "T2I-Adapter": comfy.controlnet.T2IAdapter(None, 3, 8, "nearest-exact", device=torch.device("cpu")),
        "transformer options hook": comfy.hooks.TransformerOptionsHook(),
        "hook group": group,
        "hook keyframes": keyframes,
        "hook keyframe": keyframes.keyframes[0],
        "bypass LoRA": BypassInjectionManager(),
        "LoRA": adapter,
    }


def lacking() -> dict:
    """The names that are missing or changed, needed and asked for, and the table of all of them."""
    from long_video_pack.glv_core.hosts.comfy.host_symbols import missing, report

    found = missing(objects())
    return {
        "needed": [symbol.name for symbol, _ in found if symbol.needed],
        "asked": [[symbol.name, list(symbol.keywords), symbol.positional] for symbol, _ in found if not symbol.needed],
        "table": report(found),
    }


def video_methods() -> dict:
    """What a LongVideo leaves out of the host's VideoInput: abstract methods, and arguments of the others."""
    import inspect

    from comfy_api.latest import Input
    from long_video_pack.glv_core.hosts.comfy.video.long_video import LongVideo

    refused = {}
    for name, theirs in inspect.getmembers(Input.Video, inspect.isfunction):
        ours = getattr(LongVideo, name)
        gone = set(inspect.signature(theirs).parameters) - set(inspect.signature(ours).parameters)
        if gone:
            refused[name] = sorted(gone)
    return {"abstract": sorted(LongVideo.__abstractmethods__), "refused": refused}
