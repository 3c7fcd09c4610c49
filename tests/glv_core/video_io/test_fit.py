"""Pictures in another size."""

import numpy as np
import pytest
import torch
from PIL import Image

from glv_core.video_io import fit


@pytest.mark.parametrize(
    ("width", "height", "box"), [(32, 24, (0, 0, 64, 48)), (24, 24, (8, 0, 56, 48)), (32, 8, (0, 16, 64, 32))]
)
def test_the_middle_in_the_size_asked_for(width, height, box):
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 4, 64), indexing="ij")
    frame = torch.stack([rows.sin(), columns.cos(), (rows + columns).sin()], -1)
    frames = ((frame + 1) * 127).round().to(torch.uint8)[None]
    made = fit(frames, width, height)
    theirs = Image.fromarray(frames[0].numpy()).resize((width, height), Image.Resampling.BICUBIC, box)
    assert made.shape == (1, height, width, 3) and made.dtype == torch.uint8
    assert np.abs(made[0].numpy().astype(int) - np.asarray(theirs, dtype=int)).max() <= 3


def test_the_same_size_is_untouched():
    frames = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    assert fit(frames, 8, 8) is frames
