"""``genlong tune``: low-rank weights for a model, trained on one video."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
_PLAIN = (
    "steps", "batch", "learning_rate", "rank", "text_drop", "clip_drop", "identifiers", "keep", "seed", "ema_decay",
)  # fmt: skip


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
    output: Path | None

    def output_of(self, key: str) -> Path:
        """The file to write: the one that was named; else in ``tuned/`` that of the run with this ``key`` which has the
        most steps, but no more than are wanted, or the first name that is free."""
        from ..tuning import StateError, read_progress

        if self.output is not None:
            return self.output
        folder, stem = Path("tuned"), self.clip.path.stem
        begun = []
        for state in folder.glob(f"*{STATE}"):
            name = state.name.removesuffix(STATE)
            if re.fullmatch(rf"{re.escape(stem)}(_\d+)?", name):
                with suppress(StateError):
                    found, steps = read_progress(state)
                    if found == key and steps <= self.options.steps:
                        begun.append((steps, folder / f"{name}.safetensors"))
        if begun:
            return max(begun)[1]
        names = (folder / f"{stem}{f'_{number}' * (number > 1)}.safetensors" for number in itertools.count(1))
        return next(path for path in names if not path.exists() and not state_of(path).exists())

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
        from ..tuning import read_progress
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
    output = arguments.output
    check_output(output or Path("tuned") / f"{clip.path.stem}.safetensors", ".safetensors")
    if output is not None and output.name.endswith(STATE):
        raise UserError(f"--output {output}: names with {STATE} are those of runs that were cut off. Choose another.")
    dtype = arguments.dtype or ("float32" if device.startswith("cpu") else "bfloat16")
    job = TuneJob(
        folder, clip, arguments.prompt, keep_prompts, options, arguments.layers, arguments.recompute, width, height,
        device, dtype, output,
    )  # fmt: skip
    if output is not None and state_of(output).is_file():
        with option("--output", output):
            read_progress(state_of(output))
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


def state_of(output: Path) -> Path:
    """What a run leaves beside its file, for one that goes on from there."""
    return output.with_name(output.stem + STATE)


def run_tune(job: TuneJob) -> None:
    """Load the model, train, write the file and say what came out."""
    from ..hosts.diffusers.encode import encode_frames
    from ..hosts.diffusers.folder import load_pipeline
    from ..hosts.diffusers.tuning import tune
    from ..tuning import write_tuned

    started = time.monotonic()
    with option("--output", job.output or "tuned"):
        (Path("tuned") if job.output is None else job.output.parent).mkdir(parents=True, exist_ok=True)
    if job.output is not None and job.output.exists():
        print(f"replaces    {job.output}, which is there")
    quiet()
    with option("--model", job.folder.path):
        pipeline = load_pipeline(job.folder, job.device, job.dtype)
    with memory_advice(_ADVICE), frame_bar(job.clip.num_frames, "encode") as show:
        latents = encode_frames(pipeline, job.frames(show))
    about = {"family": job.folder.defaults.model.name, "model": job.folder.path.resolve().name}
    output, there = Path(), False
    losses: list[float] = []
    with (
        loss_bar(job.options.steps) as show,
        memory_advice(_ADVICE),
        _numbers(job),
    ):

        def state(key: str) -> Path:
            nonlocal output, there
            output = job.output_of(key)
            there = state_of(output).is_file()
            return state_of(output)

        def on_start(before: list[float]) -> None:
            losses[:] = before
            if there:
                print(
                    f"goes on     behind step {len(before)}, from {state_of(output)}"
                    if before
                    else f"begins anew {state_of(output)} is of other options, or of more steps",
                    file=sys.stderr,
                )
            show(before)

        def on_step(so_far: list[float]) -> None:
            losses[:] = so_far
            show(so_far)

        tuned = tune(
            pipeline, latents, job.prompt, job.options, layers=job.layers, keep_prompts=job.keep_prompts,
            recompute=job.recompute, about=about, state=state, on_start=on_start, on_step=on_step,
        )  # fmt: skip
    with option("--output", output):
        write_tuned(output, tuned)
    count = max(1, min(20, len(losses) // 4))
    first, last = sum(losses[:count]) / count, sum(losses[-count:]) / count
    size = f"{job.width} x {job.height}"
    print(f"tuned       {output} (on {job.clip.num_frames} frames of {size})")
    print(f"loss        {first:.4g} -> {last:.4g} (mean of the first and the last {count} of {len(losses)} steps)")
    print(f"state       {state_of(output)} (for the same line with more --steps; delete it when you are content)")
    model = "" if job.folder.path == MODEL_DIR else f"--model {job.folder.path} "
    print(f"use         genlong {model}--tuned {output} --prompts ...")
    print(f"time        {time.monotonic() - started:.1f} s")
