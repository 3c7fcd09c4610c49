"""What making controls and masks costs beside their networks, beside OpenCV, and video files beside plain PyAV.

``python benchmarks/controls.py`` prints a Markdown table; it needs no ComfyUI, and OpenCV only for the rows about it.
Both sides of a pair work on the same images and take turns; a figure is the least processor time of several runs, in
milliseconds, and the ratio is the first's over the second's.

*Skeletons*: OpenPose's body network with random weights on frames of 256 x 256, alone, with five people found in maps,
followed and drawn, and what of this is not the network.
*Canny*, *resizing*: frames of smooth noise, discs and grain, one thread. *Grow*: a disc of 64 pixels around a mask, and
the same as 129 rows of the disc, each a largest value of neighbours. *Writing*, *reading*: H.264 at crf 18. A second
table has the processor time and the memory of writing files whose frames come one by one, in processes of their own.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import av
import numpy as np
import torch
from torch.nn import functional

from glv_core.perception.controls.canny import canny
from glv_core.perception.controls.keypoints import steady_people
from glv_core.perception.controls.openpose import FIELDS, JOINS, decode_people, network_input
from glv_core.perception.controls.pose_drawing import draw_poses
from glv_core.perception.controls.resample import resample
from glv_core.perception.mask_ops import grow
from glv_core.perception.networks.openpose_body import OpenPoseBody
from glv_core.video_io import open_clip, save_video

PEOPLE = 5
SKELETONS = 4  # frames
HOLD, SMOOTHING = 3, 1.0  # what the node begins with
RADIUS = 64
FPS = 24
STATUS = Path("/proc/self/status")  # where Linux says how much memory a process has had

Pair = tuple[str, str, Callable[[], object], Callable[[], object]]


def least(runs: int, *ways: Callable[[], object]) -> list[float]:
    """Processor time of each in milliseconds, the least of so many turns."""
    times = [[] for _ in ways]
    for _ in range(runs):
        for way, mine in zip(ways, times, strict=True):
            start = time.process_time()
            way()
            mine.append((time.process_time() - start) * 1000)
    return [min(mine) for mine in times]


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """Frames ``t h w 3`` uint8 of smooth noise, discs and grain."""
    generator = torch.Generator().manual_seed(0)
    image = torch.full((count, 3, height, width), 128.0)
    for cells in (4, 16, 64):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        image += functional.interpolate(noise, (height, width), mode="bicubic") * 40 / math.sqrt(cells)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for _ in range(12):
        cy, cx, radius = (torch.rand(3, generator=generator) * torch.tensor([height, width, height / 4])).tolist()
        image[..., torch.hypot(y - cy, x - cx) < radius] += torch.randn(3, 1, generator=generator) * 60
    image += torch.randn(image.shape, generator=generator) * 3
    return image.clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def crowd(cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps ``19 h w`` and ``38 h w`` that the body network would make of five people all over an image."""
    random = np.random.default_rng(0)
    middle = random.uniform(0.2, 0.8, (PEOPLE, 1, 2))
    places = torch.from_numpy(middle + random.normal(0, 0.12, (PEOPLE, 18, 2))).float() * cells
    grid = torch.stack(torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="xy"), -1)
    heat = torch.exp(-(grid - places[:, :, None, None]).square().sum(-1) / 3).amax(0)
    fields = torch.zeros(len(JOINS) * 2, cells, cells)
    for limb, channels in zip(JOINS, FIELDS, strict=True):
        for start, end in places[:, limb]:
            way = functional.normalize(end - start, dim=0)
            along = ((grid - start) @ way).clamp(torch.tensor(0), torch.dist(start, end))
            near = (grid - start - along[..., None] * way).norm(dim=-1) < 1.2
            fields[list(channels)] += near * way[:, None, None]
    return torch.cat([heat, 1 - heat.amax(0, keepdim=True)]), fields.clamp(-1, 1)


def skeletons() -> Iterator[Pair]:
    frames, (heat, fields) = pictures(SKELETONS, 256, 256), crowd(23)
    torch.manual_seed(0)
    network = OpenPoseBody().eval().requires_grad_(False)
    seen, inner = network_input(frames)
    people: list[np.ndarray] = []

    def alone() -> object:
        return network(seen)

    def find() -> None:
        people[:] = [decode_people(heat, fields, inner, 256, 256) for _ in frames]

    def draw() -> object:
        return draw_poses(steady_people(people, HOLD, SMOOTHING), 256, 256)

    name = f"skeletons of {PEOPLE} people in {SKELETONS} frames"

    def everything() -> object:
        return network_input(frames), alone(), find(), draw()

    yield name, "the network alone", everything, alone
    yield f"{name}: finding them in its maps", "the network alone", find, alone
    yield f"{name}: following and drawing", "the network alone", draw, alone


