"""What making controls and masks costs beside their networks, beside OpenCV, and video files beside plain PyAV.

``python benchmarks/controls.py`` prints a Markdown table; it needs no ComfyUI, and OpenCV only for the rows about it.
Both sides of a pair work on the same images and take turns; a figure is the least processor time of several runs, in
milliseconds, and the ratio is the first's over the second's.

*Skeletons*: OpenPose's body network with random weights on frames of 256 x 256, alone, with five people found in maps,
followed and drawn, and what of this is not the network.
*Canny*, *resizing*: frames of smooth noise, discs and grain, one thread. *Grow*: a disc of 64 pixels around a mask, and
the same as 129 rows of the disc, each a largest value of neighbours. *Writing*, *reading*: H.264 at crf 18.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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


def files(count: int, side: int, folder: Path) -> Iterator[Pair]:
    frames = pictures(count, side, side)
    ours, plain = folder / "ours.mp4", folder / "plain.mp4"

    def write() -> None:
        with av.open(str(plain), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            for frame in frames.numpy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())

    def read() -> int:
        with av.open(str(ours)) as container:
            return sum(frame.to_ndarray(format="rgb24").shape[0] > 0 for frame in container.decode(video=0))

    size = f"{count} frames of {side} x {side}"
    yield f"writing {size}", "plain PyAV", lambda: save_video(ours, frames, FPS), write
    yield f"reading {size}", "plain PyAV", lambda: sum(map(len, open_clip(ours).frames())), read


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="turns of each pair")
    parser.add_argument("--side", type=int, default=512, help="of the frames, pixels; a multiple of 16")
    parser.add_argument("--mask", type=int, default=4096, help="side of the mask, pixels")
    parser.add_argument("--frames", type=int, default=48, help="of the videos")
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
