"""The StreamingT2V that comes with the pack, untrained: every part against its own library, and what runs on it."""

import re
import shutil
import sys
from fractions import Fraction

import pytest
import tiny
import torch
from comfy_api.latest import InputImpl, Types
from small_streamingt2v import random_model
from long_video_pack.glv_core.hosts.comfy.loading import streamingt2v as loading
from long_video_pack.glv_core.streaming import chunk_seed
from long_video_pack.nodes.anchor_guidance import AnchorGuidance
from long_video_pack.nodes.encode_long_video import EncodeLongVideo
from long_video_pack.nodes.load_streamingt2v import LoadStreamingT2V
from long_video_pack.nodes.long_latent import LongLatent
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from long_video_pack.nodes.refine_long_video import RefineLongVideo
from long_video_pack.nodes.streaming_extend import StreamingExtend
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from video_files import execute

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.every_host
PROMPTS = ("a red circle moving right on a white background", "Two Unknown words, 7!", "", "a " * 60)
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.setattr(loading, "STREAMING_T2V_DIR", random_model()[0])
    return random_model()[0]


def load(base=loading.IN_THE_CHECKPOINT):
    return loading.Loaded(*execute(LoadStreamingT2V, checkpoint=loading.SMALL, base=base).args)


@pytest.fixture
def loaded(folder):
    return load()


def pixels(frames, height=64, width=64, seed=1):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def text_of(clip, prompt):
    return clip.encode_from_tokens(clip.tokenize(prompt))


def test_text_is_that_of_transformers(folder, loaded):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    encoder = transformers.CLIPTextModel.from_pretrained(str(folder / "text_encoder")).float().eval()
    for prompt in PROMPTS:
        ids = tokenizer([prompt], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        assert_close(text_of(loaded.clip, prompt), encoder(ids).last_hidden_state, **CLOSE)


def test_the_vae_is_that_of_diffusers(folder, loaded):
    vae = diffusers.AutoencoderKL.from_pretrained(str(folder / "vae"), torch_dtype=torch.float32).eval()
    frames = pixels(5)
    wanted = vae.encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    latents = loaded.vae.encode(frames)
    assert latents.shape == (5, 4, 8, 8)
    assert_close(latents, wanted, **CLOSE)
    assert_close(loaded.vae.encode(pixels(1, 70, 64)), loaded.vae.encode(pixels(1, 70, 64)[:, 3:67]))
    said = (vae.decode(wanted).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert_close(loaded.vae.decode(wanted), said, **CLOSE)
    assert_close(loaded.vae.decode_tiled(wanted, tile_x=64, tile_y=64, overlap=8), said, **CLOSE)
    assert_close(loaded.vae.encode_tiled(frames, tile_x=512, tile_y=512, overlap=64), wanted, **CLOSE)


def test_the_vae_is_one_of_the_hosts(loaded):
    """What its nodes, and ours, ask a VAE."""
    vae = loaded.vae
    assert (vae.latent_channels, vae.latent_dim, vae.spacial_compression_encode()) == (4, 2, 8)
    assert vae.spacial_compression_decode() == 8 and vae.temporal_compression_decode() is None
    one, two = (vae.memory_used_decode((1, 4, side, side), vae.vae_dtype) for side in (8, 16))
    assert 0 < one < two
    assert vae.model_size() == vae.patcher.model_size() == sum(each.nbytes for each in vae.get_sd().values())
    small = [vae.decode(torch.zeros(3, 4, 8, 8) + number)[0] for number in range(2)]
    assert not torch.allclose(*small)
    latent, length, fps = execute(LongLatent, vae=vae, width=64, height=64, length=40, unit="frames", fps=8.0).args
    assert (latent["samples"].shape, length, fps) == ((40, 4, 8, 8), 40, 8.0)
    frames = pixels(30)
    clip = InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(8)))
    assert_close(execute(EncodeLongVideo, vae=vae, video=clip).args[0]["samples"], vae.encode(frames), **CLOSE)


def test_its_weights_keep_the_names_of_the_folder(folder, loaded):
    file = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    kept = loaded.vae.get_sd()
    assert kept.keys() == file.keys()
    assert all(torch.equal(kept[name], file[name].float()) for name in file)


