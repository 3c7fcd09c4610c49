"""Speed and memory on a graphics card, with random weights of Wan 2.1 1.3B's shape and of LTX-2's.

``python benchmarks/gpu_memory.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``) and a CUDA card with
about 16 GB. It prints a Markdown table: this pack's shifted windows from 81 to 1,001 frames, with one, two, four and as
many windows a forward pass as fit; ComfyUI core's context windows at the settings that have the same seam on the demo
model (docs/benchmarks.md); and this pack's once more with the host's dynamic memory. LTX-2 has its own width and 4 of
its 48 layers, so that its weights are made in seconds: of its times only ratios mean something. What is sampled is
noise. Rows that would begin after ``--minutes`` are left out, and named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from comfyui_hosts import Host, comfyui_worker, find_host

FRAMES = (81, 321, 1001)
FLAG = "--enable-dynamic-vram"
HEAD = (
    "model", "frames", "windows", "a pass", "dynamic memory", "forwards", "seconds a step", "over the forwards alone",
    "frames / s at 20 steps", "peak memory",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A model to measure: its windows in latent frames of ``ratio`` frames, and its size in pixels."""

    kind: str
    name: str
    window: int
    ratio: int
    size: tuple[int, int]

    def ours(self, per_forward: int = 0) -> dict:
        """This pack's windows: overlap of an eighth, which moves with the steps."""
        more = {"windows_per_forward": per_forward}
        return self._row(core=False, schedule="shifted", overlap=round(self.window / 8), more=more)

    def core(self) -> dict:
        """Core's windows with as small a seam: they overlap by half."""
        return self._row(core=True, schedule="standard_uniform", overlap=self.window // 2)

    def _row(self, **row: object) -> dict:
        return {**row, "window": self.window, "ratio": self.ratio}


SHAPES = (Shape("wan", "Wan 1.3B", 21, 4, (832, 480)), Shape("ltx", "LTX-2, 4 layers", 16, 8, (960, 544)))


def jobs(frames: tuple[int, ...], has_dynamic: bool) -> Iterator[tuple[bool, Shape, dict, int]]:
    """What is measured: with dynamic memory or not, a model, its windows, and frames."""
    for shape in SHAPES:
        yield from ((False, shape, shape.ours(), each) for each in frames)
        yield from ((False, shape, shape.core(), each) for each in frames[1:])
        yield from ((False, shape, shape.ours(count), frames[1]) for count in (1, 2, 4))
    if has_dynamic:
        for shape in SHAPES:
            yield from ((True, shape, shape.ours(), each) for each in frames)


def has_flag(host: Host) -> bool:
    """Whether a ComfyUI has dynamic memory."""
    return FLAG in (host.path / "comfy" / "cli_args.py").read_text(encoding="utf-8")


def line(dynamic: bool, shape: Shape, row: dict, frames: int, steps: int, made: dict) -> str:
    """A row of the table."""
    step = made["seconds"] / steps
    count = row.get("more", {}).get("windows_per_forward", 1)
    cells = (
        shape.name, frames, "core" if row["core"] else "this pack", count or "automatic", "on" if dynamic else "off",
        made["forwards"], f"{step:.2f}", f"{made['seconds'] / made['spent']:.3f}", f"{frames / (20 * step):.2f}",
        f"{made['peak'] / 2**30:.2f} GiB",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="at least two lengths")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no row begins")
    parser.add_argument("--tiny", action="store_true", help="tiny models on the CPU, to try the script itself")
    arguments = parser.parse_args()
    if len(arguments.frames) < 2:
        parser.error("--frames needs two lengths or more: core's windows are measured from the second on.")
    host = find_host()
    if host is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    todo = list(jobs(tuple(arguments.frames), has_flag(host) and not arguments.tiny))
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}", flush=True)
    end, left_out = time.monotonic() + 60 * arguments.minutes, []
    for dynamic in (False, True):
        mine = [job for job in todo if job[0] == dynamic]
        if not mine:
            continue
        flags = ("--gpu", *([FLAG] if dynamic else ["--disable-dynamic-vram"] if has_flag(host) else []))
        with (
            tempfile.TemporaryDirectory() as folder,
            comfyui_worker(Path(folder), *(() if arguments.tiny else flags), host=host) as call,
        ):
            for _, shape, row, frames in mine:
                if time.monotonic() > end:
                    left_out.append(f"{shape.name}, {frames} frames, {'dynamic memory' if dynamic else row}")
                    continue
                width, height = (64, 64) if arguments.tiny else shape.size
                made = call(
                    "benchmark", "gpu", kind=shape.kind, row=row, frames=frames, steps=arguments.steps, width=width,
                    height=height, tiny_model=arguments.tiny,
                )  # fmt: skip
                print(line(dynamic, shape, row, frames, arguments.steps, made), flush=True)
    if left_out:
        print(f"\nLeft out after {arguments.minutes:g} minutes: {'; '.join(left_out)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
