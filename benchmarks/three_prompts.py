"""Long multi-prompt video on the demo model: co-denoised against isolated clips, on the same noise.

``python benchmarks/three_prompts.py`` prints a Markdown table. Three prompts over 253 frames, windows of 61 frames,
five seeds. *Adherence* is the share of frames, further than half a window from a transition, whose colour and shape
the detector reads as the prompt says. The *seam ratio* is the mean frame difference where the isolated clips meet
(every window, at the same frames for all rows: into and inside the latent frame that begins there) over that
elsewhere, without the transitions; *own* is the same at the boundaries of the row's own windows at the first step.
*Windows / minimum*: windows denoised over length / window; *evaluations / minimum*: a window counts once for every
prompt that it is denoised with. *Up to the change*: adherence of all frames outside the transitions themselves. *Jump*:
the largest frame difference in a transition over the mean elsewhere.
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

from glv_core.co_denoise import CoDenoiseSettings, Phase
from glv_core.cost import run_cost
from glv_core.demo import MODEL_DIR
from glv_core.demo.detector import agrees, read_frames
from glv_core.hosts.diffusers import generate, timebase_for
from glv_core.metrics import frame_differences, seam_ratio, window_boundaries
from glv_core.prompts import PromptSchedule, PromptTrack, parse_schedule

FRAMES, WINDOW, FPS = 253, 61, 16.0  # 64 latent frames, four whole clips
PROMPTS = """0: a red circle moving right on a white background
84: a blue square moving down on a black background
168: a yellow triangle moving left on a gray background"""


@dataclass(frozen=True)
class Row:
    """A way to make the video."""

    name: str
    schedule: str
    overlap: int  # frames
    prompt_blending: str = "predictions"
    cuts: bool = False  # at the middle of each transition, in place of fades
    phases: tuple[Phase, ...] = ()


ROWS = [
    Row("isolated clips", "static", 0),
    Row("static, overlap 24", "static", 24),
    Row("static, overlap 48", "static", 48),
    Row("shifted, overlap 0", "shifted", 0),
    Row("shifted, overlap 8, predictions", "shifted", 8),
    Row("shifted, overlap 24", "shifted", 24),
    Row("shifted, overlap 8, embeddings", "shifted", 8, "embeddings"),
    Row("shifted, overlap 8, embeddings_spherical", "shifted", 8, "embeddings_spherical"),
    Row("shifted, overlap 8, one_per_window", "shifted", 8, "one_per_window"),
    Row("shifted, overlap 8, attention", "shifted", 8, "attention"),
    Row("shifted_trimmed, overlap 4, attention", "shifted_trimmed", 4, "attention"),
    Row("**shifted_trimmed, overlap 8, attention (default)**", "shifted_trimmed", 8, "attention"),
    Row("shifted_trimmed, overlap 8, predictions", "shifted_trimmed", 8),
    *[
        Row(
            f"shifted_trimmed, overlap 8, {early} until {share:.0%}, then attention",
            "shifted_trimmed",
            8,
            early,
            phases=(Phase(share, prompt_blending="attention"),),
        )
        for early, share in (("embeddings", 0.1), ("embeddings", 0.2), ("one_per_window", 0.1))
    ],
    Row("shifted, overlap 8, attention, cuts in place of fades", "shifted", 8, "attention", True),
]


def transitions(schedule: PromptSchedule) -> list[tuple[float, float]]:
    """Frame ranges in which a prompt gives way to the next."""
    return [
        (segment.start - segment.transition.frames / 2, segment.start + segment.transition.frames / 2)
        for segment in schedule.segments[1:]
    ]


def adherence(frames: torch.Tensor, schedule: PromptSchedule, margin: float = WINDOW / 2) -> float:
    """Share of frames, further than ``margin`` from the middle of a transition, that show what their prompt says."""
    seen = []
    readings = read_frames(frames)
    for segment in schedule.segments:
        first = 0 if segment.start == 0 else segment.start + margin
        last = len(frames) if segment.end == schedule.num_frames else segment.end - margin
        seen += [agrees(readings[i], segment.prompt) for i in range(len(frames)) if first <= i < last]
    return sum(seen) / len(seen)


def jump(frames: torch.Tensor, schedule: PromptSchedule) -> float:
    """The largest frame difference in a transition over the mean of those outside."""
    differences = frame_differences(frames.numpy())
    inside = np.zeros(len(differences), dtype=bool)
    for start, end in transitions(schedule):
        inside[int(start) - 4 : int(end) + 4] = True
    return float(differences[inside].max() / differences[~inside].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--only", default="", metavar="WORD", help="only the rows with this in their name")
    arguments = parser.parse_args()

    import diffusers

    logging.getLogger("diffusers").setLevel(logging.ERROR)
    pipeline = diffusers.WanPipeline.from_pretrained(MODEL_DIR, torch_dtype=torch.float32, local_files_only=True)
    schedule = parse_schedule(PROMPTS, num_frames=FRAMES, fps=FPS)
    cut = parse_schedule(PROMPTS, num_frames=FRAMES, fps=FPS, transition="hard", transition_frames=0)
    timebase = timebase_for(pipeline, FRAMES, FPS)
    length, window = timebase.num_latent_frames, timebase.compression.num_latent_frames(WINDOW)
    cuts = window_boundaries(CoDenoiseSettings(window, 0, "static").windows(length, 0), timebase)
    print(f"{FRAMES} frames, window {WINDOW}, {arguments.steps} steps, CFG {arguments.cfg:g}, "
          f"{arguments.seeds} seeds; mean (worst)\n")  # fmt: skip
    print(
        "| | adherence | up to the change | jump | seam ratio | own | windows / minimum | evaluations / minimum "
        "| time |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    isolated_time = 0.0
    for row in (row for row in ROWS if arguments.only in row.name):
        settings = CoDenoiseSettings(
            window, timebase.compression.latent_span(row.overlap), row.schedule, prompt_blending=row.prompt_blending,
            phases=row.phases,
        )  # fmt: skip
        own_cuts = window_boundaries(settings.windows(length, 0), timebase)
        shown = cut if row.cuts else schedule
        begin = time.perf_counter()
        videos = [
            generate(
                pipeline, shown, timebase, settings, seed=seed, num_inference_steps=arguments.steps,
                guidance_scale=arguments.cfg, height=64, width=64, progress=lambda *_: None,
            )
            for seed in range(arguments.seeds)
        ]  # fmt: skip
        spent = time.perf_counter() - begin
        isolated_time = isolated_time or spent
        fade = schedule.segments[1].transition.frames / 2
        figures = {
            "adherence": [adherence(frames, schedule) for frames in videos],
            "near": [adherence(frames, schedule, fade) for frames in videos],
            "jump": [jump(frames, schedule) for frames in videos],
            "seam": [seam_ratio(f, cuts, transitions(schedule), timebase.compression.ratio) for f in videos],
            "own": [seam_ratio(f, own_cuts, transitions(schedule), timebase.compression.ratio) for f in videos],
        }

        def shares(name: str, figures: dict = figures) -> str:
            return f"{np.mean(figures[name]):.1%} ({min(figures[name]):.1%})"

        def ratios(name: str, figures: dict = figures) -> str:
            return f"{np.mean(figures[name]):.2f} ({max(figures[name]):.2f})"

        track = PromptTrack.of(schedule, timebase.num_latent_frames, timebase.compression)
        cost = run_cost(settings, timebase.num_latent_frames, arguments.steps, track)
        print(
            f"| {row.name} | {shares('adherence')} | {shares('near')} | {ratios('jump')} | {ratios('seam')} "
            f"| {ratios('own')} | {cost.windows / cost.minimum:.2f} | {cost.ratio:.2f} "
            f"| {spent / isolated_time:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
