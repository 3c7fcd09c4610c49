"""Clip identifiers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from glv_core.tuning import ClipIdentifiers, Place, Places

SIZES = {"a.q": (6, 4), "b.q": (3, 3)}


def made(kind, length=41, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ClipIdentifiers(kind, SIZES, 2, Places(length, 16, 4), generator)


def filled(kind, **more):
    identifiers = made(kind, **more)
    generator = torch.Generator().manual_seed(5)
    for weight in identifiers.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return identifiers.requires_grad_(False)


@pytest.mark.parametrize("kind", ["bank", "continuous"])
def test_a_strength_multiplies_what_is_added(kind):
    identifiers, x = filled(kind), torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    whole = identifiers.add("a.q", x, [0.0, 9.0])
    assert_close(identifiers.scaled(-0.5).add("a.q", x, [0.0, 9.0]), -0.5 * whole)
    assert torch.equal(identifiers.add("a.q", x, [0.0, 9.0]), whole)


def test_there_is_a_pair_for_each_window_without_a_cap():
    assert Places(212, 16, 4).count == 50  # where Gen-L-Video's bank ends
    places = Places(1200, 16, 4)
    assert places.count == 297
    assert [places.clip_of(start) for start in (0, 3, 4, 7, 8, 1183, 1184)] == [0, 0, 1, 1, 2, 295, 296]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 40))
def test_every_trained_window_has_a_clip_of_its_own(extra, window, stride):
    from glv_core.tuning import window_starts

    length, stride = window + extra - 1, min(stride, window)
    places = Places(length, window, stride)
    starts = window_starts(length, window, stride)
    assert [places.clip_of(places.start_of(Place(start, window, length))) for start in starts] == list(
        range(places.count)
    )


def test_another_length_is_stretched_or_repeated():
    places = Places(40, 16, 4)  # starts 0 ... 24
    assert places.start_of(Place(7, 16, 40)) == 7
    assert [places.start_of(Place(start, 16, 112)) for start in (0, 48, 96)] == [0, 12, 24]
    assert [places.start_of(Place(start, 16, 112), "repeated") for start in (0, 24, 25, 48)] == [0, 24, 0, 23]
    assert places.start_of(Place(0, 8, 8)) == 0


def test_nothing_is_added_before_it_is_trained():
    for kind in ("bank", "continuous"):
        x = torch.randn(4, 5, 6)
        assert_close(made(kind).add("a.q", x, [0.0, 8.0]), torch.zeros(4, 5, 4))


@pytest.mark.parametrize("kind", ["bank", "continuous"])
def test_groups_of_rows_have_each_their_own(kind):
    identifiers = filled(kind)
    x = torch.randn(6, 5, 6, generator=torch.Generator().manual_seed(1))
    together = identifiers.add("a.q", x, [0.0, None, 8.0])
    for rows, start in ((slice(0, 2), 0.0), (slice(4, 6), 8.0)):
        assert_close(together[rows], identifiers.add("a.q", x[rows], [start]))
    assert not together[2:4].any() and together[:2].any() and together[4:].any()
    with pytest.raises(ValueError, match="not whole groups"):
        identifiers.add("a.q", x, [0.0] * 4)


def test_a_bank_is_the_pair_of_the_clip():
    identifiers, x = filled("bank"), torch.randn(1, 5, 6)
    named = identifiers.tensors()
    for start, clip in ((0.0, 0), (9.0, 2), (25.0, 7)):
        expected = x @ named[f"a.q.{clip}.down"].T @ named[f"a.q.{clip}.up"].T
        assert_close(identifiers.add("a.q", x, [start]), expected)


def test_a_continuous_one_is_a_sum_of_cosines():
    identifiers, x = filled("continuous"), torch.randn(1, 5, 6)
    named = identifiers.tensors()
    down, up, along = (named[f"a.q.0.{part}"] for part in ("down", "up", "along"))
    for start in (0.0, 6.25, 25.0):
        gains = sum(along[:, wave] * math.cos(math.pi * wave * start / 25) for wave in range(8))
        assert_close(identifiers.add("a.q", x, [start]), (x @ down.T * gains) @ up.T)
    assert len(named) == 6
    assert len(made("continuous", length=4001).tensors()) == 6  # whatever the length


def test_a_clip_trains_its_own_weights():
    identifiers = made("bank").requires_grad_(True)
    for parameter in identifiers.parameters():
        parameter.data += 0.1
    identifiers.add("a.q", torch.randn(1, 5, 6), [8.0]).sum().backward()
    own = {id(weight) for weight in identifiers.of_clip(2)}
    for name, weight in identifiers.weights.items():
        assert (weight.grad is not None) == (id(weight) in own and name.startswith("a")), name


@pytest.mark.parametrize("kind", ["bank", "continuous"])
def test_a_file_gives_the_same_again(kind):
    identifiers = filled(kind)
    again = ClipIdentifiers.of_file(identifiers.header(), identifiers.tensors())
    x = torch.randn(2, 5, 3)
    assert torch.equal(again.add("b.q", x, [3.0, 17.0]), identifiers.add("b.q", x, [3.0, 17.0]))
    tensors = identifiers.tensors()
    with pytest.raises(ValueError, match="lack"):
        ClipIdentifiers.of_file(identifiers.header(), {k: v for k, v in tensors.items() if k != "b.q.0.up"})
    with pytest.raises(ValueError, match="no place for"):
        ClipIdentifiers.of_file(identifiers.header(), {**tensors, "b.q.99.up": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match="not"):
        ClipIdentifiers.of_file(identifiers.header(), {**tensors, "b.q.0.up": torch.zeros(3, 5)})
