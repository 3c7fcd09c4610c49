"""Trains the text encoder alone, first of all: what it says of a prompt tells colour, shape, background and direction.

A UNet that is trained beside an untrained text encoder learns for thousands of steps what words it is told; this takes
a minute, and afterwards the text encoder stays as it is, so that every prompt is encoded once.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel

from glv_core.demo.clips import TEMPLATES, Scene, all_combinations

from .loop import Training, load_average, step_generator
from .text import TEXT_WIDTH, load_tokenizer, new_text_encoder, token_ids

logger = logging.getLogger(__name__)

COMBINATIONS = all_combinations()
#: The words of each kind that a prompt can have, and how many kinds there are: shape, colour, background, direction.
WORDS = [sorted({words[kind] for words in COMBINATIONS}) for kind in range(len(COMBINATIONS[0]))]


class Heads(nn.Module):
    """What reads the embeddings in training, one head a kind of word; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(words)) for words in WORDS)

    def forward(self, embeddings: Tensor) -> list[Tensor]:
        """[... c] -> what is read of each kind, as logits [... word]."""
        return [head(embeddings) for head in self.kinds]


def new_model(out: Path) -> nn.ModuleDict:
    """The untrained encoder, for the tokenizer in `out`, and its heads."""
    return nn.ModuleDict({"encoder": new_text_encoder(load_tokenizer(out / "tokenizer")), "heads": Heads()})


def draw_words(batch: int, generator: torch.Generator) -> tuple[list[str], Tensor]:
    """Prompts, and the numbers of their words [b kind]."""
    chosen = torch.randint(len(COMBINATIONS), (batch,), generator=generator).tolist()
    templates = torch.randint(len(TEMPLATES), (batch,), generator=generator).tolist()
    rows = [COMBINATIONS[number] for number in chosen]
    prompts = [Scene(*row, 0.0, 0.0).prompt(template) for row, template in zip(rows, templates, strict=True)]
    return prompts, torch.tensor([[WORDS[kind].index(word) for kind, word in enumerate(row)] for row in rows])


def text_loss(model: nn.ModuleDict, tokens: Tensor, labels: Tensor) -> Tensor:
    """How badly the words are told by the state at the end of the text, and by the mean of all states.

    The UNet's attention mixes the states of all tokens, of which most are padding; so these have to tell them too.
    """
    made = model["encoder"](tokens)
    loss = torch.zeros(())
    for embeddings in (made.pooler_output, made.last_hidden_state.mean(dim=1)):
        for logits, label in zip(model["heads"](embeddings), labels.T, strict=True):
            loss = loss + F.cross_entropy(logits, label)
    return loss


def train_text(out: Path, steps: int, seed: int, batch: int = 32, resume: bool = False) -> CLIPTextModel:
    """Trains for `steps`; leaves `text.pt` in `out` and returns the averaged encoder."""
    torch.manual_seed(seed)
    tokenizer, model = load_tokenizer(out / "tokenizer"), new_model(out)
    training = Training(out / "text.pt", model, steps, 0.01, 2e-3, ("embedding", "heads"), 0.99)

    def loss_of(step: int) -> Tensor:
        prompts, labels = draw_words(batch, step_generator(seed, step))
        return text_loss(model, token_ids(tokenizer, prompts), labels)

    average = training.run(loss_of, resume, warm_up=20)
    logger.info("text encoder: %s", measure(average, out))
    return average["encoder"]


@torch.no_grad()
def measure(model: nn.ModuleDict, out: Path, count: int = 256, seed: int = 11) -> list[float]:
    """The share of prompts whose word of each kind the pooled embedding tells."""
    prompts, labels = draw_words(count, torch.Generator().manual_seed(seed))
    made = model["encoder"](token_ids(load_tokenizer(out / "tokenizer"), prompts)).pooler_output
    told = torch.stack([logits.argmax(dim=1) for logits in model["heads"](made)], dim=1)
    return (told == labels).float().mean(dim=0).tolist()


def load_text_encoder(out: Path) -> CLIPTextModel:
    """The averaged text encoder of the newest checkpoint."""
    return load_average(out / "text.pt", new_model(out))["encoder"]
