"""What co-denoising costs beside the model: time of a run over the bare forward passes of the same windows.

``python benchmarks/overhead.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``). On the demo model, one
window at a time and without guidance: *overhead* is the time of the sampling over the time of the model's forward
passes inside it, measured in the same run; the core KSampler's own overhead on a clip of one window stands beside it.
Then lengths from 101 to 5,001 frames: the largest batch that the model was given, and by how much the process's peak
memory grew beyond that of the rows above, tensors of the long latent's size included.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import comfyui_worker, find_comfyui


def main() -> int:
    comfyui = find_comfyui()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        print("| | overhead |\n| --- | --- |")
        print(f"| core KSampler, one clip of 61 frames | {call('benchmark', 'overhead', frames=61):.3f} |")
        for frames in (253, 1009):
            print(f"| co-denoising, {frames} frames | {call('benchmark', 'overhead', frames=frames):.3f} |", flush=True)
        print("\n| frames | largest batch | growth of the process |\n| --- | --- | --- |")
        for frames in (101, 501, 1001, 2501, 5001):
            result = call("benchmark", "growth", frames=frames)
            print(f"| {frames} | {result['batch']} | {result['growth'] / 2**20:.0f} MiB |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
