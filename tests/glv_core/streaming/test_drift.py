"""Drawing the statistics of chunks back to an anchor."""

from __future__ import annotations

import pytest
import torch

from glv_core.streaming import correct_drift, statistics


def latents(seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 8, 6, 5, generator=generator) * scale + shift


def test_at_full_strength_the_last_frames_have_the_anchors_statistics():
    # Every latent frame of the chunk is the same, so that the end alone has the statistics of the whole.
    chunk = latents(0, 2.0, 3.0)[:, :, :1].expand(-1, -1, 8, -1, -1)
    anchor = latents(1, 0.5, -1.0)
    corrected = correct_drift(chunk, 2, anchor, 1.0)
    for mine, theirs in zip(statistics(corrected[:, :, -1:]), statistics(anchor), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_known_frames_stay_and_the_change_grows_from_there():
    chunk, anchor = latents(0, 2.0, 3.0), latents(1, 0.5, -1.0)
    corrected = correct_drift(chunk, 3, anchor, 0.7)
    assert torch.equal(corrected[:, :, :3], chunk[:, :, :3])
    change = (corrected - chunk).abs().mean(dim=(0, 1, 3, 4))
    assert (change[3:] > 0).all()
    # Against the plain formula, frame by frame.
    new = chunk[:, :, 3:].double()
    mean, std = new.mean((2, 3, 4), keepdim=True), new.std((2, 3, 4), keepdim=True, unbiased=False)
    wanted_mean = anchor.double().mean((2, 3, 4), keepdim=True)
    wanted_std = anchor.double().std((2, 3, 4), keepdim=True, unbiased=False)
    for k in range(5):
        amount = 0.7 * (k + 1) / 5
        plain = chunk[:, :, 3 + k : 4 + k].double()
        wanted = (1 - amount) * plain + amount * ((plain - mean) / std * wanted_std + wanted_mean)
        torch.testing.assert_close(corrected[:, :, 3 + k : 4 + k].double(), wanted, atol=1e-4, rtol=1e-4)


def test_off_changes_nothing_and_flat_latents_make_no_nan():
    chunk = latents(0)
    assert correct_drift(chunk, 2, latents(1), 0.0) is chunk
    assert torch.isfinite(correct_drift(torch.zeros(1, 3, 4, 2, 2), 1, latents(1)[:1], 1.0)).all()


def test_strength_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"drift_correction is 1\.5"):
        correct_drift(latents(0), 2, latents(1), 1.5)
