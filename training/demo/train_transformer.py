"""Trains the demo model's text encoder and transformer together, by flow matching on cached latents."""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from glv_core.demo.clips import SIZE, TEMPLATES, Scene, all_combinations, centred_scene, render

from . import vae_parallel
from .muon import Muon
from .text import HOST_TOKENS, PromptEncoder, new_text_encoder

logger = logging.getLogger(__name__)

# Cached clips have 22 latent frames: windows of 16 are taken from their start, where the VAE's first frame stands
# alone, or from their middle.
CACHED_FRAMES = 85
WINDOW = 16
STEADY = 4  # from this latent frame on, what the VAE makes of a moving object no longer depends on the start
SHIFT = 5.0
# Errors of the velocity below this noise level weigh less, in proportion: there they are detail that nobody sees.
DETAIL_SIGMA = 0.5
# For this share of the clips some latent frames are clean.  Then the place of the object is known and only the prompt
# says where it goes, which a model this small does not find out otherwise.
CLEAN_ODDS = 0.5
EMPTY_PROMPTS = 0.1
# The text encoder is trained with the transformer for this share of the steps, then it stays as it is.
TEXT_SHARE = 0.12

TOKENS_PER_FRAME = 16  # 8x8 latents in patches of 2x2

# In tokens. One length for all batches, so that the compiled model has one shape.
LONGEST_PROMPT = 12


def new_transformer() -> WanTransformer3DModel:
    """An untrained transformer with Wan 2.1's layout: one head of 128 channels, six layers."""
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=1,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=512,
        num_layers=6,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=1024,
    )


