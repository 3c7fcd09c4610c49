"""Loading diffusers folders in ComfyUI, against the diffusers library on the same weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.demo import MODEL_DIR
from glv_core.prompts import parse_schedule

pytestmark = pytest.mark.every_host

diffusers = pytest.importorskip("diffusers")

PROMPTS = """0: a red circle moving right on a white background
60: a blue square moving down on a black background
100: a yellow triangle moving left on a gray background"""


def shapes_of(build) -> dict:
    with torch.device("meta"):
        return {name: list(value.shape) for name, value in build().state_dict().items()}


@pytest.mark.parametrize(
    ("kind", "size"),
    [("t2v", dict(heads=12, ffn_dim=8960, layers=30)), ("i2v", dict(heads=40, ffn_dim=13824, layers=40))],
)
def test_names_and_shapes_of_the_real_transformers(inside, kind, size):
    image = {"image_dim": 1280, "added_kv_proj_dim": size["heads"] * 128, "in_channels": 36} if kind == "i2v" else {}
    names = shapes_of(
        lambda: diffusers.WanTransformer3DModel(
            num_attention_heads=size["heads"], attention_head_dim=128, ffn_dim=size["ffn_dim"],
            num_layers=size["layers"], **image,
        )
    )  # fmt: skip
    config = dict(
        model_type=kind, dim=size["heads"] * 128, num_heads=size["heads"], ffn_dim=size["ffn_dim"],
        num_layers=size["layers"], in_dim=image.get("in_channels", 16),
    )  # fmt: skip
    result = inside("pipelines", "differences", names=names, kind=kind, config=config)
    assert result == {"missing": [], "unexpected": [], "shapes": []}


@pytest.mark.parametrize(
    ("heads", "ffn_dim", "layers", "every"), [(12, 8960, 30, 2), (40, 13824, 40, 5)], ids=["1.3B", "14B"]
)
def test_names_and_shapes_of_the_real_vace_transformers(inside, heads, ffn_dim, layers, every):
    names = shapes_of(
        lambda: diffusers.WanVACETransformer3DModel(
            num_attention_heads=heads, attention_head_dim=128, ffn_dim=ffn_dim, num_layers=layers,
            vace_layers=list(range(0, layers, every)), vace_in_channels=96,
        )
    )  # fmt: skip
    config = dict(
        model_type="vace", dim=heads * 128, num_heads=heads, ffn_dim=ffn_dim, num_layers=layers, in_dim=16,
        vace_layers=layers // every, vace_in_dim=96,
    )  # fmt: skip
    result = inside("pipelines", "differences", names=names, kind="vace", config=config)
    assert result == {"missing": [], "unexpected": [], "shapes": []}


def test_names_and_shapes_of_the_real_vae(inside):
    names = shapes_of(diffusers.AutoencoderKLWan)
    config = dict(
        dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], dropout=0.0,
    )  # fmt: skip
    result = inside("pipelines", "differences", names=names, kind="vae", config=config)
    assert result == {"missing": [], "unexpected": [], "shapes": []}


@pytest.fixture(scope="module")
def pipeline():
    return diffusers.WanPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32, local_files_only=True)


def test_every_part_of_the_demo_model_gives_the_same_numbers(inside, pipeline, tmp_path):
    generator = torch.Generator().manual_seed(0)
    prompts = ["a red circle moving right on a white background", "something odd, 123!", ""]
    embeds = [pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)[0] for prompt in prompts]
    config = pipeline.vae.config
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    given = {
        "x": torch.randn(2, 16, 16, 8, 8, generator=generator),
        "timestep": torch.tensor([700.0, 120.0]),
        "context": torch.cat([torch.nn.functional.pad(e, (0, 0, 0, 512 - e.shape[1])) for e in embeds[:2]]),
        "latent": torch.randn(1, 16, 4, 8, 8, generator=generator) * std + mean,
        "pixels": torch.rand(13, 64, 64, 3, generator=generator),
    }
    save_file(given, tmp_path / "given.safetensors")
    out = tmp_path / "out.safetensors"
    scalars = inside("pipelines", "parts", given=str(tmp_path / "given.safetensors"), out=str(out), prompts=prompts)
    ours = load_file(out)
    assert scalars["shift"] == pipeline.scheduler.config.flow_shift
    with torch.no_grad():
        for number, embed in enumerate(embeds):
            assert torch.allclose(ours[f"prompt{number}"][:, : embed.shape[1]], embed, atol=2e-3 * embed.std().item())
        velocity = pipeline.transformer(given["x"], given["timestep"], given["context"], return_dict=False)[0]
        assert torch.allclose(ours["velocity"], velocity, atol=1e-3)
        frames = pipeline.vae.decode(given["latent"], return_dict=False)[0].clamp(-1, 1) / 2 + 0.5
        assert torch.allclose(ours["frames"][0], frames[0].permute(1, 2, 3, 0), atol=1e-3)
        pixels = given["pixels"].permute(3, 0, 1, 2)[None] * 2 - 1
        latent = pipeline.vae.encode(pixels).latent_dist.mode()
        assert torch.allclose(ours["latent"], latent, atol=1e-2 * latent.std().item())


def test_the_demo_models_vace_branch_gives_the_same_numbers(inside, pipeline, tmp_path):
    generator = torch.Generator().manual_seed(4)
    given = {
        "x": torch.randn(2, 16, 16, 8, 8, generator=generator),
        "timestep": torch.tensor([700.0, 120.0]),
        "context": torch.randn(2, 512, 4096, generator=generator) * 0.1,
        "hint": torch.randn(2, 96, 16, 8, 8, generator=generator),
    }
    save_file(given, tmp_path / "given.safetensors")
    out = tmp_path / "out.safetensors"
    inside("pipelines", "vace", given=str(tmp_path / "given.safetensors"), out=str(out), strengths=[1.0, 0.5])
    ours = load_file(out)
    net = diffusers.WanVACETransformer3DModel.from_config(
        diffusers.WanVACETransformer3DModel.load_config(MODEL_DIR / "vace")
    ).eval()
    branch = load_file(MODEL_DIR / "vace" / "diffusion_pytorch_model.safetensors")
    net.load_state_dict({**pipeline.transformer.state_dict(), **{name: w.float() for name, w in branch.items()}})
    plain = pipeline.transformer(given["x"], given["timestep"], given["context"], return_dict=False)[0]
    with torch.no_grad():
        for strength in (1.0, 0.5):
            scale = torch.full((len(net.config.vace_layers),), strength)
            wanted = net(
                given["x"], given["timestep"], given["context"], control_hidden_states=given["hint"],
                control_hidden_states_scale=scale, return_dict=False,
            )[0]  # fmt: skip
            assert torch.allclose(ours[str(strength)], wanted, atol=2e-3)
            assert (wanted - plain).abs().max() > 0.05


@pytest.mark.parametrize(
    ("schedule", "blending"), [("static", "predictions"), ("shifted", "attention"), ("shifted_trimmed", "attention")]
)
def test_both_hosts_make_the_same_latent(inside, pipeline, tmp_path, schedule, blending):
    from glv_core.hosts.diffusers import generate, timebase_for

    out = tmp_path / "sample.safetensors"
    windows = {"window": 61, "overlap": 24, "schedule": schedule, "merge": "pyramid", "prompt_blending": blending}
    inside(
        "pipelines", "sample", out=str(out), prompts=PROMPTS, num_frames=141, steps=5, cfg=4.0, seed=3, windows=windows
    )
    ours = load_file(out)
    timebase = timebase_for(pipeline, 141, 16)
    theirs = generate(
        pipeline, parse_schedule(PROMPTS, num_frames=141, fps=16), timebase,
        CoDenoiseSettings(16, 6, schedule, "pyramid", prompt_blending=blending),
        guidance_scale=4.0, latents=ours["noise"], sigmas=ours["sigmas"].tolist(), output_type="latent",
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    assert theirs.shape == ours["latent"].shape == (1, 16, 36, 8, 8)
    assert (theirs - ours["latent"]).abs().max() < 5e-3
    assert ours["latent"].std() > 0.3