def beside_opencv(side: int) -> Iterator[Pair]:
    """Nothing without OpenCV."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)
    frame = pictures(1, side, side)
    image, small = frame[0].numpy(), (side * 3 // 4, side * 5 // 8)
    large = (side * 3 // 2, side * 21 // 16)
    for low, high in ((100, 200), (20, 60)):
        ways = (
            (lambda low=low, high=high: canny(frame, low, high)),
            (lambda low=low, high=high: cv2.Canny(image, low, high)),
        )
        yield f"canny, {low} and {high}", "OpenCV", *ways
    for method, flag, (height, width) in (("area", cv2.INTER_AREA, small), ("lanczos", cv2.INTER_LANCZOS4, large)):
        yield (
            f"resizing, {method}", "OpenCV",
            lambda size=(height, width), method=method: resample(frame, *size, method),
            lambda size=(width, height), flag=flag: cv2.resize(image, size, interpolation=flag),
        )  # fmt: skip


def rows_of_a_disc(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """``grow`` by its definition, row by row of the disc."""
    height = len(mask)
    grown, lines = torch.zeros_like(mask), mask.float()[:, None]
    most = min(radius, height - 1)
    for down in range(-most, most + 1):
        reach = math.isqrt(radius * radius - down * down)
        near = functional.max_pool1d(lines, 2 * reach + 1, 1, reach)[:, 0] > 0
        grown[max(0, down) : height + min(0, down)] |= near[max(0, -down) : height + min(0, -down)]
    return grown


def masks(side: int) -> Iterator[Pair]:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = torch.hypot(y - side / 2, x - side / 2) < side / 3
    yield (
        f"grow by {RADIUS} pixels, {side} x {side}", "row by row of the disc",
        lambda: grow(mask, RADIUS), lambda: rows_of_a_disc(mask, RADIUS),
    )  # fmt: skip


def plainly(path: Path, frames: Iterable[torch.Tensor], height: int, width: int) -> None:
    """Write a file of frames ``h w 3`` uint8 with PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())


def files(count: int, side: int, folder: Path) -> Iterator[Pair]:
    frames = pictures(count, side, side)
    ours, plain = folder / "ours.mp4", folder / "plain.mp4"

    def read() -> int:
        with av.open(str(ours)) as container:
            return sum(frame.to_ndarray(format="rgb24").shape[0] > 0 for frame in container.decode(video=0))

    size = f"{count} frames of {side} x {side}"
    yield (
        f"writing {size}",
        "plain PyAV",
        lambda: save_video(ours, frames, FPS),
        lambda: plainly(plain, frames, side, side),
    )
    yield f"reading {size}", "plain PyAV", lambda: sum(map(len, open_clip(ours).frames())), read


def largest_memory() -> float:
    """The most memory that this process has had, in MiB; that of its parent does not count, as ``getrusage`` has it."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def write_and_tell(way: str, folder: str, count: str, height: str, width: str) -> None:
    """Write a file of frames that come one by one, and print seconds of processor time, and by how many MiB the
    process's largest memory grew."""
    picture = pictures(1, int(height), int(width))[0]
    frames = (picture.roll(number, 1) for number in range(int(count)))
    path = Path(folder, f"{way}.mp4")
    before, start = largest_memory(), time.process_time()
    if way == "ours":
        save_video(path, (frame[None] for frame in frames), FPS)
    else:
        plainly(path, frames, int(height), int(width))
    spent = time.process_time() - start
    print(spent, largest_memory() - before)


def writing(turns: int, count: int, height: int, width: int, folder: Path) -> list[float]:
    """Least processor time and memory of writing a file, ours and plainly, each in processes of its own that take
    turns."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks import controls; "
    code += "controls.write_and_tell(*sys.argv[2:])"
    found: dict[str, list[list[float]]] = {"ours": [], "plain": []}
    for _ in range(turns):
        for way, mine in found.items():
            words = [sys.executable, "-c", code, str(ROOT), way, str(folder), *map(str, (count, height, width))]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            mine.append([float(each) for each in done.stdout.split()])
    return [min(turn[what] for turn in mine) for what in (0, 1) for mine in found.values()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="turns of each pair")
    parser.add_argument("--side", type=int, default=512, help="of the frames, pixels; a multiple of 16")
    parser.add_argument("--mask", type=int, default=4096, help="side of the mask, pixels")
    parser.add_argument("--frames", type=int, default=48, help="of the videos")
    parser.add_argument(
        "--files", default="150x1080x1920,2000x64x64", help="videos for memory: frames x height x width of each"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| | beside | ms | ms beside | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for pairs in (
            skeletons(), beside_opencv(given.side), masks(given.mask), files(given.frames, given.side, Path(folder))
        ):  # fmt: skip
            for name, other, one, two in pairs:
                mine, theirs = least(given.runs, one, two)
                print(f"| {name} | {other} | {mine:.1f} | {theirs:.1f} | {mine / theirs:.3g} |", flush=True)
        if not STATUS.exists():
            return 0
        print("\n| writing | s | s, plain PyAV | ratio | MiB | MiB, plain PyAV | ratio |\n|" + " --- |" * 7)
        for size in given.files.split(","):
            count, height, width = map(int, size.split("x"))
            one, two, mine, theirs = writing(given.runs, count, height, width, Path(folder))
            print(
                f"| {count:,} frames of {width} x {height} | {one:.2f} | {two:.2f} | {one / two:.3g} | {mine:.0f} | "
                f"{theirs:.0f} | {mine / max(theirs, 1):.3g} |", flush=True
            )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
