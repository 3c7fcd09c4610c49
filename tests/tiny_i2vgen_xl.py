"""A folder like ali-vilab/i2vgen-xl with small random weights, saved by diffusers and transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 64  # of texts, and of what is said of images
UNET = {
    "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8,
    "cross_attention_dim": WIDTH, "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
}  # fmt: skip
#: VGen trains with cosine betas that end in noise alone, and velocities.
SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
    "clip_sample": False, "steps_offset": 1, "timestep_spacing": "leading",
}  # fmt: skip
PREPROCESSOR = {"do_normalize": True, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
INDEX = {
    "_class_name": "I2VGenXLPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "I2VGenXLUNet"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def _randomly(network: torch.nn.Module) -> torch.nn.Module:
    """The network with random weights that let everything through that it is given."""
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        else:
            weight.normal_(mean=float("norm" in name and name.endswith("weight")), std=0.1)
    return network


def write_folder(folder: Path) -> None:
    """Write it, with fixed seeds."""
    from diffusers import DDIMScheduler, I2VGenXLUNet
    from safetensors.torch import load_file, save_file
    from transformers import CLIPTextModel

    if str(ROOT) not in sys.path:  # inside ComfyUI, which knows the pack by another name, and not what trains it
        sys.path.append(str(ROOT))
    from training.streamingt2v.export import save_clip
    from training.streamingt2v.text import load_tokenizer, new_text_encoder, write_tokenizer
    from training.streamingt2v.train_image import new_image_encoder
    from training.streamingt2v.train_vae import new_vae

    with torch.random.fork_rng(), torch.inference_mode(False), torch.no_grad():
        torch.manual_seed(0)
        write_tokenizer(folder / "tokenizer")
        for name in ("tokenizer_config.json", "special_tokens_map.json"):  # OpenCLIP fills up with token 0
            path = folder / "tokenizer" / name
            path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "!"}))
        config = new_text_encoder(load_tokenizer(folder / "tokenizer")).config
        config.num_hidden_layers = 4
        save_clip(folder / "text_encoder", CLIPTextModel(config))
        weights = folder / "text_encoder" / "model.safetensors"  # as transformers before 4.31 writes it
        places = {"text_model.embeddings.position_ids": torch.arange(config.max_position_embeddings)[None]}
        save_file({**load_file(weights), **places}, weights, metadata={"format": "pt"})
        save_clip(folder / "image_encoder", new_image_encoder())
        _randomly(I2VGenXLUNet(**UNET)).half().save_pretrained(folder / "unet", variant="fp16")
        _randomly(new_vae()).save_pretrained(folder / "vae")
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "model_index.json").write_text(json.dumps(INDEX))
