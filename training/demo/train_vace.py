"""Trains the demo model's VACE branch on cached latents: its text-to-video weights stay as they are.

Wan VACE's own architecture: copies of every second block read the hint beside the latents, and add what they find to
the blocks of the model (arXiv 2503.07598).  What a branch of so small a model learns: to draw the object where a
depth-like hint, edges or a stick figure show it, in the colours that the prompt names; to repaint what a mask leaves
out; to go on from known frames; and to do without a hint.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import load_file
from torch import Tensor, nn

from glv_core.demo.clips import SHAPES, SIZE, TEMPLATES, Scene, all_combinations, centred_scene, render
from glv_core.demo.stick_figures import draw_figures
from glv_core.editing.mask_cells import mask_cells, nearest_frames
from glv_core.perception.controls.canny import canny

from . import vae_parallel
from .muon import Muon
from .text import PromptEncoder
from .train_transformer import (
    CACHED_FRAMES,
    DETAIL_SIGMA,
    EMPTY_PROMPTS,
    LONGEST_PROMPT,
    STEADY,
    WINDOW,
    ShortTextAttention,
    lr_scale,
    noise_levels,
    short_text,
)

logger = logging.getLogger(__name__)

VACE_LAYERS = (0, 2, 4)
HINT_CHANNELS = 96  # what stays, what is changed, and an 8x8 mask for every latent pixel

# How often each kind of hint is drawn.
KINDS = {"depth": 0.25, "edges": 0.15, "pose": 0.25, "paint": 0.15, "known": 0.1, "nothing": 0.1}
# Masks are this much larger than the objects under them, in pixels.
LARGEST_MARGIN = 7


def new_vace(base: WanTransformer3DModel) -> WanVACETransformer3DModel:
    """`base` with an untrained branch, which starts as copies of its blocks and adds nothing yet."""
    config = {name: value for name, value in base.config.items() if name in _SHARED_CONFIG}
    model = WanVACETransformer3DModel(**config, vace_layers=list(VACE_LAYERS), vace_in_channels=HINT_CHANNELS)
    missing, unexpected = model.load_state_dict(base.state_dict(), strict=False)
    if unexpected or any(not name.startswith("vace_") for name in missing):
        raise ValueError(f"not the layout of a Wan transformer: {unexpected or missing}")
    with torch.no_grad():
        for block, layer in zip(model.vace_blocks, VACE_LAYERS, strict=True):
            block.load_state_dict(base.blocks[layer].state_dict(), strict=False)
            block.proj_out.weight.zero_()
            block.proj_out.bias.zero_()
        nn.init.eye_(model.vace_blocks[0].proj_in.weight)
        model.vace_blocks[0].proj_in.bias.zero_()
    return model


_SHARED_CONFIG = (
    "patch_size", "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "text_dim", "freq_dim",
    "ffn_dim", "num_layers", "cross_attn_norm", "qk_norm", "eps", "rope_max_seq_len",
)  # fmt: skip


def silhouette(scene: Scene, num_frames: int, start: int = 0) -> Tensor:
    """How much of each pixel the object covers, 0..1 [t h w]."""
    drawn = render(Scene(scene.shape, "green", "black", scene.direction, scene.x, scene.y), num_frames, start)
    low, high = drawn[:, 1].amin(), drawn[:, 1].amax()
    return (drawn[:, 1] - low) / (high - low)


def latent_masks(mask: Tensor, num_latent_frames: int) -> Tensor:
    """A mask of pixels [t h w] as VACE's channels: every 8x8 pixels of the nearest frame [64 t h/8 w/8]."""
    return mask_cells(mask[nearest_frames(len(mask), num_latent_frames)], 8).float()


def _wrapped_grow(mask: Tensor, pixels: int) -> Tensor:
    """The mask [t h w] widened, over the borders of the torus."""
    around = F.pad(mask[:, None], (pixels,) * 4, mode="circular")
    return F.max_pool2d(around, 2 * pixels + 1, stride=1)[:, 0]


