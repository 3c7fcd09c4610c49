"""The exported folder: what loads it, what is in it and how large it is."""

import json

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from diffusers import TextToVideoSDPipeline
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from training.streamingt2v.evaluate import evaluate_clips, load_pipeline, sample
from training.streamingt2v.export import export
from training.streamingt2v.text import load_tokenizer, new_text_encoder, token_ids
from training.streamingt2v.train_image import new_image_encoder, prepare
from training.streamingt2v.train_vae import new_vae
from training.streamingt2v.unet import new_unet

PARTS = {
    "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model",
    "image_encoder": "model",
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(out, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    parts = new_vae(), new_unet(), new_text_encoder(load_tokenizer(out / "tokenizer")), new_image_encoder()
    size = export(folder, out / "tokenizer", *parts)
    return folder, parts, size


def test_the_pipeline_of_diffusers_loads_it(exported):
    folder, (vae, unet, text_encoder, _), _ = exported
    pipeline = load_pipeline(folder)
    assert type(pipeline) is TextToVideoSDPipeline
    for loaded, made in ((pipeline.vae, vae), (pipeline.unet, unet), (pipeline.text_encoder, text_encoder)):
        loaded, made = loaded.state_dict(), made.state_dict()
        assert loaded.keys() == made.keys()
        assert all(torch.allclose(loaded[name].float(), made[name].half().float(), atol=1e-3) for name in made)
    assert sample(pipeline, ["a red circle"], steps=2).shape == (1, 16, 3, 64, 64)
    scores = evaluate_clips(pipeline, num_prompts=1, steps=1)
    assert scores.keys() >= {"as_prompted", "found", "direction", "speed", "speed_error"}


def test_scheduler_and_blocks_are_those_of_the_real_one(exported):
    scheduler = json.loads((exported[0] / "scheduler" / "scheduler_config.json").read_text())
    wanted = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
        "prediction_type": "epsilon", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
    }  # fmt: skip
    assert scheduler.items() >= wanted.items()
    unet = json.loads((exported[0] / "unet" / "config.json").read_text())
    assert unet["down_block_types"] == ["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"]
    assert unet["up_block_types"] == ["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3
    assert unet["layers_per_block"] == 2 and unet["norm_num_groups"] == 32
    assert all(channels % 32 == 0 for channels in unet["block_out_channels"])
    assert json.loads((exported[0] / "vae" / "config.json").read_text())["scaling_factor"] == 0.18215


def test_weights_are_fp16_with_the_usual_names_and_small(exported):
    folder, _, size = exported
    for part, name in PARTS.items():
        with safe_open(folder / part / f"{name}.safetensors", "pt") as file:
            names = list(file.keys())
            assert {str(file.get_slice(each).get_dtype()) for each in names} == {"F16"}
        if part in ("text_encoder", "image_encoder"):
            assert all(each.startswith(("text_model.", "vision_model.", "visual_projection.")) for each in names)
    assert size < 8e6  # of 12 MB with the parts that make it stream


def test_transformers_load_the_encoders(exported, out):
    folder, (_, _, text_encoder, image_encoder), _ = exported
    loaded = CLIPVisionModelWithProjection.from_pretrained(str(folder / "image_encoder")).float()
    pixels = prepare(torch.rand(2, 3, 64, 64) * 2 - 1)
    with torch.no_grad():
        wanted, got = (model(pixels).image_embeds for model in (image_encoder, loaded))
    torch.testing.assert_close(got, wanted, atol=1e-2, rtol=0.02)
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    ids = token_ids(tokenizer, ["a red circle moving left"])
    assert torch.equal(ids, token_ids(load_tokenizer(out / "tokenizer"), ["a red circle moving left"]))
    loaded = CLIPTextModel.from_pretrained(str(folder / "text_encoder")).float()
    with torch.no_grad():
        wanted, got = (model(ids).last_hidden_state for model in (text_encoder, loaded))
    torch.testing.assert_close(got, wanted, atol=2e-2, rtol=0.02)
