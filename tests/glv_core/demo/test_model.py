"""The shipped demo model: its files, its parts and a few clips it draws."""

import json
import math

import pytest
import torch

from glv_core.demo import MODEL_DIR
from glv_core.demo.clips import Scene, random_scene, render
from glv_core.demo.detector import agreement, read_clip

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

PROMPTS = [
    "a red circle moving right on a white background",
    "a blue square moving up on a black background",
    "yellow triangle on a gray background, moving left",
    "on a white background a green circle moves down",
]


@pytest.fixture(scope="module")
def pipeline():
    from training.demo.evaluate import load_pipeline

    return load_pipeline(MODEL_DIR)


def test_folder_is_small_and_complete():
    files = [path for path in MODEL_DIR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20e6
    index = json.loads((MODEL_DIR / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    for part in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert index[part][1] is not None and (MODEL_DIR / part).is_dir()
    assert (MODEL_DIR / "tokenizer" / "spiece.model").is_file()
    for path in files:
        if path.suffix in {".json", ".md"}:
            assert "/tmp" not in path.read_text() and "/root" not in path.read_text()


def test_configs_fit_what_comfyui_derives():
    transformer = json.loads((MODEL_DIR / "transformer" / "config.json").read_text())
    assert transformer["attention_head_dim"] == 128
    assert transformer["text_dim"] == 4096 and transformer["freq_dim"] == 256
    assert transformer["cross_attn_norm"] is True and transformer["patch_size"] == [1, 2, 2]
    vae = json.loads((MODEL_DIR / "vae" / "config.json").read_text())
    assert vae["z_dim"] == 16 and vae["dim_mult"] == [1, 2, 4, 4] and vae["num_res_blocks"] == 2
    assert vae["temperal_downsample"] == [False, True, True] and vae["attn_scales"] == []
    assert json.loads((MODEL_DIR / "text_encoder" / "config.json").read_text())["d_model"] == 4096


def test_tokenizer_gives_the_ids_of_sentencepiece():
    import sentencepiece
    from transformers import AutoTokenizer

    folder = MODEL_DIR / "tokenizer"
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"), add_eos=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    texts = [
        *PROMPTS,
        "",
        "An orange dog!",
        "  two  spaces\nand a line ",
        "100% (maybe) [no] {x} ~ a_b",
        "naïve ünïcode",
    ]
    for text in texts:
        ids = tokenizer(text).input_ids
        assert ids == reference.encode(text)
        assert ids[-1] == 1
    padded = tokenizer("a red circle", padding="max_length", max_length=512).input_ids
    assert len(padded) == 512 and padded[-1] == 0


def test_raw_latents_have_the_published_statistics(pipeline):
    generator = torch.Generator().manual_seed(4)
    clips = torch.stack([render(random_scene(generator), 61) for _ in range(24)]).transpose(1, 2) * 2 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(clips).latent_dist.mode()
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)
    normal = (latents - mean) / std
    assert normal.mean(dim=(0, 2, 3, 4)).abs().max() < 0.35
    spread = normal.std(dim=(0, 2, 3, 4))
    assert spread.min() > 0.6 and spread.max() < 1.5


def test_vae_rebuilds_clips(pipeline):
    from training.demo.evaluate import evaluate_vae

    result = evaluate_vae(pipeline.vae, num_clips=4, num_frames=61)
    assert result["psnr"] > 28
    assert result["agreement"] > 0.97 and result["found"] > 0.97
    assert 0.8 < result["boundary_ratio"] < 1.4
    assert 0.8 < result["late_boundary_ratio"] < 1.4


def test_vae_in_one_pass_is_the_stock_vae(pipeline):
    from training.demo import vae_parallel

    clip = render(Scene("square", "cyan", "gray", "left", 12.0, 60.0), 13).transpose(0, 1)[None] * 2 - 1
    with torch.no_grad():
        stock = pipeline.vae.encode(clip).latent_dist.parameters
        assert torch.allclose(vae_parallel.encode(pipeline.vae, clip), stock, atol=1e-3)
        latents = stock[:, :16]
        decoded = vae_parallel.decode(pipeline.vae, latents).clamp(-1, 1)
        assert torch.allclose(decoded, pipeline.vae.decode(latents).sample, atol=1e-3)


def test_short_text_is_the_stock_512_tokens(pipeline):
    import copy

    from training.demo.text import PromptEncoder
    from training.demo.train_transformer import host_text, short_text, use_short_text

    prompts = PromptEncoder(MODEL_DIR / "tokenizer" / "spiece.model")
    latents = torch.randn(2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([250.0, 900.0])
    with torch.no_grad():
        embeddings = prompts(pipeline.text_encoder, [PROMPTS[0], ""])
        stock, _ = pipeline.encode_prompt([PROMPTS[0], ""], do_classifier_free_guidance=False, max_sequence_length=512)
        assert torch.allclose(host_text(embeddings), stock, atol=1e-4)
        long = pipeline.transformer(latents, times, stock, return_dict=False)[0]
        short = copy.deepcopy(pipeline.transformer)
        use_short_text(short)
        result = short(latents, times, short_text(embeddings), return_dict=False)[0]
    assert torch.allclose(result, long, atol=1e-3 * float(long.std()))
    assert math.isfinite(float(result.sum()))


def test_clips_show_their_prompts(pipeline):
    from training.demo.evaluate import sample

    clips = sample(pipeline, PROMPTS, num_frames=61, steps=20, seed=3)
    assert clips.shape == (4, 61, 3, 64, 64)
    scores = [agreement(read_clip(clip), prompt) for clip, prompt in zip(clips, PROMPTS, strict=True)]
    for kind in ("colour", "shape", "background", "direction"):
        assert sum(score[kind] for score in scores) / len(scores) > 0.9, (kind, scores)


def test_a_closed_loop_flows_into_its_beginning_and_moves(pipeline):
    from glv_core.co_denoise import CoDenoiseSettings
    from glv_core.hosts.diffusers import generate, timebase_for
    from glv_core.metrics import frame_differences
    from glv_core.prompts import parse_schedule

    timebase = timebase_for(pipeline, 253, 16.0)  # 64 latent frames, which a loop makes 256 frames of
    schedule = parse_schedule("a red circle moving right on a white background", num_frames=253, fps=16.0)
    frames = generate(
        pipeline, schedule, timebase, CoDenoiseSettings(16, 4, "shifted", closed_loop=True), seed=2,
        num_inference_steps=20, guidance_scale=2.0, height=64, width=64, progress=lambda *_: None,
    )  # fmt: skip
    assert len(frames) == 256
    around = torch.cat([frames[-8:], frames[:8]])
    at_the_loop_point = frame_differences(around)[7:11].mean()  # the steps into and inside the first latent frame
    assert at_the_loop_point <= 1.1 * frame_differences(frames).mean()
    reading = read_clip(around)
    assert reading.direction == "right" and reading.found > 0.9
    assert read_clip(frames).direction == "right"
