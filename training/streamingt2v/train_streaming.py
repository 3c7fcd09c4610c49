"""Trains what makes a text-to-video model go on: attention to the frames before, then the anchor (arXiv 2403.14773).

As the paper does it, first the conditional attention (CAM), then it and the appearance preservation (APM) together,
with the image encoder frozen. Other than there the base is trained beside CAM, every third step without it: so small a
base shows its first layers' features alone to what is added, and frozen it does not learn to use them in the few
thousand steps of a CPU.  Anchors are of frames 1-16 of a window of 32, the
condition is frames 17-24, the target 17-32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from glv_core.hosts.diffusers.streamingt2v import StreamingUNet
from glv_core.streamingt2v import Sizes

from .data import BEFORE, CONDITION, draw_dropout
from .loop import Training, load_average, step_generator
from .text import TEXT_WIDTH, PromptEmbeddings, load_tokenizer
from .train_image import PIXEL_NOISE, prepare
from .train_unet import TRAIN_STEPS, add_noise, draw_levels, loss_weights
from .train_vae import decode
from .unet import HEAD_DIM, fast_on_cpu
from .world import AXES, CLIP_FRAMES, LOOKS, Clip, World, draw_clip, draw_prompt

logger = logging.getLogger(__name__)

ENCODER_WIDTHS = (16, 24, 32, 48)
ANCHOR_INNER = 64
TEXT_DROPOUT = 0.1  # of CAM alone, which sees no anchor
#: What the anchor is learnt without. Drawn prompts say all there is to see, so that an anchor tells nothing new beside
#: one; text is left out eight times as often as in the table of `data`.
DROPOUT = {"text": 0.4, "anchor": 0.05, "both": 0.05}

#: Which parts of a ``StreamingUNet`` each stage trains.
TRAINED = {
    "cam": ("branch", "encoder", "mergers"),
    "apm": ("branch", "encoder", "mergers", "mixers", "resampler"),
}
#: Of them, what Adam trains: both ends of the pixel encoder, scalars and everything about the time step; and what finds
#: the frames before, for at first its gradients are weak, and Muon makes all updates equally large.
_BY_ADAM = ("conv_in", "conv_out", "time_emb", "alpha", "conv_ln", "attention.to_q", "attention.to_k")
#: What is trained beside them here; `finetune.py` leaves the base as it is.
BESIDE = {"cam": ("unet",), "apm": ()}
#: The learning rates of Muon and of Adam; what the first stage trained, the second only trims.
RATES = {"cam": (0.005, 5e-4), "apm": (0.002, 6e-4)}
#: The gate of an anchor's mixer is one number that has a long way to go from 0: it learns so much faster than the rest.
GATE_RATE = 20.0
#: Every so many steps of CAM are the base's alone.
ALONE_EVERY = 3
#: Steps with the frames before have more of the high noise levels, at which the frames do not show it all themselves.
LEVELS_POWER = 0.7
#: Every so many steps is logged what the frames before are worth.
MEASURE_EVERY = 250
MATCHING = 3.0  # how much the first attention counts what is alike
LEAST_SPREAD = 1e-3  # of a channel of what the copy says


def streaming_sizes(unet: UNet3DConditionModel, text_tokens: int) -> Sizes:
    """The sizes of the tiny model's parts around a UNet."""
    return Sizes(
        widths=tuple(unet.config.block_out_channels),
        text_width=TEXT_WIDTH,
        head_width=HEAD_DIM,
        latent_channels=unet.config.in_channels,
        encoder_widths=ENCODER_WIDTHS,
        text_tokens=text_tokens,
        anchor_inner=ANCHOR_INNER,
    )


def new_streaming(unet: UNet3DConditionModel, text_tokens: int) -> StreamingUNet:
    """The tiny model's untrained parts around `unet`; see `streaming_around`."""
    return streaming_around(unet, streaming_sizes(unet, text_tokens))


@torch.no_grad()
def streaming_around(unet: UNet3DConditionModel, sizes: Sizes) -> StreamingUNet:
    """`unet` with parts that add nothing yet: the branch is a copy of its way down, and what they end with is zero."""
    net = StreamingUNet(sizes)
    net.unet.load_state_dict(unet.state_dict())
    known = {name: value for name, value in unet.state_dict().items() if name in net.branch.state_dict()}
    net.branch.load_state_dict(known)
    for end in (net.encoder.conv_out, *(merger.proj_out for merger in net.mergers)):
        end.weight.zero_()
        end.bias.zero_()
    return net.eval()  # without the dropout of the layers in time


