"""Window schedules on the demo model, and ComfyUI core's context windows beside them: what smoothness costs.

``python benchmarks/windows.py`` prints a Markdown table; every row makes the same videos (64 latent frames, windows of
16, one prompt a seed) from the same noise in one process. With a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``)
everything runs in it, so that core's context windows are rows as well; without one, only this pack's rows run.

*Windows / minimum*: windows through the model over ``steps * length / window``; a step cache leaves some out. *Latent
frames / minimum*: latent frames through the model over ``steps * length``; core shows most windows the frame before
them as well. *Seam*: mean frame difference at the row's own window boundaries (of the first step, into and inside the
latent frame that begins there) over elsewhere; *isolated cuts*: the same where isolated clips meet; *largest*: the
largest step of the video over the mean step. *Jerk*: root mean square of the third difference of the object's position,
pixels / frame^3. *Adherence*: frames that show the prompt's colour, shape and background.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np
from comfyui_hosts import comfyui_worker, find_host

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.demo.detector import agrees, read_frames
from glv_core.metrics import frame_differences, seam_ratio, window_boundaries
from glv_core.timeline import Compression, Timebase

LENGTH, WINDOW = 64, 16
PROMPTS = (
    "a red circle moving right on a white background",
    "a blue square moving down on a black background",
    "a yellow triangle moving left on a gray background",
    "a green circle moving up on a white background",
    "a magenta square moving right on a black background",
    "a cyan triangle moving down on a gray background",
    "a blue circle moving left on a white background",
    "a yellow square moving up on a black background",
)


@dataclass(frozen=True)
class Row:
    """A way to make the videos. ``core``: ComfyUI's own context windows, with their names for schedule and merge.

    ``more``: settings besides, ``phases``, the ``noise``, and ``noise_overlap``, for which overlap that is made.
    """

    name: str
    overlap: int
    schedule: str = "shifted"
    merge: str = "pyramid"
    core: bool = False
    freenoise: bool = False
    window: int = WINDOW
    more: dict = field(default_factory=dict)

    def settings(self) -> CoDenoiseSettings:
        phases = tuple(Phase(**phase) for phase in self.more.get("phases", ()))
        apart = ("phases", "noise", "noise_overlap", "step_cache", "fresh_noise_until")
        rest = {key: value for key, value in self.more.items() if key not in apart}
        return CoDenoiseSettings(self.window, self.overlap, self.schedule, self.merge, phases=phases, **rest)


OURS = [
    Row("isolated clips", 0, "batched"),
    *[Row(f"static, {overlap}", overlap, "static") for overlap in (4, 8, 12)],
    *[Row(f"shifted, {overlap}", overlap) for overlap in (0, 2, 4, 6, 8)],
    *[Row(f"shifted_trimmed, {overlap}", overlap, "shifted_trimmed") for overlap in (0, 1, 2, 3, 4)],
    *[
        Row(f"shifted_trimmed, {overlap}, causal anchor", overlap, "shifted_trimmed", more={"causal_anchor": True})
        for overlap in (1, 2)
    ],
    Row("shifted, 2, causal anchor", 2, more={"causal_anchor": True}),
    Row(
        "uniform to stride 4, then shifted_trimmed, 1 after 20 %",
        1,
        "uniform",
        more={"stride": 4, "phases": [{"start": 0.2, "schedule": "shifted_trimmed", "stride": 1}]},
    ),
    Row("shifted_golden, 4", 4, "shifted_golden"),
    Row("shifted_random, 4", 4, "shifted_random"),
    Row("shifted, 8 then 0 after 40 %", 8, more={"phases": [{"start": 0.4, "overlap": 0}]}),
    Row("shifted, 6 then 0 after 30 %", 6, more={"phases": [{"start": 0.3, "overlap": 0}]}),
    Row("shifted, 2, hann", 2, merge="hann"),
    Row("shifted, 2, shuffled noise", 2, more={"noise": "shuffled"}),
    Row("shifted, 2, noise shuffled by 4", 2, more={"noise": "shuffled", "noise_overlap": 12}),
    *[
        Row(
            f"shifted_trimmed, {overlap}, noise shuffled by 4",
            overlap,
            "shifted_trimmed",
            more={"noise": "shuffled", "noise_overlap": 12},
        )
        for overlap in (0, 1)
    ],
    Row("shifted, 4 then 0 after 20 %", 4, more={"phases": [{"start": 0.2, "overlap": 0}]}),
]
IN_COMFYUI = [
    *[Row(f"shifted, 2, step cache {each:g}", 2, more={"step_cache": each}) for each in (0.1, 0.2, 0.3)],
    *[
        Row(f"shifted_trimmed, 1, step cache {each:g}", 1, "shifted_trimmed", more={"step_cache": each})
        for each in (0.1, 0.15, 0.2)
    ],
    Row("shifted, 2, fresh noise until 0.6", 2, more={"fresh_noise_until": 0.6}),
]
CORE = [
    Row(f"core {schedule}, {overlap}{', FreeNoise' if free else ''}", overlap, schedule, "pyramid", True, free)
    for schedule in ("standard_static", "standard_uniform")
    for overlap in (4, 8, 12)
    for free in (False, True)
]


def jerk(readings: list, size: int = 64) -> float:
    """Root mean square of the third difference of the object's position, where it is seen in four frames on end."""
    squares = []
    for axis in ("x", "y"):
        positions = [getattr(reading, axis) if reading.found else None for reading in readings]
        for k in range(len(positions) - 3):
            part = positions[k : k + 4]
            if None in part:
                continue
            steps = [(b - a + size / 2) % size - size / 2 for a, b in pairwise(part)]
            squares.append((steps[2] - 2 * steps[1] + steps[0]) ** 2)
    return float(np.mean(squares) ** 0.5) if squares else float("nan")


