"""MS-Vid2Vid-XL in the host: its network, its noise levels, its guidance and its start, each by another way."""

import os

import comfy.sample
import comfy.samplers
import folder_paths
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from long_video_pack.glv_core.hosts.comfy.editing.refine import RefineOptions, refine_long
from long_video_pack.nodes.load_ms_vid2vid import LoadMSVid2Vid
from long_video_pack.nodes.ms_vid2vid_sigmas import MSVid2VidSigmas
from torch.testing import assert_close
from vid2vid_files import SMALL, original_file
from video_files import execute

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.every_host
NAME = "tiny_vid2vid.pth"
FRAMES, ROWS, COLUMNS = 5, 6, 8  # rows are 2 more than a multiple of 4


@pytest.fixture(scope="module")
def file():
    torch.manual_seed(0)
    unet = diffusers.UNet3DConditionModel(**SMALL).eval()
    tiny.fill(unet, 3, 0.1)
    path = os.path.join(folder_paths.get_folder_paths("diffusion_models")[0], NAME)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(original_file(unet), path)
    folder_paths.filename_list_cache.clear()
    yield unet
    os.remove(path)


def load(**options):
    return execute(LoadMSVid2Vid, unet_name=NAME, **options).args[0]


def text(seed: int) -> list:
    return tiny.text(seed, SMALL["cross_attention_dim"])


def latents(frames: int = FRAMES) -> torch.Tensor:
    return torch.randn(frames, 4, ROWS, COLUMNS, generator=torch.Generator().manual_seed(2))


def test_the_network_is_the_file_on_diffusers_own_class(file):
    """Against the same weights in diffusers' class with the same padding, called in its own form."""
    from long_video_pack.glv_core.hosts.diffusers.vid2vid import pad_rows

    unet = diffusers.UNet3DConditionModel(**SMALL).eval()
    unet.load_state_dict(file.state_dict())
    pad_rows(unet)
    model, x, level = load().model, latents(), torch.tensor([500] * FRAMES)
    context = text(1)[0][0].expand(FRAMES, -1, -1)
    with torch.no_grad():
        ours = model.diffusion_model(x, level, context=context, transformer_options={"cond_or_uncond": [0]})
        theirs = unet(x.movedim(1, 0)[None], 500, text(1)[0][0]).sample[0].movedim(0, 1)
    assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_noise_levels_are_the_released_ones(file):
    sampling = load().get_model_object("model_sampling")
    sigmas = execute(MSVid2VidSigmas).args[0]
    assert float(sigmas[0]) == pytest.approx(4.1648, abs=1e-4) and float(sigmas[-1]) == 0 and len(sigmas) == 31
    told = [int(sampling.timestep(each[None])[0]) for each in sigmas[:-1]]
    assert told == [
        599, 580, 560, 541, 522, 502, 483, 464, 444, 425, 405, 386, 367, 347, 328, 309, 289, 270, 251, 231, 212, 193,
        173, 154, 134, 115, 96, 76, 57, 38,
    ]  # fmt: skip


def test_a_step_is_that_of_velocities(file):
    """One euler step to 0, with guidance and rescale, in plain numbers of the variance-preserving kind."""
    x0, noise = latents(), torch.randn(FRAMES, 4, ROWS, COLUMNS, generator=torch.Generator().manual_seed(5))
    sigmas = execute(MSVid2VidSigmas, steps=1).args[0]
    made = refine(load(), x0, noise, sigmas)
    ratio = sigmas[0].double()
    sigma = ratio / (1 + ratio**2).sqrt()
    alpha = 1 / (1 + ratio**2).sqrt()
    start = (alpha * x0 + sigma * noise) * ratio  # as released: what it starts from, times the first ratio
    shown = (start / (1 + ratio**2).sqrt()).float()
    network = load().model.diffusion_model
    level = torch.full((FRAMES,), 599)

    def velocity(conditioning):
        context = conditioning[0][0].expand(FRAMES, -1, -1)
        with torch.no_grad():
            return network(shown, level, context=context, transformer_options={"cond_or_uncond": [0]}).double()

    wanted, unwanted = velocity(text(1)), velocity(text(0))
    mixed = unwanted + 4.0 * (wanted - unwanted)
    mixed = mixed * (0.2 * wanted.std() / mixed.std() + 0.8)
    assert_close(made.double(), alpha * shown.double() - sigma * mixed, atol=1e-4, rtol=1e-4)


def refine(model, x0, noise, sigmas, **options):
    """RefineLongVideo's sampling, with a noise that is known."""
    scale = model.model.latent_format.scale_factor
    plain = comfy.sample.prepare_noise
    comfy.sample.prepare_noise = lambda *_: noise
    try:
        return refine_long(
            model, SamplerOptions(0, 1, 4.0, "euler", "simple"), text(1), text(0), x0 / scale,
            RefineOptions(1.0, "auto", **options), sigmas,
        ) * scale  # fmt: skip
    finally:
        comfy.sample.prepare_noise = plain


@pytest.mark.parametrize("changed", [{"guidance_rescale": 0.7}, {"start_as_released": False}])
def test_every_option_changes_the_result(file, changed):
    sigmas = execute(MSVid2VidSigmas, steps=2).args[0]
    noise = torch.randn(FRAMES, 4, ROWS, COLUMNS, generator=torch.Generator().manual_seed(5))
    assert not torch.allclose(
        refine(load(), latents(), noise, sigmas), refine(load(**changed), latents(), noise, sigmas)
    )


def test_the_released_solver_takes_it_in_chunks(file, monkeypatch):
    """The host's DPM-Solver++(2M) SDE, as released, over 30 frames in chunks of 24 that share 8 and more."""
    seen, plain = set(), diffusers.UNet3DConditionModel.forward

    def watched(self, sample, *args, **named):
        seen.add(sample.shape[2])
        return plain(self, sample, *args, **named)

    monkeypatch.setattr(diffusers.UNet3DConditionModel, "forward", watched)
    sigmas = execute(MSVid2VidSigmas, steps=3).args[0]
    sampler = SamplerOptions(0, 1, 7.5, "dpmpp_2m_sde", "simple")
    options = RefineOptions(1.0, "paper")
    made = refine_long(load(), sampler, text(1), text(0), latents(30), options, sigmas)
    assert made.shape == (30, 4, ROWS, COLUMNS) and made.isfinite().all()
    assert seen == {24}
    whole = refine_long(load(), sampler, text(1), text(0), latents(30), RefineOptions(1.0, "auto"), sigmas)
    assert seen == {24, 30} and not torch.allclose(made, whole)


@pytest.mark.parametrize("rows", [8, 9])
def test_a_size_that_it_cannot_work_at_is_refused(file, rows):
    samples = torch.zeros(3, 4, rows, COLUMNS)
    with pytest.raises(ValueError, match="MS-Vid2Vid-XL needs columns"):
        refine_long(
            load(), SamplerOptions(0, 1, 4.0, "euler", "simple"), text(1), text(0), samples, RefineOptions(0.5, "auto")
        )


def test_what_is_wrong_with_a_file_is_said(file):
    with pytest.raises(ValueError, match=r"LoadMSVid2Vid: unet_name is 'none.pth'"):
        execute(LoadMSVid2Vid, unet_name="none.pth")
    with pytest.raises(ValueError, match=r"LoadMSVid2Vid: strength|MSVid2VidSigmas: num_steps is 700"):
        execute(MSVid2VidSigmas, steps=700)
