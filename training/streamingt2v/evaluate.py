"""Measures the exported model with the detector: what its VAE rebuilds, and whether its clips show their prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import TextToVideoSDPipeline
from torch import Tensor

from glv_core.demo.clips import DIRECTIONS, SPEED
from glv_core.demo.detector import ATTRIBUTES, agreement, agrees, expected, read_clip

from .train_vae import decode, encode, psnr
from .unet import fast_on_cpu
from .world import CLIP_FRAMES, STRIDE, draw_clip

logger = logging.getLogger(__name__)


def load_pipeline(folder: Path) -> TextToVideoSDPipeline:
    """The exported model, in fp32 on the CPU."""
    pipeline = TextToVideoSDPipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def evaluate_vae(pipeline: TextToVideoSDPipeline, num_clips: int = 12, seed: int = 11) -> dict[str, float]:
    """PSNR in dB, the share of rebuilt frames that show their words, and the variance of the latents."""
    generator, hits, latents = torch.Generator().manual_seed(seed), [], []
    for _ in range(num_clips):
        clip = draw_clip(generator)
        latents.append(encode(pipeline.vae, clip.pixels(0, CLIP_FRAMES) * 2 - 1))
        reading = read_clip((decode(pipeline.vae, latents[-1]) + 1) / 2)
        hits.append(sum(agrees(frame, clip.prompt()) for frame in reading.frames) / CLIP_FRAMES)
    return {"psnr": psnr(pipeline.vae), "as_drawn": sum(hits) / len(hits), "variance": float(torch.cat(latents).var())}


@torch.no_grad()
def sample(
    pipeline: TextToVideoSDPipeline, prompts: Sequence[str], steps: int = 30, guidance: float = 3.0, seed: int = 0
) -> Tensor:
    """Clips of 16 frames for prompts, values 0..1 [b t 3 h w]."""
    with fast_on_cpu(pipeline.unet):
        made = pipeline(
            prompt=list(prompts),
            height=64,
            width=64,
            num_frames=CLIP_FRAMES,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + number) for number in range(len(prompts))],
            output_type="pt",
        )
    return made.frames.float()


def evaluate_clips(
    pipeline: TextToVideoSDPipeline,
    num_prompts: int = 32,
    batch: int = 8,
    steps: int = 30,
    guidance: float = 3.0,
    seed: int = 1000,
) -> dict[str, float]:
    """How sampled clips agree with random prompts.

    The share of frames with each attribute (of clips for the direction), with one object (`found`) and with all that
    is asked for (`as_prompted`); `speed` along the direction in pixels a frame, and its mean error.
    """
    generator = torch.Generator().manual_seed(seed)
    prompts = [draw_clip(generator).prompt() for _ in range(num_prompts)]
    totals = dict.fromkeys((*ATTRIBUTES, "found", "as_prompted"), 0.0)
    speeds = []
    for start in range(0, num_prompts, batch):
        part = prompts[start : start + batch]
        for video, prompt in zip(sample(pipeline, part, steps, guidance, seed + start), part, strict=True):
            reading = read_clip(video)
            scores = agreement(reading, prompt)
            scores["found"] = reading.found
            scores["as_prompted"] = sum(agrees(frame, prompt) for frame in reading.frames) / len(reading.frames)
            for kind, score in scores.items():
                totals[kind] += score / num_prompts
            step_x, step_y = DIRECTIONS[expected(prompt)["direction"]]
            if reading.velocity is not None:
                speeds.append(reading.velocity[0] * step_x + reading.velocity[1] * step_y)
            if min(scores.values()) < 1:
                logger.info("%r: %s", prompt, scores)
    wanted = STRIDE * SPEED
    totals["speed"] = sum(speeds) / max(1, len(speeds))
    totals["speed_error"] = sum(abs(speed - wanted) for speed in speeds) / max(1, len(speeds))
    return totals
