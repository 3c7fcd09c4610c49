from dataclasses import FrozenInstanceError

import pytest
import torch

from glv_core.prompts import PromptTrack, parse_schedule
from glv_core.timeline import Compression, Place
from glv_core.windows import Window

WAN = Compression.causal(4)


def track(text: str, num_frames: int = 21, length: int = 6) -> PromptTrack:
    return PromptTrack.of(parse_schedule(text, num_frames=num_frames, fps=16), length, WAN)


def test_weights_by_hand():
    # 21 frames, latent frames centred at 0, 2.5, 6.5, 10.5, 14.5, 18.5; cross-fade over frames 6 ... 14.
    weights = track("0: a\n10 [linear 8]: b").weights
    assert torch.allclose(weights[1], torch.tensor([0, 0, 0.0625, 0.5625, 1, 1]))
    assert torch.allclose(weights.sum(0), torch.ones(6))


def test_a_hard_transition_is_never_blended():
    assert track("0: a\n8 [hard]: b").weights.tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


def test_segments_with_the_same_prompt_are_one():
    seen = track("0: a\n7 [hard]: b\n15 [hard]: a")
    assert seen.prompts == ("a", "b")
    assert seen.weights.tolist() == [[1, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0]]


def test_a_prompt_between_two_latent_frames_is_seen_by_none():
    seen = track("0: a\n7 [hard]: b\n8 [hard]: c")
    assert seen.prompts == ("a", "b", "c") and not seen.weights[1].any()
    assert seen.seen().prompts == ("a", "c")
    assert torch.equal(seen.seen().weights, seen.weights[[0, 2]])


def test_a_part_of_the_video():
    seen = track("0: a\n8 [hard]: b")
    assert seen.at(Place(2, 6), 2).weights.tolist() == [[1, 0], [0, 1]]
    assert seen.at(Place(-1, 6), 3).weights.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert seen.at(Place(4, 6), 4).weights.tolist() == [[0] * 4, [1] * 4]


def test_a_window():
    seen = track("0: a\n10 [linear 8]: b")
    assert seen.active(Window(0, 2)) == [0] and seen.active(Window(1, 2)) == [0, 1] and seen.active(Window(4, 2)) == [1]
    assert torch.equal(seen.in_window(Window(4, 3, 1, 6)), seen.weights[:, [4, 5, 0]])
    assert torch.equal(seen.mixed(Window(1, 4), 0, "embeddings", True), seen.weights[:, 1:5])
    torch.testing.assert_close(seen.mixed(Window(1, 4), 0, "embeddings", False)[1], (seen.weights[1, 2:4]).mean())
    assert seen.mixed(Window(1, 4), 0, "one_per_window", True).tolist() == [1, 0]


def test_weights_in_a_key_have_five_decimals():
    # A cross-fade over frames 6.5 ... 13.5: at 10.5, 4 of its 7 frames are over.
    rounded = track("0: a\n10 [linear 7]: b").rounded()
    assert rounded == [[1, 1, 1, 0.42857, 0, 0], [0, 0, 0, 0.57143, 1, 1]]


def test_a_track_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        track("0: a").prompts = ("b",)


def test_the_length_has_to_fit():
    assert track("0: a", num_frames=18).weights.shape == (1, 6)  # as many latent frames
    with pytest.raises(ValueError, match=r"over 22 frames \(7 latent frames\), but the latent holds 21 frames \(6 "):
        track("0: a", num_frames=22)
