"""A tiny text-to-video model in Wan 2.1 format, with the world it was trained on.

Importing this package is cheap: torch is only imported by its sub-modules.
"""

from pathlib import Path

MODEL_DIR: Path = Path(__file__).resolve().parent / "model"

__all__ = ["MODEL_DIR"]
