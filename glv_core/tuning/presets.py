"""Values for a tuning on one video: Gen-L-Video's own (github.com/G-U-N/Gen-L-Video), and some for video models."""

from __future__ import annotations

from dataclasses import dataclass

from ..video_models import DEMO, LTX_2, MINIMAX_H3, WAN
from .identifiers import BANK, CONTINUOUS

GEN_L_VIDEO, LOW_RANK = "gen_l_video", "low_rank"
#: What is trained: an image model that becomes a video model, as in Gen-L-Video, or low-rank weights of any model.
METHODS = (GEN_L_VIDEO, LOW_RANK)


@dataclass(frozen=True)
class TuningPreset:
    """Values of a tuning, as ``TuningOptions`` has them, but ``window`` and ``stride`` in frames; ``method``: one of
    ``METHODS``."""

    steps: int
    batch_size: int
    learning_rate: float
    rank: int
    window: int
    stride: int
    text_drop: float = 0.1
    clip_drop: float = 0.4
    method: str = LOW_RANK
    identifiers: str = CONTINUOUS
    ema_decay: float = 0.98


#: Gen-L-Video's: its configuration multiplies a learning rate of 3e-5 by the batch, its script alone does not. Those of
#: low rank have the rank and learning rate that DiffSynth-Studio trains Wan and LTX-2 with (of MiniMax H3 none are
#: published), the clips that the models were trained on, and strides of about a quarter of them, in whole latent
#: frames; one video takes fewer steps than the collections that LoRAs are trained on.
PRESETS: dict[str, TuningPreset] = {
    "Gen-L-Video: hike (Stable Diffusion 1.5)": TuningPreset(
        200, 3, 3 * 3e-5, 16, 16, 4, method=GEN_L_VIDEO, identifiers=BANK, ema_decay=0.0
    ),
    "Gen-L-Video: its script's own values": TuningPreset(
        500, 1, 3e-5, 16, 16, 4, text_drop=0.3, clip_drop=0.3, method=GEN_L_VIDEO, identifiers=BANK, ema_decay=0.0
    ),
    "Wan": TuningPreset(400, 1, 1e-4, 32, WAN.clip, 20),
    "LTX-2": TuningPreset(400, 1, 1e-4, 32, LTX_2.clip, 32),
    "MiniMax H3": TuningPreset(400, 1, 1e-4, 32, MINIMAX_H3.clip, 34),
    "demo model": TuningPreset(150, 8, 1.5e-3, 16, DEMO.clip, 16),
}
