"""The demo model's tokenizer and text encoder, both tiny and both in the formats of Wan 2.1's UMT5."""

from __future__ import annotations

import io
import json
import re
import string
from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from glv_core.demo.clips import TEMPLATES, Scene, all_combinations

HOST_TOKENS = 512
PAD, EOS, UNKNOWN = 0, 1, 2


def all_prompts() -> list[str]:
    """Every scene in every template."""
    return [
        Scene(shape, colour, background, direction, 0.0, 0.0).prompt(template)
        for shape, colour, background, direction in all_combinations()
        for template in range(len(TEMPLATES))
    ]


def train_tokenizer(folder: Path) -> None:
    """Writes the tokenizer into `folder`: `spiece.model` and the files transformers reads beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for prompt in all_prompts() for word in re.findall(r"[A-Za-z]+", prompt)})
    letters = "".join(c for c in string.printable if not c.isspace())
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=trained,
        model_type="unigram",
        vocab_size=4 * len(letters),
        hard_vocab_limit=False,
        pad_id=PAD,
        eos_id=EOS,
        unk_id=UNKNOWN,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        required_chars=letters,
        num_threads=1,
        minloglevel=2,
    )
    # The trainer settles on fragments of so few words.  Keep its special pieces and normaliser, and make the
    # vocabulary every word of the prompts, and every printable ASCII character so that any text has tokens.
    from sentencepiece import sentencepiece_model_pb2  # needs protobuf, which nothing else here does

    model = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    special = [piece for piece in model.pieces if piece.type != piece.NORMAL]
    normal = [("\u2581" + word, -4.0) for word in words] + [("\u2581", -8.0)] + [(c, -9.0) for c in letters]
    del model.pieces[:]
    model.pieces.extend(special)
    for piece, score in normal:
        model.pieces.add(piece=piece, score=score, type=special[0].NORMAL)
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    _write_fast_tokenizer(folder)


def _write_fast_tokenizer(folder: Path) -> None:
    """Writes `tokenizer.json`, the same unigram model for the tokenizers library, and its two configs."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", EOS)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {
        **special,
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": 0,
        "additional_special_tokens": [],
        "model_max_length": HOST_TOKENS,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "sp_model_kwargs": {},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def new_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """An untrained two-layer UMT5 encoder, as wide as the real one at its ends and tiny inside."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=4096,
        d_kv=16,
        num_heads=2,
        d_ff=32,
        num_layers=2,
        num_decoder_layers=2,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        layer_norm_epsilon=1e-6,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return UMT5EncoderModel(config)


class PromptEncoder:
    """Token ids of prompts, and their embeddings as both hosts make them: zero beyond each prompt's end."""

    def __init__(self, spiece_model: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(spiece_model), add_eos=True)

    def ids(self, prompts: Sequence[str], length: int = 0) -> tuple[Tensor, Tensor]:
        """Token ids and mask, padded to `length` or the longest prompt [b n], [b n]."""
        rows = [self.processor.encode(prompt) for prompt in prompts]
        length = max(length, *map(len, rows))
        ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        return ids, mask

    def __call__(self, encoder: UMT5EncoderModel, prompts: Sequence[str], length: int = 0) -> Tensor:
        """Embeddings, zero where a prompt has ended [b n 4096]."""
        ids, mask = self.ids(prompts, length)
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return states * mask[:, :, None]
