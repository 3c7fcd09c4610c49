"""Labels and limits of Grounding DINO's adapter, with a model and a tokenizer of the test's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from glv_core.hosts.transformers.grounding_dino import GroundingDinoDetector


class Inputs(dict):
    def to(self, device):
        return self


class Tokenizer:
    """Words by the order in which they come; ``snowboarder`` has two pieces, and what is not ASCII is unknown."""

    cls_token_id, sep_token_id, pad_token_id, unk_token_id = range(4)

    def __init__(self):
        self.words = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "."]

    def convert_tokens_to_ids(self, word):
        if not word.isascii():
            return self.unk_token_id
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)

    def encode(self, text):
        pieces = text.replace(".", " . ").replace("snowboarder", "snow ##boarder").split()
        return [0, *map(self.convert_tokens_to_ids, pieces), 1]

    def decode(self, ids):
        return " ".join(self.words[int(each)] for each in ids)


def detector(text, scores, text_threshold=0.25, most=256):
    """One whose only query gives each token of the text (the first and last ones among them) these probabilities."""
    tokenizer = Tokenizer()

    def processor(images, text, return_tensors):
        ids = torch.tensor([tokenizer.encode(each) for each in text])
        return Inputs(input_ids=ids, pixel_values=torch.zeros(len(text), 3, 8, 8))

    processor.tokenizer = tokenizer
    logits = torch.full((1, 1, 256), -20.0)
    logits[0, 0, : len(scores)] = torch.tensor(scores).logit(eps=1e-6)

    class Model:
        config = SimpleNamespace(max_text_len=most)
        device, dtype = torch.device("cpu"), torch.float32

        def __call__(self, **inputs):
            return SimpleNamespace(logits=logits, pred_boxes=torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]))

    return GroundingDinoDetector(Model(), processor, text, 0.25, text_threshold)


@pytest.mark.parametrize(
    ("text", "scores", "label"),
    [
        ("red car. blue car.", [0, 0, 0, 0, 0.2, 0.6, 0, 0], "blue car"),
        ("red car. blue car.", [0, 0.5, 0.4, 0, 0, 0.6, 0, 0], "red car"),
        ("snowboarder. dog", [0, 0, 0.5, 0, 0.1, 0, 0], "snowboarder"),
        ("snowboarder. dog", [0, 0.5, 0, 0, 0.1, 0, 0], "snowboarder"),
        ("dog. 太阳镜", [0, 0.1, 0, 0.6, 0, 0], "太阳镜"),
        ("dog.. cat.", [0, 0.1, 0, 0, 0.4, 0, 0], "cat"),
    ],
)
def test_a_label_is_the_phrase_whose_tokens_are_sure(text, scores, label):
    [[found]] = detector(text, scores).detect(torch.zeros(1, 8, 8, 3))
    assert found.label == label
    assert found.score == pytest.approx(max(scores), abs=1e-4)
    assert found.box == (2, 2, 6, 6)


def test_all_words_count_where_the_threshold_is_zero():
    [[found]] = detector("cat. a large dog.", [0, 0.26, 0, 0.1, 0.1, 0.1, 0, 0], 0.0).detect(torch.zeros(1, 8, 8, 3))
    assert found.label == "a large dog"


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match=r"text has 8 tokens.*Name fewer"):
        detector("cat. dog. bird", [0.5] * 7 + [0], most=6).detect(torch.zeros(1, 8, 8, 3))
