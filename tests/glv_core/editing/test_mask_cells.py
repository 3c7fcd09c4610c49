"""Masks as channels, counted out pixel by pixel."""

import pytest
import torch

from glv_core.editing.mask_cells import mask_cells, nearest_frames


def test_every_pixel_of_a_cell_is_a_channel():
    masks = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    cells = mask_cells(masks, 2)
    assert cells.shape == (4, 3, 3, 4)
    for y in range(6):
        for x in range(8):
            assert torch.equal(cells[y % 2 * 2 + x % 2, :, y // 2, x // 2], masks[:, y, x])


@pytest.mark.parametrize(("frames", "latent"), [(1, 1), (5, 2), (13, 4), (241, 61), (1001, 251)])
def test_a_latent_frame_takes_the_frame_at_its_middle(frames, latent):
    wanted = [int((index + 0.5) * frames / latent) for index in range(latent)]
    assert nearest_frames(frames, latent) == wanted
