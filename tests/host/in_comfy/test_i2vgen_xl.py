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
from long_video_pack.glv_core.hosts.comfy.families import family_of
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
    return diffusers.I2VGenXLUNet.from_pretrained(str(folder / "unet")).eval()


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


def test_a_prediction_is_that_of_diffusers(folder, loaded, unet):
    """Conditional and unconditional in one batch, as the pipeline calls the network."""
    model, frames = loaded[0], 5
    x = torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    image = pixels(1)
    images, seen = diffusers_conditions(folder, image, frames)
    prompts = conditioned(loaded, image, fps=24.0)
    with torch.no_grad():
        theirs = unet(
            x.movedim(0, 1)[None].repeat(2, 1, 1, 1, 1), 500, torch.tensor([24, 24]), images.repeat(2, 1, 1, 1, 1),
            torch.cat([seen, torch.zeros_like(seen)]), torch.cat([each[0][0] for each in prompts]),
        ).sample.movedim(2, 1)  # fmt: skip
    sampling = model.get_model_object("model_sampling")
    sigma = sampling.sigmas[500]
    denoised = [predicted(model, x, sigma, each) for each in prompts]
    alpha = 1 / (1 + sigma**2).sqrt()
    for ours, velocity in zip(denoised, theirs, strict=True):
        assert_close(ours, alpha * (alpha * x) - sigma * alpha * velocity_of(unet, velocity), **CLOSE)
