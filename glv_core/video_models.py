"""What is true of a family of video models on any host: compression, clip length, frame rate. Texts read it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .timeline import Compression


@dataclass(frozen=True)
class VideoModel:
    """A family of video models.

    ``clip``: frames of the clips that it was trained on, the window that suits it. ``fps``: of those clips.
    """

    name: str
    compression: Compression
    clip: int
    fps: float

    @property
    def lengths(self) -> str:
        """The lengths of its videos, in words: ``4 n + 1``."""
        compression = self.compression
        if compression.ratio == 1:
            return "any"
        least = compression.num_frames(compression.rest) if compression.rest else compression.first
        return f"{sum(compression.pattern)} n + {least}"


WAN = VideoModel("Wan", Compression.causal(4), 81, 16)
WAN_S2V = VideoModel("Wan 2.2 S2V", Compression.causal(4), 77, 16)
WAN_DANCER = VideoModel("WanDancer", Compression.causal(4), 149, 30)
WAN_5B = VideoModel("Wan 2.2 5B", Compression.causal(4), 121, 24)
HUNYUAN = VideoModel("Hunyuan", Compression.causal(4), 129, 24)
LTX = VideoModel("LTX", Compression.causal(8), 97, 24)
LTX_2 = VideoModel("LTX-2", Compression.causal(8), 121, 24)
MOCHI = VideoModel("Mochi", Compression.causal(6), 163, 30)
COSMOS = VideoModel("Cosmos", Compression.causal(8), 121, 24)
COSMOS_PREDICT2 = VideoModel("Cosmos Predict2", Compression.causal(4), 93, 16)
KANDINSKY = VideoModel("Kandinsky 5", Compression.causal(4), 121, 24)
COGVIDEOX = VideoModel("CogVideoX", Compression.causal(4), 49, 8)
SEEDVR2 = VideoModel("SeedVR2", Compression.causal(4), 21, 24)
MINIMAX_H3 = VideoModel("MiniMax H3", Compression((1, 4, 4, 4, 4), rest=2), 124, 24)
SVD = VideoModel("SVD", Compression(), 25, 6)
STREAMING_SVD = VideoModel("StreamingSVD", Compression(), 25, 6)
ANIMATEDIFF = VideoModel("AnimateDiff", Compression(), 16, 8)
I2VGEN_XL = VideoModel("I2VGen-XL", Compression(), 16, 16)
TEXT_TO_VIDEO_SD = VideoModel("TextToVideoSD", Compression(), 16, 8)
DEMO = VideoModel("the demo model", Compression.causal(4), 61, 16)

#: Those that texts name.
NAMED = (WAN, WAN_5B, HUNYUAN, LTX, ANIMATEDIFF, DEMO)


def listed(value: Callable[[VideoModel], object], models: tuple[VideoModel, ...] = NAMED) -> str:
    """A value of several families in words: ``Wan 81, Hunyuan 129 ...``."""
    return ", ".join(f"{model.name} {value(model)}" for model in models)


def clip_lengths(models: tuple[VideoModel, ...] = NAMED) -> str:
    """The clip lengths of families, in frames, in words."""
    return listed(lambda model: model.clip, models)


def frame_rates() -> str:
    """The frame rates of families in words."""
    return listed(lambda model: f"{model.fps:g}")


#: What names of files and loaders hold, the first that is found; models of one frame a latent frame stand last.
_SIGNS = (
    (("minimax", "_h3"), MINIMAX_H3),
    (("ltx",), LTX_2),
    (("mochi",), MOCHI),
    (("cosmos",), COSMOS),
    (("kandinsky",), KANDINSKY),
    (("cogvideo",), COGVIDEOX),
    (("hunyuan",), HUNYUAN),
    (("umt5", "wan"), WAN),
    (("streamingsvd", "streaming_svd"), STREAMING_SVD),
    (("svd",), SVD),
    (("i2vgen",), I2VGEN_XL),
    (("stable_diffusion", "sd1", "v1-5", "sd2", "v2-1", "animatediff", "streamingt2v", "sdxl"), ANIMATEDIFF),
    (("demo",), DEMO),
)


def model_named(text: str) -> VideoModel | None:
    """The family that names of files, loaders or their choices speak of; None where they speak of none."""
    text = text.lower()
    return next((model for signs, model in _SIGNS if any(sign in text for sign in signs)), None)
