"""Tiles in space on the demo model: video of twice its width, and whether one sees where tiles meet.

``COMFYUI_PATH=... python benchmarks/tiles.py`` prints a Markdown table. Every row makes the same videos of 128 x 64
pixels in tiles of 64 x 64 from the same noise.

*Tiles*: tiles through the model over those that the width alone needs. *Border*: mean difference of neighbouring
columns of pixels where the row's tiles of the first step begin and end over all others; *middle*: the same in the
middle of the frame, where two tiles that share nothing meet; *largest*: the largest such difference over the mean.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np
from comfyui_hosts import comfyui_worker
from PIL import Image
from windows import PROMPTS

WIDTH, TILE = 128, 64
#: Schedule, merge and overlap in pixels.
ROWS = (
    ("static_balanced", "flat", 0),
    ("static_balanced", "linear_in_overlap", 16),
    ("static_balanced", "pyramid", 16),
    ("shifted", "pyramid", 0),
    ("shifted", "pyramid", 16),
)


def measure(frames: np.ndarray, lefts: list[int]) -> dict[str, float]:
    """The figures of one video ``t h w c`` whose tiles begin at these columns at the first step."""
    steps = np.abs(np.diff(frames.astype(np.float64), axis=2)).mean(axis=(0, 1, 3))

    def ratio(columns: set[int]) -> float:
        inside = np.isin(np.arange(len(steps)), [column - 1 for column in columns])
        return float(steps[inside].mean() / steps[~inside].mean())

    edges = {edge for left in lefts for edge in (left, left + TILE)} - {0, WIDTH}
    return {"border": ratio(edges), "middle": ratio({WIDTH // 2}), "largest": float(steps.max() / steps.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help=f"videos a row, up to {len(PROMPTS)}")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--length", type=int, default=16, help="latent frames of a video")
    parser.add_argument("--frames", type=Path, help="a folder for the middle frame of every video")
    arguments = parser.parse_args()
    print("| tiles, merge, overlap | tiles | border | middle | largest | seconds a video |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        path = Path(folder) / "video.npy"
        for schedule, merge, overlap in ROWS:
            figures, seconds = [], []
            for seed in range(arguments.seeds):
                made = call(
                    "benchmark", "tiled", schedule=schedule, merge=merge, overlap=overlap, prompt=PROMPTS[seed],
                    seed=seed, steps=arguments.steps, length=arguments.length, path=str(path),
                )  # fmt: skip
                frames = np.load(path)
                figures.append(measure(frames, made["lefts"][0]))
                seconds.append(made["seconds"])
                if arguments.frames:
                    image = Image.fromarray((frames[len(frames) // 2] * 255).round().clip(0, 255).astype(np.uint8))
                    image.save(arguments.frames / f"{schedule}-{merge}-{overlap}-{seed}.png")
            tiles = sum(map(len, made["lefts"])) / (arguments.steps * WIDTH / TILE)
            shown = [f"{np.mean([f[name] for f in figures]):.2f} ({max(f[name] for f in figures):.2f})"
                     for name in ("border", "middle", "largest")]  # fmt: skip
            print(f"| {schedule}, {merge}, {overlap} | {tiles:.2f} | {' | '.join(shown)} | {np.mean(seconds):.1f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
