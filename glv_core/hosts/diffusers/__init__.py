"""Co-denoising, streaming and tuning on diffusers pipelines.

Wan, Wan VACE, TextToVideoSD (ModelScope, Zeroscope) and AnimateDiff; and StreamingT2V's UNet. Importing this package
needs torch and diffusers.
"""

from .denoisers import SUPPORTED, UnsupportedDenoiserError
from .forward import Progress, co_denoising
from .generate import generate, timebase_for
from .identified import load_tuned
from .schedulers import make_scheduler
from .streamingt2v import StreamingUNet
from .tuning import tune
from .vace import VaceHint, encode_hint

__all__ = [
    "SUPPORTED",
    "Progress",
    "StreamingUNet",
    "UnsupportedDenoiserError",
    "VaceHint",
    "co_denoising",
    "encode_hint",
    "generate",
    "load_tuned",
    "make_scheduler",
    "timebase_for",
    "tune",
]
