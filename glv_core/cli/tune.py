"""``genlong tune``: low-rank weights for a model, trained on one video."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..demo import MODEL_DIR
from .edit import fill_size, wanted_clip
from .errors import UserError, at_least, option
from .job import check_output, device_of, side_of
from .progress import frame_bar, loss_bar
from .report import memory_advice, quiet
from .tuned import check_peft

if TYPE_CHECKING:
    import torch

    from ..hosts.diffusers.folder import ModelFolder
    from ..tuning import TuningOptions
    from ..video_io import VideoClip

STATE = ".state.safetensors"
_ADVICE = "add --recompute, or lower --window, --width and --height, or choose --layers queries."
#: Options whose values go into ``TuningOptions`` as they are.
_PLAIN = ("steps", "batch", "learning_rate", "rank", "text_drop", "clip_drop", "identifiers", "keep", "seed")


@dataclass(frozen=True)
class TuneJob:
    """A tuning that has been checked as far as that is possible without the model's weights."""

    folder: ModelFolder
    clip: VideoClip
    prompt: str
    keep_prompts: tuple[str, ...]
    options: TuningOptions
    layers: str
    recompute: bool
    width: int
    height: int
    device: str
    dtype: str
    output: Path

    @property
    def state(self) -> Path:
        """What a run that is cut off leaves."""
        return self.output.with_name(self.output.stem + STATE)

    def frames(self, show: Any) -> Iterator[torch.Tensor]:
        """The clip in the size of the model, pieces ``t h w 3`` uint8; ``show`` is told how many are done."""
        from ..video_io import center_crop_resize

        done = 0
        for part in self.clip.frames():
            yield center_crop_resize(part, self.width, self.height)
            done += len(part)
            show(done)


def prepare_tune(arguments: argparse.Namespace) -> TuneJob:
    """Check everything that can be checked before the model is loaded.

    Raises:
        UserError: an option is wrong.
    """
    check_peft("genlong tune")
    try:
        from ..hosts.diffusers.folder import DEMO_DEFAULTS, empty_denoiser, load_scheduler, read_model_folder
        from ..hosts.diffusers.held import check_scheduler
        from ..hosts.diffusers.tuning import check_recompute
        from ..tuning import read_state
    except ImportError as error:
        remedy = "Install what the command line needs: pip install genlong-video[standalone]"
        raise UserError(f"{error}. {remedy}") from error

    with option("--model", arguments.model):
        folder = read_model_folder(arguments.model)
        denoiser = empty_denoiser(folder)
        check_scheduler(load_scheduler(folder))
    if arguments.recompute:
        with option("--recompute", ""):
            check_recompute(denoiser)
    clip = wanted_clip(arguments)
    defaults = folder.defaults
    fill_size(arguments, clip, defaults, folder.multiple, defaults is DEMO_DEFAULTS)
    width, height = (
        side_of(name, getattr(arguments, name), getattr(defaults, name), folder.multiple)
        for name in ("width", "height")
    )
    if not arguments.prompt.strip():
        raise UserError("--prompt is empty: say what the video shows.")
    keep_prompts = _keep_prompts(arguments)
    options = _options(arguments, folder, clip)
    device = device_of(arguments.device)
    output = _next_output(arguments.video.stem) if arguments.output is None else arguments.output
    check_output(output, ".safetensors")
    if output.name.endswith(STATE):
        raise UserError(f"--output {output}: names with {STATE} are those of runs that were cut off. Choose another.")
    dtype = arguments.dtype or ("float32" if device.startswith("cpu") else "bfloat16")
    job = TuneJob(
        folder, clip, arguments.prompt, keep_prompts, options, arguments.layers, arguments.recompute, width, height,
        device, dtype, output,
    )  # fmt: skip
    if job.state.is_file():
        with option("--output", output):
            read_state(job.state)
    return job


def _keep_prompts(arguments: argparse.Namespace) -> tuple[str, ...]:
    if not arguments.keep:
        if arguments.keep_prompts is not None:
            raise UserError(f"--keep-prompts {arguments.keep_prompts}: only with a --keep above 0.")
        return ()
    prompts = tuple(text for each in (arguments.keep_prompts or "").split("|") if (text := each.strip()))
    if not prompts:
        raise UserError("--keep-prompts is missing: say which prompts --keep is for, for example 'a cat | a dog'.")
    return prompts


