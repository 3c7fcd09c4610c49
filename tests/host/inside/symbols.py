"""What this ComfyUI lacks of what the pack uses. Runs inside ComfyUI."""

import comfy.conds
import comfy.controlnet
import comfy.hooks
import comfy.samplers
import streaming
import tiny
import torch
from comfy.weight_adapter.bypass import BypassInjectionManager


def objects() -> dict:
    """The objects that symbols in angle brackets belong to."""
    import server  # noqa: F401  (the host's, which a ComfyUI with a server has loaded)
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    model, clip, vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args
    lora = comfy.sd.load_lora_for_models(tiny.wan(), None, streaming.lora_weights(), 1.0, 0)[0]
    adapter = next(iter(lora.patches.values()))[0][1]
    group = comfy.hooks.create_hook_lora(streaming.lora_weights(), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0))
    guider = comfy.samplers.CFGGuider(model)
    guider.conds = {}  # made by the run
    return {
        "MODEL": model,
        "model": model.model,
        "latent format": model.model.latent_format,
        "model sampling": model.get_model_object("model_sampling"),
        "VAE": vae,
        "Wan VAE": vae.first_stage_model,
        "CLIP": clip,
        "guider": guider,
        "condition": comfy.conds.CONDRegular(torch.zeros(1)),
        "ControlNet": comfy.controlnet.ControlBase(),
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
    from long_video_pack.glv_core.hosts.comfy.long_video import LongVideo

    refused = {}
    for name, theirs in inspect.getmembers(Input.Video, inspect.isfunction):
        ours = getattr(LongVideo, name)
        gone = set(inspect.signature(theirs).parameters) - set(inspect.signature(ours).parameters)
        if gone:
            refused[name] = sorted(gone)
    return {"abstract": sorted(LongVideo.__abstractmethods__), "refused": refused}