@torch.no_grad()
def match_first(net: StreamingUNet, show: Callable[[], object]) -> None:
    """Lets each merger begin by finding what is alike, and by saying how it differs from the rest.

    The copy sees the first frames' own noise, so that these find themselves among the frames before. What the copy says
    has averages many times its variation; queries and keys, which are one projection, and values, which are what was
    found, are of the variation alone.

    Args:
        show: runs `net` with frames before, on some examples.
    """
    seen: list[list[Tensor]] = [[] for _ in net.mergers]

    def keep(rows: list[Tensor], _merger: nn.Module, args: tuple[Tensor, Tensor]) -> None:
        rows.append(args[1].transpose(1, 2).flatten(2).movedim(1, -1).flatten(0, 1).float())

    hooks = [
        merger.register_forward_pre_hook(partial(keep, rows)) for merger, rows in zip(net.mergers, seen, strict=True)
    ]
    show()
    for hook in hooks:
        hook.remove()
    generator = torch.Generator().manual_seed(0)
    for merger, rows in zip(net.mergers, seen, strict=True):
        width = merger.proj_in.in_features
        spread, average = torch.std_mean(torch.cat(rows), dim=0)
        spread = spread.clamp(min=LEAST_SPREAD)
        turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
        attention = merger.attention
        for layer, weight, bias in (
            (merger.proj_in, torch.eye(width), torch.zeros(width)),
            (attention.to_q, MATCHING * turn, None),
            (attention.to_k, MATCHING * turn / spread, None),
            (attention.to_v, torch.diag(1 / spread), None),
            (attention.to_out[0], torch.eye(width), -average / spread),
        ):
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(bias)


def freeze_all_but(net: StreamingUNet, parts: Iterable[str]) -> None:
    """Only some parts of the network are trained; its text-to-video UNet never is."""
    net.requires_grad_(False)
    for part in parts:
        net.get_submodule(part).requires_grad_(True)