def _options(arguments: argparse.Namespace, folder: ModelFolder, clip: VideoClip) -> TuningOptions:
    """What is trained, and how; windows in latent frames."""
    from ..tuning import TuningOptions

    options = TuningOptions(steps=1, window=1, stride=1)
    if arguments.clip_drop is not None and arguments.identifiers == "none":
        raise UserError(f"--clip-drop {arguments.clip_drop}: only with --identifiers.")
    if not 0 <= arguments.seed < 2**63:
        raise UserError(f"--seed {arguments.seed}: use a whole number of 0 or more, below 2 to the 63rd.")
    for name in _PLAIN:
        value = getattr(arguments, name)
        if value is not None:
            with option(f"--{name.replace('_', '-')}", value):
                options = replace(options, **{name: value})
    compression = folder.compression
    length = compression.num_latent_frames(compression.num_frames_of_clip(clip.num_frames))
    if arguments.window is None:
        window = min(compression.num_latent_frames(folder.defaults.model.clip), length)
    else:
        window = compression.num_latent_frames(at_least("--window", arguments.window, 1))
        if window > length:
            raise UserError(
                f"--window {arguments.window}: the video has {clip.num_frames} frames, which are {length} latent "
                f"frames, and the window {window}. Lower --window, or give a longer video."
            )
        longest = folder.longest_window
        if window > longest:
            raise UserError(f"--window {arguments.window}: that is {window} latent frames; this model takes {longest}.")
    if arguments.stride is None:
        stride = max(1, window // 4)
    else:
        stride = compression.latent_span(at_least("--stride", arguments.stride, 1))
        if stride > window:
            raise UserError(
                f"--stride {arguments.stride}: that is {stride} latent frames and the window {window}, so parts of the "
                "video would be in no window. Lower --stride."
            )
    return replace(options, window=window, stride=stride)


@contextmanager
def _numbers(job: TuneJob) -> Iterator[None]:
    """Turns a loss that is no number into advice."""
    try:
        yield
    except ValueError as error:
        if "not a number" not in str(error):
            raise
        remedy = "Lower it, or choose --dtype float32."
        raise UserError(f"--learning-rate {job.options.learning_rate:g}: the loss is not a number. {remedy}") from error


def _next_output(name: str) -> Path:
    """The first name that no file has; what a run that was cut off has left has none yet."""
    folder = Path("tuned")
    names = (folder / f"{name}{f'_{number}' * (number > 1)}.safetensors" for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def run_tune(job: TuneJob) -> None:
    """Load the model, train, write the file and say what came out."""
    from ..hosts.diffusers.encode import encode_frames
    from ..hosts.diffusers.folder import load_pipeline
    from ..hosts.diffusers.tuning import tune
    from ..tuning import write_tuned

    started = time.monotonic()
    with option("--output", job.output):
        job.output.parent.mkdir(parents=True, exist_ok=True)
    if job.output.exists():
        print(f"replaces    {job.output}, which is there")
    quiet()
    with option("--model", job.folder.path):
        pipeline = load_pipeline(job.folder, job.device, job.dtype)
    with memory_advice(_ADVICE), frame_bar(job.clip.num_frames, "encode") as show:
        latents = encode_frames(pipeline, job.frames(show))
    about = {"family": job.folder.defaults.model.name, "model": job.folder.path.resolve().name}
    there = job.state.is_file()
    losses: list[float] = []
    with (
        loss_bar(job.options.steps) as show,
        memory_advice(_ADVICE),
        _numbers(job),
    ):

        def on_start(before: list[float]) -> None:
            losses[:] = before
            if there:
                print(
                    f"goes on     behind step {len(before)}, from {job.state}"
                    if before
                    else f"begins anew {job.state} is of other options, or of more steps",
                    file=sys.stderr,
                )
            show(before)

        def on_step(so_far: list[float]) -> None:
            losses[:] = so_far
            show(so_far)

        tuned = tune(
            pipeline, latents, job.prompt, job.options, layers=job.layers, keep_prompts=job.keep_prompts,
            recompute=job.recompute, about=about, state=job.state, on_start=on_start, on_step=on_step,
        )  # fmt: skip
    with option("--output", job.output):
        write_tuned(job.output, tuned)
    count = max(1, min(20, len(losses) // 4))
    first, last = sum(losses[:count]) / count, sum(losses[-count:]) / count
    size = f"{job.width} x {job.height}"
    print(f"tuned       {job.output} (on {job.clip.num_frames} frames of {size})")
    print(f"loss        {first:.4g} -> {last:.4g} (mean of the first and the last {count} of {len(losses)} steps)")
    print(f"state       {job.state} (for the same line with more --steps; delete it when you are content)")
    model = "" if job.folder.path == MODEL_DIR else f"--model {job.folder.path} "
    print(f"use         genlong {model}--tuned {job.output} --prompts ...")
    print(f"time        {time.monotonic() - started:.1f} s")
