"""What the command line is asked to do, checked before the model is loaded."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..limits import LARGEST_SIDE, LONGEST_VIDEO
from ..partial import reserved
from .errors import UserError, at_least, option
from .report import plan_of
from .stream import StreamJob, stream_job
from .tuned import TunedJob, tuned_job

if TYPE_CHECKING:
    from ..co_denoise import CoDenoiseSettings
    from ..hosts.diffusers.folder import ModelFolder
    from ..noise import NoiseSettings
    from ..prompts import PromptSchedule
    from ..timeline import Timebase

DEMO_PROMPTS = (
    "a red circle moving right on a black background | a blue circle moving right on a black background | "
    "a green square moving right on a black background"
)
SHORTEST_SIDE = 256  #: smaller videos are enlarged to at least this


@dataclass(frozen=True)
class Job:
    """A run that has been checked as far as that is possible without the model's weights."""

    folder: ModelFolder
    timebase: Timebase
    schedule: PromptSchedule
    settings: CoDenoiseSettings
    noise: NoiseSettings
    scheduler: Any
    width: int
    height: int
    steps: int
    cfg: float
    device: str
    dtype: str
    output: Path
    upscale: int
    stream: StreamJob | None = None
    tuned: TunedJob | None = None
    number: int = 0  #: in the name of ``output``, where none was asked for

    @contextmanager
    def to_write(self) -> Iterator[Path]:
        """The file to write: ``output``, or the next of these names if another run took that number meanwhile."""
        with option("--output", self.output):
            if not self.number:
                yield self.output
                return
            with reserved(self.output.parent, _numbered, self.number) as path:
                yield path

    def make_folder(self) -> None:
        """Makes the folder of the video, and says if there is one under its name already."""
        with option("--output", self.output):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            if self.output.exists() and not self.number:
                print(f"replaces    {self.output}, which is there")


