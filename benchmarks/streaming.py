"""1,200 frames and five prompts on the demo model: streaming beside co-denoising and isolated chunks.

``python benchmarks/streaming.py`` prints two Markdown tables. Chunks and windows have 61 frames; the video begins and
ends with the same prompt, so that drift can be read.

*Adherence*: frames further than half a chunk from a transition whose colour, shape and background the detector reads
as prompted. *Velocity*: how far the object's velocity where a chunk begins is from the mean velocity inside chunks, in
standard deviations of that inside; half of the boundaries are below the first number, nine tenths below the second.
*One frame*: the step at the first new frame; *latent frame*: over the four frames of the first new latent frame, as the
VAE spreads what happens between two latent frames. *Seam*: frame difference into and inside that latent frame over
elsewhere. *Drift*: change of the object's saturation, brightness and area from the first five seconds to the last.
*Latent frames / minimum*: latent frames through the model over steps * length.

The second table is seconds a chunk and a frame as the video grows, and the share that is not spent in the model.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.cost import run_cost
from glv_core.demo import MODEL_DIR
from glv_core.demo.detector import agrees, expected, read_frames
from glv_core.hosts.diffusers import generate, timebase_for
from glv_core.hosts.diffusers.decode import decode_frames
from glv_core.hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
from glv_core.metrics import seam_ratio
from glv_core.prompts import PromptSchedule, parse_schedule
from glv_core.streaming import plan_chunks

FRAMES, CHUNK, FPS = 1201, 61, 16.0
PROMPTS = """0: a red circle moving right on a white background
240: a blue square moving down on a black background
480: a yellow triangle moving left on a gray background
720: a green circle moving up on a black background
960: a red circle moving right on a white background"""
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Row:
    """A way to make the video; overlap in frames. ``clean``: clean frames, else known latents."""

    name: str
    kind: str
    overlap: int
    clean: bool = True
    blend: float = 0.5


ROWS = [
    Row("isolated chunks", "isolated", 0),
    Row("co-denoised, shifted, overlap 24", "co-denoised", 24),
    Row("streaming, known latents, overlap 24", "streaming", 24, clean=False),
    Row("streaming, known latents, overlap 24, all held", "streaming", 24, clean=False, blend=0.0),
    Row("streaming, clean frames, overlap 8", "streaming", 8),
    Row("**streaming, clean frames, overlap 16**", "streaming", 16),
    Row("streaming, clean frames, overlap 24", "streaming", 24),
]


def measure(frames: torch.Tensor, schedule: PromptSchedule, boundaries: list[int]) -> dict[str, float]:
    """The figures of one video ``t h w c``."""
    readings = read_frames(frames)
    margin, seen = CHUNK / 2, []
    velocities: dict[int, tuple[list[float], list[float]]] = {1: ([], []), 4: ([], [])}  # by span: inside, across
    for segment in schedule.segments:
        first = 0 if segment.start == 0 else segment.start + margin
        last = len(frames) if segment.end == schedule.num_frames else segment.end - margin
        wanted = expected(segment.prompt)
        step_x, step_y = DIRECTIONS[wanted["direction"]]
        for k in range(int(first), int(last)):
            seen.append(agrees(readings[k], segment.prompt))
            for span, (inside, across) in velocities.items():
                if k == int(first) or k + span > int(last):
                    continue
                steps = [_step(readings[n - 1], readings[n]) for n in range(k, k + span)]
                if None in steps:
                    continue
                velocity = sum(dx * step_x + dy * step_y for dx, dy in steps) / span
                if k in boundaries:
                    across.append(velocity)
                elif not any(n in boundaries for n in range(k - 3, k + span)):
                    inside.append(velocity)
    changes = [
        (segment.start - segment.transition.frames / 2 - 4, segment.start + segment.transition.frames / 2 + 4)
        for segment in schedule.segments[1:]
    ]
    apart = {
        span: np.abs(np.array(across) - np.mean(inside)) / max(np.std(inside), 1e-6)
        for span, (inside, across) in velocities.items()
    }
    beginning, end = (object_of(part) for part in (frames[: int(5 * FPS)], frames[-int(5 * FPS) :]))
    return {
        "adherence": float(np.mean(seen)),
        "speed": float(np.mean(velocities[1][0])),
        **{f"median {span}": float(np.median(values)) for span, values in apart.items()},
        **{f"most {span}": float(np.quantile(values, 0.9)) for span, values in apart.items()},
        "seam": seam_ratio(frames, boundaries, changes, span=4),
        **{name: abs(end[name] / beginning[name] - 1) for name in beginning},
    }


def _step(before, after) -> tuple[float, float] | None:
    """How far the object went between two readings of an image that goes on around its edges."""
    if not (before.found and after.found):
        return None
    return (after.x - before.x + 32) % 64 - 32, (after.y - before.y + 32) % 64 - 32


def object_of(frames: torch.Tensor) -> dict[str, float]:
    """Mean saturation and brightness of what is not background, and its area."""
    pixels = frames.float().numpy()
    background = np.median(pixels.reshape(len(pixels), -1, 3), axis=1)[:, None, None]
    mask = np.abs(pixels - background).max(axis=-1) > 0.3
    thing = pixels[mask]
    return {
        "saturation": float((thing.max(axis=1) - thing.min(axis=1)).mean()),
        "brightness": float(thing.mean()),
        "area": float(mask.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--only", help="only rows whose name contains this")
    arguments = parser.parse_args()

    import diffusers

    logging.getLogger("diffusers").setLevel(logging.ERROR)
    pipeline = diffusers.WanPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32, local_files_only=True)
    schedule = parse_schedule(PROMPTS, num_frames=FRAMES, fps=FPS)
    timebase = timebase_for(pipeline, FRAMES, FPS)
    length, chunk = timebase.num_latent_frames, timebase.compression.num_latent_frames(CHUNK)
    print(f"{FRAMES} frames, chunks of {CHUNK}, {arguments.steps} steps, CFG {arguments.cfg:g}, "
          f"{arguments.seeds} seeds; means\n")  # fmt: skip
    print("| | adherence | speed | velocity: one frame | latent frame | seam | drift: saturation, brightness, area "
          "| latent frames / minimum |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in ROWS:
        if (arguments.only or "") not in row.name:
            continue
        overlap = timebase.compression.latent_span(row.overlap)
        figures = []
        for seed in range(arguments.seeds):
            if row.kind == "streaming":
                chunks = plan_chunks(length, chunk, overlap)
                latents = streamed(pipeline, schedule, timebase, chunk, overlap, row, seed, arguments)
                boundaries = [timebase.frames_of(each.first_new)[0] for each in chunks[1:]]
                cost = len(chunks) * chunk / length
            else:
                settings = CoDenoiseSettings(chunk, overlap, "batched" if row.kind == "isolated" else "shifted")
                latents = generate(
                    pipeline, schedule, timebase, settings, seed=seed, num_inference_steps=arguments.steps,
                    guidance_scale=arguments.cfg, height=64, width=64, output_type="latent", progress=lambda *_: None,
                )  # fmt: skip
                starts = sorted({window.start for window in settings.windows(length, 0)} - {0})
                boundaries = [timebase.frames_of(start)[0] for start in starts]
                cost = run_cost(settings, length, arguments.steps).ratio
            frames = torch.cat(list(decode_frames(pipeline, latents)))[:FRAMES]
            figures.append(measure(frames, schedule, boundaries))
        mean = {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}
        print(f"| {row.name} | {mean['adherence']:.1%} | {mean['speed']:.2f} | {mean['median 1']:.2f}, "
              f"{mean['most 1']:.2f} | {mean['median 4']:.2f}, {mean['most 4']:.2f} | {mean['seam']:.2f} "
              f"| {mean['saturation']:.1%}, {mean['brightness']:.1%}, "
              f"{mean['area']:.1%} | {cost:.2f} |", flush=True)  # fmt: skip
    print("\n| frames | seconds a chunk | seconds a frame | outside the model |\n| --- | --- | --- | --- |")
    for frames in (121, 301, 601, 1201):
        speed(pipeline, frames, arguments)


def streamed(pipeline, schedule, timebase, chunk, overlap, row, seed, arguments) -> torch.Tensor:
    """Latents of a streamed video."""
    settings = StreamSettings(chunk, overlap, CoDenoiseSettings(chunk, 0), row.blend)
    sampling = Sampling(arguments.steps, arguments.cfg, seed, 64, 64)
    pipeline.register_to_config(expand_timesteps=row.clean)
    try:
        return stream_video(pipeline, schedule, timebase, settings, sampling, on_progress=lambda *_: None)
    finally:
        pipeline.register_to_config(expand_timesteps=True)


def speed(pipeline, num_frames: int, arguments) -> None:
    """One row: how long a chunk takes, and how much of it is not the model's forward."""
    schedule = parse_schedule(PROMPTS.splitlines()[0], num_frames=num_frames, fps=FPS)
    timebase = timebase_for(pipeline, num_frames, FPS)
    inside = 0.0
    original = pipeline.transformer.forward

    def timed(*args, **kwargs):
        nonlocal inside
        begin = time.perf_counter()
        result = original(*args, **kwargs)
        inside += time.perf_counter() - begin
        return result

    pipeline.transformer.forward = timed
    begin = time.perf_counter()
    try:
        latents = streamed(pipeline, schedule, timebase, 16, 4, Row("", "streaming", 16), 0, arguments)
        spent = time.perf_counter() - begin
    finally:
        del pipeline.transformer.forward
    chunks = len(plan_chunks(timebase.num_latent_frames, 16, 4))
    assert latents.shape[2] == timebase.num_latent_frames
    print(f"| {num_frames} | {spent / chunks:.2f} | {spent / num_frames:.4f} | {1 - inside / spent:.1%} |", flush=True)


if __name__ == "__main__":
    main()
