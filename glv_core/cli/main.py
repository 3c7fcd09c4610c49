"""The command line: long video from a diffusers pipeline folder, by default the demo model."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..demo import MODEL_DIR
from .errors import UserError, option
from .job import SHORTEST_SIDE, Job, prepare
from .progress import chunk_bar, progress_bar

DEFAULT_LENGTH = "161"

# Spelled out so that --help need not import torch; a test compares them with the core.
SCHEDULES = ("shifted", "shifted_golden", "shifted_random", "static", "static_balanced", "uniform", "batched")
MERGES = (
    "pyramid", "hann", "flat", "gaussian", "linear_in_overlap", "relative", "squared", "random_cut", "random_cut_paper",
)  # fmt: skip
PROMPT_BLENDINGS = ("predictions", "embeddings", "embeddings_spherical", "one_per_window")
NOISES = ("independent", "stable", "shuffled", "repeated", "mixed")
TRANSITIONS = ("hard", "linear", "ease")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user error, 130 when interrupted."""
    arguments = build_parser().parse_args(argv)
    try:
        job = prepare(arguments)
        run(job, arguments)
    except UserError as error:
        print(f"genlong: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genlong: interrupted; no video was written", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"genlong: error: {message}. See genlong --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = _Parser(
        prog="genlong",
        description="Make long, multi-prompt video with a short video diffusion model: overlapping windows of one long "
        "latent are denoised together, each with the prompt of its place on the timeline. Runs on what is on this "
        "machine and downloads nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genlong {__version__}")
    add = parser.add_argument_group("video").add_argument
    add("--prompts", metavar="TEXT", help="prompt schedule: 'a cat | a dog', or lines such as '0: a cat' and '2.5s: a "
        "dog', or @FILE with such text (default for the demo model: three prompts)")  # fmt: skip
    add("--negative", metavar="TEXT", default="", help="what to avoid, over the whole video")
    add("--length", default=DEFAULT_LENGTH, help="frames (161) or seconds (10s) (default: %(default)s)")
    add("--fps", type=float, help="frames per second (default from the model: demo and Wan 16, others 8)")
    add("--width", type=int, help="pixels (default from the model: demo 64, Wan 832)")
    add("--height", type=int, help="pixels (default from the model: demo 64, Wan 480)")
    add("--transition", choices=TRANSITIONS, default="linear", help="how prompts change (default: %(default)s)")
    add("--transition-length", default="8", metavar="LENGTH", help="frames or seconds (default: %(default)s)")
    add = parser.add_argument_group("windows").add_argument
    add("--window", type=int, help="frames denoised together (default from the model: demo 61, Wan 81, others 16)")
    add("--overlap", type=int, help="frames that neighbours share (default from the model: demo 8, Wan 12, "
        "TextToVideoSD 8, AnimateDiff 4)")  # fmt: skip
    add("--schedule", choices=SCHEDULES, help="shifted: windows move at every step, by bit reversal, golden ratio or "
        "chance; static: they stay; uniform: of stride 1, 2, 4 ... at once; batched: isolated "
        "(default: shifted)")  # fmt: skip
    add("--merge", choices=MERGES, default="pyramid", help="weights inside a window (default: %(default)s)")
    add("--stride", type=int, default=1, metavar="N", help="spacing of the latent frames in a window "
        "(default: %(default)s)")  # fmt: skip
    add("--stride-until", type=float, default=1.0, metavar="SHARE", help="go back to stride 1 after this share of the "
        "steps (default: %(default)s, never)")  # fmt: skip
    add("--closed-loop", action="store_true", help="the end of the video flows into its beginning; the length is "
        "rounded to whole latent frames")  # fmt: skip
    add("--prompt-blending", choices=PROMPT_BLENDINGS, default="predictions", help="what a window sees that touches "
        "two prompts (default: %(default)s)")  # fmt: skip
    add("--windows-per-forward", type=int, default=0, metavar="N", help="windows that share a forward pass; less needs "
        "less memory (default: 0, which is 4)")  # fmt: skip
    add("--isolated", action="store_true", help="baseline: clip after clip without overlap, the last one moved left to "
        "end with the video")  # fmt: skip
    add = parser.add_argument_group("streaming").add_argument
    add("--streaming", action="store_true", help="make the video chunk by chunk, each from the end of the one before; "
        "run the same line again after an interrupt, and it goes on where it was")  # fmt: skip
    add("--chunk", type=int, metavar="N", help="frames made at once; above --window they are co-denoised (default: one "
        "window)")  # fmt: skip
    add("--chunk-overlap", type=int, metavar="N", help="frames of a chunk that are known from the one before (default "
        "from the model, as --overlap)")  # fmt: skip
    add("--blend", type=float, metavar="SHARE", help="part of the overlap over which new predictions take over, with "
        "models that take no clean frames (default: 0.5)")  # fmt: skip
    add("--drift-correction", type=float, metavar="SHARE", help="how far colours and contrast are drawn back to those "
        "of the first chunk (default: 0)")  # fmt: skip
    add("--start", type=Path, metavar="FILE", help="the video or image to begin with, in the size of the video "
        "(other proportions: its middle); its frames count as part of --length")  # fmt: skip
    add("--run", type=Path, metavar="FOLDER", help="where finished chunks are kept and found (default: beside the "
        "video)")  # fmt: skip
    add = parser.add_argument_group("sampling").add_argument
    add("--steps", type=int, help="sampling steps (default from the model: demo 20)")
    add("--cfg", type=float, help="guidance; 1 switches it off (default from the model: demo 2, Wan 5)")
    add("--noise", choices=NOISES, default="independent", help="initial noise; stable: a longer video starts like a "
        "shorter one; shuffled: FreeNoise (default: %(default)s)")  # fmt: skip
    add("--shared-noise", type=float, default=0.5, metavar="SHARE", help="with --noise mixed: the part of the variance "
        "that all frames share (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the noise (default: %(default)s)")
    add("--scheduler", metavar="NAME", help="class name of a diffusers scheduler (default: the model's own)")
    add("--flow-shift", type=float, metavar="SHIFT", help="shift of a flow-matching schedule (default: the model's)")
    add = parser.add_argument_group("model and files").add_argument
    add("--model", type=Path, default=MODEL_DIR, metavar="FOLDER", help="diffusers pipeline folder: Wan text-to-video, "
        "TextToVideoSD or AnimateDiff (default: the demo model)")  # fmt: skip
    add("--device", help="torch device (default: cuda if there is one, else cpu)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="default: float32 on the CPU, else bfloat16")
    add("--output", type=Path, metavar="FILE", help="video file, .mp4 (default: the next free output/genlong_N.mp4)")
    add("--upscale", type=int, metavar="N", help=f"enlarge so many times by repeating pixels (default: to "
        f"{SHORTEST_SIDE} pixels or more)")  # fmt: skip
    add("--no-plan", action="store_true", help="write no image of the windows beside the video")
    return parser


def run(job: Job, arguments: argparse.Namespace) -> None:
    """Load the model, make the video, write it and say what came out."""
    from ..hosts.diffusers.folder import load_pipeline

    started = time.monotonic()
    plan_path = None if arguments.no_plan or job.stream is not None else job.output.with_suffix(".plan.png")
    if plan_path is not None:
        from ..plan_image import draw_plan

        draw_plan(job.settings, job.timebase, job.schedule, job.steps).save(plan_path)
    _quiet()
    with option("--model", job.folder.path):
        pipeline = load_pipeline(job.folder, job.device, job.dtype)
    num_frames, lines = (_co_denoised if job.stream is None else _streamed)(job, arguments, pipeline)
    size = f"{job.width * job.upscale} x {job.height * job.upscale}"
    print(f"video       {job.output} ({num_frames} frames, {num_frames / job.timebase.fps:.4g} s, {size})")
    if plan_path is not None:
        print(f"plan        {plan_path}")
    for line in lines:
        print(line)
    print(f"time        {time.monotonic() - started:.1f} s")


def _co_denoised(job: Job, arguments: argparse.Namespace, pipeline: Any) -> tuple[int, list[str]]:
    """Make and write the video at once; its length in frames, and lines about it."""
    from ..hosts.diffusers import generate
    from ..video_io import save_video

    with progress_bar(job.steps) as progress, _memory():
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
        )
    with option("--output", job.output):
        save_video(job.output, frames, job.timebase.fps, upscale=job.upscale)
    cost = f"forwards    {_cost(job):.2f} times what the length alone needs"
    return len(frames), [cost, f"seam ratio  {_seam_ratio(job, frames)}"]


