"""Which frames a frame looks at, and their tokens, against loops that say it another way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.editing import RULES, frames_of_a_group, gather_tokens, seen_frames

#: The neighbours of Gen-L-Video's attention, by hand.
INWARD = {
    1: [0],
    2: [1, 1],
    3: [1, 1, 1],
    4: [1, 2, 2, 2],
    8: [1, 2, 3, 4, 4, 4, 5, 6],
    15: [1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11, 12, 13],
    16: [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12, 13, 14],
}


def loop(rule, k, frames):
    """The two frames that frame ``k`` looks at, in words of the papers."""
    if rule == "first_and_previous":
        return [0, k - 1 if k > 0 else 0]
    anchor = frames // 2
    if k < anchor:
        return [anchor, k + 1]
    return [anchor, k - 1] if k > anchor else [anchor, anchor]


def tokens(rows, seed=0, count=3, channels=4):
    return torch.randn(rows, count, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", list(INWARD))
def test_the_inward_neighbours_of_known_lengths(frames):
    seen = seen_frames("middle_and_inward_neighbour", frames)
    assert seen[:, 0].tolist() == [frames // 2] * frames
    assert seen[:, 1].tolist() == INWARD[frames]


def test_the_first_and_the_previous_of_a_known_length():
    assert seen_frames("first_and_previous", 5).tolist() == [[0, 0], [0, 0], [0, 1], [0, 2], [0, 3]]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 64))
def test_every_frame_looks_at_two_frames_of_its_window(rule, frames):
    seen = seen_frames(rule, frames)
    assert seen.tolist() == [loop(rule, k, frames) for k in range(frames)]
    assert seen.min() >= 0 and seen.max() < frames
    itself = [k for k in range(frames) if k in seen[k].tolist()]  # only the anchor is among its own keys
    assert itself == [frames // 2 if rule == "middle_and_inward_neighbour" else 0]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 9), st.integers(1, 4), st.integers(0, 1000))
def test_gathered_tokens_are_those_of_the_frames_in_the_same_group(rule, frames, groups, seed):
    given_tokens = tokens(groups * frames, seed)
    gathered = gather_tokens(given_tokens, seen_frames(rule, frames))
    for group in range(groups):
        own = given_tokens[group * frames : (group + 1) * frames]
        for k in range(frames):
            first, second = loop(rule, k, frames)
            assert torch.equal(gathered[group * frames + k], torch.cat([own[first], own[second]]))


def attend(x, weights):
    """Attention with one head, keys and values of the frames that ``gather_tokens`` gives or a loop does."""
    q, k, v = (each @ weight for each, weight in zip(x, weights))
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v


@pytest.mark.parametrize("rule", list(RULES))
def test_it_does_not_matter_whether_tokens_are_gathered_before_or_behind_the_projection(rule):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(4, 4, generator=generator) for _ in range(3)]
    x = tokens(7, 2)
    seen = seen_frames(rule, 7)
    wide = gather_tokens(x, seen)
    q, k, v = x @ weights[0], gather_tokens(x @ weights[1], seen), gather_tokens(x @ weights[2], seen)
    behind = torch.softmax(q @ k.mT / 2, dim=-1) @ v
    torch.testing.assert_close(attend([x, wide, wide], weights), behind)


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("frames", [4, 5, 8])
def test_a_changed_frame_reaches_the_frames_that_look_at_it_and_no_other(rule, frames):
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(4, 4, generator=generator) for _ in range(3)]
    x = tokens(2 * frames, 3)
    seen = seen_frames(rule, frames)

    def layer(x):
        wide = gather_tokens(x, seen)
        return attend([x, wide, wide], weights)

    plain = layer(x)
    for m in range(frames):
        changed = x.clone()
        changed[frames + m] += 1  # in the second group
        moved = (layer(changed) - plain).abs().amax(dim=(1, 2)) > 1e-6
        expected = [k == m or m in loop(rule, k, frames) for k in range(frames)]  # its own queries too
        assert moved.tolist() == [False] * frames + expected


def test_seeing_itself_twice_is_seeing_itself_once():
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(4, 4, generator=generator) for _ in range(3)]
    x = tokens(8, 4)
    for rule, anchor in (("middle_and_inward_neighbour", 4), ("first_and_previous", 0)):
        wide = gather_tokens(x, seen_frames(rule, 8))
        twice = attend([x, wide, wide], weights)[anchor]
        torch.testing.assert_close(twice, attend([x, x, x], weights)[anchor])


def test_frames_of_a_group():
    assert [frames_of_a_group(*each) for each in ((8, 1), (8, 2), (12, 4), (3, 3))] == [8, 4, 3, 1]
    for rows, groups in ((8, 3), (2, 4), (4, 0)):
        with pytest.raises(ValueError, match=rf"batch of {rows} images does not divide among {groups} windows"):
            frames_of_a_group(rows, groups)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match=r"Unknown rule 'last' .* Known: middle_and_inward_neighbour, first_and"):
        seen_frames("last", 4)
    with pytest.raises(ValueError, match="A window has 0 frames"):
        seen_frames("first_and_previous", 0)
    with pytest.raises(ValueError, match="7 rows of tokens are not whole groups of 4 frames"):
        gather_tokens(tokens(7), seen_frames("first_and_previous", 4))
