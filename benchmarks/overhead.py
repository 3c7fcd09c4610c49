"""What co-denoising costs beside the model: time of a run over the bare forward passes of the same windows.

``python benchmarks/overhead.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``). On the demo model, one
window at a time and without guidance: *overhead* is the time of the sampling over the time of the model's forward
passes inside it, measured in the same run; the core KSampler's own overhead on a clip of one window stands beside it.
Then lengths from 101 to 5,001 frames: the largest batch that the model was given, and by how much the process grew
while sampling, beyond the size of the tensors that hold the whole latent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import find_comfyui, find_interpreter


def main() -> int:
    comfyui = find_comfyui()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        worker = subprocess.Popen(
            [find_interpreter(comfyui), str(ROOT / "tests/host/worker.py"), str(comfyui), str(ROOT), folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=comfyui,
        )  # fmt: skip

        def call(function: str, **arguments):
            worker.stdin.write(json.dumps(["benchmark", function, arguments]) + "\n")
            worker.stdin.flush()
            answer = json.loads(worker.stdout.readline().removeprefix("RESULT "))
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return answer["value"]

        try:
            print("| | overhead |\n| --- | --- |")
            print(f"| core KSampler, one clip of 61 frames | {call('overhead', frames=61):.3f} |")
            for frames in (253, 1009):
                print(f"| co-denoising, {frames} frames | {call('overhead', frames=frames):.3f} |", flush=True)
            print("\n| frames | largest batch | growth of the process |\n| --- | --- | --- |")
            for frames in (101, 501, 1001, 2501, 5001):
                result = call("growth", frames=frames)
                print(f"| {frames} | {result['batch']} | {result['growth'] / 2**20:.0f} MiB |", flush=True)
        finally:
            worker.stdin.close()
            worker.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
