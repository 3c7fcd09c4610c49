"""I2VGen-XL in the host: its network and its noise against diffusers, and windows with images of their own."""

import json
import shutil
from pathlib import Path

import comfy.sample
import folder_paths
import pytest
import tiny
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.sampling import SamplerOptions
from long_video_pack.glv_core.hosts.comfy.editing.refine import RefineOptions, refine_long
from long_video_pack.glv_core.hosts.comfy.loading import i2vgen_xl as loading
from long_video_pack.nodes.chunk_key_frames import ChunkKeyFrames
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.i2vgen_xl_conditioning import I2VGenXLConditioning
from long_video_pack.nodes.load_i2vgen_xl import LoadI2VGenXL
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
from long_video_pack.nodes.refine_long_video import RefineLongVideo
from long_video_pack.nodes.streaming_extend import StreamingExtend
from tiny_i2vgen_xl import SCHEDULER, write_folder
from torch.testing import assert_close
from video_files import execute

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
NAME = "tiny-i2vgen-xl"
SIDE = 64  # pixels
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    path = Path(folder_paths.get_folder_paths("diffusers")[0], NAME)
    path.mkdir(parents=True, exist_ok=True)
    write_folder(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def loaded(folder):
    return execute(LoadI2VGenXL, pipeline=NAME).args


@pytest.fixture(scope="module")
def unet(folder):
    return diffusers.I2VGenXLUNet.from_pretrained(
        str(folder / "unet"), variant="fp16", torch_dtype=torch.float32
    ).eval()


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
        denoised(unet, part * ratio, ratio, *diffusers_conditions(folder, image[None], 6), texts, 3.0)
        for part, image in zip((noise[:6], noise[4:10], noise[8:]), images, strict=True)
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


def test_text_is_that_of_the_last_but_one_layer(folder, loaded):
    """As diffusers' pipeline, with its clip_skip of 1: the last norm on what the layer before the last says."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    assert tokenizer.pad_token_id == 0 != tokenizer.eos_token_id
    encoder = transformers.CLIPTextModel.from_pretrained(str(folder / "text_encoder")).float().eval()
    norm = next(each for name, each in encoder.named_modules() if name.endswith("final_layer_norm"))
    for prompt in ("High Quality, HQ, detailed.", "", "a " * 60):
        ids = tokenizer([prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            wanted = norm(encoder(ids, output_hidden_states=True).hidden_states[-2])
        clip = loaded[1]
        assert_close(clip.encode_from_tokens(clip.tokenize(prompt)), wanted, **CLOSE)


def test_key_frames_of_a_video_that_is_covered():
    """The last chunk begins earlier, and so does its key frame."""
    video = pixels(16, side=16)
    kept = execute(ChunkKeyFrames, video=video, chunk=6, overlap=2, length_policy="cover").args[0]
    assert torch.equal(kept, video[[0, 4, 8, 10]])
    hundred = execute(ChunkKeyFrames, video=pixels(100, side=8)).args[0]
    assert torch.equal(hundred, pixels(100, side=8)[[0, 26, 52]])  # StreamingSVD: 90 frames of 100
    assert len(execute(ChunkKeyFrames, video=pixels(38, side=8)).args[0]) == 1


def test_a_window_that_begins_elsewhere_takes_the_image_before_it(loaded, monkeypatch):
    """Windows of 5 that share 3, of 16 frames whose chunks begin at 0, 4, 8 and 10: the last that is no later."""
    images, seen = pixels(4), []
    prompts = conditioned(loaded, images, chunk=6, overlap=2)
    latents = loaded[2].encode(images) * 0.18215
    model, noise = loaded[0].clone(), torch.arange(16.0)[:, None, None, None].repeat(1, 4, 8, 8)

    def forward(apply_model, arguments):
        shown = arguments["input"]
        frame = shown[0, 0, 0, 0] / shown[-1, 0, 0, 0]
        seen.append((round(float(4 * frame / (1 - frame))), arguments["c"]["image_latents"][0]))
        return shown * 0

    model.set_model_unet_function_wrapper(forward)
    monkeypatch.setattr(comfy.sample, "prepare_noise", lambda *_: noise)
    tiny.co_denoise(
        model, {"samples": torch.zeros(16, 4, 8, 8)}, window=5, overlap=3, per_forward=1, steps=1, cfg=1.0,
        positive=prompts[0], negative=prompts[1], schedule="static",
    )  # fmt: skip
    assert [frame for frame, _ in seen] == [0, 2, 4, 6, 8, 10, 11]
    assert_close(torch.stack([shown for _, shown in seen]), latents[[0, 0, 1, 1, 2, 3, 3]], **CLOSE)


def test_two_passes_as_a_user_makes_them(loaded):
    """Key frames as one clip from the input image, then all chunks, each from its refined key frame."""
    model, _, vae, _ = loaded
    video, image = pixels(16), pixels(1, 9)
    values = {"model": model, "vae": vae, "steps": 2, "sampler_name": "ddim", "scheduler": "ddim_uniform", "seed": 1}
    keys = execute(ChunkKeyFrames, video=video, chunk=6, overlap=2).args[0]
    first = conditioned(loaded, image)
    short = execute(
        RefineLongVideo, video=keys, positive=first[0], negative=first[1], chunks="streaming_svd", **values
    ).args[0]  # fmt: skip
    sharp = vae.decode(short["samples"])
    assert sharp.shape == keys.shape and not torch.allclose(sharp, keys, atol=0.05)
    made = {}
    for name, images in (("refined", sharp), ("as they were", keys), ("one", image)):
        second = conditioned(loaded, images, chunk=6, overlap=2)
        made[name] = execute(
            RefineLongVideo, video=video, positive=second[0], negative=second[1], chunks="custom", chunk=6, overlap=2,
            length_policy="trim", **values,
        ).args[0]["samples"]  # fmt: skip
        assert made[name].shape == (14, 4, 8, 8) and made[name].isfinite().all()
    assert not torch.allclose(made["refined"], made["as they were"], atol=1e-3)
    assert not torch.allclose(made["refined"], made["one"], atol=1e-3)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "lcm"])
def test_samplers_take_it_alike(loaded, sampler):
    """One window is the host's KSampler bit for bit, with Co-Denoise KSampler and with Co-Denoise Model."""
    model, prompts = loaded[0], conditioned(loaded, pixels(1))
    given = {"positive": prompts[0], "negative": prompts[1], "sampler": sampler, "steps": 2}
    latent = {"samples": torch.zeros(5, 4, 8, 8)}
    host = tiny.ksampler(model, latent, **given)
    assert host.isfinite().all() and host.std() > 0
    assert torch.equal(tiny.co_denoise(model, latent, **given), host)
    patched = execute(CoDenoiseModel, model=model, window=5, overlap=2).args[0]
    assert torch.equal(tiny.ksampler(patched, latent, **given), host)


def test_tiles_see_their_part_of_the_image(loaded):
    """A tile of the whole frame is the whole; smaller ones are shown as much of the image as of the video."""
    model, prompts, shapes = loaded[0].clone(), conditioned(loaded, pixels(1)), []

    def forward(apply_model, arguments):
        shapes.append((tuple(arguments["input"].shape[-2:]), tuple(arguments["c"]["image_latents"].shape[-2:])))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(forward)
    given, sigmas = ((model, *loaded[1:]), noise_of(5), prompts), torch.tensor([5.0, 0.0])
    assert_close(
        refined(*given, sigmas=sigmas, tile_width=64, tile_height=64, tile_overlap=0),
        refined(*given, sigmas=sigmas),
        **CLOSE,
    )
    shapes.clear()
    refined(*given, sigmas=sigmas, tile_width=32, tile_height=32, tile_overlap=16)
    assert set(shapes) == {((4, 4), (4, 4))}


@pytest.mark.parametrize("changed", [{"fps": 8.0}, {"image": 7}, {"width": 64, "height": 64, "image_side": 96}])
def test_what_it_is_told_changes_the_result(loaded, changed):
    image = pixels(1, changed.get("image", 1), changed.get("image_side", SIDE))
    options = {name: changed[name] for name in changed if not name.startswith("image")}
    before = one_step(loaded[0], conditioned(loaded, pixels(1)), noise_of(3), 400, 5.0)
    after = one_step(loaded[0], conditioned(loaded, image, **options), noise_of(3), 400, 5.0)
    assert (before - after).abs().max() > 1e-2


def test_mistakes_are_said_before_the_first_forward_pass(loaded, monkeypatch):
    model, image = loaded[0], pixels(1)
    monkeypatch.setattr(diffusers.I2VGenXLUNet, "forward", None)
    latent = {"samples": torch.zeros(14, 4, 8, 8)}

    def sample(prompts, samples=latent):
        return tiny.ksampler(model, samples, positive=prompts[0], negative=prompts[1])

    plain = loaded[1].encode_from_tokens_scheduled(loaded[1].tokenize("a"))
    with pytest.raises(ValueError, match=r"needs an image .* I2VGen-XL Conditioning"):
        sample((plain, plain))
    with pytest.raises(ValueError, match=r"image is encoded at 64 x 64 pixels and the video at 128 x 64. Set width"):
        sample(conditioned(loaded, image), {"samples": torch.zeros(5, 4, 8, 16)})
    with pytest.raises(ValueError, match=r"image has 2 images, and 14 frames in chunks of 6 that share 2 are 3. Give"):
        sample(conditioned(loaded, pixels(2), chunk=6, overlap=2))
    other = conditioned(loaded, image)[0]
    other[0][1]["i2vgen_xl_seen"] = torch.zeros(1, 32)
    with pytest.raises(ValueError, match=r"clip_vision says 32 numbers of an image, and the model takes 64. Connect"):
        sample((other, other), {"samples": torch.zeros(5, 4, 8, 8)})
    wan = execute(LoadVideoPipeline).args[2]
    with pytest.raises(
        ValueError, match=r"I2VGenXLConditioning: vae makes latents of 16 channels and 5 axes; .* have 4"
    ):
        conditioned((*loaded[:2], wan, loaded[3]), image)
    for node in (ChunkKeyFrames, I2VGenXLConditioning):
        assert node.validate_inputs(chunk=6, overlap=2) is True
        assert "overlap must be below chunk" in node.validate_inputs(chunk=6, overlap=6)
    with pytest.raises(ValueError, match=r"ChunkKeyFrames: chunk is 38 frames and the video has 5; .* Lower chunk"):
        execute(ChunkKeyFrames, video=pixels(5))


def test_what_is_wrong_with_a_folder_is_said(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"LoadI2VGenXL: There is no diffusers folder '../x'"):
        execute(LoadI2VGenXL, pipeline="../x")
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    assert loading.list_pipelines() == ["broken"]
    config = json.loads((broken / "unet" / "config.json").read_text())
    (broken / "unet" / "config.json").write_text(json.dumps({**config, "layers_per_block": 2}))
    with pytest.raises(ValueError, match=r"LoadI2VGenXL: Weights .* the unet lacks down_blocks.0.resnets.1"):
        execute(LoadI2VGenXL, pipeline="broken")
    scheduler = broken / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "sample"}))
    with pytest.raises(ValueError, match=r"prediction_type of 'broken' is 'sample'"):
        execute(LoadI2VGenXL, pipeline="broken")
    for part in ("unet", "scheduler", "tokenizer"):
        shutil.rmtree(broken / part)
    with pytest.raises(ValueError, match=(
        r"'broken' lacks unet/config.json, unet/\*.safetensors, tokenizer/vocab.json, tokenizer/merges.txt, "
        r"scheduler/scheduler_config.json. Put them from ali-vilab/i2vgen-xl, as on Hugging Face, into .*broken"
    )):  # fmt: skip
        execute(LoadI2VGenXL, pipeline="broken")
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps({**index, "unet": ["diffusers", "UNet3DConditionModel"]}))
    with pytest.raises(ValueError, match=r"whose unet is UNet3DConditionModel. This node is for ali-vilab/i2vgen-xl"):
        execute(LoadI2VGenXL, pipeline="broken")


