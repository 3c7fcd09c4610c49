import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.prompts.blending import mix_embeddings, weights_at, window_prompts
from glv_core.window_schedules import windows_for
from glv_core.windows import Window

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def hard(count: int, length: int) -> torch.Tensor:
    """Weights of ``count`` prompts that split ``length`` latent frames evenly."""
    owner = torch.arange(length) * count // length
    return torch.nn.functional.one_hot(owner, count).T.float()


# Gen-L-Video's prompt of each window for P prompts, windows of w, stride s, and a video of P * w frames.
@pytest.mark.parametrize(
    ("prompts", "window", "stride", "golden"),
    [
        (2, 20, 5, "00011"),
        (4, 20, 5, "0001111222233"),
        (3, 16, 4, "000111122"),
        (2, 15, 5, "0001"),
        (2, 16, 8, "001"),
        (2, 16, 2, "000001111"),
        (2, 5, 1, "000011"),
    ],
)
def test_gen_l_videos_golden_prompts(prompts, window, stride, golden):
    length = prompts * window
    chosen = ""
    for each in windows_for("static", length, window, window - stride, 0):
        weights = window_prompts(hard(prompts, length), each, window - stride, "one_per_window")
        assert sorted(weights.tolist()) == [0.0] * (prompts - 1) + [1.0]
        chosen += str(int(weights.argmax()))
    assert chosen == golden


def test_gen_l_videos_interpolation_between_clips():
    # The paper: window j of k = w / s between two clips sees (1 - j / k) of the one and j / k of the other.  That is a
    # straight cross-fade of one window's length.
    window, stride = 16, 4
    frames = torch.arange(32) + 0.5
    second = ((frames - 8) / 16).clamp(0, 1)
    weights = torch.stack([1 - second, second])
    seen = [
        float(window_prompts(weights, w, window - stride, "embeddings")[1])
        for w in windows_for("static", 32, window, window - stride, 0)
    ]
    # At the clips' centres the ramp's corner is rounded off by half a latent frame.
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.5 / window)


def test_isolated_clips_see_the_prompt_they_start_with():
    weights = hard(3, 48)
    chosen = [
        int(window_prompts(weights, w, 0, "one_per_window").argmax()) for w in windows_for("static", 48, 16, 0, 0)
    ]
    assert chosen == [0, 1, 2]


def test_a_window_goes_by_its_first_frame_where_the_hop_is_as_long_or_the_video_shorter():
    # A hop of 4 reaches past the middle of a window of 4, so only its first frame is in time for the prompt before.
    first = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    assert window_prompts(first, Window(0, 4), 0, "one_per_window").tolist() == [1, 0]
    assert window_prompts(first, Window(1, 4), 0, "one_per_window").tolist() == [0, 1]
    # A video that is shorter than the overlap moves by one frame: 4 - ceil(4 / 2) = 2, the frame before is 1.
    assert window_prompts(first, Window(0, 4), 9, "one_per_window").tolist() == [0, 1]


def test_embeddings_between_the_last_and_the_first_frame_of_a_loop():
    # Frames 6, 7, 0, 1 of 8: the centre lies between 7, all of prompt 0, and 0, all of prompt 1.
    weights = torch.zeros(2, 8)
    weights[0, 1:] = weights[1, 0] = 1
    assert window_prompts(weights, Window(6, 4, 1, 8), 0, "embeddings").tolist() == [0.5, 0.5]


@pytest.mark.parametrize("blending", ["embeddings", "one_per_window"])
def test_a_window_across_the_loop_point_knows_where_its_centre_is(blending):
    # Prompt 0 holds around the loop point, prompt 1 in the middle, where the mean of a wrapping window's numbers lies.
    weights = torch.zeros(2, 32)
    weights[0, :8] = weights[0, 24:] = 1
    weights[1, 8:24] = 1
    wrapping, middle = Window(28, 8, 1, 32), Window(12, 8, 1, 32)
    assert window_prompts(weights, wrapping, 0, blending).tolist() == [1, 0]
    assert window_prompts(weights, middle, 0, blending).tolist() == [0, 1]


def test_weights_between_latent_frames():
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    assert weights_at(weights, 0.5).tolist() == [0.75, 0.25]
    assert weights_at(weights, 2).tolist() == [0, 1]
    assert weights_at(weights, 2.5).tolist() == [0, 1]
    assert weights_at(weights, 2.5, closed_loop=True).tolist() == [0.5, 0.5]


def test_a_straight_mix():
    a, b = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix_embeddings([a, b], [0.25, 0.75]), 0.25 * a + 0.75 * b)
    assert torch.equal(mix_embeddings([a, b], [1.0, 0.0]), a)


def test_a_mix_of_one_embedding_is_itself():
    a = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix_embeddings([a], [1.0]), a)
    assert torch.equal(mix_embeddings([a], torch.ones(1, 3)), torch.cat([a, a, a]))


@pytest.mark.parametrize("weights", [[1.0], [0.25, 0.25, 0.5]])
def test_every_embedding_needs_a_weight(weights):
    with pytest.raises(ValueError, match="argument 2"):
        mix_embeddings([torch.ones(1, 5, 8)] * 2, weights)


