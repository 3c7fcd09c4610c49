"""GroupNorm over all frames of a group, against torch's own over 5 axes and against sums by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glv_core.editing import fold_frames, pooled_norm, unfold_frames


def features(rows, channels=8, height=3, width=5, seed=0):
    return torch.randn(rows, channels, height, width, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def norm(channels=8, groups=4, seed=1):
    made = torch.nn.GroupNorm(groups, channels)
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return made.requires_grad_(False)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_it_is_group_norm_over_the_frames_too(frames, groups, height, width, seed):
    x, layer = features(groups * frames, height=height, width=width, seed=seed), norm()
    pooled = pooled_norm(x, frames, layer)
    for group in range(groups):
        rows = slice(group * frames, (group + 1) * frames)
        video = torch.stack(list(x[rows]), dim=1)[None]  # 1 c f h w
        expected = F.group_norm(video, 4, layer.weight, layer.bias, layer.eps)[0]
        torch.testing.assert_close(pooled[rows], torch.stack(expected.unbind(1)), rtol=1e-4, atol=1e-4)


def test_by_hand():
    """Two frames, a group of channels: the mean of both, 1 and 3, is 2 and their variance 1."""
    x = torch.cat([torch.full((1, 2, 2, 2), 1.0), torch.full((1, 2, 2, 2), 3.0)])
    pooled = pooled_norm(x, 2, torch.nn.GroupNorm(1, 2, eps=0.0))
    torch.testing.assert_close(pooled, x - 2)
    assert pooled_norm(x, 1, torch.nn.GroupNorm(1, 2)).abs().max() < 1e-4  # each frame alone is flat


def test_one_frame_is_the_stock_norm_bit_for_bit():
    x, layer = features(5), norm()
    assert torch.equal(pooled_norm(x, 1, layer), layer(x))
    assert fold_frames(x, 1) is x and unfold_frames(x, 1) is x


def test_groups_do_not_mix():
    x, layer = features(6), norm()
    changed = x.clone()
    changed[4] += 1
    moved = (pooled_norm(changed, 3, layer) - pooled_norm(x, 3, layer)).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert moved.tolist() == [False] * 3 + [True] * 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4))
def test_folded_frames_come_back(frames, groups):
    x = features(groups * frames)
    folded = fold_frames(x, frames)
    assert folded.shape == (groups, 8, 3 * frames, 5)
    assert torch.equal(unfold_frames(folded, frames), x)
    assert torch.equal(folded[0, :, :3], x[0])


@pytest.mark.parametrize("frames", [0, 4])
def test_rows_that_are_not_whole_groups_are_refused(frames):
    with pytest.raises(ValueError, match=f"6 rows of features are not whole groups of {frames} frames"):
        fold_frames(features(6), frames)