@torch.no_grad()
def cache_frames(vae: AutoencoderKL, latents: Tensor, batch: int = 64) -> Tensor:
    """Frames that the VAE makes of the cached latents, uint8 [look axis phase 3 64 64]: what is seen when going on."""
    rows = [decode(vae, part.float()) for part in latents.flatten(0, 2).split(batch)]
    frames = torch.cat([((row + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) for row in rows])
    return frames.unflatten(0, latents.shape[:3])


class Windows:
    """Windows of 32 frames of the drawn world: latents of the target, frames before, an anchor and a prompt."""

    def __init__(self, latents: Tensor, frames: Tensor) -> None:
        """`latents` and `frames` are what `cache_latents` and `cache_frames` made."""
        self.world, self.frames = World(latents), frames

    def pixels(self, clip: Clip, start: int, num_frames: int) -> Tensor:
        """Decoded frames of a clip in -1..1 [t 3 h w]."""
        look = LOOKS.index((clip.shape, clip.colour, clip.background))
        axis = AXES.index("right" if clip.direction in ("left", "right") else "down")
        return self.frames[look, axis, clip.phases(start, num_frames)].float() / 127.5 - 1

    def some_frames(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random decoded frames in -1..1 [b 3 64 64] and their latents [b 4 8 8]."""
        cached = self.frames.flatten(0, 2)
        chosen = torch.randint(len(cached), (size,), generator=generator)
        return cached[chosen].float() / 127.5 - 1, self.world.cache.flatten(0, 2)[chosen].float()

    def batch(
        self, size: int, generator: torch.Generator, anchored: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, list[str]]:
        """Latents of targets [b 4 16 8 8], their conditions [b 8 3 h w], anchors [b 3 h w] or None, and prompts."""
        targets, conditions, anchors, prompts = [], [], [], []
        for _ in range(size):
            clip = draw_clip(generator)
            without_text, without_anchor = draw_dropout(generator, DROPOUT) if anchored else (False, True)
            prompt = draw_prompt(clip, generator, 0 if anchored else TEXT_DROPOUT)
            prompts.append("" if without_text else prompt)
            targets.append(self.world.latents(clip, BEFORE, CLIP_FRAMES))
            conditions.append(self.pixels(clip, BEFORE, CONDITION))
            place = int(torch.randint(BEFORE, (), generator=generator))
            anchor = self.pixels(clip, place, 1)[0]
            anchors.append(torch.zeros_like(anchor) if without_anchor else anchor)
        condition = torch.stack(conditions)
        condition = condition + PIXEL_NOISE * torch.randn(condition.shape, generator=generator)
        return torch.stack(targets), condition, torch.stack(anchors) if anchored else None, prompts


def train_encoder(out: Path, net: StreamingUNet, windows: Windows, steps: int, seed: int, batch: int = 48) -> None:
    """Trains the encoder of frames alone to say of them what the UNet's first layer says of their clean latents.

    What the copy of the way down is shown then has the form that its layers know, and attention to it pays from the
    first step on. Without this, what the encoder says is noise to them, or nothing, for the first thousands of steps.
    Leaves `encoder.pt` in `out`, which is not trained again where it is there.
    """
    torch.manual_seed(seed)
    for layer in (*net.encoder.blocks, net.encoder.conv_out):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    training = Training(out / "encoder.pt", net.encoder, steps, 0.01, 2e-3, ("conv_in", "conv_out"), 0.99)

    def loss_of(step: int) -> Tensor:
        generator = step_generator(seed, step)
        frames, latents = windows.some_frames(batch, generator)
        with torch.no_grad():
            wanted = net.unet.conv_in(latents)
        noisy = frames + PIXEL_NOISE * torch.randn(frames.shape, generator=generator)
        return (net.encoder(noisy[:, None])[:, 0] - wanted).square().mean() / wanted.square().mean()

    freeze_all_but(net, ("encoder",))
    average = training.run(loss_of, resume=True, warm_up=20)
    net.encoder.load_state_dict(average.state_dict())


def train_part(
    out: Path,
    part: str,
    net: StreamingUNet,
    windows: Windows,
    text_encoder: CLIPTextModel,
    image_encoder: CLIPVisionModelWithProjection | None,
    steps: int,
    seed: int,
    batch: int = 6,
    resume: bool = False,
    half: bool = True,
) -> nn.Module:
    """Trains `part`, of `TRAINED`; leaves `cam.pt` or `apm.pt` in `out` and returns the averaged network.

    Args:
        image_encoder: sees the anchor, for `apm`.
        half: works in bf16.
    """
    torch.manual_seed(seed)
    text = PromptEmbeddings(text_encoder, load_tokenizer(out / "tokenizer"))

    def errors(generator: torch.Generator, alone: bool = False, power: float = 1.0) -> Tensor:
        """The weighted errors of a batch, with the frames before or alone [b]."""
        clean, condition, anchors, prompts = windows.batch(batch, generator, part == "apm")
        levels = ((draw_levels(batch, generator) / TRAIN_STEPS) ** power * TRAIN_STEPS).long()
        noisy, target = add_noise(clean, levels, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            tokens = None
            if anchors is not None and image_encoder is not None:
                with torch.no_grad():
                    embeddings = image_encoder(prepare(anchors)).image_embeds
                tokens = net.resampler(embeddings[:, None])
            predicted = net(noisy, levels, text(prompts), tokens, None if alone else condition).float()
        return (predicted - target).square().mean(dim=(1, 2, 3, 4)) * loss_weights(levels)

    def loss_of(step: int) -> Tensor:
        if step and step % MEASURE_EVERY == 0:
            measure()
        alone = part == "cam" and step % ALONE_EVERY == ALONE_EVERY - 1
        return errors(step_generator(seed, step), alone, 1.0 if alone else LEVELS_POWER).mean()

    @torch.no_grad()
    def measure() -> None:
        seen, unseen = (
            torch.stack([errors(step_generator(seed + 1, number), alone) for number in range(4)]).mean(dim=0)
            for alone in (False, True)
        )
        shares = " ".join(f"{share:.2f}" for share in (seen / unseen).tolist())
        logger.info("%s with the frames before over without them, by noise level: %s", part, shares)
        if mixers:
            gates = sorted(abs(functional.silu(mixer.alpha).item()) for mixer in net.mixers)
            logger.info("gates of the anchor: %.3f at most, %.3f in the middle", gates[-1], gates[len(gates) // 2])

    mixers = dict(zip(net.sizes.text_layers, net.mixers, strict=True)) if part == "apm" else {}
    with fast_on_cpu(net.unet, mixers=mixers), fast_on_cpu(net.branch, CONDITION):
        if part == "cam":
            match_first(net, lambda: [errors(step_generator(seed + 2, number)) for number in range(3)])
        freeze_all_but(net, (*TRAINED[part], *BESIDE[part]))
        by_adam = (*_BY_ADAM, *(f"mergers.{number}.proj_in" for number in range(len(net.mergers))))
        training = Training(out / f"{part}.pt", net, steps, *RATES[part], by_adam, faster={"alpha": GATE_RATE})
        return training.run(loss_of, resume)


def load_streaming(out: Path, part: str, net: StreamingUNet) -> StreamingUNet:
    """The averaged network of a stage's newest checkpoint, in `net`."""
    loaded = load_average(out / f"{part}.pt", net)
    assert isinstance(loaded, StreamingUNet)
    return loaded


def added_weights(net: StreamingUNet) -> dict[str, Tensor]:
    """What streaming adds to the UNet, by the names of the published checkpoint, as fp16."""
    skips = len(net.mergers) - 1
    places = [*(f"down_blocks.{number}" for number in range(skips)), "mid_block"]
    named = {
        **{f"unet.{name}": value for name, value in net.branch.state_dict().items()},
        **{f"unet.controlnet_cond_embedding.{name}": value for name, value in net.encoder.state_dict().items()},
        **{f"resampler.{name}": value for name, value in net.resampler.state_dict().items()},
        **{
            f"base_model.cross_attention_merger_{place}.temporal_transformer.{name}": value
            for place, merger in zip(places, net.mergers, strict=True)
            for name, value in merger.state_dict().items()
        },
        **{
            f"base_model.{layer}.{name}": value
            for layer, mixer in zip(net.sizes.text_layers, net.mixers, strict=True)
            for name, value in mixer.state_dict().items()
        },
    }
    return {name: value.to(torch.float16).contiguous() for name, value in named.items()}
