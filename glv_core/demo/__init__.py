"""A tiny text-to-video model in Wan 2.1 format, a tiny StreamingT2V, and the world they were trained on.

Importing this package is cheap: torch is only imported by its sub-modules.
"""

from pathlib import Path

MODEL_DIR: Path = Path(__file__).resolve().parent / "model"
#: A text-to-video-ms-1.7b folder with ``image_encoder`` and what streaming adds.
STREAMING_T2V_DIR: Path = MODEL_DIR.parent / "streaming_t2v"

__all__ = ["MODEL_DIR", "STREAMING_T2V_DIR"]
