"""Trains the image encoder alone: what it says of a frame tells colour, shape, background and place of its object."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from glv_core.demo.clips import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, SIZE, Scene

from .loop import Training, load_average, step_generator
from .text import TEXT_WIDTH, load_tokenizer, token_ids
from .train_vae import random_frames
from .world import LOOKS

logger = logging.getLogger(__name__)

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
PIXEL_NOISE = 0.05  # at most: frames that a VAE decodes are not clean
PLACE_WEIGHT = 4.0
WORDS = {"colour": tuple(COLOURS), "shape": SHAPES, "background": tuple(BACKGROUNDS)}


def new_image_encoder() -> CLIPVisionModelWithProjection:
    """An untrained CLIP image encoder of 64x64 pixels: three layers, 48 wide, projected to the text's width."""
    config = CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=96,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=8,
        hidden_act="gelu",
    )
    return CLIPVisionModelWithProjection(config)


def prepare(pixels: Tensor) -> Tensor:
    """Frames in -1..1 as CLIP takes them [b 3 h w]."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return ((pixels + 1) / 2 - mean) / std


class Heads(nn.Module):
    """What reads the embedding of an image in training; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.ModuleDict({kind: nn.Linear(TEXT_WIDTH, len(words)) for kind, words in WORDS.items()})
        self.place = nn.Linear(TEXT_WIDTH, 4)
        self.text = nn.Linear(TEXT_WIDTH, TEXT_WIDTH, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))


def new_model() -> nn.ModuleDict:
    """The untrained encoder and its heads."""
    return nn.ModuleDict({"encoder": new_image_encoder(), "heads": Heads()})


@torch.no_grad()
def look_embeddings(encoder: CLIPTextModel, tokenizer_folder: Path) -> Tensor:
    """One embedding of each of `LOOKS`: the mean over its prompts in all directions [look c]."""
    tokenizer = load_tokenizer(tokenizer_folder)
    rows = []
    for shape, colour, background in LOOKS:
        prompts = [Scene(shape, colour, background, direction, 0.0, 0.0).prompt() for direction in DIRECTIONS]
        rows.append(encoder(token_ids(tokenizer, prompts)).pooler_output.mean(dim=0))
    return torch.stack(rows)


def places(scenes: list[Scene]) -> Tensor:
    """Where the objects are, as angles on the torus: cosine and sine of x and y [b 4]."""
    angle = torch.tensor([(scene.x, scene.y) for scene in scenes]) * (2 * math.pi / SIZE)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def image_loss(model: nn.ModuleDict, pixels: Tensor, scenes: list[Scene], looks: Tensor) -> Tensor:
    """How badly the embeddings of frames in -1..1 [b 3 h w] tell what is on them.

    Each must tell the words and the place of its object, and be nearest to its own text among all `looks` [look c].
    """
    encoder, heads = model["encoder"], model["heads"]
    embeddings = encoder(prepare(pixels)).image_embeds
    loss = PLACE_WEIGHT * F.mse_loss(heads.place(embeddings), places(scenes))
    for kind, words in WORDS.items():
        labels = torch.tensor([words.index(getattr(scene, kind)) for scene in scenes])
        loss = loss + F.cross_entropy(heads.words[kind](embeddings), labels)
    texts = F.normalize(heads.text(looks), dim=-1)
    own = torch.tensor([LOOKS.index((scene.shape, scene.colour, scene.background)) for scene in scenes])
    return loss + F.cross_entropy(heads.scale.exp() * F.normalize(embeddings, dim=-1) @ texts.T, own)


def train_image(
    out: Path, text_encoder: CLIPTextModel, steps: int, seed: int, batch: int = 64, resume: bool = False
) -> CLIPVisionModelWithProjection:
    """Trains for `steps`; leaves `image.pt` in `out` and returns the averaged encoder."""
    torch.manual_seed(seed)
    looks = F.layer_norm(look_embeddings(text_encoder, out / "tokenizer"), (TEXT_WIDTH,))
    model = new_model()
    training = Training(out / "image.pt", model, steps, 0.01, 1e-3, ("embedding", "heads"), 0.99)

    def loss_of(step: int) -> Tensor:
        generator = step_generator(seed, step)
        pixels, scenes = random_frames(batch, generator)
        amount = PIXEL_NOISE * torch.rand(batch, 1, 1, 1, generator=generator)
        return image_loss(model, pixels + amount * torch.randn(pixels.shape, generator=generator), scenes, looks)

    average = training.run(loss_of, resume, warm_up=20)
    logger.info("image encoder: %s", measure(average))
    return average["encoder"]


@torch.no_grad()
def measure(model: nn.ModuleDict, count: int = 256, seed: int = 11) -> dict[str, float]:
    """The share of frames whose words the embedding tells, and how far off the place is, in pixels."""
    pixels, scenes = random_frames(count, torch.Generator().manual_seed(seed))
    embeddings = model["encoder"](prepare(pixels)).image_embeds
    result = {}
    for kind, words in WORDS.items():
        told = model["heads"].words[kind](embeddings).argmax(dim=1).tolist()
        result[kind] = sum(words[n] == getattr(s, kind) for n, s in zip(told, scenes, strict=True)) / count
    cosine, sine = model["heads"].place(embeddings).chunk(2, dim=1)
    xy = torch.atan2(sine, cosine) * SIZE / (2 * math.pi)
    wanted = torch.tensor([(scene.x, scene.y) for scene in scenes])
    result["place"] = float((torch.remainder(xy - wanted + SIZE / 2, SIZE) - SIZE / 2).norm(dim=1).mean())
    return result


def load_image_encoder(out: Path) -> CLIPVisionModelWithProjection:
    """The averaged image encoder of the newest checkpoint."""
    return load_average(out / "image.pt", new_model())["encoder"]
