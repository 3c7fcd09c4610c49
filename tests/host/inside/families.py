"""Native models of other families, with tiny random weights: MODEL, an empty latent and two conditionings. Runs inside
ComfyUI."""

import json

import comfy.ldm.hunyuan_video.model
import comfy.ldm.lightricks.model
import comfy.ldm.wan.model
import comfy.ops
import comfy.sd
import tiny
import torch


def weights_of(module) -> dict:
    generator = torch.Generator().manual_seed(2)
    weights = {}
    for name, value in module.state_dict().items():
        value = torch.randn(value.shape, generator=generator) * 0.05
        weights[name] = value + 1 if "norm" in name and name.endswith(("weight", "scale")) else value
    return weights


def embedding(seed: int, tokens: int, width: int, **extras) -> list:
    generator = torch.Generator().manual_seed(100 + seed)
    return [[torch.randn(1, tokens, width, generator=generator), dict(extras)]]


def ltx() -> tuple:
    config = dict(
        attention_head_dim=16, num_attention_heads=2, cross_attention_dim=32, caption_channels=64, num_layers=2
    )  # fmt: skip
    module = comfy.ldm.lightricks.model.LTXVModel(
        **config, operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu"
    )
    metadata = {"config": json.dumps({"transformer": config})}
    model = comfy.sd.load_diffusion_model_state_dict(weights_of(module), metadata=metadata)
    mask = torch.ones(1, 8, dtype=torch.long)
    conds = [embedding(seed, 8, 64, attention_mask=mask) for seed in (1, 0)]
    return model, tiny.latent(9, channels=128), conds


def hunyuan() -> tuple:
    module = comfy.ldm.hunyuan_video.model.HunyuanVideo(
        image_model="hunyuan_video", in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=64,
        hidden_size=128, mlp_ratio=4.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 56, 56], theta=256,
        patch_size=[1, 2, 2], qkv_bias=True, guidance_embed=True, byt5=False, meanflow=False,
        use_cond_type_embedding=False, vision_in_dim=None, meanflow_sum=False,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    model = comfy.sd.load_diffusion_model_state_dict(weights_of(module))
    pooled = torch.randn(1, 768, generator=torch.Generator().manual_seed(4))
    conds = [embedding(seed, 8, 64, pooled_output=pooled) for seed in (1, 0)]
    return model, tiny.latent(13), conds


def wan_i2v() -> tuple:
    weights = tiny.wan_weights(1, "t2v", 36)
    model = comfy.sd.load_diffusion_model_state_dict(dict(weights))
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(1, 16, 13, 4, 4, generator=generator)
    mask = torch.ones(1, 1, 13, 4, 4)
    mask[:, :, :1] = 0
    extras = {"concat_latent_image": image, "concat_mask": mask}
    return model, tiny.latent(13), [embedding(seed, 16, 4096, **extras) for seed in (1, 0)]


def wan_vace() -> tuple:
    module = comfy.ldm.wan.model.VaceWanModel(
        model_type="vace", dim=128, ffn_dim=64, num_heads=1, num_layers=2, vace_layers=1, vace_in_dim=96, in_dim=16,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    model = comfy.sd.load_diffusion_model_state_dict(weights_of(module))
    generator = torch.Generator().manual_seed(5)
    extras = {
        "vace_frames": [torch.randn(1, 32, 13, 4, 4, generator=generator)],
        "vace_mask": [torch.rand(1, 64, 13, 4, 4, generator=generator)],
        "vace_strength": [1.0],
    }
    return model, tiny.latent(13), [embedding(seed, 16, 4096, **extras) for seed in (1, 0)]