def test_the_model_is_loaded_once_more_the_same(loaded):
    """Other devices' nodes ask for it."""
    load, given = loaded[0].cached_patcher_init
    again = load(*given, disable_dynamic=True)
    one, two = (each.model.state_dict() for each in (loaded[0], again))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_published_vae_is_the_hosts_own(folder, tmp_path, monkeypatch):
    """In the types and with the memory that the host has for it; its numbers are those of diffusers."""
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])
    shutil.copytree(folder, tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / "vae")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2,
    ).half()  # fmt: skip
    vae.save_pretrained(tmp_path / "whole" / "vae")
    made, frames = execute(LoadI2VGenXL, pipeline="whole").args[2], pixels(1, side=32)
    assert type(made.first_stage_model).__module__.startswith("comfy.")
    with torch.no_grad():
        wanted = vae.float().encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert_close(made.encode(frames).float(), wanted, **CLOSE)


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_precision_is_near(folder, loaded, monkeypatch, dtype, apart):
    monkeypatch.setattr(loading, "network_dtype", lambda parameters: dtype)
    half, prompts = execute(LoadI2VGenXL, pipeline=NAME).args[0], conditioned(loaded, pixels(1))
    assert half.model.get_dtype() == dtype
    whole, made = (one_step(model, prompts, noise_of(5), 400, 2.0) for model in (loaded[0], half))
    assert (made - whole).abs().max() < apart * whole.std() and not torch.equal(made, whole)


def test_streaming_extend_goes_on_with_it(loaded):
    """With one image for all chunks, the overlap held."""
    model, _, vae, _ = loaded
    prompts = conditioned(loaded, pixels(1))
    made = execute(
        StreamingExtend, model=model, vae=vae, positive=prompts[0], negative=prompts[1], length=8, chunk=5, overlap=2,
        width=SIDE, height=SIDE, steps=2, run_name="",
    ).args[0]["samples"]  # fmt: skip
    assert made.shape == (8, 4, 8, 8) and made.isfinite().all() and made.std() > 0
