"""Co-denoising and streaming on diffusers pipelines: Wan, TextToVideoSD (ModelScope, Zeroscope) and AnimateDiff.

Importing this package needs torch and diffusers.
"""

from .denoisers import SUPPORTED, UnsupportedDenoiserError
from .forward import Progress, co_denoising
from .generate import generate, timebase_for
from .schedulers import make_scheduler

__all__ = [
    "SUPPORTED",
    "Progress",
    "UnsupportedDenoiserError",
    "co_denoising",
    "generate",
    "make_scheduler",
    "timebase_for",
]