@torch.no_grad()
def cache_hints(
    vae: AutoencoderKLWan, per_combination: int, seed: int, statistics: tuple[Tensor, Tensor], batch: int = 4
) -> dict[str, Tensor]:
    """Normalised latents of clips and of their hints, as fp16, for `per_combination` clips of every combination.

    `clips`, `depth`, `edges`, `pose`, `paint` [n 16 t 8 8], `masks` [n 64 t 8 8] of paint as bool, `grey`
    [16 t 8 8] of a video that shows nothing, `index` [n] says which combination.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    combinations = all_combinations()
    index = torch.arange(len(combinations)).repeat(per_combination)
    cells = torch.stack([torch.randperm(per_combination, generator=generator) for _ in combinations], 1).flatten()
    along = (cells + torch.rand(len(index), generator=generator)) / per_combination * SIZE
    encoder = copy.deepcopy(vae).to(torch.bfloat16)
    mean, std = (value.view(1, -1, 1, 1, 1) for value in statistics)

    def encode(pixels: Tensor) -> Tensor:
        pixels = pixels.transpose(1, 2).mul(2).sub(1).contiguous(memory_format=torch.channels_last_3d)
        latents = vae_parallel.encode(encoder, pixels.bfloat16())[:, : vae.config.z_dim].float()
        return ((latents - mean) / std).half()

    def number(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def hints(row: int) -> tuple[Tensor, ...]:
        """Pixels of one clip and of its hints, and the mask of its paint."""
        scene = centred_scene(*combinations[int(index[row])], float(along[row]))
        pixels = render(scene, CACHED_FRAMES)
        cover = silhouette(scene, CACHED_FRAMES)
        near, far = (1.0, 0.0) if number(0, 1) < 0.5 else (number(0.6, 1), number(0, 0.3))
        depth = (far + cover * (near - far))[:, None].expand(-1, 3, -1, -1)
        edges = canny(_bytes(pixels), 100, 200).float().div(255)[:, None].expand(-1, 3, -1, -1)
        pose = draw_figures(cover.numpy()).permute(0, 3, 1, 2) / 255
        # What lay under the mask may have had another shape: the mask shows that, and has room for the new one.
        old = SHAPES[int(torch.randint(len(SHAPES), (), generator=generator))]
        under = silhouette(Scene(old, "green", "black", scene.direction, scene.x, scene.y), CACHED_FRAMES)
        mask = (torch.maximum(cover, under) > 0).float()
        mask = _wrapped_grow(mask, int(number(1, LARGEST_MARGIN + 1)))
        paint = torch.where(mask[:, None] > 0.5, 0.5, pixels)
        return pixels, depth, edges, pose, paint, latent_masks(mask, (CACHED_FRAMES - 1) // 4 + 1) > 0.5

    cached: dict[str, list[Tensor]] = {name: [] for name in ("clips", "depth", "edges", "pose", "paint", "masks")}
    begin = time.monotonic()
    for start in range(0, len(index), batch):
        rows = [hints(row) for row in range(start, min(start + batch, len(index)))]
        *videos, masks = (torch.stack(part) for part in zip(*rows, strict=True))
        for name, video in zip(cached, videos, strict=False):
            cached[name].append(encode(video))
        cached["masks"].append(masks)
        if start % 200 == 0:
            logger.info("hints: %d of %d clips, %.0f s", start, len(index), time.monotonic() - begin)
    grey = encode(torch.full((1, CACHED_FRAMES, 3, SIZE, SIZE), 0.5))[0]
    return {**{name: torch.cat(parts) for name, parts in cached.items()}, "grey": grey, "index": index}


def _bytes(pixels: Tensor) -> Tensor:
    """[t 3 h w] in 0..1 -> [t h w 3] uint8."""
    return pixels.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8)


class HintSampler:
    """Draws batches of windows with a prompt and a hint of a random kind."""

    def __init__(self, cache: dict[str, Tensor], generator: torch.Generator) -> None:
        self.cache, self.generator = cache, generator
        self.combinations = all_combinations()
        self.order = torch.empty(0, dtype=torch.long)
        self.kinds = list(KINDS)
        self.odds = torch.tensor(list(KINDS.values()))

    def _random(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def _hint(self, kind: str, row: int, part: slice) -> Tensor:
        """One hint [96 t 8 8]: what stays, what is changed, the mask."""
        grey = self.cache["grey"][:, part].float()
        mask = torch.ones(64, *grey.shape[1:])
        if kind in ("depth", "edges", "pose"):
            return torch.cat([grey, self.cache[kind][row][:, part].float(), mask])
        if kind == "paint":
            return torch.cat([self.cache[kind][row][:, part].float(), grey, self.cache["masks"][row][:, part].float()])
        if kind == "known":
            count = 1 + self._random(5)
            kept = grey.clone()
            kept[:, :count] = self.cache["clips"][row][:, part][:, :count].float()
            mask[:, :count] = 0
            return torch.cat([kept, grey, mask])
        return torch.cat([grey, grey, mask])

    def __call__(self, size: int) -> tuple[Tensor, Tensor, list[str]]:
        """Windows [b 16 16 8 8], their hints [b 96 16 8 8] and their prompts."""
        if len(self.order) < size:
            self.order = torch.randperm(len(self.cache["index"]), generator=self.generator)
        rows, self.order = self.order[:size], self.order[size:]
        windows, hints, prompts = [], [], []
        drawn = torch.multinomial(self.odds, size, replacement=True, generator=self.generator)
        for row, kind in zip(rows.tolist(), drawn.tolist(), strict=True):
            length = self.cache["clips"].shape[2]
            start = 0 if self._random(2) else STEADY + self._random(length - WINDOW - STEADY + 1)
            part = slice(start, start + WINDOW)
            windows.append(self.cache["clips"][row][:, part].float())
            hints.append(self._hint(self.kinds[kind], row, part))
            shape, colour, background, direction = self.combinations[int(self.cache["index"][row])]
            empty = float(torch.rand((), generator=self.generator)) < EMPTY_PROMPTS
            template = max(0, self._random(len(TEMPLATES) + 1) - 1)
            prompts.append("" if empty else Scene(shape, colour, background, direction, 0.0, 0.0).prompt(template))
        return torch.stack(windows), torch.stack(hints), prompts


def train_vace(
    out: Path,
    base: WanTransformer3DModel,
    embed: Callable[[list[str]], Tensor],
    cache: dict[str, Tensor],
    steps: int,
    seed: int,
    batch: int = 16,
    lr: float = 0.004,
    adam_lr: float = 6e-4,
    ema_decay: float = 0.998,
    compiled: bool = True,
    start: Path | None = None,
) -> None:
    """Trains the branch; leaves its averaged weights in `out/vace.pt`, regularly and at the end.

    `embed` gives the text embeddings of prompts [b n 4096], without the padding token that stands for the rest.
    `start`: the weights of a branch to begin with, as safetensors.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 3)
    model = new_vace(base)
    if start is not None:
        model.load_state_dict(load_file(start), strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("vace_"))
    for block in (*model.blocks, *model.vace_blocks):
        block.attn2.processor = ShortTextAttention()
    branch = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    average = {name: parameter.detach().clone() for name, parameter in branch.items()}
    by_adam = [p for name, p in branch.items() if "patch_embedding" in name or "scale_shift_table" in name]
    optimizer = Muon(branch.values(), lr=lr, adam_lr=adam_lr, adam_parameters=by_adam)
    sampler = HintSampler(cache, generator)
    forward = torch.compile(model, dynamic=False) if compiled else model
    begin, recent = time.monotonic(), []
    for step in range(steps):
        optimizer.scale_lr(lr_scale(step, steps))
        clean, hints, texts = sampler(batch)
        sigma = noise_levels(batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        mixed = clean.lerp(noise, sigma.view(-1, 1, 1, 1, 1))
        with torch.autocast("cpu", torch.bfloat16):
            velocity = forward(
                mixed, 1000 * sigma, short_text(embed(texts)), control_hidden_states=hints, return_dict=False
            )[0].float()
        error = (velocity - (noise - clean)).square().mean(dim=(1, 2, 3, 4))
        loss = (error * (sigma / DETAIL_SIGMA).clamp(max=1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(branch.values(), 1.0)
        optimizer.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(branch.values()), 1 - decay)
        recent.append(loss.item())
        if step % 50 == 49 or step == steps - 1:
            seconds = time.monotonic() - begin
            logger.info("vace step %d: loss %.4f, %.0f s", step + 1, sum(recent) / len(recent), seconds)
            recent.clear()
        if step % 250 == 249 or step == steps - 1:
            torch.save({"step": step + 1, "ema": average}, out / "vace.part")
            (out / "vace.part").replace(out / "vace.pt")


class FrozenText:
    """Embeddings of prompts by a text encoder that no longer changes, each made once."""

    def __init__(self, encoder: nn.Module, spiece_model: Path) -> None:
        self.encoder, self.prompts = encoder, PromptEncoder(spiece_model)
        self.seen: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """[b n 4096]."""
        for text in texts:
            if text not in self.seen:
                self.seen[text] = self.prompts(self.encoder, [text], LONGEST_PROMPT)[0]
        return torch.stack([self.seen[text] for text in texts])
