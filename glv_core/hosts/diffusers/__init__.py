"""Co-denoising on diffusers pipelines: Wan text-to-video, TextToVideoSD (ModelScope, Zeroscope) and AnimateDiff.

Importing this package needs torch and diffusers.
"""

from ...prompts.track import PromptTrack
from .denoisers import SUPPORTED, UnsupportedDenoiserError
from .forward import AUTOMATIC_WINDOWS_PER_FORWARD, Progress, co_denoising
from .generate import generate, timebase_for
from .schedulers import make_scheduler

__all__ = [
    "AUTOMATIC_WINDOWS_PER_FORWARD",
    "SUPPORTED",
    "Progress",
    "PromptTrack",
    "UnsupportedDenoiserError",
    "co_denoising",
    "generate",
    "make_scheduler",
    "timebase_for",
]
