"""Measures the exported VACE branch with the detector: whether clips follow their hints and show other prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UniPCMultistepScheduler, WanPipeline, WanVACETransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from glv_core.demo.clips import COLOURS, SHAPES, SIZE, Scene, all_combinations, centred_scene, render
from glv_core.demo.detector import agreement, centre_distances, read_clip
from glv_core.demo.stick_figures import draw_figures
from glv_core.perception.controls.canny import canny

from .evaluate import load_pipeline
from .train_vace import FrozenText, latent_masks, silhouette

HINTS = ("depth", "edges", "pose", "paint")
MARGIN = 4  # pixels that the mask of paint reaches beyond the object under it


def load_vace(folder: Path, pipeline: WanPipeline) -> WanVACETransformer3DModel:
    """The transformer of an exported model with its branch."""
    model = WanVACETransformer3DModel.from_config(WanVACETransformer3DModel.load_config(folder / "vace"))
    branch = load_file(folder / "vace" / "diffusion_pytorch_model.safetensors")
    model.load_state_dict({**pipeline.transformer.state_dict(), **branch})
    return model.eval()


class Encoder:
    """Videos [t 3 h w] in 0..1 to normalised latents [1 16 t h/8 w/8], and back."""

    def __init__(self, pipeline: WanPipeline) -> None:
        self.vae = pipeline.vae
        config = self.vae.config
        self.mean, self.std = (
            torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std)
        )

    def encode(self, video: Tensor) -> Tensor:
        return (self.vae.encode(video.transpose(0, 1)[None] * 2 - 1).latent_dist.mode() - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        frames = self.vae.decode(latents * self.std + self.mean).sample
        return ((frames + 1) / 2).clamp(0, 1)[0].transpose(0, 1)


def hint_of(kind: str, source: Scene, encoder: Encoder, num_frames: int) -> Tensor:
    """The hint [1 96 t 8 8] that a scene gives."""
    grey = encoder.encode(torch.full((num_frames, 3, SIZE, SIZE), 0.5))
    mask = torch.ones(1, 64, *grey.shape[2:])
    pixels = render(source, num_frames)
    if kind == "depth":
        return torch.cat([grey, encoder.encode(silhouette(source, num_frames)[:, None].expand(-1, 3, -1, -1)), mask], 1)
    if kind == "edges":
        found = canny(pixels.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8), 100, 200).float() / 255
        return torch.cat([grey, encoder.encode(found[:, None].expand(-1, 3, -1, -1)), mask], 1)
    if kind == "pose":
        drawn = draw_figures(silhouette(source, num_frames).numpy()).permute(0, 3, 1, 2) / 255
        return torch.cat([grey, encoder.encode(drawn), mask], 1)
    cover = (silhouette(source, num_frames) > 0.5).float()[:, None]
    hidden = F.max_pool2d(F.pad(cover, (MARGIN,) * 4, mode="circular"), 2 * MARGIN + 1, stride=1)
    kept = encoder.encode(torch.where(hidden > 0.5, 0.5, pixels))
    return torch.cat([kept, grey, latent_masks(hidden[:, 0], grey.shape[2])[None]], 1)


def other_prompt(kind: str, source: Scene, generator: torch.Generator) -> Scene:
    """The scene in another colour; with paint another shape as well, for its mask has room for it."""

    def another(words: Sequence[str], word: str) -> str:
        rest = [each for each in words if each != word]
        return rest[int(torch.randint(len(rest), (), generator=generator))]

    shape = another(SHAPES, source.shape) if kind == "paint" else source.shape
    colour = another(list(COLOURS), source.colour)
    return Scene(shape, colour, source.background, source.direction, source.x, source.y)


@torch.no_grad()
def evaluate_vace(
    folder: Path, num_clips: int = 12, num_frames: int = 61, steps: int = 20, guidance: float = 2.0, seed: int = 5
) -> dict[str, dict[str, float]]:
    """For each kind of hint: the share of frames as prompted, the worst attribute's, and the centre's error."""
    pipeline = load_pipeline(folder)
    model, encoder = load_vace(folder, pipeline), Encoder(pipeline)
    embed = FrozenText(pipeline.text_encoder, folder / "tokenizer" / "spiece.model")
    generator, result = torch.Generator().manual_seed(seed), {}
    combinations = all_combinations()
    for kind in HINTS:
        shares, errors = [], []
        for _ in range(num_clips):
            words = combinations[int(torch.randint(len(combinations), (), generator=generator))]
            source = centred_scene(*words, float(torch.rand((), generator=generator)) * SIZE)
            target = other_prompt(kind, source, generator)
            hint = hint_of(kind, source, encoder, num_frames)
            text = F.pad(embed([target.prompt(), ""]), (0, 0, 0, 500))
            scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
            scheduler.set_timesteps(steps)
            x = torch.randn(1, 16, *hint.shape[2:], generator=generator)
            for time in scheduler.timesteps:
                both = model(
                    x.expand(2, -1, -1, -1, -1), time.expand(2), text, control_hidden_states=hint.repeat(2, 1, 1, 1, 1),
                    return_dict=False,
                )[0]  # fmt: skip
                velocity = both[1:] + guidance * (both[:1] - both[1:])
                x = scheduler.step(velocity, time, x, return_dict=False)[0]
            reading = read_clip(encoder.decode(x))
            shares.append(min(agreement(reading, target.prompt()).values()))
            errors += centre_distances(reading.frames, read_clip(render(target, num_frames)).frames)
        result[kind] = {"as_prompted": sum(shares) / num_clips, "centre": sum(errors) / max(1, len(errors))}
    return result
