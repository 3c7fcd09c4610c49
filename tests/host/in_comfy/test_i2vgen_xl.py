"""I2VGen-XL in the host: its network and its noise against diffusers, and windows with images of their own."""

import json
import os
import shutil
from pathlib import Path

import comfy.sample
import folder_paths
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from long_video_pack.glv_core.hosts.comfy.editing.refine import RefineOptions, refine_long
from long_video_pack.nodes.chunk_key_frames import ChunkKeyFrames
from long_video_pack.nodes.i2vgen_xl_conditioning import I2VGenXLConditioning
from long_video_pack.nodes.load_i2vgen_xl import LoadI2VGenXL
from long_video_pack.nodes.refine_long_video import RefineLongVideo
from tiny_i2vgen_xl import SCHEDULER, UNET, WIDTH, write_folder
from torch.testing import assert_close
from video_files import execute

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.every_host
NAME = "tiny-i2vgen-xl"
SIDE = 64  # pixels
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    path = Path(folder_paths.get_folder_paths("diffusers")[0], NAME)
    path.mkdir(parents=True, exist_ok=True)
    write_folder(path, tiny.fill)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def loaded(folder):
    return execute(LoadI2VGenXL, pipeline=NAME).args


@pytest.fixture(scope="module")
def unet(folder):
    return diffusers.I2VGenXLUNet.from_pretrained(str(folder / "unet"), variant="fp16", torch_dtype=torch.float32).eval()


def pixels(frames: int, seed: int = 1, side: int = SIDE) -> torch.Tensor:
    return torch.rand(frames, side, side, 3, generator=torch.Generator().manual_seed(seed))


def conditioned(loaded, images, **options) -> tuple[list, list]:
    _, clip, vae, vision = loaded
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(each)) for each in ("a red circle", "blue")]
    return execute(
        I2VGenXLConditioning, positive=prompts[0], negative=prompts[1], clip_vision=vision, vae=vae, image=images,
        **options,
    ).args  # fmt: skip


def pipelines_image_latents(vae, image: torch.Tensor, num_frames: int) -> torch.Tensor:
    """What diffusers' pipeline makes of an image, ``1 4 t h w``, its VAE's mean in place of a sample."""
    latent = vae.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    frames = [latent, *(torch.full_like(latent, (frame + 1) / (num_frames - 1)) for frame in range(num_frames - 1))]
    return torch.stack(frames, dim=2)


