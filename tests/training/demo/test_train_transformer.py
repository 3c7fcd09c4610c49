import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from training.demo.train_transformer import WINDOW, frame_levels


def test_some_clips_have_clean_frames_and_the_rest_one_level():
    sigma = torch.linspace(0.1, 1, 2000)
    levels = frame_levels(sigma, torch.Generator().manual_seed(0))
    assert levels.shape == (2000, WINDOW)
    clean = levels < 0.02 + 1e-6
    assert torch.equal(levels[~clean], sigma[:, None].expand(-1, WINDOW)[~clean])
    counts = clean.sum(1)
    assert 0.4 < (counts > 0).float().mean() < 0.6
    assert set(counts.tolist()) == {0, 1, 2, 3, 4}
    first, last = clean[:, 0].float().mean(), clean[:, -1].float().mean()
    assert first > 0.12 and last > 0.12 and clean[:, 1:-1].any(0).all()


def test_levels_follow_the_generator():
    sigma = torch.full((8,), 0.5)
    levels = [frame_levels(sigma, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(levels[0], levels[1]) and not torch.equal(levels[0], levels[2])