def test_images_are_seen_as_transformers_sees_them(folder, loaded):
    processor = transformers.CLIPImageProcessor.from_pretrained(str(folder / "feature_extractor"))
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(str(folder / "image_encoder")).float().eval()
    for size, apart in (((64, 64), 1e-4), ((96, 96), 0.02)):  # transformers makes images smaller in 8 bits
        frames = pixels(3, *size)
        images = list((frames * 255).round().byte().movedim(-1, 1))
        wanted = encoder(processor(images, return_tensors="pt").pixel_values).image_embeds
        assert wanted.std() > 0.1 and wanted.shape == (3, 64)
        assert_close(loaded.clip_vision.encode_image(frames)["image_embeds"], wanted, atol=apart, rtol=0)


def test_without_frames_the_unet_is_that_of_diffusers(folder, loaded):
    unet = diffusers.UNet3DConditionModel.from_pretrained(str(folder / "unet"), torch_dtype=torch.float32).eval()
    x = torch.randn(32, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    texts = [text_of(loaded.clip, prompt) for prompt in PROMPTS[:2]]
    context = torch.cat([each.expand(16, -1, -1) for each in texts])
    net = loaded.model.model.diffusion_model
    ours = net(x, torch.full((32,), 300), context=context, transformer_options={"cond_or_uncond": [0, 1]})
    theirs = unet(x.unflatten(0, (2, 16)).transpose(1, 2), 300, torch.cat(texts)).sample.transpose(1, 2).flatten(0, 1)
    assert_close(ours, theirs, **CLOSE)


def test_with_frames_and_anchor_it_is_what_was_exported(loaded):
    net, ours = random_model()[1], loaded.model.model.diffusion_model.unet
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 4, 16, 8, 8, generator=generator)
    text = text_of(loaded.clip, PROMPTS[0])
    before = torch.rand(1, 8, 3, 64, 64, generator=generator) * 2 - 1
    seen = loaded.clip_vision.encode_image(pixels(1))["image_embeds"][None]
    wanted = net(x, 500, text, net.resampler(seen), before)
    assert_close(ours(x, 500, text, ours.resampler(seen), ours.encode_condition(before)), wanted, **CLOSE)
    for less in (net(x, 500, text, None, before), net(x, 500, text, net.resampler(seen))):
        assert (wanted - less).abs().max() > 1e-2


def stream(loaded, **changed):
    schedule = MultiPromptSchedule.execute(
        clip=loaded.clip, prompts=f"0: {PROMPTS[0]}\n20: a blue square moving down", length=40, fps=8.0,
        transition="linear", transition_frames=4,
    )  # fmt: skip
    given = {
        "model": loaded.model, "vae": loaded.vae, "clip_vision": loaded.clip_vision, "positive": schedule.args[0],
        "negative": [[text_of(loaded.clip, ""), {}]], "length": 40, "seed": 3, "steps": 2, "cfg": 3.0, "chunk": 16,
        "overlap": 8, "width": 64, "height": 64, "anchor": "first", "sampler_name": "euler",
        "scheduler": "ddim_uniform", "run_name": "",
    }  # fmt: skip
    made = execute(StreamingExtend, **{**given, **changed})
    return made.args[0]["samples"], made.args[1]


def test_it_streams_from_text_by_frames_and_anchor(loaded):
    samples, report = stream(loaded)
    assert samples.shape == (40, 4, 8, 8) and samples.isfinite().all()
    assert "conditional attention" in report and "4 chunks of 16 latent frames, 8 of them known" in report
    without, _ = stream(loaded, anchor="none")
    assert torch.equal(samples[:16], without[:16]) and not torch.allclose(samples[16:], without[16:])
    positive, negative = ([[text_of(loaded.clip, prompt), {}]] for prompt in (PROMPTS[0], ""))
    first = tiny.ksampler(
        loaded.model, {"samples": torch.zeros(16, 4, 8, 8)}, seed=chunk_seed(3, 0), steps=2, scheduler="ddim_uniform",
        positive=positive, negative=negative,
    )  # fmt: skip
    assert_close(samples[:16], first)
    for merger in loaded.model.model.diffusion_model.unet.mergers:
        merger.proj_out.weight.zero_()
        merger.proj_out.bias.zero_()
    blind, _ = stream(loaded, anchor="none")
    assert torch.equal(blind[:16], without[:16]) and not torch.allclose(blind[16:], without[16:])


