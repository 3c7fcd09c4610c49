"""Tune on Video: what is trained, and by what; that it can be cut off; and what comes of it on a MODEL."""

import pytest
import tiny
import torch

pytestmark = pytest.mark.every_host

SETTINGS = {
    "name": "tuned", "steps": 3, "learning_rate": 1e-2, "rank": 2, "window": 17, "stride": 8, "layers": "attention",
    "identifiers": "none", "seed": 1, "preview_every": 0,
}  # fmt: skip


def node():
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    return TuneOnVideo


def video(frames=9, channels=16, seed=3):
    """Latents that change along the video."""
    generator = torch.Generator().manual_seed(seed)
    return {"samples": torch.randn((1, channels, frames, 4, 4), generator=generator) * 0.7}


def tune(model, latent, **changed):
    given = {**SETTINGS, **changed}
    positive, empty = given.pop("positive", tiny.conditioning(1)), given.pop("empty", tiny.conditioning(2))
    return node().execute(model, positive, empty, latent, **given)


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


def test_a_first_run(output):
    model = tiny.wan()
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    made = tune(model, video())
    print(made.args[1], made.args[2], list(output.rglob("*")))
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(made.args[2]["loss"]) == 3

