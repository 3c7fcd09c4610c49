"""LoadVideoPipeline against the diffusers library, whose results the test process passes in files."""

import comfy.ldm.wan.model
import comfy.ldm.wan.vae
import comfy.ops
import comfy.samplers
import torch
from long_video_pack.glv_core.hosts.comfy.loading import wan_keys
from safetensors.torch import load_file, save_file


def differences(names: dict, kind: str, config: dict) -> dict:
    """Renamed weights against the names and shapes of ComfyUI's own module of that size (no memory is taken)."""
    if kind == "vae":
        module = comfy.ldm.wan.vae.WanVAE(**config)
        renamed = wan_keys.vae_to_original(names)
    else:
        network = comfy.ldm.wan.model.VaceWanModel if kind == "vace" else comfy.ldm.wan.model.WanModel
        module = network(**config, operations=comfy.ops.disable_weight_init, device="meta", dtype=torch.float16)
        renamed = wan_keys.transformer_to_original(names)
    expected = {name: list(value.shape) for name, value in module.state_dict().items()}
    assert len(renamed) == len(names)
    return {
        "missing": sorted(set(expected) - set(renamed))[:5],
        "unexpected": sorted(set(renamed) - set(expected))[:5],
        "shapes": [n for n in expected if n in renamed and expected[n] != list(renamed[n])][:5],
    }


def vace(given: str, out: str, strengths: list) -> None:
    """One call of the demo model with its VACE branch, for each strength of the hint in ``given``."""
    from long_video_pack.glv_core.hosts.comfy.loading.pipeline_folder import DEMO_VACE

    model, _, _ = load(DEMO_VACE)
    tensors = load_file(given)
    results = {
        str(strength): model.model.diffusion_model(
            tensors["x"], tensors["timestep"], context=tensors["context"], vace_context=tensors["hint"][:, None],
            vace_strength=[strength],
        ).float().contiguous()
        for strength in strengths
    }  # fmt: skip
    save_file(results, out)


def load(folder: str = ""):
    from long_video_pack.glv_core.hosts.comfy.loading.pipeline_folder import DEMO
    from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

    return LoadVideoPipeline.execute(folder or DEMO, "transformer").args


def parts(given: str, out: str, prompts: list) -> dict:
    """Each part on the inputs in ``given``: prompt embeddings, one transformer call, decoded and encoded frames."""
    model, clip, vae = load()
    tensors = load_file(given)
    results = {}
    for number, prompt in enumerate(prompts):
        results[f"prompt{number}"] = clip.encode_from_tokens(clip.tokenize(prompt)).float()
    net = model.model.diffusion_model
    results["velocity"] = net(tensors["x"], tensors["timestep"], context=tensors["context"]).float()
    results["frames"] = vae.decode(tensors["latent"]).float()
    results["latent"] = vae.encode(tensors["pixels"]).float()
    save_file({key: value.contiguous() for key, value in results.items()}, out)
    return {"shift": float(model.get_model_object("model_sampling").shift)}


def sample(out: str, prompts: str, num_frames: int, steps: int, cfg: float, seed: int, windows: dict) -> None:
    """A co-denoised sample by the nodes; saves its noise, sigmas and latent (normalised)."""
    import comfy.sample
    from long_video_pack.nodes.co_denoise_ksampler import CoDenoiseKSampler
    from long_video_pack.nodes.long_latent import LongLatent
    from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule

    model, clip, vae = load()
    latent, length, fps = LongLatent.execute(vae, 64, 64, float(num_frames), "frames", 16.0, 1).args
    assert length == num_frames
    positive = MultiPromptSchedule.execute(clip, prompts, length, fps, "linear", 8.0).args[0]
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    result = CoDenoiseKSampler.execute(
        model, seed, steps, cfg, "euler", "simple", positive, negative, latent, 1.0, windows_per_forward=2, **windows
    ).args[0]["samples"]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    noise = comfy.sample.prepare_noise(latent["samples"], seed)
    save_file(
        {"noise": noise, "sigmas": sigmas, "latent": model.model.latent_format.process_in(result).contiguous()}, out
    )