def diffusers_conditions(folder, image: torch.Tensor, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Image latents, and what CLIP says of the image, ``1 1 width``, by diffusers and transformers."""
    vae = diffusers.AutoencoderKL.from_pretrained(str(folder / "vae")).eval()
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(str(folder / "image_encoder")).float().eval()
    processor = transformers.CLIPImageProcessor.from_pretrained(str(folder / "feature_extractor"))
    normalised = processor(
        list(image.movedim(-1, 1)), do_rescale=False, do_resize=False, do_center_crop=False, return_tensors="pt"
    ).pixel_values
    with torch.no_grad():
        return pipelines_image_latents(vae, image, num_frames), encoder(normalised).image_embeds[:, None]


def denoised(unet, x, ratio, images, seen, texts, cfg: float = 1.0) -> torch.Tensor:
    """The clean latent ``t 4 h w`` that the network's velocities say of ``x``, whose noise is ``ratio`` times 1."""
    alpha = 1 / (1 + ratio**2) ** 0.5
    level = int((noise_ratios() - ratio).abs().argmin())
    count = len(texts)
    with torch.no_grad():
        said = unet(
            (alpha * x).movedim(0, 1)[None].repeat(count, 1, 1, 1, 1), level, torch.tensor([38] * count),
            images.repeat(count, 1, 1, 1, 1), torch.cat([seen, torch.zeros_like(seen)][:count]), torch.cat(texts),
        ).sample.movedim(2, 1)  # fmt: skip
    velocity = said[0] if count == 1 else said[1] + cfg * (said[0] - said[1])
    return alpha * (alpha * x) - ratio * alpha * velocity


def noise_ratios() -> torch.Tensor:
    signal = diffusers.DDIMScheduler(**SCHEDULER).alphas_cumprod.double()
    return ((1 - signal) / signal).sqrt()


def noise_of(frames: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(frames, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(seed))


def one_step(model, prompts, noise, level: int, cfg: float) -> torch.Tensor:
    """One Euler step of the host's from nothing but noise, in the network's scale."""
    ratio = noise_ratios()[level].float()
    made = comfy.sample.sample(
        model, noise, 1, cfg, "euler", "simple", *prompts, torch.zeros_like(noise), sigmas=torch.tensor([ratio, 0.0])
    )
    return made * model.model.latent_format.scale_factor


def test_a_prediction_is_that_of_diffusers(folder, loaded, unet):
    model, noise, image = loaded[0], noise_of(5), pixels(1)
    images, seen = diffusers_conditions(folder, image, 5)
    prompts = conditioned(loaded, image)
    ratio = float(noise_ratios()[500])
    wanted = denoised(unet, noise * ratio, ratio, images, seen, [each[0][0] for each in prompts], 9.0)
    assert_close(one_step(model, prompts, noise, 500, 9.0), wanted, **CLOSE)


def test_every_window_goes_from_its_own_image(folder, loaded, unet, monkeypatch):
    """Chunks of 6 that share 2, of 14 frames: each as diffusers says it of the chunk's image, and no other."""
    video = pixels(16)
    images = execute(ChunkKeyFrames, video=video, chunk=6, overlap=2).args[0]
    assert torch.equal(images, video[[0, 4, 8]])
    prompts, noise, level = conditioned(loaded, images, chunk=6, overlap=2), noise_of(14), 400
    ratio = float(noise_ratios()[level])
    texts = [each[0][0] for each in prompts]
    windows = [
        denoised(unet, noise[start : start + 6] * ratio, ratio, *diffusers_conditions(folder, image[None], 6), texts, 3.0)
        for start, image in zip((0, 4, 8), images, strict=True)
    ]
    wanted = torch.cat([windows[0], windows[1][2:], windows[2][2:]])  # each frame is that of the earliest
    calls = []
    plain = diffusers.I2VGenXLUNet.forward

    def watched(self, sample, *given, **named):
        calls.append((sample.shape[0], named["image_latents"], named["image_embeddings"]))
        return plain(self, sample, *given, **named)

    monkeypatch.setattr(diffusers.I2VGenXLUNet, "forward", watched)
    for together in (1, 3):
        calls.clear()
        made = refined(
            loaded, noise, prompts, sigmas=torch.tensor([ratio, 0.0]), cfg=3.0, merge="earliest",
            windows_per_forward=together,
        )  # fmt: skip
        assert [rows for rows, *_ in calls] == ([2, 2, 2] if together == 1 else [6])
        assert_close(made, wanted, **CLOSE)
        shown = torch.cat([latents[:, :, 0] for _, latents, _ in calls])
        assert len(shown.unique(dim=0)) == 3
        blank = [not row.any() for _, _, embeddings in calls for row in embeddings]
        assert sum(blank) == 3


def refined(loaded, noise, prompts, samples=None, **options) -> torch.Tensor:
    """RefineLongVideo's sampling of a latent in the network's scale, with a noise that is known."""
    model = loaded[0]
    scale = model.model.latent_format.scale_factor
    values = {"steps": 1, "cfg": 9.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "strength": 1.0, **options}
    names = ("steps", "cfg", "sampler_name", "scheduler")
    sampler = SamplerOptions(0, *(values.pop(name) for name in names))
    sigmas = values.pop("sigmas", None)
    chosen = RefineOptions(values.pop("strength"), "custom", 6, 2, **values)
    plain = comfy.sample.prepare_noise
    comfy.sample.prepare_noise = lambda *_: noise
    try:
        start = torch.zeros_like(noise) if samples is None else samples / scale
        return refine_long(model, sampler, *prompts, start, chosen, sigmas) * scale
    finally:
        comfy.sample.prepare_noise = plain


def ddim(unet, x0, noise, images, seen, texts) -> torch.Tensor:
    """SDEdit by diffusers' DDIM as StreamingSVD runs it: 30 steps, of which strength 0.97 leaves 29."""
    scheduler = diffusers.DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(30)
    levels = scheduler.timesteps[1:]
    latents = scheduler.add_noise(x0, noise, levels[:1])
    for level in levels:
        with torch.no_grad():
            said = unet(
                latents.movedim(0, 1)[None].repeat(2, 1, 1, 1, 1), level, torch.tensor([38, 38]),
                images.repeat(2, 1, 1, 1, 1), torch.cat([seen, torch.zeros_like(seen)]), torch.cat(texts),
            ).sample.movedim(2, 1)  # fmt: skip
        velocity = said[1] + 9.0 * (said[0] - said[1])
        latents = scheduler.step(velocity, level, latents).prev_sample
    return latents


def test_streaming_svds_values_are_its_ddim_loop(folder, loaded, unet):
    image, x0, noise = pixels(1), noise_of(6, 8), noise_of(6)
    prompts = conditioned(loaded, image)
    wanted = ddim(unet, x0, noise, *diffusers_conditions(folder, image, 6), [each[0][0] for each in prompts])
    made = refined(loaded, noise, prompts, x0, steps=29, strength=0.96)
    assert_close(made, wanted, atol=2e-3, rtol=2e-3)
    assert not torch.allclose(made, x0, atol=0.1)
