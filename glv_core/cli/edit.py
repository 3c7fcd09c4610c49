"""``genlong edit`` and ``genlong restyle``: a video made anew in a part of it, or along a control."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, option
from .job import SHORTEST_SIDE, Job, parse_length, prepare
from .masks import DrawnMasks, MaskSource, fitted_masks, mask_source, white_on_black
from .progress import frame_bar, progress_bar
from .report import check_numbers, cost_line, first, memory_advice, quiet, save_plan, seam_line

if TYPE_CHECKING:
    import torch

    from ..hosts.diffusers.folder import Defaults, ModelFolder
    from ..perception.packed_masks import PackedMasks
    from ..video_io import VideoClip

REMEDY = "Use the demo model, or the diffusers folder of a Wan VACE such as Wan-AI/Wan2.1-VACE-1.3B-diffusers."


@dataclass(frozen=True)
class EditJob:
    """An edit that has been checked as far as that is possible without the weights of models.

    ``job``: the run. ``clip``: what is changed. ``masks``: where, or for a restyle what its control shows.
    ``control``: of ``CONTROLS``, None for an edit. ``grow`` and ``feather``: in pixels of ``job``'s size.
    ``composite``: whether the video stays outside of the masks.
    """

    job: Job
    clip: VideoClip
    strength: float
    masks: MaskSource | None = None
    control: str | None = None
    depth_model: str | None = None
    grow: int = 0
    feather: int = 0
    composite: bool = False

    def frames(self) -> Iterator[torch.Tensor]:
        """The clip in the size that the model works with: pieces ``t h w 3`` uint8."""
        from ..video_io import center_crop_resize

        return (center_crop_resize(part, self.job.width, self.job.height) for part in self.clip.frames())


def prepare_edit(arguments: argparse.Namespace) -> EditJob:
    """Check everything that can be checked before a model is loaded.

    Raises:
        UserError: an option is wrong.
    """
    try:
        from ..hosts.diffusers.folder import DEMO_DEFAULTS, read_model_folder
    except ImportError as error:
        remedy = "Install what the command line needs: pip install genlong-video[standalone]"
        raise UserError(f"{error}. {remedy}") from error

    with option("--model", arguments.model):
        folder = read_model_folder(arguments.model)
        if not folder.takes_hints:
            raise ValueError(f"{folder.pipeline} has no VACE, which genlong {arguments.command} needs. {REMEDY}")
    clip = wanted_clip(arguments)
    drawn = folder.defaults is DEMO_DEFAULTS
    arguments.length, arguments.fps = str(clip.num_frames), float(clip.fps)
    fill_size(arguments, clip, folder.defaults, folder.multiple, drawn)
    job = prepare(arguments)
    if job.output.exists() and job.output.samefile(clip.path):
        raise UserError(f"--output {job.output}: that is the video itself. Choose another name.")
    if not 0 <= arguments.strength < float("inf"):
        raise UserError(f"--strength {arguments.strength}: use a number of 0 or more.")
    if arguments.feather < 0:
        raise UserError(f"--feather {arguments.feather}: use a whole number of at least 0.")
    composite = not arguments.no_composite
    if not composite and arguments.feather:
        raise UserError(f"--feather {arguments.feather}: not together with --no-composite; leave one out.")
    if composite and arguments.upscale is None:
        job = dataclasses.replace(job, upscale=-(-SHORTEST_SIDE // min(clip.width, clip.height)))
    masks = _masks(arguments, folder, clip, drawn)
    return EditJob(
        job, clip, arguments.strength, masks, arguments.control, arguments.depth_model, arguments.grow,
        arguments.feather, composite,
    )  # fmt: skip


def wanted_clip(arguments: argparse.Namespace) -> VideoClip:
    """What ``--video``, ``--fps`` and ``--length`` say.

    Raises:
        UserError: the video cannot be read, or is shorter.
    """
    from .video import open_video

    with option("--video", arguments.video):
        clip = open_video(arguments.video)
    if arguments.fps is not None:
        with option("--fps", arguments.fps):
            clip = clip.trimmed(fps=arguments.fps)
    if arguments.length is not None:
        with option("--length", arguments.length):
            wanted = parse_length(arguments.length, float(clip.fps))
            if wanted > clip.num_frames:
                raise ValueError(f"the video has {clip.num_frames} frames. Lower --length, or leave it out.")
            clip = clip.trimmed(num_frames=wanted)
    return clip


def fill_size(arguments: argparse.Namespace, clip: VideoClip, defaults: Defaults, multiple: int, drawn: bool) -> None:
    """Sizes that were not given: the model's area in the proportions of the video; the demo model's own."""
    if drawn:
        return
    shape = clip.width / clip.height
    if arguments.width is None and arguments.height is None:
        width = (defaults.width * defaults.height * shape) ** 0.5
    else:
        width = arguments.height * shape if arguments.width is None else arguments.width
    for name, length in (("width", width), ("height", width / shape)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, max(multiple, round(length / multiple) * multiple))


def _masks(arguments: argparse.Namespace, folder: ModelFolder, clip: VideoClip, drawn: bool) -> MaskSource | None:
    """The masks that were asked for, and what goes with which control."""
    control = arguments.control
    finders = {"detector": arguments.detector, "segmenter": arguments.segmenter}
    if control in (None, "mask"):
        if arguments.mask is None:
            raise UserError("--mask is missing: say what --control mask shows, in words or as a file.")
        with option("--mask", arguments.mask):
            masks = mask_source(arguments.mask, clip, drawn=drawn, **finders)
    else:
        masks = None
        for name, value in {"mask": arguments.mask, **finders}.items():
            if value is not None:
                raise UserError(f"--{name} {value}: only with --control mask.")
    if control != "depth" and arguments.depth_model is not None:
        raise UserError(f"--depth-model {arguments.depth_model}: only with --control depth.")
    if control == "depth":
        if arguments.depth_model is not None:
            from ..hosts.transformers.depth import MODELS
            from ..hosts.transformers.loading import local_model

            with option("--depth-model", arguments.depth_model):
                local_model(arguments.depth_model, MODELS)
        elif drawn:
            return DrawnMasks(clip, "object")  # the one thing in that world is near, and all else is far
        else:
            raise UserError(
                "--depth-model is missing: --control depth needs one with this model, such as the folder of "
                "depth-anything/Depth-Anything-V2-Small-hf. Or give a depth video with --control ready."
            )
    return masks


def run_edit(edit: EditJob, arguments: argparse.Namespace) -> None:
    """Find masks or controls, load the model, make the video, write it and say what came out."""
    from ..hosts.diffusers import VaceHint, encode_hint, generate
    from ..hosts.diffusers.folder import load_pipeline

    started = time.monotonic()
    job, timebase = edit.job, edit.job.timebase
    job.make_folder()
    quiet()
    with memory_advice():
        masks = _found_masks(edit, arguments)
        control = None if edit.control is None else _control(edit, masks)
    plan = None
    if not arguments.no_plan:
        from ..plan_image import draw_plan

        plan = draw_plan(job.settings, timebase, job.schedule, job.steps)
    with option("--model", job.folder.path):
        pipeline = load_pipeline(job.folder, job.device, job.dtype, branch=True)
    identified = None if job.tuned is None else job.tuned.load(pipeline)
    with memory_advice(), frame_bar(timebase.num_frames, "encode") as show:
        if control is None and masks is not None:
            given: dict[str, Any] = {"outside": edit.frames(), "masks": masks.frames(timebase.num_frames)}
        else:
            given = {"inside": control}
        latents = encode_hint(
            pipeline, timebase.num_latent_frames, job.height, job.width, on_frames=show, **given
        )  # fmt: skip
    with progress_bar(job.steps) as progress, memory_advice():
        made = generate(
            pipeline,
            job.schedule,
            timebase,
            job.settings,
            negative_prompt=arguments.negative,
            guidance_scale=job.cfg,
            num_inference_steps=job.steps,
            seed=arguments.seed,
            height=job.height,
            width=job.width,
            output_type="latent",
            scheduler=job.scheduler,
            noise=job.noise,
            progress=progress,
            hint=VaceHint(latents, edit.strength),
            identified=identified,
        )
    with memory_advice():
        output, num_frames, size, differences = _write(edit, pipeline, made, masks)
    print(f"video       {output} ({num_frames} frames, {num_frames / timebase.fps:.4g} s, {size})")
    if plan is not None:
        save_plan(plan, output)
    if masks is not None and control is None:
        print(f"mask        {100 * masks.share(timebase.num_frames):.3g} % of the video")
    print(cost_line(job))
    print(seam_line(job, differences))
    print(f"time        {time.monotonic() - started:.1f} s")


def _found_masks(edit: EditJob, arguments: argparse.Namespace) -> PackedMasks | None:
    """The masks in the model's size.

    Raises:
        UserError: there is nothing in them.
    """
    if edit.masks is None:
        return None
    job = edit.job
    name, value = ("--mask", arguments.mask) if arguments.mask is not None else ("--control", edit.control)
    with frame_bar(edit.clip.num_frames, "mask") as show, option(name, value):
        masks = fitted_masks(
            edit.masks, job.width, job.height, grow=edit.grow, device=job.device, on_frames=show
        )  # fmt: skip
        if not masks and edit.grow < 0:
            raise ValueError(f"nothing of it is left with --grow {edit.grow}. Raise --grow.")
        if not masks:
            raise ValueError("nothing of it is found in the video, so there is nothing to change. Name it otherwise.")
    return masks


def _control(edit: EditJob, masks: PackedMasks | None) -> Iterator[torch.Tensor]:
    """The control's images ``t h w 3`` uint8, in the model's size."""
    from . import controls

    count = edit.clip.num_frames
    if masks is not None:
        return white_on_black(masks.frames(count))
    if edit.depth_model is not None:
        with frame_bar(count, "depth") as show, option("--depth-model", edit.depth_model):
            return controls.depths(edit.frames(), count, edit.depth_model, edit.job.device, show)
    plain: dict[str | None, Callable[[Iterable[torch.Tensor]], Iterator[torch.Tensor]]]
    plain = {"canny": controls.edges, "scribble": controls.scribbles, "ready": iter}
    return plain[edit.control](edit.frames())


def _write(
    edit: EditJob, pipeline: Any, latents: torch.Tensor, masks: PackedMasks | None
) -> tuple[Path, int, str, list[float]]:
    """Decode and write the video as it comes; its file, length and size in words, and its frames' differences."""
    import torch

    from ..hosts.diffusers.decode import decode_frames, decode_loop
    from ..metrics import RunningDifferences, frame_differences
    from ..video_io import save_video

    job, count = edit.job, edit.job.timebase.num_frames
    watch = RunningDifferences()
    if job.settings.closed_loop:
        ratio = job.timebase.compression.ratio
        loop = decode_loop(pipeline, latents, ratio)
        check_numbers(loop)
        differences = frame_differences(loop).tolist()
        # In a loop all latent frames hold equally many frames; of the first one's, the last is the video's first.
        frames: Iterable[torch.Tensor] = [torch.roll(loop, 1 - ratio, 0)]
        count = len(loop)
    else:
        frames, differences = first(decode_frames(pipeline, latents), count), watch.values
    width, height = job.width, job.height
    if edit.composite and masks is not None:
        frames = _composited(edit, frames, masks)
        width, height = edit.clip.width, edit.clip.height
    with frame_bar(count, "write") as show, job.to_write() as output:
        save_video(
            output, _counted(watch.watch(frames), show), job.timebase.fps, upscale=job.upscale,
            audio=edit.clip.audio(),
        )  # fmt: skip
    return output, count, f"{width * job.upscale} x {height * job.upscale}", differences


def _composited(edit: EditJob, frames: Iterable[torch.Tensor], masks: PackedMasks) -> Iterator[torch.Tensor]:
    """The clip with the edit in its masks: pieces ``t h w 3`` uint8."""
    from ..editing.composite import BATCH, composite
    from ..video_io import rechunk

    clip, job = edit.clip, edit.job
    scale = min(clip.width / job.width, clip.height / job.height)
    feather = max(1, round(edit.feather * scale)) if edit.feather else 0
    originals = rechunk(clip.frames(), BATCH, BATCH, keep_rest=True)
    edited = rechunk(frames, BATCH, BATCH, keep_rest=True)
    for original, made, mask in zip(originals, edited, masks.frames(clip.num_frames, BATCH), strict=True):
        yield composite(original, made, mask, feather=feather)


def _counted(parts: Iterable[torch.Tensor], show: Callable[[int], None]) -> Iterator[torch.Tensor]:
    done = 0
    for part in parts:
        yield part
        done += len(part)
        show(done)
