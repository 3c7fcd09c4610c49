"""Masks of drawn objects by words."""

import pytest
import torch

from glv_core.demo.clips import Scene, render
from glv_core.demo.detector import FrameReading, centre_distances, object_masks


def frames(shape="circle", colour="red", background="white", x=32.0, y=32.0, count=3):
    return render(Scene(shape, colour, background, "right", x, y), count)


@pytest.mark.parametrize("text", ["red circle", "circle", "red", "object", "blue square. circle.", "The RED circle"])
@pytest.mark.parametrize("x", [32.0, 62.0])
def test_the_mask_is_where_the_drawing_differs_from_its_background(text, x):
    drawn = frames(x=x)
    changed = (drawn - drawn[:, :, :1, :1]).abs().amax(1) > 0.12
    if x > 40:
        changed = (drawn - 0.98).abs().amax(1) > 0.12
    for (words, mask), truth in zip(object_masks(drawn, text), changed, strict=True):
        assert words == "red circle"
        both = (torch.from_numpy(mask) & truth).sum() / (torch.from_numpy(mask) | truth).sum()
        assert float(both) > 0.97


@pytest.mark.parametrize("text", ["blue circle", "square", "red triangle", "blue square. green object"])
def test_another_object_is_not_found(text):
    for words, mask in object_masks(frames(), text):
        assert words == "" and not mask.any()


def test_a_frame_without_an_object_has_an_empty_mask():
    assert not object_masks(torch.full((1, 3, 64, 64), 0.5), "object")[0][1].any()


@pytest.mark.parametrize(("text", "part"), [("a dog", "no 'a dog'"), ("", "empty"), ("red circle. dog", "no 'dog'")])
def test_words_that_the_world_does_not_have(text, part):
    with pytest.raises(ValueError, match=part):
        object_masks(frames(), text)


def test_distances_of_centres_go_around_the_torus():
    def at(x, y, found=True):
        return FrameReading(found, x=x, y=y)

    ours, theirs = [at(63, 10), at(5, 1), at(3, 3, False)], [at(2, 14), at(5, 61), at(9, 9)]
    assert centre_distances(ours, theirs) == [5.0, 4.0]
