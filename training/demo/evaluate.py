"""Measures the exported model with the detector: what its VAE rebuilds, and whether its clips show their prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanPipeline
from torch import Tensor

from glv_core.demo.clips import TEMPLATES, random_scene, render
from glv_core.demo.detector import ATTRIBUTES, agreement, read_clip

logger = logging.getLogger(__name__)


def load_pipeline(folder: Path) -> WanPipeline:
    """The exported model, in fp32 on the CPU."""
    pipeline = WanPipeline.from_pretrained(str(folder), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def evaluate_vae(vae: AutoencoderKLWan, num_clips: int = 8, num_frames: int = 97, seed: int = 11) -> dict[str, float]:
    """PSNR, detector agreement and temporal smoothness of rebuilt clips.

    `boundary_ratio` is the mean frame difference at the first frame of every latent frame, divided by the mean over
    the other frames; `late_boundary_ratio` the same for the second half of the clips.
    """
    generator = torch.Generator().manual_seed(seed)
    squares, hits, found, ratios, late = [], [], [], [], []
    for _ in range(num_clips):
        scene = random_scene(generator)
        pixels = render(scene, num_frames)
        latents = vae.encode(pixels.transpose(0, 1)[None] * 2 - 1).latent_dist.mode()
        rebuilt = (vae.decode(latents).sample[0].transpose(0, 1) + 1) / 2
        squares.append((rebuilt - pixels).square().mean())
        reading = read_clip(rebuilt)
        hits.append(sum(agreement(reading, scene.prompt()).values()) / len(ATTRIBUTES))
        found.append(reading.found)
        change = rebuilt.diff(dim=0).abs().mean(dim=(1, 2, 3))
        for target, first in ((ratios, 0), (late, num_frames // 2 // 4 * 4)):
            boundary = torch.arange(first, len(change)) % 4 == 0
            target.append(change[first:][boundary].mean() / change[first:][~boundary].mean())
    return {
        "psnr": float(-10 * torch.stack(squares).mean().log10()),
        "agreement": sum(hits) / len(hits),
        "found": sum(found) / len(found),
        "boundary_ratio": float(torch.stack(ratios).mean()),
        "late_boundary_ratio": float(torch.stack(late).mean()),
    }


@torch.no_grad()
def sample(
    pipeline: WanPipeline,
    prompts: Sequence[str],
    num_frames: int = 61,
    steps: int = 20,
    guidance: float = 2.0,
    seed: int = 0,
) -> Tensor:
    """Clips for prompts, values 0..1 [b t 3 h w]."""
    out = pipeline(
        prompt=list(prompts),
        negative_prompt=[""] * len(prompts),
        height=64,
        width=64,
        num_frames=num_frames,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
        output_type="pt",
    )
    return out.frames.float()


def evaluate_clips(
    pipeline: WanPipeline,
    num_prompts: int = 64,
    batch: int = 16,
    num_frames: int = 61,
    steps: int = 20,
    guidance: float = 2.0,
    seed: int = 1000,
) -> dict[str, float]:
    """Mean agreement of sampled clips with random prompts, per attribute, and the share of frames with one object."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [
        random_scene(generator).prompt(int(torch.randint(len(TEMPLATES), (), generator=generator)))
        for _ in range(num_prompts)
    ]
    totals = dict.fromkeys((*ATTRIBUTES, "found", "all"), 0.0)
    speeds = []
    for start in range(0, num_prompts, batch):
        part = prompts[start : start + batch]
        clips = sample(pipeline, part, num_frames, steps, guidance, seed + start)
        for clip, prompt in zip(clips, part, strict=True):
            reading = read_clip(clip)
            scores = agreement(reading, prompt)
            for kind, score in scores.items():
                totals[kind] += score / num_prompts
            totals["found"] += reading.found / num_prompts
            totals["all"] += float(min(scores.values()) > 0.9) / num_prompts
            if reading.velocity is not None:
                speeds.append(max(map(abs, reading.velocity)))
            if min(scores.values()) < 1:
                logger.info("%r: %s, found %.2f", prompt, scores, reading.found)
    totals["speed"] = sum(speeds) / max(1, len(speeds))
    return totals
