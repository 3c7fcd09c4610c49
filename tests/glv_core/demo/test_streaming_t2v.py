"""The shipped StreamingT2V: its files fit each other, and its clips show their prompts."""

import json

import pytest
from safetensors.torch import load_file

from glv_core.demo import STREAMING_T2V_DIR
from glv_core.demo.clips import SIZE
from glv_core.streamingt2v import load_checkpoint
from glv_core.streamingt2v.checkpoint import ADDED, check_unet


def config_of(part):
    return json.loads((STREAMING_T2V_DIR / part / "config.json").read_text())


def test_what_streaming_adds_fits_the_other_parts():
    added = load_checkpoint(STREAMING_T2V_DIR / ADDED)
    check_unet(load_file(STREAMING_T2V_DIR / "unet" / "diffusion_pytorch_model.safetensors"), added.sizes)
    text, image = config_of("text_encoder"), config_of("image_encoder")
    assert added.sizes.text_width == text["hidden_size"] == image["projection_dim"]
    assert added.sizes.text_tokens == text["max_position_embeddings"]
    assert added.sizes.latent_channels == config_of("vae")["latent_channels"] and image["image_size"] == SIZE


def test_its_files_name_no_place_of_their_makers():
    texts = [path.read_text() for path in STREAMING_T2V_DIR.rglob("*") if path.suffix in {".json", ".md", ".txt"}]
    assert len(texts) >= 8 and not [text for text in texts if "/tmp" in text or "/root" in text]


def test_its_clips_show_their_prompts():
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    pytest.importorskip("sentencepiece")
    from training.streamingt2v.evaluate import evaluate_clips, load_pipeline

    scores = evaluate_clips(load_pipeline(STREAMING_T2V_DIR), num_prompts=8, steps=20)
    # By chance one of six colours, three shapes and backgrounds, and four ways.
    assert min(scores["colour"], scores["shape"]) >= 0.85
    assert scores["background"] >= 0.6 and scores["direction"] >= 0.5