def _streamed(job: Job, arguments: argparse.Namespace, pipeline: Any) -> tuple[int, list[str]]:
    """Make the video chunk by chunk and write it as it is decoded; its length, and lines about it."""
    from ..hosts.diffusers.decode import decode_frames
    from ..hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
    from ..metrics import RunningDifferences, seam_ratio_of
    from ..streaming import RunFolder, plan_chunks
    from ..video_io import save_video

    wanted, timebase = job.stream, job.timebase
    settings = StreamSettings(wanted.chunk, wanted.overlap, job.settings, wanted.blend, wanted.drift_correction)
    sampling = Sampling(job.steps, job.cfg, arguments.seed, job.height, job.width, arguments.negative, job.scheduler)
    folder = RunFolder(wanted.run)
    with _memory(), _kept(wanted.run):
        given = None if wanted.start is None else wanted.start.latents(pipeline, folder)
    begun = 0 if given is None else given.shape[2]
    chunks = plan_chunks(timebase.num_latent_frames, wanted.chunk, wanted.overlap, begun)
    found = 0
    with chunk_bar(len(chunks), job.steps) as show, _memory(), _kept(wanted.run):

        def progress(chunk: int, step: Any) -> None:
            nonlocal found
            found += step is None
            show(chunk, step)

        latents = stream_video(
            pipeline, job.schedule, timebase, settings, sampling, given=given, folder=folder, on_progress=progress
        )
    differences = RunningDifferences()
    with option("--output", job.output):
        frames = differences.watch(_first(decode_frames(pipeline, latents), timebase.num_frames))
        save_video(job.output, frames, timebase.fps, upscale=job.upscale)
    lines = [f"chunks      {len(chunks)}, {found} found from before; kept in {wanted.run}"]
    boundaries = [timebase.frames_of(chunk.first_new)[0] for chunk in chunks if chunk.overlap]
    try:
        ratio = seam_ratio_of(differences.values, boundaries, _changes(job), timebase.compression.ratio)
        lines.append(f"seam ratio  {ratio:.2f} {_RATIO.replace('windows', 'chunks')}")
    except ValueError:
        lines.append("seam ratio  none: no chunk boundary outside the prompt transitions")
    return timebase.num_frames, lines


