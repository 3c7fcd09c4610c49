"""Writes the video of a star that is tuned on: ``python -m training.demo.star_video``."""

from __future__ import annotations

from glv_core.demo.clips import FPS
from glv_core.demo.star import STAR_VIDEO, render_star_video
from glv_core.video_io import save_video


def main() -> None:
    """Write it into the pack."""
    save_video(STAR_VIDEO, render_star_video().permute(0, 2, 3, 1), FPS)


if __name__ == "__main__":
    main()
