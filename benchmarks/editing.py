"""Editing on the demo model: this pack's windows, and beside them core's context windows and a loop over clips.

``python benchmarks/editing.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``) and prints two Markdown
tables. All rows edit the same drawn video, a red circle that moves over a white background, with Wan VACE's
architecture (the demo model's branch), 20 steps of uni_pc, CFG 2 and windows of 61 frames.

*Restyle*: a depth-like control and another colour word. *Mix*: the same with three prompts along the video. *Edit*: the
object is masked and painted anew as another one, and put back into the source. *Adherence*: frames outside transitions
that show the colour, shape and background of their prompt. *Centre*: mean distance of the object from the source's, in
pixels. *Seam*: frame difference where clips meet (into and inside the latent frame that begins there) over elsewhere,
each beside the mean of its prompt's stretch; clips of windows have 16 latent frames, those of the loop 61 frames.
*Passes*: windows through the model for the prompt. *Outside*: pixels outside the mask that are the source's, bit for
bit; *flicker*: frame difference within 8 pixels of the mask's edge over the source's.

The other table is about inversion: PSNR between the video that sampling brings back and the VAE's own round trip.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np
import torch
import torch.nn.functional as F
from comfyui_hosts import comfyui_worker, find_host

from glv_core.demo.clips import centred_scene, render
from glv_core.demo.detector import agrees, centre_distances, read_frames
from glv_core.metrics import frame_differences, ring_flicker, seam_ratio_of

SCENE = ["circle", "red", "white", "right", 5.0]
CLIP, GROWN, RING = 61, 3, 8
WAYS = {
    "this pack": "ours",
    "isolated clips": "isolated",
    "isolated clips, a prompt each": "isolated_prompts",
    "core's context windows": "core",
    "a loop over clips, core": "loop",
}
MODES = {
    "restyle": ("depth", ((0, "a blue circle moving right on a white background"),)),
    "mix": (
        "depth",
        (
            (0, "a yellow circle moving right on a black background"),
            (80, "a magenta circle moving right on a gray background"),
            (160, "a cyan circle moving right on a white background"),
        ),
    ),
    "edit": ("mask", ((0, "a blue square moving right on a white background"),)),
}


def measure(mode: str, how: str, frames: np.ndarray, source: np.ndarray) -> dict[str, str]:
    """The figures of one video ``t h w 3``."""
    _, prompts = MODES[mode]
    starts = [start for start, _ in prompts[1:]]
    readings = read_frames(frames)
    texts = [next(text for start, text in reversed(prompts) if start <= frame) for frame in range(len(frames))]
    kept = [frame for frame in range(len(frames)) if all(abs(frame - start) > 8 for start in starts)]
    joins = range(CLIP, len(frames), CLIP if how == "loop" else 64)
    seam = seam_ratio_of(
        by_segment(frame_differences(frames), starts), joins, [(start - 12, start + 12) for start in starts], 4
    )
    figures = {
        "adherence": f"{np.mean([agrees(readings[frame], texts[frame]) for frame in kept]):.1%}",
        "centre": f"{np.mean(centre_distances(readings, read_frames(source))):.2f}",
        "seam": f"{seam:.2f}",
        "outside": "",
        "flicker": "",
    }
    if mode == "edit":
        drawn = torch.from_numpy(np.abs(source - source[0, 0, 0]).max(-1) > 0.1).float()[:, None]
        grown, far = (F.max_pool2d(drawn, 2 * by + 1, 1, by)[:, 0].numpy() for by in (GROWN, GROWN + 2))
        figures["outside"] = f"{(frames == source).all(-1)[far == 0].mean():.1%}"
        figures["flicker"] = f"{ring_flicker(frames, source, grown, RING):.2f}"
    return figures


def by_segment(differences: np.ndarray, starts: list[int], margin: int = 12) -> np.ndarray:
    """Frame differences over the mean of their prompt's stretch, whose colours say how large they are."""
    ends = [0, *starts, len(differences)]
    scaled = np.array(differences, dtype=float)
    for first, last in pairwise(ends):
        inner = slice(first + margin * (first > 0), last - margin * (last < len(differences)))
        scaled[first:last] /= scaled[inner].mean()
    return scaled


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=241, help="of each video, 4 n + 1")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--ways", nargs="+", choices=WAYS.values(), default=list(WAYS.values()))
    arguments = parser.parse_args()
    comfyui = find_host()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    source = render(centred_scene(*SCENE), arguments.frames).permute(0, 2, 3, 1).numpy()
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        print(f"In ComfyUI {comfyui.version}, {arguments.frames} frames.\n")
        print("| | | adherence | centre | seam | outside | flicker | passes | seconds |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        path = Path(folder) / "frames.npy"
        for mode in arguments.modes:
            kind, prompts = MODES[mode]
            text = "\n".join(f"{start}: {prompt}" for start, prompt in prompts)
            for name, how in WAYS.items():
                if how not in arguments.ways or (how == "isolated_prompts" and len(prompts) < 2):
                    continue
                way, _, each = how.partition("_")
                made = call(
                    "editing", "edited", scene=SCENE, prompts=text, num_frames=arguments.frames, mode=kind, how=way,
                    path=str(path), more={"prompt_blending": "one_per_window"} if each else None,
                )  # fmt: skip
                figures = " | ".join(measure(mode, how, np.load(path), source).values())
                print(f"| {mode} | {name} | {figures} | {made['passes']} | {made['seconds']:.0f} |", flush=True)
        print("\n| steps | refinements | PSNR, dB |\n| --- | --- | --- |")
        windows = {"window": 61, "overlap": 8, "schedule": "shifted", "merge": "pyramid", "windows_per_forward": 0}
        for steps, refinements in ((20, 0), (20, 1), (20, 2), (50, 0)):
            found = call(
                "editing", "inversion", scene=SCENE, num_frames=arguments.frames, steps=steps, refinements=refinements,
                windows=windows,
            )  # fmt: skip
            print(f"| {steps} | {refinements} | {found['psnr']:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