def test_anchor_guidance_and_prompts_on_a_timeline_go_together(loaded):
    guided = {
        weight: stream(loaded, model=execute(AnchorGuidance, model=loaded.model, anchor_weight=weight).args[0])[0]
        for weight in (3.0, 9.0)
    }
    plain, _ = stream(loaded)
    assert_close(guided[3.0], plain)  # as the text is guided
    assert torch.equal(guided[9.0][:16], plain[:16])
    assert (guided[9.0] - plain)[16:].abs().max() > 1e-2


def test_it_goes_on_from_frames_and_finds_its_chunks_when_loaded_again(loaded):
    frames = pixels(16)
    given = {"image": frames, "anchor": "image", "anchor_image": frames[:1], "run_name": "small"}
    samples, report = stream(loaded, **given)
    assert_close(samples[:16], loaded.vae.encode(frames))
    assert " 0 chunks were found" in report
    same, report = stream(load(), **given)
    assert torch.equal(same, samples) and " 3 chunks were found" in report


def test_windows_of_16_frames_co_denoise_and_refine(loaded):
    seen = []
    loaded.model.model.diffusion_model.register_forward_pre_hook(
        lambda _, args, named: seen.append((args[0] if args else named["x"]).shape[0]), with_kwargs=True
    )
    positive, negative = ([[text_of(loaded.clip, prompt), {}]] for prompt in (PROMPTS[0], ""))
    options = {"window": 16, "overlap": 8, "positive": positive, "negative": negative, "per_forward": 1, "steps": 2}
    made = tiny.co_denoise(loaded.model, {"samples": torch.zeros(40, 4, 8, 8)}, **options)
    assert made.shape == (40, 4, 8, 8) and made.isfinite().all()
    assert set(seen) == {32}  # both halves of guidance
    seen.clear()
    refined = execute(
        RefineLongVideo, model=loaded.model, video=pixels(24), vae=loaded.vae, seed=1, steps=4, cfg=3.0,
        sampler_name="euler", scheduler="ddim_uniform", positive=positive, negative=negative, strength=0.5, width=64,
        height=64, chunks="custom", chunk=16, overlap=8, windows_per_forward=1,
    ).args[0]["samples"]  # fmt: skip
    assert refined.shape == (24, 4, 8, 8) and set(seen) == {32}
    assert not torch.allclose(refined, loaded.vae.encode(pixels(24)), atol=1e-2)


def test_the_host_can_load_each_part_once_more(loaded):
    for patcher in (loaded.model, loaded.clip.patcher, loaded.vae.patcher):
        make, given = patcher.cached_patcher_init
        again, first = make(*given, disable_dynamic=True).model.state_dict(), patcher.model.state_dict()
        assert again.keys() == first.keys() and all(torch.equal(again[name], first[name]) for name in first)
        assert getattr(make(*given, disable_dynamic=True), "is_dynamic", bool)() is False


def test_what_it_needs_is_said(folder, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"LoadStreamingT2V: base is 'x', and .*Set base to 'in the checkpoint'"):
        load("x")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for name in [name for name in sys.modules if re.search(r"hosts\.diffusers\.\w+$", name)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match=r"needs diffusers .*pip install diffusers"):
        load()
    monkeypatch.setattr(loading, "STREAMING_T2V_DIR", tmp_path / "streaming_t2v")
    with pytest.raises(ValueError, match=r"unet, text_encoder, .*streaming_t2v\.safetensors is missing in .*Download"):
        load()


@pytest.mark.parametrize(
    ("part", "file", "name"),
    [
        ("image_encoder", "model", "vision_model.post_layernorm.bias"),
        ("text_encoder", "model", "text_model.final_layer_norm.bias"),
        ("vae", "diffusion_pytorch_model", "decoder.conv_out.bias"),
    ],
)
def test_a_part_that_is_not_whole_is_refused(folder, monkeypatch, tmp_path, part, file, name):
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / part / f"{file}.safetensors"
    weights = load_file(path)
    weights["odd"] = weights.pop(name)
    save_file(weights, path)
    monkeypatch.setattr(loading, "STREAMING_T2V_DIR", tmp_path / "m")
    with pytest.raises(ValueError, match=f"The {part} of 'm' lacks {name}"):
        load()
    save_file({**weights, name: weights["odd"].clone()}, path)
    with pytest.raises(ValueError, match=f"The {part} of 'm' has the unknown odd"):
        load()
