"""What co-denoising costs beside the model: time of a run over the bare forward passes of the same windows.

``python benchmarks/overhead.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``). On the demo model, one
window at a time and without guidance: the time of the sampling over the time of the forward passes inside it, measured
in the same run. *Over evaluations*: the host's evaluation of the same windows (``calc_cond_batch``: conditions put
together, the model, its output taken apart). *Over the model*: the model alone. The core KSampler on a clip of one
window stands beside it. The least of several runs.
Then lengths from 101 to 5,001 frames: the largest batch that the model was given, and by how much the process's peak
memory grew beyond that of the rows above, tensors of the long latent's size included.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from comfyui_hosts import comfyui_worker, find_host

RUNS = 3
CO_DENOISED = tuple((f"co-denoising, {frames} frames", frames) for frames in (253, 1009))


def main() -> int:
    comfyui = find_host()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        print("| | over evaluations | over the model |\n| --- | --- | --- |")
        for name, frames in (("core KSampler, one clip of 61 frames", 61), *CO_DENOISED):
            runs = [call("benchmark", "overhead", frames=frames) for _ in range(RUNS)]
            least = {key: min(run[key] for run in runs) for key in runs[0]}
            print(f"| {name} | {least['evaluation']:.3f} | {least['model']:.3f} |", flush=True)
        print("\n| frames | largest batch | growth of the process |\n| --- | --- | --- |")
        for frames in (101, 501, 1001, 2501, 5001):
            result = call("benchmark", "growth", frames=frames)
            print(f"| {frames} | {result['batch']} | {result['growth'] / 2**20:.0f} MiB |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
