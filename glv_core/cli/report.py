"""What the command line says when a video is there, and when something is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..limits import check_memory
from .errors import UserError, option

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from .job import Job

RATIO = "(difference of neighbouring frames where windows meet, over elsewhere; 1 is seamless)"


def cost_line(job: Job) -> str:
    """What the windows cost, in words."""
    from ..cost import run_cost
    from ..prompts import PromptTrack

    length, compression = job.timebase.num_latent_frames, job.timebase.compression
    ratio = run_cost(job.settings, length, job.steps, PromptTrack.of(job.schedule, length, compression)).ratio
    return f"forwards    {ratio:.2f} times what the length alone needs"


def seam_line(job: Job, differences: Sequence[float]) -> str:
    """The seam ratio at the boundaries of the first step's windows, prompt transitions left out, in words.

    Args:
        job: what was made.
        differences: of the frames, see ``frame_differences``.
    """
    from ..metrics import seam_ratio_of, window_boundaries
    from ..timeline import Compression, Timebase

    timebase = job.timebase
    plain = [step for step in range(job.steps) if job.settings.at(step, job.steps).stride == 1]
    if not plain:
        return "seam ratio  none: with a stride above 1 every frame is a window's edge"
    windows = job.settings.windows(timebase.num_latent_frames, plain[0], job.steps)
    if job.settings.closed_loop:
        timebase = Timebase(len(differences) + 1, timebase.fps, Compression(timebase.compression.pattern))
    try:
        boundaries = window_boundaries(windows, timebase)
        ratio = seam_ratio_of(differences, boundaries, changes(job), timebase.compression.ratio)
    except ValueError:
        return "seam ratio  none: no window boundary outside the prompt transitions"
    return f"seam ratio  {ratio:.2f} {RATIO}"


def changes(job: Job) -> list[tuple[float, float]]:
    """Ranges of frames in which a prompt gives way to the next."""
    margin, ranges = job.timebase.compression.ratio, []
    for segment in job.schedule.segments[1:]:
        reach = segment.transition.frames / 2 + margin
        ranges.append((segment.start - reach, segment.start + reach))
    return ranges


def plan_of(output: Path) -> Path:
    """Where the image of a video's plan lies."""
    return output.with_suffix(".plan.png")


def save_plan(plan: Image, output: Path) -> None:
    """Write the image of a video's plan beside it, and say so."""
    with option("--output", output):
        plan.save(plan_of(output))
    print(f"plan        {plan_of(output)}")


def first(parts: Any, count: int) -> Iterator[Any]:
    """The first ``count`` frames of pieces of a video.

    Raises:
        UserError: a piece holds values that are no numbers.
    """
    for part in parts:
        if count > 0:
            check_numbers(part)
            yield part[:count]
        count -= len(part)


def check_numbers(frames: torch.Tensor) -> None:
    """Check that a model made numbers.

    Raises:
        UserError: it did not.
    """
    if not frames.isfinite().all():
        raise UserError(
            "the model made values that are no numbers, and no video was written. Lower --cfg, leave --flow-shift to "
            "the model, or try --dtype float32."
        )


def check_whole(job: Job) -> None:
    """Check that memory can hold a video that is decoded at once.

    Raises:
        UserError: it cannot.
    """
    frames = job.timebase.num_frames
    with option("--length", frames):
        check_memory(
            f"a video of {frames} frames of {job.width} x {job.height} pixels",
            frames * job.width * job.height * 3 * 4,  # as they are decoded; the latents' share is small
            "Make it shorter or smaller, or use --streaming, which holds a few frames at a time.",
        )


def quiet() -> None:
    """Keep diffusers and transformers from writing between our lines."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


@contextmanager
def memory_advice(
    advice: str = "lower --windows-per-forward to 1, then --width and --height, then --window.",
) -> Iterator[None]:
    """Turns running out of device memory into advice."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"the device ran out of memory: {advice}") from error
