"""Writes the trained parts as a text-to-video-ms-1.7b folder, with the image encoder beside them."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from glv_core.streamingt2v.checkpoint import ADDED

from .train_image import IMAGE_MEAN, IMAGE_STD
from .unet import new_scheduler

logger = logging.getLogger(__name__)

INDEX = {
    "_class_name": "TextToVideoSDPipeline",
    "_diffusers_version": diffusers.__version__,
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet3DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
#: The name that a CLIP tower's weights begin with in files; transformers 5 has it in files of others alone.
TOWERS = {"CLIPTextModel": "text_model.", "CLIPVisionModelWithProjection": "vision_model."}
_OUTSIDE = ("visual_projection.",)


def save_clip(folder: Path, model: CLIPTextModel | CLIPVisionModelWithProjection) -> None:
    """Saves one of CLIP's towers as fp16 under the names that every release of transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tower, weights = TOWERS[type(model).__name__], {}
    for name, value in model.state_dict().items():
        if not name.endswith("position_ids"):
            whole = name.startswith((tower, *_OUTSIDE))
            weights[name if whole else tower + name] = value.to(torch.float16).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save_half(folder: Path, model: nn.Module) -> None:
    model.to(memory_format=torch.contiguous_format).to(torch.float16).save_pretrained(folder, safe_serialization=True)
    model.float()


def export(
    folder: Path,
    tokenizer: Path,
    vae: AutoencoderKL,
    unet: UNet3DConditionModel,
    text_encoder: CLIPTextModel,
    image_encoder: CLIPVisionModelWithProjection | None = None,
    added: dict[str, torch.Tensor] | None = None,
) -> int:
    """Saves the model into `folder`, weights as fp16, in place of an older one; returns its size in bytes.

    `added`: what streaming adds to the UNet, by the names of the published checkpoint; in a file of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_half(folder / "vae", vae)
    _save_half(folder / "unet", unet)
    new_scheduler().save_pretrained(folder / "scheduler")
    shutil.rmtree(folder / "tokenizer", ignore_errors=True)
    shutil.copytree(tokenizer, folder / "tokenizer")
    save_clip(folder / "text_encoder", text_encoder)
    if image_encoder is not None:
        save_clip(folder / "image_encoder", image_encoder)
        _save_preprocessor(folder / "feature_extractor", image_encoder.config.image_size)
    if added is not None:
        save_file(added, folder / ADDED, metadata={"format": "pt"})
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    logger.info("exported %.1f MB", size / 1e6)
    return size


def _save_preprocessor(folder: Path, size: int) -> None:
    folder.mkdir(exist_ok=True)
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": size, "width": size},
        "size": {"shortest_edge": size},
        "resample": 3,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        **dict.fromkeys(("do_center_crop", "do_convert_rgb", "do_normalize", "do_rescale", "do_resize"), True),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")
