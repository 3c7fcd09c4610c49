"""The command line: long video from a diffusers pipeline folder, by default the demo model."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .edit import prepare_edit, run_edit
from .errors import UserError, option
from .job import Job, prepare
from .options import COMMANDS, build_parser
from .progress import chunk_bar, progress_bar
from .report import (
    RATIO,
    changes,
    check_numbers,
    check_whole,
    cost_line,
    first,
    memory_advice,
    quiet,
    save_plan,
    seam_line,
)
from .tune import prepare_tune, run_tune

if TYPE_CHECKING:
    import torch

    from ..hosts.diffusers.identified import Identified


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user error, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words.pop(0) if words and words[0] in COMMANDS else ""
    arguments = COMMANDS[command]().parse_args(words) if command else build_parser().parse_args(words)
    try:
        if command == "tune":
            run_tune(prepare_tune(arguments))
        elif command:
            run_edit(prepare_edit(arguments), arguments)
        else:
            job = prepare(arguments)
            if job.stream is None:
                check_whole(job)
            run(job, arguments)
    except UserError as error:
        print(f"genlong: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "the same line goes on where it was" if command == "tune" else "no video was written"
        print(f"genlong: interrupted; {kept}", file=sys.stderr)
        return 130
    return 0


def run(job: Job, arguments: argparse.Namespace) -> None:
    """Load the model, make the video, write it and say what came out."""
    from ..hosts.diffusers.folder import load_pipeline

    started = time.monotonic()
    job.make_folder()
    plan = None
    if not arguments.no_plan and job.stream is None:
        from ..plan_image import draw_plan

        plan = draw_plan(job.settings, job.timebase, job.schedule, job.steps)
    quiet()
    with option("--model", job.folder.path):
        pipeline = load_pipeline(job.folder, job.device, job.dtype)
    identified = None if job.tuned is None else job.tuned.load(pipeline)
    make = _co_denoised if job.stream is None else _streamed
    output, num_frames, lines = make(job, arguments, pipeline, identified)
    size = f"{job.width * job.upscale} x {job.height * job.upscale}"
    print(f"video       {output} ({num_frames} frames, {num_frames / job.timebase.fps:.4g} s, {size})")
    if plan is not None:
        save_plan(plan, output)
    for line in lines:
        print(line)
    print(f"time        {time.monotonic() - started:.1f} s")


def _co_denoised(
    job: Job, arguments: argparse.Namespace, pipeline: Any, identified: Identified | None
) -> tuple[Path, int, list[str]]:
    """Make and write the video at once; its file, its length in frames, and lines about it."""
    from ..hosts.diffusers import generate
    from ..metrics import frame_differences
    from ..video_io import save_video

    with progress_bar(job.steps) as progress, memory_advice():
        frames = generate(
            pipeline,
            job.schedule,
            job.timebase,
            job.settings,
            negative_prompt=arguments.negative,
            guidance_scale=job.cfg,
            num_inference_steps=job.steps,
            seed=arguments.seed,
            height=job.height,
            width=job.width,
            scheduler=job.scheduler,
            noise=job.noise,
            progress=progress,
            identified=identified,
        )
    check_numbers(frames)
    with job.to_write() as output:
        save_video(output, frames, job.timebase.fps, upscale=job.upscale)
    return output, len(frames), [cost_line(job), seam_line(job, frame_differences(frames).tolist())]


def _streamed(
    job: Job, arguments: argparse.Namespace, pipeline: Any, identified: Identified | None
) -> tuple[Path, int, list[str]]:
    """Make the video chunk by chunk and write it as it is decoded; its file, its length, and lines about it."""
    from ..hosts.diffusers.decode import decode_frames
    from ..metrics import RunningDifferences, seam_ratio_of
    from ..streaming import RunFolder, plan_chunks
    from ..video_io import save_video

    wanted, timebase = job.stream, job.timebase
    folder = RunFolder(wanted.run)
    with memory_advice(), _kept(wanted.run):
        given = None if wanted.start is None else wanted.start.latents(pipeline, folder)
        make = _streamer(job, arguments, pipeline, identified)
    begun = 0 if given is None else given.shape[2]
    chunks = plan_chunks(timebase.num_latent_frames, wanted.chunk, wanted.overlap, begun)
    found = 0
    steps = job.steps if wanted.own is None else wanted.own.steps
    with chunk_bar(len(chunks), steps) as show, memory_advice(), _kept(wanted.run):

        def progress(chunk: int, step: Any) -> None:
            nonlocal found
            found += step is None
            show(chunk, step)

        latents = make(given=given, folder=folder, on_progress=progress)
    differences = RunningDifferences()
    with job.to_write() as output:
        frames = differences.watch(first(decode_frames(pipeline, latents), timebase.num_frames))
        save_video(output, frames, timebase.fps, upscale=job.upscale)
    lines = [f"chunks      {len(chunks)}, {found} found from before; kept in {wanted.run}"]
    boundaries = [timebase.frames_of(chunk.first_new)[0] for chunk in chunks if chunk.overlap]
    try:
        ratio = seam_ratio_of(differences.values, boundaries, changes(job), timebase.compression.ratio)
        lines.append(f"seam ratio  {ratio:.2f} {RATIO.replace('windows', 'chunks')}")
    except ValueError:
        lines.append("seam ratio  none: no chunk boundary outside the prompt transitions")
    return output, timebase.num_frames, lines


def _streamer(
    job: Job, arguments: argparse.Namespace, pipeline: Any, identified: Identified | None
) -> Callable[..., torch.Tensor]:
    """What makes the latents, of ``given``, ``folder`` and ``on_progress``: StreamingT2V's own way, or any model's."""
    from ..hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
    from ..hosts.diffusers.streamingt2v_video import load_parts, own_scheduler, stream_frames

    wanted = job.stream
    assert wanted is not None
    if wanted.own is not None:
        with option("--model", job.folder.path):
            parts = load_parts(job.folder, pipeline, wanted.own.anchor != "none")
        scheduler = own_scheduler(pipeline.scheduler, arguments.scheduler)
        return partial(stream_frames, parts, job.schedule, job.timebase, wanted.own, scheduler=scheduler)
    settings = StreamSettings(wanted.chunk, wanted.overlap, job.settings, wanted.blend, wanted.drift_correction)
    sampling = Sampling(
        job.steps, job.cfg, arguments.seed, job.height, job.width, arguments.negative, job.scheduler, identified
    )
    return partial(stream_video, pipeline, job.schedule, job.timebase, settings, sampling)


@contextmanager
def _kept(run: Path) -> Iterator[None]:
    """Turns an error of the run folder into one that names the option."""
    from ..streaming import RunFolderError

    try:
        yield
    except RunFolderError as error:
        raise UserError(f"--run {run}: {error}") from error