@pytest.mark.parametrize("spherical", [False, True])
def test_a_mix_of_pooled_embeddings(spherical):
    # Without an axis of tokens; on the sphere (3, 0) and (0, 5) meet half-way at 45 degrees, with a length of 4.
    mixed = mix_embeddings([torch.tensor([3.0, 0]), torch.tensor([0, 5.0])], [0.5, 0.5], spherical)
    assert mixed.tolist() == pytest.approx([8**0.5, 8**0.5] if spherical else [1.5, 2.5])


def test_three_prompts():
    parts = list(torch.randn(3, 1, 5, 8, generator=torch.Generator().manual_seed(0)))
    expected = 0.2 * parts[0] + 0.3 * parts[1] + 0.5 * parts[2]
    torch.testing.assert_close(mix_embeddings(parts, [0.2, 0.3, 0.5]), expected)


@given(st.floats(0, 1), st.integers(0, 50))
def test_a_mix_on_the_sphere_turns_by_its_share_of_the_angle(share, seed):
    a, b = np.random.default_rng(seed).standard_normal((2, 6))
    mixed = mix_embeddings([torch.tensor(a)[None], torch.tensor(b)[None]], [1 - share, share], spherical=True)[
        0
    ].numpy()

    def angle(u, v):
        return math.acos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))

    assert angle(a, mixed) == pytest.approx(share * angle(a, b), abs=2e-3)
    assert angle(b, mixed) == pytest.approx((1 - share) * angle(a, b), abs=2e-3)
    lengths = (1 - share) * np.linalg.norm(a) + share * np.linalg.norm(b)
    assert np.linalg.norm(mixed) == pytest.approx(lengths, rel=1e-3)


def test_directions_without_one_way_around():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 4.0]])
    mixed = mix_embeddings([a, b], [0.5, 0.5], spherical=True)
    assert torch.isfinite(mixed).all()
    assert mixed[0].tolist() == pytest.approx([1.5, 0]) and mixed[2].tolist() == pytest.approx([0, 2])
    quarter = mix_embeddings([a, b], [0.75, 0.25], spherical=True)
    # In a straight line where there are two ways around, and towards or from nothing.
    assert quarter[1].tolist() == pytest.approx([0.5, 0]) and quarter[2].tolist() == pytest.approx([0, 1])
    assert mix_embeddings([b, a], [0.75, 0.25], spherical=True)[2].tolist() == pytest.approx([0, 3])


def test_every_token_turns_by_itself():
    a, b = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    together = mix_embeddings([a, b], [0.4, 0.6], spherical=True)
    apart = [mix_embeddings([a[0, [k]], b[0, [k]]], [0.4, 0.6], spherical=True) for k in range(5)]
    torch.testing.assert_close(together[0], torch.cat(apart))


def test_what_has_no_tokens_is_mixed_as_it_is():
    assert mix_embeddings([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], [0.5, 0.5]).tolist() == [2, 3]


def test_a_centre_between_the_last_and_the_first_latent_frame_of_a_loop_sees_both():
    weights = torch.zeros(2, 32)
    weights[0, 0] = weights[1, 1:] = 1
    assert window_prompts(weights, Window(30, 4, 1, 32), 0, "embeddings").tolist() == [0.5, 0.5]


def test_a_clip_without_overlap_has_the_prompt_of_its_first_latent_frame():
    weights = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 1]])
    assert window_prompts(weights, Window(0, 4), 0, "one_per_window").tolist() == [1, 0]


def test_a_mix_on_the_sphere_is_made_token_by_token():
    # Both pairs meet half-way at 45 degrees, with a length of 4 and of 3.
    a, b = torch.tensor([[[3.0, 0], [0, 2]]]), torch.tensor([[[0, 5.0], [4, 0]]])
    mixed = mix_embeddings([a, b], [0.5, 0.5], spherical=True)
    torch.testing.assert_close(mixed, torch.tensor([[[8**0.5, 8**0.5], [4.5**0.5, 4.5**0.5]]]))


def test_equal_and_opposite_directions_are_mixed_in_a_straight_line():
    # So many that rounding takes the cosine of some beyond 1 and -1.
    a = torch.randn(1, 500, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix_embeddings([a, a], [0.25, 0.75], spherical=True), a)
    torch.testing.assert_close(mix_embeddings([a, 3 * a], [0.25, 0.75], spherical=True), 2.5 * a)
    torch.testing.assert_close(mix_embeddings([a, -a], [0.75, 0.25], spherical=True), 0.5 * a)


def test_one_mix_a_row():
    a, b = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    mixed = mix_embeddings([a, b], weights)
    torch.testing.assert_close(mixed, torch.cat([a, (a + b) / 2, b]))


def test_a_shorter_embedding_is_padded():
    a, b = torch.ones(1, 2, 3), torch.ones(1, 4, 3)
    assert mix_embeddings([a, b], [0.5, 0.5])[0, :, 0].tolist() == [1, 1, 0.5, 0.5]
    assert mix_embeddings([b[0], a[0]], [0.75, 0.25])[:, 0].tolist() == [1, 1, 0.75, 0.75]


def test_the_type_is_kept():
    a = torch.ones(1, 2, 3, dtype=torch.bfloat16)
    assert mix_embeddings([a, a], [0.5, 0.5], spherical=True).dtype == torch.bfloat16