def measure(row: Row, video: np.ndarray, prompt: str, windows: list[list[list[int]]]) -> dict[str, float]:
    """The figures of one video ``t h w c``; ``windows`` are starts and ends of its windows at every step."""
    timebase = Timebase.of_latent(LENGTH, 16, Compression.causal(4))
    frames = video[: timebase.num_frames]
    first = sorted({edge for window in windows[0] for edge in window} - {0, LENGTH})
    own = sorted({timebase.frames_of(edge)[0] for edge in first})
    isolated = CoDenoiseSettings(WINDOW, 0, "batched").windows(LENGTH, 0)
    differences = frame_differences(frames)
    readings = read_frames(frames)
    return {
        "seam": seam_ratio(frames, own, span=4),
        "cuts": seam_ratio(frames, window_boundaries(isolated, timebase), span=4),
        "largest": float(differences.max() / differences.mean()),
        "jerk": jerk(readings),
        "adherence": float(np.mean([agrees(reading, prompt) for reading in readings])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help=f"videos a row, up to {len(PROMPTS)}")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--only", nargs="+", default=[""], help="only rows whose names contain one of these")
    arguments = parser.parse_args()
    comfyui = find_host()
    rows = [*OURS, *IN_COMFYUI, *CORE] if comfyui else OURS
    rows = [row for row in rows if any(part in row.name for part in arguments.only)]
    where = f"In ComfyUI {comfyui.version}." if comfyui else "No ComfyUI found: without the rows of core."
    print(f"64 latent frames, window 16, {arguments.steps} steps, CFG {arguments.cfg:g}, {arguments.seeds} videos; "
          f"mean (worst). {where}\n")  # fmt: skip
    print("| schedule, overlap | windows / minimum | latent frames / minimum | seam | isolated cuts | largest | jerk "
          "| adherence "
          "| seconds a video |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row, videos in (in_comfyui if comfyui else in_diffusers)(rows, arguments):
        figures = [measure(row, video, PROMPTS[seed], spans) for seed, (video, spans, *_) in enumerate(videos)]
        calls = np.mean([video[2] for video in videos]) / (arguments.steps * LENGTH / WINDOW)
        shown = np.mean([video[3] for video in videos]) / (arguments.steps * LENGTH)

        def show(name: str, digits: int = 2, worst=max, figures=figures) -> str:
            values = [each[name] for each in figures]
            return f"{np.mean(values):.{digits}f} ({worst(values):.{digits}f})"

        print(f"| {row.name} | {calls:.2f} | {shown:.2f} | {show('seam')} | {show('cuts')} | {show('largest')} "
              f"| {show('jerk', 3)} | {np.mean([each['adherence'] for each in figures]):.1%} "
              f"| {np.mean([seconds for *_, seconds in videos]):.1f} |", flush=True)  # fmt: skip


def in_diffusers(rows: list[Row], arguments: argparse.Namespace):
    """Yields each row with its videos: images, spans of the windows at every step, windows, latent frames, seconds."""
    import logging
    import time

    import diffusers

    from glv_core.demo import MODEL_DIR
    from glv_core.hosts.diffusers import generate
    from glv_core.noise import NoiseSettings
    from glv_core.prompts import parse_schedule

    logging.getLogger("diffusers").setLevel(logging.ERROR)
    pipeline = diffusers.WanPipeline.from_pretrained(MODEL_DIR, local_files_only=True)
    timebase = Timebase.of_latent(LENGTH, 16, Compression.causal(4))
    for row in rows:
        settings, videos = row.settings(), []
        for seed in range(arguments.seeds):
            begin = time.perf_counter()
            frames = generate(
                pipeline, parse_schedule(PROMPTS[seed], num_frames=timebase.num_frames, fps=16), timebase, settings,
                seed=seed, num_inference_steps=arguments.steps, guidance_scale=arguments.cfg, height=64, width=64,
                noise=NoiseSettings(
                    row.more.get("noise", "independent"), row.window, row.more.get("noise_overlap", row.overlap)
                ),
                progress=lambda *_: None,
            )  # fmt: skip
            planned = [settings.windows(LENGTH, step, arguments.steps) for step in range(arguments.steps)]
            counts = sum(map(len, planned)), sum(each.length for step in planned for each in step)
            spans = [[[each.start, each.stop] for each in step] for step in planned]
            videos.append((frames.numpy(), spans, *counts, time.perf_counter() - begin))
        yield row, videos


def in_comfyui(rows: list[Row], arguments: argparse.Namespace):
    """The same, in ComfyUI's interpreter."""
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        path = Path(folder) / "video.npy"
        for row in rows:
            videos = []
            for seed in range(arguments.seeds):
                made = call(
                    "benchmark", "video", row=asdict(row), prompt=PROMPTS[seed], seed=seed, steps=arguments.steps,
                    cfg=arguments.cfg, length=LENGTH, window=row.window, path=str(path),
                )  # fmt: skip
                counts = made["windows"], made["frames"]
                videos.append((np.load(path), made["spans"], *counts, made["seconds"]))
            yield row, videos


if __name__ == "__main__":
    main()
