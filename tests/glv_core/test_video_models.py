"""Numbers of model families: they agree with each other, and texts outside the code say the same."""

from pathlib import Path

import pytest

from glv_core import video_models
from glv_core.demo import MODEL_DIR
from glv_core.video_models import DEMO, LTX, MINIMAX_H3, WAN, VideoModel, clip_lengths, frame_rates

ROOT = Path(__file__).resolve().parents[2]
MODELS = [value for value in vars(video_models).values() if isinstance(value, VideoModel)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_clip_fills_its_latent_frames(model):
    compression = model.compression
    assert compression.num_frames(compression.num_latent_frames(model.clip)) == model.clip


def test_texts_outside_the_code_say_the_same():
    for name in ("README.md", "web/docs/CoDenoiseKSampler.md"):
        assert clip_lengths() in (ROOT / name).read_text(), name
    for name in ("web/docs/LongLatent.md", "web/docs/StreamingExtend.md"):
        assert (
            f"{WAN.lengths} frames" in (ROOT / name).read_text() and f"LTX {LTX.lengths}" in (ROOT / name).read_text()
        )


def test_lists_in_words():
    assert clip_lengths((WAN, DEMO)) == "Wan 81, the demo model 61"
    assert "Wan 16, " in frame_rates() and "LTX 24" in frame_rates()
    assert (WAN.lengths, LTX.lengths, video_models.SVD.lengths) == ("4 n + 1", "8 n + 1", "any")
    assert MINIMAX_H3.lengths == "17 n + 5"


def test_the_demo_model_says_the_same_of_itself():
    assert f"{DEMO.clip} frames" in (MODEL_DIR / "README.md").read_text()
