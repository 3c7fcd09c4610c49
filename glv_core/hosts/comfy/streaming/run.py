"""Streaming in ComfyUI: a long video chunk by chunk, and where its chunks are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ....streaming import AnchorChoice, Chunk, RunFolder, check_strength, plan_chunks, ramp, stream
from ....timeline import Timebase
from ..co_denoise.progress import WindowProgress
from ..co_denoise.prompt_tags import check_length, schedules_in
from ..families.continuation import continuation_of
from ..families.latents import temporal_compression_of, time_dim_of
from .chunks import ComfyChunks, SamplerOptions, StreamOptions, from_video, to_video
from .conditions import check_conditions

RUNS = "long_video_runs"  #: the folder of run folders, in ComfyUI's output folder


def run_folder(name: str) -> Path:
    """The run folder with this name.

    Raises:
        ValueError: the name leads out of ComfyUI's output folder.
    """
    base = (Path(folder_paths.get_output_directory()) / RUNS).resolve()
    path = (base / name).resolve()
    if base not in path.parents:
        raise ValueError(f"run_name is {name!r}; it must be a name or a path inside output/{RUNS}, without '..'.")
    return path


@dataclass(frozen=True)
class Streamed:
    """A finished run: the LATENT's samples, and what happened, in words."""

    samples: torch.Tensor
    report: str


def stream_long(
    model: Any,
    positive: list,
    negative: list,
    sampler: SamplerOptions,
    options: StreamOptions,
    *,
    given: torch.Tensor | None,
    size: Sequence[int],
    anchor_picture: torch.Tensor | None = None,
    vae: Any = None,
) -> Streamed:
    """Make or extend a long video chunk by chunk.

    Args:
        model, positive, negative, sampler: as for KSampler.
        options: sizes in frames.
        given: the video so far, as a LATENT's samples; None to begin with the first chunk.
        size: shape of the video's latent frames ``b c h w``; b is 1 where frames are the batch.
        anchor_picture: latents of the anchor picture, as a LATENT's samples.
        vae: for models whose condition is a picture.

    Raises:
        ValueError: something does not fit, before the first forward pass.
        RunFolderError: the run folder cannot be used, or a chunk not be written.
    """
    latent_format = model.model.latent_format
    time_dim = time_dim_of(latent_format)
    timebase = Timebase(options.length, 24.0, temporal_compression_of(latent_format))
    length = timebase.num_latent_frames
    video = None if given is None else to_video(given, time_dim)
    if options.overlap >= options.chunk:
        raise ValueError(f"overlap is {options.overlap} frames and chunk {options.chunk}; overlap must be below chunk.")
    ramp(1, options.blend)
    check_strength(options.drift_correction)
    chunk, overlap = timebase.latent_length(options.chunk), timebase.latent_span(options.overlap)
    chunks = plan_chunks(length, chunk, overlap, 0 if video is None else video.shape[2])
    whole = Timebase.from_latent_frames(length, 24.0, timebase.temporal_compression)
    for schedule in schedules_in([[entry[1] for entry in each] for each in (positive, negative)]):
        check_length(schedule, replace(whole, fps=schedule.fps))
    picture = None if anchor_picture is None else to_video(anchor_picture, time_dim)
    anchor = AnchorChoice(options.anchor, picture, _segment_starts(positive, whole))
    continuation = continuation_of(model)
    if options.anchor != "none" and continuation.anchor_needs_one_window and options.in_windows:
        raise ValueError(
            f"anchor is {options.anchor!r} and window {options.window} frames, below chunk. With this model an anchor "
            "needs the chunk in one window: set window to 0 or anchor to none."
        )
    shape = (*size[:2], length, *size[2:])
    for entries in (positive, negative):
        check_conditions(entries, length, chunk, len(chunks), continuation.uses_gray)
    maker = ComfyChunks(model, positive, negative, sampler, options, shape, vae)
    per_chunk = maker.windows_per_step(chunk)
    folder = RunFolder(run_folder(options.run_name)) if options.keeps else None
    found_chunks: list[int] = []
    with WindowProgress(per_chunk * max(1, len(chunks)), model) as progress:
        maker.progress = progress

        def on_chunk(chunk: Chunk, count: int, found: bool) -> None:
            maker.first_step = chunk.index * len(per_chunk)
            maker.label = f"Chunk {chunk.index + 1}/{count}. "
            if found:
                found_chunks.append(chunk.index)
                progress.begin_part((chunk.index + 1) * len(per_chunk), maker.label)

        finished = stream(
            maker, chunks, length, given=video, folder=folder, anchor=anchor,
            drift_correction=options.drift_correction, settings=_described(sampler, options), on_chunk=on_chunk,
        )  # fmt: skip
    report = [
        f"Continuation: {continuation.name} ({continuation.description}).",
        f"{len(chunks)} chunks of {chunk} latent frames, {overlap} of them known. "
        f"{len(found_chunks)} chunks were found from before.",
    ]
    if options.anchor != "none" and not continuation.uses_anchor:
        report.append("This model takes no anchor as a condition; it steers drift correction only.")
    if folder is not None:
        report.append(f"Chunks are kept in {folder.path}.")
    return Streamed(from_video(finished, time_dim), "\n".join(report))


def _segment_starts(positive: list, whole: Timebase) -> tuple[int, ...]:
    """The latent frames at which prompts begin."""
    starts = {0}
    for schedule in schedules_in([[entry[1] for entry in positive]]):
        for segment in schedule.segments:
            centres = (whole.centre_of(frame) for frame in range(whole.num_latent_frames))
            starts.add(next((frame for frame, centre in enumerate(centres) if centre >= segment.start), 0))
    return tuple(sorted(starts))


def _described(sampler: SamplerOptions, options: StreamOptions) -> Mapping[str, Any]:
    return {"sampler": vars(sampler), "options": vars(options)}
