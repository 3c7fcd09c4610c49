"""Makes astronaut.mp4 from scikit-image's astronaut.png: ``python make_astronaut.py astronaut.png``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glv_core.video_io import save_video

FRAMES, HEIGHT, WIDTH = 32, 192, 256


def view(photo: Image.Image, frame: int) -> Image.Image:
    """What a camera sees that moves from the left to the right and a little closer."""
    progress = frame / (FRAMES - 1)
    width = 400 - 60 * progress
    left = 10 + 90 * progress
    top = 10 + 8 * math.sin(2 * math.pi * progress)
    return photo.resize(
        (WIDTH, HEIGHT), Image.Resampling.LANCZOS, (left, top, left + width, top + width * HEIGHT / WIDTH)
    )


if __name__ == "__main__":
    with Image.open(sys.argv[1]) as photo:
        frames = np.stack([np.asarray(view(photo.convert("RGB"), frame)) for frame in range(FRAMES)])
    save_video(Path(__file__).parent / "astronaut.mp4", frames, 16, crf=20)