def prepare(arguments: argparse.Namespace) -> Job:
    """Check everything that can be checked before the model is loaded.

    Raises:
        UserError: an option is wrong.
    """
    try:
        from ..co_denoise import CoDenoiseSettings, Phase
        from ..hosts.diffusers.denoisers import SUPPORTED
        from ..hosts.diffusers.folder import DEMO_DEFAULTS, load_scheduler, read_model_folder
        from ..hosts.diffusers.frame_text import check_attention
        from ..hosts.diffusers.schedulers import make_scheduler, scheduler_class
        from ..noise import NoiseSettings
        from ..prompts import AUTO, read_schedule
        from ..timeline import Timebase
    except ImportError as error:
        remedy = "Install what the command line needs: pip install genlong-video[standalone]"
        raise UserError(f"{error}. {remedy}") from error

    with option("--model", arguments.model):
        folder = read_model_folder(arguments.model)
    defaults = folder.defaults
    fps = defaults.model.fps if arguments.fps is None else arguments.fps
    with option("--fps", fps):
        Timebase(1, fps)
    with option("--length", arguments.length):
        timebase = Timebase(parse_length(arguments.length, fps), fps, folder.compression)
    with option("--transition-length", arguments.transition_length):
        transition_frames = parse_length(arguments.transition_length, fps, least=0)
    text = arguments.prompts
    if text is None and defaults is not DEMO_DEFAULTS:
        raise UserError("--prompts is missing: say what this model shall show, for example --prompts 'a cat | a dog'.")
    text = DEMO_PROMPTS if text is None else text
    with option("--prompts", text):
        read = read_schedule(
            Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text,
            num_frames=timebase.num_frames,
            fps=fps,
            transition=arguments.transition,
            transition_frames=transition_frames,
            common_text=arguments.common_text,
            beyond_end=arguments.beyond_end,
        )
    for warning in read.warnings:
        print(f"genlong: warning: {warning}", file=sys.stderr)
    window, overlap, window_schedule = _windows(arguments, folder, timebase)
    stride = at_least("--stride", arguments.stride, 1)
    with option("--stride-until", arguments.stride_until):
        phases = (Phase(arguments.stride_until, stride=1),) if arguments.stride_until != 1 else ()
    kind, blending = SUPPORTED[folder.denoiser], arguments.prompt_blending
    if blending == AUTO:
        blending = "attention" if kind.text_attention else "predictions"
    with option("--overlap", arguments.overlap):
        settings = CoDenoiseSettings(
            window,
            overlap,
            window_schedule,
            "earliest" if arguments.isolated else arguments.merge,
            at_least("--windows-per-forward", arguments.windows_per_forward, 0),
            stride,
            arguments.closed_loop,
            arguments.seed,
            phases,
            blending,
            folder.compression.grain,
            arguments.causal_anchor,
        )
    with option("--causal-anchor", arguments.causal_anchor):
        settings.check_causal_anchor(folder.compression)
    if blending == "attention":
        with option("--prompt-blending", arguments.prompt_blending):
            check_attention(folder.denoiser, kind)
    with option("--shared-noise", arguments.shared_noise):
        noise = NoiseSettings(arguments.noise, window, overlap, arguments.shared_noise)
    with option("--scheduler", arguments.scheduler):
        if arguments.scheduler is not None:
            scheduler_class(arguments.scheduler)
    with option("--scheduler" if arguments.flow_shift is None else "--flow-shift",
                arguments.scheduler if arguments.flow_shift is None else arguments.flow_shift):  # fmt: skip
        scheduler = make_scheduler(load_scheduler(folder), arguments.scheduler, arguments.flow_shift)
    width, height = (
        side_of(name, getattr(arguments, name), getattr(defaults, name), folder.multiple)
        for name in ("width", "height")
    )
    upscale = -(-SHORTEST_SIDE // min(width, height)) if arguments.upscale is None else arguments.upscale
    for name, side in (("width", width), ("height", height)):
        if side * upscale > LARGEST_SIDE:
            raise UserError(
                f"--{name} {side}: {f'{upscale} times that' if upscale > 1 else 'that'} is more than the "
                f"{LARGEST_SIDE} pixels that a video file holds. Lower --{name}{' or --upscale' * (upscale > 1)}."
            )
    cfg = defaults.cfg if arguments.cfg is None else arguments.cfg
    if not 0 <= cfg <= 100:
        raise UserError(f"--cfg {cfg}: use a number from 0 to 100; 1 switches guidance off.")
    if arguments.flow_shift is not None and not 0 < arguments.flow_shift <= 1000:
        raise UserError(f"--flow-shift {arguments.flow_shift}: use a number above 0, up to 1000.")
    if not 0 <= arguments.seed < 2**63:
        raise UserError(f"--seed {arguments.seed}: use a whole number of 0 or more, below 2 to the 63rd.")
    device = device_of(arguments.device)
    output, number = (arguments.output, 0) if arguments.output is not None else _next_output()
    check_output(output, ".mp4")
    return Job(
        folder,
        timebase,
        read.schedule,
        settings,
        noise,
        scheduler,
        width,
        height,
        at_least("--steps", defaults.steps if arguments.steps is None else arguments.steps, 1),
        cfg,
        device,
        arguments.dtype or ("float32" if device.startswith("cpu") else "bfloat16"),
        output,
        at_least("--upscale", upscale, 1),
        stream_job(arguments, folder, timebase, settings, output, (width, height)),
        tuned_job(arguments, folder),
        number,
    )


def parse_length(text: str, fps: float, least: int = 1) -> int:
    """Frames of a length written as frames ("161") or seconds ("10s").

    Raises:
        ValueError: it is neither, or below ``least`` frames.
    """
    written = text.strip()
    try:
        frames = round(float(written[:-1]) * fps) if written.endswith("s") else int(written)
    except (ValueError, OverflowError):
        raise ValueError("write whole frames, such as 161, or seconds, such as 10s.") from None
    if not least <= frames <= LONGEST_VIDEO:
        raise ValueError(f"that is {frames} frames; use {least} to {LONGEST_VIDEO}.")
    return frames


def _windows(arguments: argparse.Namespace, folder: ModelFolder, timebase: Timebase) -> tuple[int, int, str]:
    """Window and overlap in latent frames, and the window schedule."""
    from ..window_schedules import DEFAULT_SCHEDULE

    frames = folder.defaults.model.clip if arguments.window is None else arguments.window
    window = timebase.compression.num_latent_frames(at_least("--window", frames, 1))
    if window > folder.longest_window:
        raise UserError(f"--window {frames}: that is {window} latent frames; this model takes {folder.longest_window}.")
    if arguments.isolated:
        for name in ("overlap", "schedule"):
            if getattr(arguments, name) is not None:
                raise UserError(f"--{name} {getattr(arguments, name)}: not together with --isolated; leave one out.")
        if arguments.causal_anchor:
            raise UserError("--causal-anchor: not together with --isolated; leave one out.")
        return window, 0, "batched"
    if arguments.overlap is None:
        # A default must not clash with a window that was asked for.
        overlap = min(timebase.compression.latent_span(folder.defaults.overlap), window // 2)
    else:
        overlap = timebase.compression.latent_span(at_least("--overlap", arguments.overlap, 0))
        if arguments.overlap >= frames:
            raise UserError(f"--overlap {arguments.overlap}: it must be below the window, which is {frames} frames.")
    return window, overlap, arguments.schedule or DEFAULT_SCHEDULE


def side_of(name: str, value: int | None, default: int, multiple: int) -> int:
    """A width or height in pixels, as it was given or the model's own.

    Raises:
        UserError: the model cannot have it.
    """
    value = default if value is None else value
    if value < multiple or value % multiple:
        near = max(multiple, round(value / multiple) * multiple)
        raise UserError(f"--{name} {value}: this model needs a multiple of {multiple}, for example {near}.")
    return value


def device_of(name: str | None) -> str:
    """The torch device of that name, or the best there is.

    Raises:
        UserError: there is none.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # not every device that torch knows holds values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"--device {name}: {reason}. Use cpu, or leave it out.") from error
    return name


def _numbered(number: int) -> str:
    return f"genlong_{number:05}.mp4"


def _next_output() -> tuple[Path, int]:
    """The first name that neither a video nor a plan has, and its number."""
    paths = ((Path("output", _numbered(number)), number) for number in itertools.count(1))
    return next(each for each in paths if not (each[0].exists() or plan_of(each[0]).exists()))


def check_output(path: Path, suffix: str) -> None:
    """Check that a file of this kind can be written; its folder is made when the run begins.

    Raises:
        UserError: it cannot.
    """
    with option("--output", path):
        if path.suffix.lower() != suffix:
            raise ValueError(f"the name must end in {suffix}.")
        if path.is_dir():
            raise ValueError("that is a folder; add a file name.")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()  # some folders say that they can be written, and cannot
        except OSError as error:
            raise ValueError(f"it cannot be written ({error.strerror or error}); choose another place.") from error
        if path.exists() and not os.access(path, os.W_OK):
            raise ValueError("it cannot be written; choose another place.")
