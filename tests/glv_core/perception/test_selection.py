from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from glv_core.perception.overlay import draw, id_colour
from glv_core.perception.selection import Selection, union
from glv_core.perception.tracking import TrackedInstance


def found(number: int, label: str) -> TrackedInstance:
    mask = torch.zeros(80, 60, dtype=torch.bool)
    mask[30:60, 10 * number : 10 * number + 10] = True
    return TrackedInstance(number, label, 0.5, (10.0 * number, 30.0, 10.0 * number + 10, 60.0), mask)


OBJECTS = [found(1, "man"), found(2, "dog"), found(3, "dog"), found(4, "red hat")]


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", [1, 2, 3, 4]), (" , ", [1, 2, 3, 4]), ("2", [2]), ("1, 3", [1, 3]), ("Dog", [2, 3]), ("red hat, 1", [1, 4]),
     ("cat", []), ("9", []), ("dog.", [2, 3]), ("2.", [2]), (" +3 , .", [3]), ("--3", []), ("+-3", []),
     (".", [1, 2, 3, 4])],
)  # fmt: skip
def test_objects_by_id_and_label(text, ids):
    assert [each.id for each in Selection.parse(text).of(OBJECTS)] == ids


@pytest.mark.parametrize("text", ["0", "dog, -1"])
def test_ids_count_from_one(text):
    with pytest.raises(ValueError, match="numbered from 1"):
        Selection.parse(text)


def test_what_is_named_but_not_there():
    selection = Selection.parse("cat, 9, Dog, 1, 12")
    assert str(selection) == "1, 9, 12, cat, dog" and selection
    assert str(selection.without(OBJECTS)) == "9, 12, cat"
    assert not selection.without(OBJECTS).without([found(9, "cat"), found(12, "cat")])
    assert not Selection.parse("")


def test_union():
    assert int(union(OBJECTS[:2], 80, 60).sum()) == 600
    assert int(union([], 80, 60).sum()) == 0


def test_the_preview_shows_objects_in_their_colours_and_darkens_the_rest():
    frame = torch.full((80, 60, 3), 0.5)
    mask = OBJECTS[1].mask.float()
    image = draw(frame, OBJECTS[1:2], mask)
    colour = torch.tensor(id_colour(2)) / 255
    inside = image[45, 25]
    assert torch.allclose(inside, 0.3 + 0.4 * colour, atol=0.01)
    assert torch.allclose(image[75, 5], torch.full((3,), 0.175), atol=0.01)
    assert torch.allclose(image[59, 25], colour, atol=0.01)  # the line around it
    assert (draw(frame, []) - frame).abs().max() < 0.01
    label = image[15:28]
    assert (label - 0.175).abs().amax() > 0.2  # its number and label above it


def test_colours_of_neighbours_differ():
    colours = [torch.tensor(id_colour(number)).float() for number in range(1, 20)]
    assert min((a - b).abs().sum() for a, b in pairwise(colours)) > 100
