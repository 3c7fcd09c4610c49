"""One-shot tuning on the demo model: what it learns, what it keeps, and what clip identifiers are good for.

``python benchmarks/tuning.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``) and prints two Markdown
tables. The model is tuned on 22 seconds of a red star, which it never saw, in four scenes (right and up, on black and
on white), and then makes videos of a star in other directions on gray, which is in none of them.

With ``--keep`` the prompts of its own shapes in those scenes are kept.

*Star*: frames whose object is a star, read from pixels alone. *Scene*: frames that show the colour and background of
their prompt. *Way*: pixels a frame along the direction of the prompt; the world's shapes have 0.75.
*Seam*: frame difference where windows meet over elsewhere. *Other prompts*: frames of shapes that the model knew that
show their prompt, of as many videos as ``--others``.

The other table: PSNR between the star's video, whose look changes along it, and what sampling with one prompt for all
of it makes of its inversion with an empty text, as Gen-L-Video does; tuned without clip identifiers and with them.
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
import torch
from comfyui_hosts import comfyui_worker, find_host

from glv_core.demo.clips import DIRECTIONS, Scene, all_combinations
from glv_core.demo.detector import agrees, read_clip
from glv_core.demo.star import star_prompt
from glv_core.demo.star_detector import stars
from glv_core.metrics import frame_differences, seam_ratio_of

PROMPTS = {direction: star_prompt(direction, "gray") for direction in ("left", "down")}
CLIP = 61
OTHERS_CFG = 1.5


def figures(direction: str, frames: np.ndarray) -> list[str]:
    """The figures of one video of a star ``t h w 3``."""
    reading = read_clip(frames)
    scene = np.mean([frame.colour == "red" and frame.background == "gray" for frame in reading.frames])
    steps = [step for step in reading.steps if step is not None]
    along = np.mean([step[0] * DIRECTIONS[direction][0] + step[1] * DIRECTIONS[direction][1] for step in steps])
    seam = seam_ratio_of(frame_differences(frames), range(CLIP, len(frames), CLIP - 28), [], 4)
    return [f"{np.mean(stars(frames)):.1%}", f"{scene:.1%}", f"{along:.2f}", f"{seam:.2f}"]


def adherence(videos: np.ndarray, prompts: list[str]) -> float:
    """The share of frames that show their prompt."""
    return float(
        np.mean([
            np.mean([agrees(frame, prompt) for frame in read_clip(frames).frames])
            for frames, prompt in zip(videos, prompts, strict=True)
        ])
    )  # fmt: skip


def other_prompts(count: int, seed: int = 5) -> list[str]:
    """Prompts of the world that the model was trained on."""
    combinations = all_combinations()
    order = torch.randperm(len(combinations), generator=torch.Generator().manual_seed(seed)).tolist()
    return [Scene(*combinations[index], 0.0, 0.0).prompt() for index in order[:count]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="of tuning")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--keep", type=float, default=0.5, help="how much other prompts in its scenes are kept")
    parser.add_argument("--strength", type=float, default=0.9, help="of the tuning in videos")
    parser.add_argument("--cfg", type=float, default=1.0, help="guidance of videos of stars")
    parser.add_argument("--frames", type=int, default=481, help="of each video of a star, 4 n + 1")
    parser.add_argument("--others", type=int, default=24, help="videos of other prompts, 61 frames each")
    parser.add_argument("--identified-steps", type=int, default=120, help="of each tuning of the second table; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of the tunings of the second table")
    parser.add_argument("--keep-videos", type=Path, help="a folder for the videos of stars")
    arguments = parser.parse_args()
    comfyui = find_host()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        path = str(Path(folder) / "frames.npy")
        tuned = call(
            "tuning", "tune", name="star", folder=folder, steps=arguments.steps, rank=arguments.rank,
            learning_rate=arguments.learning_rate, keep_strength=arguments.keep,
        )  # fmt: skip
        print(f"In ComfyUI {comfyui.version}: {arguments.steps} steps in {tuned['seconds']:.0f} s.\n", flush=True)
        print(
            "| | direction | star | scene | way | seam | other prompts |\n| --- | --- | --- | --- | --- | --- | --- |"
        )
        others = other_prompts(arguments.others)
        for name, file in (("untuned", None), ("tuned", tuned["file"])):
            given = {"file": file, "path": path, "strength": arguments.strength}
            call("tuning", "video", prompts=others, num_frames=CLIP, seed=100, cfg=OTHERS_CFG, **given)
            kept = adherence(np.load(path), others)
            call(
                "tuning", "video", prompts=list(PROMPTS.values()), num_frames=arguments.frames, cfg=arguments.cfg,
                **given,
            )  # fmt: skip
            for direction, frames in zip(PROMPTS, np.load(path), strict=True):
                if arguments.keep_videos:
                    from glv_core.video_io import save_video

                    arguments.keep_videos.mkdir(parents=True, exist_ok=True)
                    shown = torch.from_numpy(frames)
                    save_video(arguments.keep_videos / f"{name}_{direction}.mp4", shown, 16, upscale=4)
                row = " | ".join([name, direction, *figures(direction, frames), f"{kept:.1%}"])
                print(f"| {row} |", flush=True)
        if arguments.identified_steps:
            print("\n| tuned | PSNR, dB |\n| --- | --- |")
            asked = {"cfg": 1.5, "scenes": False}
            print(f"| not | {call('tuning', 'reconstruction', file=None, **asked):.1f} |", flush=True)
            for kind in ("none", "bank", "continuous"):
                made = call(
                    "tuning", "tune", name=kind, folder=folder, steps=arguments.identified_steps, identifiers=kind,
                    learning_rate=arguments.learning_rate, scenes=False, clip_drop=0.1, layers="attention", stride=16,
                    batch_size=4, seed=arguments.seed,
                )  # fmt: skip
                found = call("tuning", "reconstruction", file=made["file"], **asked)
                print(f"| identifiers {kind} | {found:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