class ShortTextAttention:
    """Cross-attention over a short text whose last token stands for all the padding tokens up to 512.

    Padding tokens are all the same, so attending to `n` of them is attending to one whose logit is raised by log n.
    """

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        key = attn.norm_k(attn.to_k(encoder_hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        length = key.shape[2]
        bias = torch.zeros(1, 1, 1, length, dtype=query.dtype)
        bias[..., -1] = math.log(HOST_TOKENS - length + 1)
        bias = bias.expand(query.shape[0], 1, query.shape[2], length)
        out = F.scaled_dot_product_attention(query, key.type_as(query), value.type_as(query), attn_mask=bias)
        out = out.transpose(1, 2).flatten(2, 3).type_as(hidden_states)
        return attn.to_out[1](attn.to_out[0](out))


def use_short_text(transformer: WanTransformer3DModel) -> None:
    """Makes the transformer expect `short_text` embeddings instead of 512 tokens."""
    for block in transformer.blocks:
        block.attn2.processor = ShortTextAttention()


def short_text(embeddings: Tensor) -> Tensor:
    """Appends the one padding token that stands for the rest [b n 4096] -> [b n+1 4096]."""
    return F.pad(embeddings, (0, 0, 0, 1))


def host_text(embeddings: Tensor) -> Tensor:
    """Pads with zeros as both hosts do [b n 4096] -> [b 512 4096]."""
    return F.pad(embeddings, (0, 0, 0, HOST_TOKENS - embeddings.shape[1]))


@torch.no_grad()
def cache_latents(vae: AutoencoderKLWan, per_combination: int, seed: int, batch: int = 4) -> tuple[Tensor, Tensor]:
    """Raw posterior means of `per_combination` clips of each combination [n 16 t 8 8] as fp16, and which it is [n].

    Positions along the motion are uniform: every clip of a combination gets its own cell of a jittered grid.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    combinations = all_combinations()
    index = torch.arange(len(combinations)).repeat(per_combination)
    cells = torch.stack([torch.randperm(per_combination, generator=generator) for _ in combinations], 1).flatten()
    along = (cells + torch.rand(len(index), generator=generator)) / per_combination * SIZE
    latents = []
    encoder = copy.deepcopy(vae).to(torch.bfloat16)
    begin = time.monotonic()
    for start in range(0, len(index), batch):
        rows = range(start, min(start + batch, len(index)))
        scenes = [centred_scene(*combinations[int(index[i])], float(along[i])) for i in rows]
        pixels = torch.stack([render(scene, CACHED_FRAMES) for scene in scenes]).transpose(1, 2).mul(2).sub(1)
        pixels = pixels.contiguous(memory_format=torch.channels_last_3d)
        latents.append(vae_parallel.encode(encoder, pixels.bfloat16())[:, : vae.config.z_dim].contiguous().half())
        if start % 200 == 0:
            logger.info("latents: %d of %d clips, %.0f s", start, len(index), time.monotonic() - begin)
    return torch.cat(latents), index


class WindowSampler:
    """Draws batches of 16-frame windows with prompts: half from the very start of a clip, half from its middle."""

    def __init__(self, latents: Tensor, index: Tensor, generator: torch.Generator) -> None:
        self.latents, self.index, self.generator = latents, index, generator
        self.combinations = all_combinations()
        self.order = torch.empty(0, dtype=torch.long)

    def _random(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self.generator))

    def __call__(self, size: int) -> tuple[Tensor, list[str]]:
        """Normalised windows [b 16 16 8 8] and their prompts."""
        if len(self.order) < size:
            self.order = torch.randperm(len(self.latents), generator=self.generator)
        rows, self.order = self.order[:size], self.order[size:]
        windows, prompts = [], []
        for row in rows.tolist():
            clip = self.latents[row]
            if self._random(2):
                windows.append(clip[:, :WINDOW])
            else:
                start = STEADY + self._random(clip.shape[1] - WINDOW - STEADY + 1)
                windows.append(clip[:, start : start + WINDOW])
            shape, colour, background, direction = self.combinations[int(self.index[row])]
            empty = float(torch.rand((), generator=self.generator)) < EMPTY_PROMPTS
            scene = Scene(shape, colour, background, direction, 0.0, 0.0)
            # The canonical template twice as often as any other.
            template = max(0, self._random(len(TEMPLATES) + 1) - 1)
            prompts.append("" if empty else scene.prompt(template))
        return torch.stack(windows).float(), prompts


@torch.no_grad()
def initialise(transformer: WanTransformer3DModel) -> None:
    """Starts as a plain pre-norm transformer whose layers add nothing yet.

    The stock start leaves every gate near zero and of random sign, from which so small a model learns motion very late.
    Here the gates start open, shifts and scales at zero, and the last layer of every branch at zero.
    """
    for block in transformer.blocks:
        block.scale_shift_table.zero_()
        block.scale_shift_table[:, (2, 5)] = 1
        for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
            layer.weight.zero_()
            layer.bias.zero_()
    transformer.scale_shift_table.zero_()
    transformer.proj_out.weight.zero_()
    transformer.proj_out.bias.zero_()
    transformer.condition_embedder.time_proj.weight.mul_(0.1)
    transformer.condition_embedder.time_proj.bias.zero_()


def frame_levels(sigma: Tensor, generator: torch.Generator) -> Tensor:
    """The noise level of every latent frame [b] -> [b t]: that of its clip, but nearly 0 in some frames of some clips.

    Which frames: one to four at one end, or one anywhere.
    """
    levels = sigma[:, None].repeat(1, WINDOW)
    for row in range(len(sigma)):
        if float(torch.rand((), generator=generator)) >= CLEAN_ODDS:
            continue
        kind, count, anywhere = (int(torch.randint(high, (), generator=generator)) for high in (3, 4, WINDOW))
        frames = (slice(0, count + 1), slice(WINDOW - 1 - count, WINDOW), slice(anywhere, anywhere + 1))[kind]
        levels[row, frames] = 0.02 * torch.rand((), generator=generator)
    return levels


def lr_scale(step: int, steps: int) -> float:
    """The learning rate of a step over its peak: up within a hundred steps, then down along a cosine to one percent."""
    return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def noise_levels(batch: int, generator: torch.Generator) -> Tensor:
    """One noise level a clip [b], one in each part of the shifted schedule."""
    uniform = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


def train_transformer(
    out: Path,
    latents: Tensor,
    index: Tensor,
    steps: int,
    seed: int,
    batch: int = 16,
    lr: float = 0.006,
    adam_lr: float = 6e-4,
    ema_decay: float = 0.998,
    compiled: bool = True,
    start: Path | None = None,
) -> None:
    """Trains on normalised `latents`; leaves averaged weights in `out/transformer.pt`, regularly and at the end.

    `start` is such a file to begin with; its text encoder then stays as it is.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 2)
    prompts = PromptEncoder(out / "tokenizer" / "spiece.model")
    encoder = new_text_encoder(prompts.processor.get_piece_size())
    transformer = new_transformer()
    initialise(transformer)
    model = nn.ModuleDict({"transformer": transformer, "text_encoder": encoder})
    if start is not None:
        model.load_state_dict(torch.load(start, weights_only=True)["ema"])
        encoder.requires_grad_(False)
    texts_seen: dict[str, Tensor] = {}

    def embed(texts: list[str]) -> Tensor:
        if step < text_steps:
            return prompts(encoder, texts, LONGEST_PROMPT)
        # Frozen by now, so every prompt is encoded once.
        for text in texts:
            if text not in texts_seen:
                texts_seen[text] = prompts(encoder, [text], LONGEST_PROMPT)[0]
        return torch.stack([texts_seen[text] for text in texts])

    use_short_text(transformer)
    average = copy.deepcopy(model).requires_grad_(False)
    by_adam = [p for n, p in model.named_parameters() if any(part in n for part in _BY_ADAM)]
    optimizer = Muon(model.parameters(), lr=lr, adam_lr=adam_lr, adam_parameters=by_adam)
    sampler = WindowSampler(latents, index, generator)
    forward = torch.compile(transformer, dynamic=False) if compiled else transformer
    begin, recent = time.monotonic(), []
    text_steps = 0 if start is not None else round(TEXT_SHARE * steps)
    for step in range(steps):
        if step == text_steps and start is None:
            encoder.load_state_dict(average["text_encoder"].state_dict())
            encoder.requires_grad_(False)
        optimizer.scale_lr(lr_scale(step, steps))
        clean, texts = sampler(batch)
        sigma = noise_levels(batch, generator)
        noise = torch.randn(clean.shape, generator=generator)
        levels = frame_levels(sigma, generator)
        mixed = clean.lerp(noise, levels[:, None, :, None, None])
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = short_text(embed(texts))
            times = 1000 * levels.repeat_interleave(TOKENS_PER_FRAME, dim=1)
            velocity = forward(mixed, times, embeddings, return_dict=False)[0].float()
        error = (velocity - (noise - clean)).square().mean(dim=(1, 3, 4))
        loss = (error * (levels / DETAIL_SIGMA).clamp(max=1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        recent.append(loss.item())
        if step % 50 == 49 or step == steps - 1:
            seconds = time.monotonic() - begin
            logger.info("transformer step %d: loss %.4f, %.0f s", step + 1, sum(recent) / len(recent), seconds)
            recent.clear()
        if step % 250 == 249 or step == steps - 1:
            torch.save({"step": step + 1, "ema": average.state_dict()}, out / "transformer.part")
            (out / "transformer.part").replace(out / "transformer.pt")


# What Adam trains: embeddings, the layers at both ends, and everything about the time step.
_BY_ADAM = ("shared", "relative_attention_bias", "patch_embedding", "proj_out", "time_", "scale_shift_table")


def load_trained(out: Path) -> tuple[WanTransformer3DModel, UMT5EncoderModel]:
    """The averaged models of the newest checkpoint, with the stock attention."""
    prompts = PromptEncoder(out / "tokenizer" / "spiece.model")
    model = nn.ModuleDict(
        {"transformer": new_transformer(), "text_encoder": new_text_encoder(prompts.processor.get_piece_size())}
    )
    model.load_state_dict(torch.load(out / "transformer.pt", weights_only=True)["ema"])
    model.eval().requires_grad_(False)
    return model["transformer"], model["text_encoder"]
