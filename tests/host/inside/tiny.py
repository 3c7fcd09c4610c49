"""Native ComfyUI models with tiny random weights, loaded by the stock loaders. Runs inside ComfyUI."""

import functools
import json

import comfy.ldm.wan.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import nodes
import torch
from comfy.ldm.modules.diffusionmodules import openaimodel


@functools.cache
def wan_weights(layers: int = 2, model_type: str = "t2v", in_dim: int = 16) -> dict:
    module = comfy.ldm.wan.model.WanModel(
        model_type=model_type, dim=128, ffn_dim=64, num_heads=1, num_layers=layers, in_dim=in_dim,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, value in module.state_dict().items():
        value = torch.randn(value.shape, generator=generator) * 0.06
        weights[name] = value + 1 if "norm" in name and name.endswith("weight") else value
    return weights


def wan(layers: int = 2):
    return comfy.sd.load_diffusion_model_state_dict(dict(wan_weights(layers)))


def quantised_wan(kind: str, layers: int = 1):
    """Wan with the layers of its blocks quantised, ``kind`` as checkpoints name it."""
    from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor

    layout, weights = QUANT_ALGOS[kind]["comfy_tensor_layout"], {}
    for name, weight in wan_weights(layers).items():
        if name.startswith("blocks.") and name.endswith(".weight") and weight.ndim == 2:
            weights |= QuantizedTensor.from_float(weight.clone(), layout, scale="recalculate").state_dict(name)
            about = json.dumps({"format": kind}).encode()
            weights[name.replace(".weight", ".comfy_quant")] = torch.tensor(list(about), dtype=torch.uint8)
        else:
            weights[name] = weight
    return comfy.sd.load_diffusion_model_state_dict(weights)


SD15 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 64, "num_res_blocks": [1],
    "channel_mult": [1], "num_head_channels": 64, "transformer_depth": [1], "transformer_depth_middle": 0,
    "transformer_depth_output": [1, 1], "use_spatial_transformer": True, "context_dim": 768,
    "use_linear_in_transformer": False, "adm_in_channels": None, "use_temporal_attention": False, "num_heads": -1,
    "legacy": False,
}  # fmt: skip


def sd15(middle: int = 0):
    """SD 1.5's architecture: the frames are the batch. ``middle``: transformer blocks in its middle."""
    config = {**SD15, "transformer_depth_middle": middle}
    net = openaimodel.UNetModel(**config, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init)
    fill(net, 1, 0.08)
    supported = comfy.supported_models.SD15(dict(config, disable_unet_model_creation=False))
    supported.unet_config = config
    base = comfy.model_base.BaseModel(
        supported, comfy.model_base.ModelType.EPS, device="cpu", unet_model=lambda **kwargs: net
    )
    return comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def fill(module, seed: int, scale: float = 0.03) -> None:
    """Give a network random weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def text(seed: int, width: int = 768, tokens: int = 77, **extras) -> list:
    """A CONDITIONING of another width than Wan's."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return [[torch.randn(1, tokens, width, generator=generator), extras]]


def conditioning(seed: int, tokens: int = 16) -> list:
    generator = torch.Generator().manual_seed(1000 + seed)
    embedding = torch.zeros(1, tokens, 4096)
    embedding[:, :8] = torch.randn(1, 8, 4096, generator=generator)
    return [[embedding, {}]]


def latent(frames: int, height: int = 4, width: int = 4, batch: int = 1, channels: int = 16) -> dict:
    return {"samples": torch.zeros(batch, channels, frames, height, width)}


def ksampler(model, latent_image, *, seed=7, steps=4, cfg=3.0, sampler="euler", scheduler="simple", positive=None,
             negative=None, denoise=1.0):  # fmt: skip
    """ComfyUI's own KSampler."""
    positive = conditioning(1) if positive is None else positive
    negative = conditioning(0) if negative is None else negative
    return nodes.common_ksampler(
        model, seed, steps, cfg, sampler, scheduler, positive, negative, latent_image, denoise=denoise
    )[0]["samples"]


def co_denoise(
    model,
    latent_image,
    *,
    window=17,
    overlap=8,
    schedule="static",
    merge="pyramid",
    per_forward=0,
    seed=7,
    steps=4,
    cfg=3.0,
    sampler="euler",
    scheduler="simple",
    positive=None,
    negative=None,
    denoise=1.0,
    **more,
):
    """The pack's CoDenoiseKSampler, through its node."""
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler

    positive = conditioning(1) if positive is None else positive
    negative = conditioning(0) if negative is None else negative
    return CoDenoiseKSampler.execute(
        model, seed, steps, cfg, sampler, scheduler, positive, negative, latent_image, denoise, window=window,
        overlap=overlap, schedule=schedule, merge=merge, windows_per_forward=per_forward, **more,
    ).args[0]["samples"]  # fmt: skip


def scheduled(text: str, num_frames: int, fps: float = 16.0, transition: str = "linear", frames: float = 8.0) -> list:
    """A CONDITIONING as MultiPromptSchedule makes it, with random embeddings that depend on the prompt's text."""
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, tokens):
            return conditioning(tokens)

    return MultiPromptSchedule.execute(Clip(), text, num_frames, fps, transition, frames).args[0]


def out_of_memory_errors() -> list[Exception]:
    """Errors by which this ComfyUI knows that a device's memory ran out."""
    errors = [torch.OutOfMemoryError("no memory")]
    if hasattr(comfy.model_management, "is_oom") and hasattr(torch, "AcceleratorError"):
        error = torch.AcceleratorError("CUDA error: out of memory")
        error.error_code = 2
        errors.append(error)
    return errors


class Recorder:
    """Wraps a MODEL so that the shapes of its forward passes are kept."""

    def __init__(self, model):
        self.model = model.clone()
        self.shapes = []
        shapes = self.shapes

        def call(apply_model, arguments):
            shapes.append(list(arguments["input"].shape))
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        self.model.set_model_unet_function_wrapper(call)
