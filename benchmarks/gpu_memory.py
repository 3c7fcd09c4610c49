"""Wan 2.1 1.3B's shape with random weights on a graphics card: speed and memory from 81 to 1,001 frames at 480x832.

``python benchmarks/gpu_memory.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``) and a CUDA card with
about 16 GB. It prints a Markdown table: this pack's shifted windows and ComfyUI core's context windows, side by side in
one process, on the same random weights and noise. What is sampled is noise; only time and memory mean something.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from comfyui_hosts import comfyui_worker, find_host

ROWS = (
    ("this pack, shifted, overlap 12", {"core": False, "schedule": "shifted", "overlap": 3}),
    ("core, standard_static, overlap 30", {"core": True, "schedule": "standard_static", "overlap": 8}),
    ("core, standard_uniform, overlap 30", {"core": True, "schedule": "standard_uniform", "overlap": 8}),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[81, 161, 321, 641, 1001])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to try the script itself")
    arguments = parser.parse_args()
    comfyui = find_host()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    print("| frames | | forwards | seconds | frames / s | peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    flags = () if arguments.tiny else ("--gpu",)
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder), *flags) as call:
        for frames in arguments.frames:
            for name, row in ROWS:
                result = call(
                    "benchmark", "gpu", row=row, frames=frames, steps=arguments.steps, width=arguments.width,
                    height=arguments.height, tiny_model=arguments.tiny,
                )  # fmt: skip
                seconds, peak = result["seconds"], result["peak"] / 2**30
                print(
                    f"| {frames} | {name} | {result['forwards']} | {seconds:.1f} | {frames / seconds:.2f} "
                    f"| {peak:.2f} GiB |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
