"""Co-denoising on native models of other families, with tiny random weights. Runs inside ComfyUI."""

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
    return model, tiny.latent(9, channels=128), conds, 17  # 3 latent frames


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
    return model, tiny.latent(13), conds, 17


def wan_i2v() -> tuple:
    weights = tiny.wan_weights(1, "t2v", 36)
    model = comfy.sd.load_diffusion_model_state_dict(dict(weights))
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(1, 16, 13, 4, 4, generator=generator)
    mask = torch.ones(1, 1, 13, 4, 4)
    mask[:, :, :1] = 0
    extras = {"concat_latent_image": image, "concat_mask": mask}
    return model, tiny.latent(13), [embedding(seed, 16, 4096, **extras) for seed in (1, 0)], 17


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
    return model, tiny.latent(13), [embedding(seed, 16, 4096, **extras) for seed in (1, 0)], 17


FAMILIES = {"ltx": ltx, "hunyuan": hunyuan, "wan_i2v": wan_i2v, "wan_vace": wan_vace}


def run(name: str) -> dict:
    """Folded against one by one; and what each window's forward pass saw of the length."""
    model, latent, (positive, negative), window = FAMILIES[name]()
    recorder = tiny.Recorder(model)
    arguments = dict(positive=positive, negative=negative, window=window, overlap=8, steps=2)
    one = tiny.co_denoise(recorder.model, latent, per_forward=1, **arguments)
    lengths = {shape[2] for shape in recorder.shapes}
    rows_apart = max(shape[0] for shape in recorder.shapes)
    many = tiny.co_denoise(recorder.model, latent, per_forward=3, **arguments)
    short = {"samples": latent["samples"][:, :, :2]}
    plain_arguments = {key: arguments[key] for key in ("positive", "negative", "steps")}
    identical = None
    if name in ("ltx", "hunyuan"):  # the others' conditions are made for the whole length
        identical = torch.equal(
            tiny.co_denoise(model, short, window=window, **plain_arguments),
            tiny.ksampler(model, short, **plain_arguments),
        )
    return {
        "difference": float((one - many).abs().max()),
        "scale": float(one.std()),
        "finite": bool(torch.isfinite(one).all()),
        "lengths": sorted(lengths),
        "rows": [rows_apart, max(shape[0] for shape in recorder.shapes)],
        "identical": identical,
    }


def conditions_follow_their_window(name: str) -> list:
    """How much each latent frame changes when only the last frame of the condition changes (no overlap)."""
    model, latent, (positive, negative), window = FAMILIES[name]()
    arguments = dict(negative=negative, window=window, overlap=0, steps=1, cfg=1.0)
    before = tiny.co_denoise(model, latent, positive=positive, **arguments)
    changed = dict(positive[0][1])
    if name == "wan_i2v":
        changed["concat_latent_image"] = changed["concat_latent_image"].clone()
        changed["concat_latent_image"][:, :, -1] += 3
    else:
        changed["vace_frames"] = [changed["vace_frames"][0].clone()]
        changed["vace_frames"][0][:, :, -1] += 3
    after = tiny.co_denoise(model, latent, positive=[[positive[0][0], changed]], **arguments)
    return (after - before).abs().amax(dim=(0, 1, 3, 4)).tolist()


def vaes() -> dict:
    """Shapes and lengths that LongLatent makes for real VAEs of several families."""
    import comfy.ldm.wan.vae
    import comfy.taesd.taehv
    import comfy.taesd.taesd
    from long_video_pack.nodes.long_latent import LongLatent

    wan = comfy.ldm.wan.vae.WanVAE(
        dim=2, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], dropout=0.0,
    )  # fmt: skip
    sd15 = comfy.taesd.taesd.TAESD(latent_channels=4)
    sd15_weights = {}
    for name, value in sd15.state_dict().items():
        if name.startswith(("taesd_encoder", "taesd_decoder")):
            sd15_weights[name] = value
    made = {}
    for name, weights in {"wan": weights_of(wan), "sd15": sd15_weights}.items():
        vae = comfy.sd.VAE(sd=weights)
        latent, length, fps = LongLatent.execute(vae, 64, 32, 3.0, "seconds", 20.0, 1).args
        made[name] = [list(latent["samples"].shape), length, fps, float(latent["samples"].abs().max())]
        decoded = vae.decode(latent["samples"][:, :, :3] if name == "wan" else latent["samples"][:3])
        made[name].append(list(decoded.reshape(-1, *decoded.shape[-3:]).shape))
    return made