@contextmanager
def _kept(run: Path) -> Iterator[None]:
    """Turns an error of the run folder into one that names the option."""
    from ..streaming import RunFolderError

    try:
        yield
    except RunFolderError as error:
        raise UserError(f"--run {run}: {error}") from error


def _first(parts: Any, count: int) -> Iterator[Any]:
    """The first ``count`` frames of pieces of a video."""
    for part in parts:
        if count > 0:
            yield part[:count]
        count -= len(part)


def _quiet() -> None:
    """Keep diffusers and transformers from writing between our lines."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _cost(job: Job) -> float:
    from ..cost import run_cost
    from ..prompts import PromptTrack

    length, compression = job.timebase.num_latent_frames, job.timebase.compression
    return run_cost(job.settings, length, job.steps, PromptTrack.of(job.schedule, length, compression)).ratio


def _seam_ratio(job: Job, frames: Any) -> str:
    """The seam ratio at the boundaries of the first step's windows, prompt transitions left out, in words."""
    from ..metrics import seam_ratio, window_boundaries
    from ..timeline import Compression, Timebase

    timebase = job.timebase
    plain = [step for step in range(job.steps) if job.settings.at(step, job.steps).stride == 1]
    if not plain:
        return "none: with a stride above 1 every frame is a window's edge"
    windows = job.settings.windows(timebase.num_latent_frames, plain[0], job.steps)
    if job.settings.closed_loop:
        timebase = Timebase(len(frames), timebase.fps, Compression(timebase.compression.pattern))
    try:
        ratio = seam_ratio(frames, window_boundaries(windows, timebase), _changes(job), timebase.compression.ratio)
    except ValueError:
        return "none: no window boundary outside the prompt transitions"
    return f"{ratio:.2f} {_RATIO}"


_RATIO = "(difference of neighbouring frames where windows meet, over elsewhere; 1 is seamless)"


def _changes(job: Job) -> list[tuple[float, float]]:
    """Ranges of frames in which a prompt gives way to the next."""
    margin, changes = job.timebase.compression.ratio, []
    for segment in job.schedule.segments[1:]:
        reach = segment.transition.frames / 2 + margin
        changes.append((segment.start - reach, segment.start + reach))
    return changes


@contextmanager
def _memory() -> Iterator[None]:
    """Turns running out of device memory into advice."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the device ran out of memory: lower --windows-per-forward to 1, then --width and --height, then --window."
        ) from error
