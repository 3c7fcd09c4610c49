"""Guidance by text and anchor, with a network that is linear in both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.streamingt2v import guided

WEIGHTS = st.sampled_from([0.0, 1.0, 2.5, 7.5, 9.0])
NOISES = {
    name: torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for seed, name in enumerate(("neither", "text", "both"))
}


class Network:
    """Says the noise of each name and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, names):
        self.asked.append(list(names))
        return [NOISES[name] for name in names]


@settings(deadline=None)
@given(text=WEIGHTS, anchor=WEIGHTS)
def test_it_is_the_three_terms_whatever_is_left_out(text, anchor):
    network = Network()
    none, one, both = NOISES.values()
    wanted = none + text * (one - none) + anchor * (both - one)
    torch.testing.assert_close(guided(network, text, anchor), wanted)
    assert len(network.asked) == 1


@given(weight=st.floats(0, 20).filter(lambda weight: weight not in (0, 1)))
def test_equal_weights_are_ordinary_guidance_of_two_predictions(weight):
    network = Network()
    none, _, both = NOISES.values()
    assert torch.equal(guided(network, weight, weight), none + weight * (both - none))
    assert network.asked == [["neither", "both"]]


@given(text=WEIGHTS)
def test_without_an_anchor_it_is_guidance_by_the_text(text):
    none, one, _ = NOISES.values()
    torch.testing.assert_close(guided(Network(), text, None), none + text * (one - none))


@pytest.mark.parametrize(
    ("text", "anchor", "asked"),
    [
        (7.5, 7.5, ["neither", "both"]),
        (7.5, 5, ["neither", "text", "both"]),
        (1, 7.5, ["text", "both"]),
        (7.5, 0, ["neither", "text"]),
        (1, 1, ["both"]),
        (1, None, ["text"]),
        (0, 0, ["neither"]),
        (7.5, None, ["neither", "text"]),
    ],
)
def test_what_cancels_is_not_predicted(text, anchor, asked):
    network = Network()
    guided(network, text, anchor)
    assert network.asked == [asked]


def test_the_published_weights_are_the_default():
    none, _, both = NOISES.values()
    assert torch.equal(guided(Network()), none + 7.5 * (both - none))


@pytest.mark.parametrize("weight", [-1, float("nan")])
def test_bad_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"text_weight is .* 0 or more"):
        guided(Network(), weight)
    with pytest.raises(ValueError, match=r"anchor_weight is .* 0 or more"):
        guided(Network(), 7.5, weight)
