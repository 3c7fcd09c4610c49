"""What the command line is asked of streaming, checked before the model is loaded."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, at_least, option
from .streamingt2v import OWN, own_settings

if TYPE_CHECKING:
    import torch

    from ..co_denoise import CoDenoiseSettings
    from ..hosts.diffusers.folder import ModelFolder
    from ..hosts.diffusers.streamingt2v_video import StreamingT2VSettings
    from ..streaming import RunFolder
    from ..timeline import Timebase
    from ..video_io import VideoClip


@dataclass(frozen=True)
class StreamJob:
    """What streaming needs beside; sizes in latent frames. ``own``: StreamingT2V's own way of going on, or None."""

    chunk: int
    overlap: int
    blend: float
    drift_correction: float
    run: Path
    start: StartVideo | None = None
    own: StreamingT2VSettings | None = None


@dataclass(frozen=True)
class StartVideo:
    """What a streamed video begins with, in the size of the video."""

    clip: VideoClip
    width: int
    height: int

    def latents(self, pipeline: Any, folder: RunFolder) -> torch.Tensor:
        """Normalised latents ``1 c t h w``; ``folder`` keeps them."""
        from ..hosts.diffusers.encode import encode_frames
        from ..streaming import chunk_key, weights_digest
        from ..video_io import center_crop_resize

        state = self.clip.path.stat()
        recipe = {
            "file": [str(self.clip.path.resolve()), state.st_size, state.st_mtime_ns],
            "clip": [str(self.clip.fps), self.clip.num_frames, self.width, self.height],
            "vae": weights_digest(pipeline.vae.state_dict().items()),
        }
        frames = (center_crop_resize(part, self.width, self.height) for part in self.clip.frames())
        return folder.kept("start", chunk_key(recipe, None), lambda: encode_frames(pipeline, frames))


def stream_job(
    arguments: argparse.Namespace,
    folder: ModelFolder,
    timebase: Timebase,
    settings: CoDenoiseSettings,
    output: Path,
    size: tuple[int, int],
) -> StreamJob | None:
    """What was asked of streaming; None without it."""
    from ..streaming import RunFolder, plan_chunks

    if not arguments.streaming:
        for name in ("chunk", "chunk_overlap", "blend", "drift_correction", "run", "start", *OWN):
            if getattr(arguments, name) is not None:
                raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: only with --streaming.")
        return None
    for name in ("closed_loop", "isolated"):
        if getattr(arguments, name):
            raise UserError(f"--{name.replace('_', '-')}: not together with --streaming; leave one out.")
    if arguments.noise != "independent":
        raise UserError(f"--noise {arguments.noise}: not together with --streaming; every chunk has noise of its own.")
    asked = folder.defaults.model.clip if arguments.chunk is None else at_least("--chunk", arguments.chunk, 1)
    chunk = timebase.compression.num_latent_frames(asked)
    if arguments.overlap is not None and chunk <= settings.window and folder.streaming is None:
        raise UserError(
            f"--overlap {arguments.overlap}: a chunk of {asked} frames is one window and shares nothing with another. "
            "Say with --chunk-overlap what a chunk knows of the one before, or raise --chunk above --window."
        )
    if arguments.chunk_overlap is None:
        overlap = max(1, min(timebase.compression.latent_span(folder.defaults.overlap), chunk // 2))
    else:
        overlap = timebase.compression.latent_span(at_least("--chunk-overlap", arguments.chunk_overlap, 1))
        if arguments.chunk_overlap >= asked:
            raise UserError(f"--chunk-overlap {arguments.chunk_overlap}: it must be below chunk, which is {asked}.")
    with option("--chunk-overlap", arguments.chunk_overlap):
        plan_chunks(timebase.num_latent_frames, chunk, overlap)
    shares = []
    for name, default in (("blend", 0.5), ("drift_correction", 0.0)):
        share = getattr(arguments, name)
        shares.append(default if share is None else share)
        if not 0 <= shares[-1] <= 1:
            raise UserError(f"--{name.replace('_', '-')} {share}: use a number from 0 to 1.")
    start = None
    if arguments.start is not None:
        with option("--start", arguments.start):
            start = StartVideo(_clip(arguments.start, timebase), *size)
    own = None
    if folder.streaming is not None:
        if start is not None and start.clip.num_frames < overlap:
            raise UserError(
                f"--start {arguments.start}: it has {start.clip.num_frames} frames, and each chunk goes on from "
                f"{overlap}. Give a longer video, or lower --chunk-overlap."
            )
        own = own_settings(arguments, folder, chunk, overlap, size)
    else:
        for name in OWN:
            if getattr(arguments, name) is not None:
                raise UserError(
                    f"--{name.replace('_', '-')} {getattr(arguments, name)}: only with a model folder that holds "
                    "StreamingT2V's weights, streaming_t2v.safetensors or streaming_t2v.ckpt."
                )
    run = arguments.run or output.with_suffix(".run")
    with option("--run", run):
        RunFolder(run)
    return StreamJob(chunk, overlap, *shares, run, start, own)


def _clip(path: Path, timebase: Timebase) -> VideoClip:
    """The video or image that another begins with, at the frame rate of that."""
    from .video import open_video

    clip = open_video(path)
    if clip.num_frames > 1:
        clip = clip.trimmed(fps=timebase.fps)
    if clip.num_frames >= timebase.num_frames:
        raise ValueError(
            f"it has {clip.num_frames} frames at {timebase.fps:g} frames a second, and --length is "
            f"{timebase.num_frames}, which counts them: raise --length."
        )
    return clip
