"""The tokenizer and the text encoder: CLIP's formats, with a vocabulary of the drawn world's words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ..demo.text import all_prompts

TOKENS = 77
TEXT_WIDTH = 64
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def byte_letters() -> list[str]:
    """The letters that CLIP writes the 256 bytes as, in the order of its vocabulary.

    A printable byte is its own letter; the others are the letters from code point 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte pair merges in order, until every word is one token: always the commonest pair, the first of equals."""
    parts = {word: [*word[:-1], word[-1] + WORD_END] for word in words}
    merges: list[tuple[str, str]] = []
    while any(len(pieces) > 1 for pieces in parts.values()):
        counts = Counter(pair for pieces in parts.values() for pair in pairwise(pieces))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word, pieces in parts.items():
            joined: list[str] = []
            for piece in pieces:
                if joined and (joined[-1], piece) == best:
                    joined[-1] += piece
                else:
                    joined.append(piece)
            parts[word] = joined
    return merges


def prompt_words() -> list[str]:
    """All words of all prompts, in lower case and in order."""
    return sorted({word for prompt in all_prompts() for word in re.findall(r"[a-z]+", prompt.lower())})


def write_tokenizer(folder: Path) -> None:
    """Writes `vocab.json`, `merges.txt` and the two configs of a CLIP tokenizer into `folder`.

    All bytes are tokens, so that any text can be written; every word of the prompts is one token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merges, letters = learn_merges(prompt_words()), byte_letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`."""
    if not (folder / "vocab.json").exists():
        raise ValueError(f"{folder} has no vocab.json; run the stage tokenizer first.")
    return CLIPTokenizer.from_pretrained(str(folder))


def token_ids(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Token ids as the pipeline makes them, padded to the full length [b 77]."""
    made = tokenizer(list(prompts), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    return made.input_ids


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text encoder: two layers, 64 wide."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


class PromptEmbeddings:
    """Embeddings of prompts by a frozen encoder; every prompt is encoded once."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.encoder, self.tokenizer = encoder, tokenizer
        self.seen: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """[b 77 c]."""
        new = sorted(set(prompts) - self.seen.keys())
        if new:
            states = self.encoder(token_ids(self.tokenizer, new)).last_hidden_state
            self.seen.update(zip(new, states, strict=True))
        return torch.stack([self.seen[prompt] for prompt in prompts])
