from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.editing.depth_channel import depth_channel


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1000), st.floats(-50, 50))
def test_the_range_becomes_minus_one_to_one(seed, scale, offset):
    depth = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(seed)) * scale + offset
    made = depth_channel(depth)
    values = depth.numpy().astype(np.float64)
    for t in range(4):
        wanted = np.interp(values[t], [values[t].min(), values[t].max()], [-1, 1])
        assert np.abs(made[t].numpy() - wanted).max() < 2e-2 * max(1, abs(offset) / scale) * 1e-2 + 1e-4
    whole = depth_channel(depth, "whole_clip").numpy()
    assert whole.min() == -1 and whole.max() == 1
    assert np.abs(whole - np.interp(values, [values.min(), values.max()], [-1, 1])).max() < 1e-2


def test_a_flat_frame_is_nothing_and_not_nan():
    depth = torch.stack([torch.full((3, 3), 0.7), torch.arange(9.0).view(3, 3), torch.zeros(3, 3)])
    made = depth_channel(depth)
    assert not made[0].any() and not made[2].any() and made[1].flatten().tolist() == [x / 4 - 1 for x in range(9)]
    whole = depth_channel(depth, "whole_clip")
    assert torch.allclose(whole[0], torch.tensor(2 * 0.7 / 8 - 1)) and (whole[2] == -1).all()
    assert not depth_channel(torch.full((2, 3, 3), 5.0), "whole_clip").any()
    with pytest.raises(ValueError, match="normalise is 'clip'; it must be one of per_frame, whole_clip"):
        depth_channel(depth, "clip")
