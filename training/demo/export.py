"""Writes the trained parts as a Wan 2.1 folder that `WanPipeline.from_pretrained` loads."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import T5TokenizerFast, UMT5EncoderModel

from .train_transformer import SHIFT

logger = logging.getLogger(__name__)


def new_scheduler() -> UniPCMultistepScheduler:
    """The scheduler of Wan 2.1's own folder, with the shift the demo model is trained for."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=SHIFT
    )


def export(
    folder: Path,
    vae: AutoencoderKLWan,
    transformer: WanTransformer3DModel,
    text_encoder: UMT5EncoderModel,
    tokenizer: Path,
) -> int:
    """Saves the model into `folder`, weights as fp16, in place of an older one; returns its size in bytes."""
    with torch.no_grad():
        pipeline = WanPipeline(
            tokenizer=T5TokenizerFast.from_pretrained(str(tokenizer)),
            text_encoder=text_encoder.to(torch.float16),
            vae=vae.to(memory_format=torch.contiguous_format).to(torch.float16),
            transformer=transformer.to(torch.float16),
            scheduler=new_scheduler(),
            expand_timesteps=True,  # it is trained with clean frames among noisy ones, as Wan 2.2 5B is
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    # transformers 5 saves only its own tokenizer format; keep ours, which 4.57 and ComfyUI read as well, and the
    # class name the real Wan 2.1 folder has.
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokenizer, folder / "tokenizer")
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "T5TokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    logger.info("exported %.1f MB", size / 1e6)
    return size


def export_vace(folder: Path, model: WanVACETransformer3DModel, branch: dict[str, Tensor]) -> int:
    """Saves the weights of a VACE branch, as fp16, beside the model in `folder` that it belongs to.

    `vace/` has the configuration of the whole and the weights of the branch alone: the rest is in `transformer/`.
    Returns the size of the weights in bytes.
    """
    target = folder / "vace"
    target.mkdir(exist_ok=True)
    model.save_config(target)
    weights = target / "diffusion_pytorch_model.safetensors"
    save_file({name: value.to(torch.float16).contiguous() for name, value in sorted(branch.items())}, weights)
    for path in target.iterdir():
        path.chmod(0o644)
    logger.info("exported a branch of %.1f MB", weights.stat().st_size / 1e6)
    return weights.stat().st_size
