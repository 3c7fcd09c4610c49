from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glv_core.perception.boxes import (
    Detection,
    as_boxes,
    box_iou,
    box_overlap,
    choose,
    closest_phrase,
    cxcywh_to_xyxy,
    mask_box,
    nms,
    phrases,
    prompt_text,
)

sides = st.integers(0, 20)


@st.composite
def boxes(draw):
    left, top = draw(sides), draw(sides)
    return left, top, left + draw(st.integers(1, 10)), top + draw(st.integers(1, 10))


def pixels(box):
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    return mask


@pytest.mark.parametrize(
    ("text", "read"),
    [("Sunglasses", "sunglasses."), ("  Man. Dog.", "man. dog."), ("man. dog", "man. dog."), ("a cat .", "a cat .")],
)
def test_captions(text, read):
    assert prompt_text(text) == read


@pytest.mark.parametrize("text", ["", "  ", ".", " . . "])
def test_no_caption(text):
    with pytest.raises(ValueError, match="text is empty"):
        prompt_text(text)


def test_phrases():
    assert phrases("Man.  big Dog.") == ["man", "big dog"]
    named = ["man", "big dog", "dog"]
    assert [closest_phrase(label, named) for label in ("man", "dog", "big dog", "the big dog", "cat")] == [
        "man", "dog", "big dog", "big dog", "cat",
    ]  # fmt: skip


def test_centre_and_size_to_corners():
    found = cxcywh_to_xyxy(torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.75, 0.1, 0.2]]), height=200, width=400)
    assert torch.allclose(found, torch.tensor([[0.0, 0.0, 400.0, 200.0], [80.0, 130.0, 120.0, 170.0]]))


@given(st.lists(boxes(), min_size=1, max_size=4), st.lists(boxes(), min_size=1, max_size=4))
def test_overlap_is_that_of_the_pixels(a, b):
    iou, overlap = box_iou(as_boxes(a), as_boxes(b)), box_overlap(as_boxes(a), as_boxes(b))
    for row, one in enumerate(map(pixels, a)):
        for column, other in enumerate(map(pixels, b)):
            shared = float((one & other).sum())
            assert float(iou[row, column]) == pytest.approx(shared / float((one | other).sum()))
            assert float(overlap[row, column]) == pytest.approx(shared / float(min(one.sum(), other.sum())))


def test_boxes_without_area_overlap_nothing():
    empty, full = as_boxes([(3, 3, 3, 8)]), as_boxes([(0, 0, 10, 10)])
    assert box_iou(empty, full) == 0 and box_overlap(empty, full) == 0 and box_iou(empty, empty) == 0
    assert box_iou(as_boxes([]), full).shape == (0, 1)


@given(boxes())
def test_the_box_of_a_mask(box):
    assert mask_box(pixels(box)) == box
    assert mask_box(torch.zeros(4, 4, dtype=torch.bool)) is None


def test_first_and_best():
    found = [Detection((0, 0, 1, 1), score, "x") for score in (0.3, 0.9, 0.5)]
    assert [each.score for each in choose(found, 2, "first")] == [0.3, 0.9]
    assert [each.score for each in choose(found, 2, "best")] == [0.9, 0.5]
    assert len(choose(found, 0, "first")) == 3
    assert choose([], 2, "best") == []


def test_doubles_go_and_the_order_stays():
    a, b, c = (Detection(box, score, "x") for box, score in [
        ((0, 0, 10, 10), 0.5), ((0, 0, 10, 9), 0.8), ((20, 0, 30, 10), 0.9)])  # fmt: skip
    assert nms([a, b, c]) == [b, c]
    assert nms([c, a, b]) == [c, b]
    assert nms([]) == []
