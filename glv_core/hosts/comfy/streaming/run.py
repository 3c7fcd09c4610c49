"""Streaming in ComfyUI: a long video chunk by chunk, and where its chunks are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ....co_denoise import Stage
from ....names import check_names
from ....streaming import (
    AnchorChoice,
    Chunk,
    Clock,
    RunFolder,
    SoundClock,
    check_run_name,
    check_strength,
    plan_chunks,
    ramp,
    stream_all,
)
from ....timeline import Compression, Place, Timebase
from ..co_denoise.batching import check_mixing
from ..co_denoise.frame_text import check_attention, check_texts
from ..co_denoise.model_patches import check_model_options
from ..co_denoise.progress import WindowProgress
from ..co_denoise.prompt_tags import schedules_of, track_of
from ..co_denoise.sampling import SamplerOptions
from ..families import Family, family_of, nested, time_dim_of
from .chunks import ComfyChunks, from_video, to_video
from .conditions import check_conditions
from .options import LowNoise, StreamOptions
from .small_video import small_video
from .sound import MARGIN, SoundAgain
from .video_start import VideoStart

RUNS = "long_video_runs"  #: the folder of run folders, in ComfyUI's output folder


def run_folder(name: str) -> Path:
    """The run folder with this name.

    Raises:
        ValueError: the name leads out of ComfyUI's output folder, or some system cannot hold it.
    """
    if "\0" in name:
        raise ValueError(f"run_name is {name!r}; it must be a name or a path inside output/{RUNS}, without '..'.")
    base = (Path(folder_paths.get_output_directory()) / RUNS).resolve()
    path = (base / name).resolve()
    if base not in path.parents:
        raise ValueError(f"run_name is {name!r}; it must be a name or a path inside output/{RUNS}, without '..'.")
    check_names("run_name", name)
    check_run_name("run_name", name)
    return path


@dataclass(frozen=True)
class Streamed:
    """A finished run: the LATENT's samples, what happened, in words, and how many frames it decodes to."""

    samples: Any
    report: str
    num_frames: int


def stream_long(
    model: Any,
    positive: list,
    negative: list,
    sampler: SamplerOptions,
    options: StreamOptions,
    *,
    start: VideoStart,
    anchor_latents: torch.Tensor | None = None,
    vae: Any = None,
    folder: RunFolder | None = None,
    low_noise: LowNoise | None = None,
    clip_vision: Any = None,
    audio_vae: Any = None,
) -> Streamed:
    """Make or extend a long video chunk by chunk.

    Args:
        model, positive, negative, sampler: as for KSampler.
        options: sizes in frames.
        start: the video so far, or nothing but its size.
        anchor_latents: of the anchor image, as a LATENT's samples.
        vae: for models whose condition is an image or frames.
        folder: where finished chunks are kept and found.
        low_noise: the model for the last steps, where another one makes them.
        clip_vision: for models that see their anchor through it.
        audio_vae: for handing sound on as a waveform; None hands on its latents.

    Raises:
        ValueError: something does not fit, before the first forward pass.
        RunFolderError: a chunk cannot be written.
    """
    family = family_of(model.model)
    continuation = family.continuation(model.model)
    compression, time_dim = family.compression, time_dim_of(model.model.latent_format)
    if options.overlap_frames >= options.chunk_frames:
        raise ValueError(
            f"overlap is {options.overlap_frames} frames and chunk {options.chunk_frames}; overlap must be below chunk."
        )
    ramp(1, options.blend)
    check_strength(options.drift_correction)
    length, chunk, overlap = _latent_sizes(family, options)
    num_given = start.given[0].shape[2] if start.given else 0
    chunks = plan_chunks(length, chunk, overlap, num_given, compression.grain)
    clocks = _clocks(family, start, positive, margin=0 if audio_vae is None else MARGIN)
    if chunks:
        _check_sound(family, start, clocks, chunks[0])
    sound = None if audio_vae is None else _sound_again(family, start, audio_vae)
    for schedule in schedules_of(positive, negative):
        track_of(schedule, length, compression)
    anchor_video = None if anchor_latents is None else to_video(anchor_latents, time_dim)
    starts = _segment_starts(positive, length, compression)
    anchor = AnchorChoice(options.anchor, anchor_video, starts, continuation.anchor_frame)
    if options.anchor != "none" and continuation.anchor_needs_one_window and options.in_windows:
        raise ValueError(
            f"anchor is {options.anchor!r} and window {options.window_frames} frames, below chunk. With this model an "
            "anchor needs the chunk in one window: set window to 0 or anchor to none."
        )
    if continuation.uses_pixels and any(chunk.overlap for chunk in chunks):
        _check_pixels(options, vae, clip_vision)
    for entries in (positive, negative):
        check_conditions(entries, family, length, chunk, len(chunks), continuation.uses_gray, time_dim)
    if low_noise is not None:
        low_noise.check(model, sampler.steps)
    options.check_step_cache(sampler.steps, None if low_noise is None else low_noise.step)
    anchored = options.anchor != "none" and any(chunk.start for chunk in chunks)
    brought = continuation.anchor_conditions if anchored else ()
    for each in (model, *(() if low_noise is None else (low_noise.model,))):
        if len(chunks) > 1:
            check_model_options(each.model_options, in_chunks=True)
        _check_blending(options.prompt_blending, each.model, [positive, negative], brought)
    windows = options.windows(compression.num_frames(chunk))
    windows.tiling(model.model.latent_format.spacial_downscale_ratio)  # raises where the tiles do not fit the model
    counts = windows.settings(compression).window_counts(chunk, Stage.whole(sampler.steps))
    found_chunks: list[int] = []
    with WindowProgress(counts * max(1, len(chunks)), model) as progress:
        shapes = [
            (*shape[: clock.time_dim], clock.length(length), *shape[clock.time_dim + 1 :])
            for shape, clock in zip(start.shapes, clocks, strict=True)
        ]
        chunk_sampler = ComfyChunks(
            model, positive, negative, family, continuation, sampler, options, shapes, clocks, vae, progress,
            len(chunks), low_noise, clip_vision, sound,
        )  # fmt: skip

        def on_chunk(chunk: Chunk, found: bool) -> None:
            chunk_sampler.begin(chunk, found)
            if found:
                found_chunks.append(chunk.index)

        video, *beside = stream_all(
            chunk_sampler, chunks, length, clocks=clocks, given=start.given, folder=folder, anchor=anchor,
            on_chunk=on_chunk, drift_correction=options.drift_correction,
            description={"sampler": vars(sampler), "options": vars(options)},
            notes=lambda chunk: _prompts(positive, length, compression, chunk),
            preview=lambda video: small_video(from_video(video, time_dim), model.model.latent_format, time_dim),
        )  # fmt: skip
    report = [
        f"Continuation: {continuation.name} ({continuation.description}).",
        f"{len(chunks)} chunks of {chunk} latent frames, {overlap} of them known. "
        f"{len(found_chunks)} chunks were found from before.",
    ]
    report += _rounded(family, options, length, chunk, overlap)
    if beside:
        handed = "its latents" if sound is None else "a waveform, encoded again"
        report.append(f"Sound goes on from chunk to chunk as {handed}.")
    if low_noise is not None:
        report.append(f"From step {low_noise.step} of {sampler.steps} on the low-noise model goes on.")
    if options.anchor != "none" and not continuation.uses_anchor:
        report.append("This model takes no anchor as a condition; it steers drift correction only.")
    if folder is not None:
        report.append(f"Chunks are kept in {folder.path}.")
    samples = nested([from_video(video, time_dim), *beside])
    return Streamed(samples, "\n".join(report), compression.num_frames(length))


def _prompts(positive: list, length: int, compression: Compression, chunk: Chunk) -> dict[str, Any]:
    """What a chunk shows, for the manifest; nothing where the prompts have no timeline, or several."""
    schedules = list(schedules_of(positive))
    if len(schedules) != 1:
        return {}
    return {"prompts": track_of(schedules[0], length, compression).of_part(Place(chunk.start, length), chunk.length)}


def _latent_sizes(family: Family, options: StreamOptions) -> tuple[int, int, int]:
    """Length, chunk and overlap in latent frames, of which the model can make clips."""
    compression = family.compression
    length, chunk = (
        compression.whole_clip(compression.num_latent_frames(each))
        for each in (options.length_frames, options.chunk_frames)
    )
    overlap = compression.overlap(options.overlap_frames)
    if compression.rest and overlap >= chunk:
        overlap = chunk - compression.grain
        if overlap < 1:
            least = compression.num_frames(compression.whole_clip(compression.grain))
            raise ValueError(
                f"chunk is {options.chunk_frames} frames, of which none would be new: {family.name} goes on from clips "
                f"of whole rounds. Use {least} or more."
            )
    return length, chunk, overlap


def _rounded(family: Family, options: StreamOptions, length: int, chunk: int, overlap: int) -> list[str]:
    """What of the sizes is not as it was asked for, in words."""
    asked = {"length": options.length_frames, "chunk": options.chunk_frames, "overlap": options.overlap_frames}
    made = [family.compression.num_frames(each) for each in (length, chunk)]
    # In the middle of a causal VAE's video there is no latent frame of a single frame.
    within = family.compression.num_frames if family.compression.rest else lambda each: each * family.compression.ratio
    made.append(within(overlap))
    changed = [
        f"{name} {number} is {frames}"
        for (name, number), frames in zip(asked.items(), made, strict=True)
        if number != frames
    ]
    return [f"Rounded to what {family.name} makes, in frames: {', '.join(changed)}."] if changed else []


def _clocks(family: Family, start: VideoStart, positive: list, margin: int) -> list[Clock]:
    """How the streams of a video lie on its latent frames."""
    entries, compression = [extras for _, extras in positive], family.compression
    frames = compression.num_frames(start.shapes[0][2])
    clocks = [Clock()]
    for shape, axis in zip(start.shapes[1:], start.time_dims[1:], strict=True):
        clocks.append(SoundClock(axis, margin, family.sound_per_frame(entries, frames, shape[axis]), compression))
    return clocks


def _sound_again(family: Family, start: VideoStart, audio_vae: Any) -> SoundAgain:
    """What hands sound on as a waveform."""
    if len(start.shapes) == 1:
        raise ValueError(
            f"audio_vae is connected, but this video of {family.name} has no sound. Connect a latent with both, or "
            "disconnect audio_vae."
        )
    return SoundAgain(audio_vae, start.shapes[1][1])


def _check_sound(family: Family, start: VideoStart, clocks: Sequence[Clock], chunk: Chunk) -> None:
    """Check that there is sound where the first chunk goes on from."""
    for clock, given, name in zip(clocks[1:], start.given[1:], family.streams[1:], strict=False):
        needed, found = clock.part(chunk).start, given.shape[clock.time_dim]
        if found < needed:
            raise ValueError(
                f"latent has {found} latent frames of {name}, and its video lasts for {clock.length(chunk.first_new)}. "
                f"Give the {name} of all of it."
            )


def _check_pixels(options: StreamOptions, vae: Any, clip_vision: Any) -> None:
    """Check what a model that sees frames needs beside itself."""
    if vae is None:
        raise ValueError("This model goes on from the last frames themselves. Connect its vae.")
    if options.anchor != "none" and clip_vision is None:
        raise ValueError(
            f"anchor is {options.anchor!r}, and this model sees its anchor through CLIP's vision. Connect clip_vision, "
            "or set anchor to none."
        )
    for name, side in (("tile_width", options.tile_width), ("tile_height", options.tile_height)):
        if side:
            raise ValueError(f"{name} is {side}, and this model sees the frames before whole. Set {name} to 0.")
    if options.in_windows:
        raise ValueError(
            f"window is {options.window_frames} frames, below chunk. This model goes on in one window: set window to 0."
        )


def _check_blending(blending: str, model: Any, conditionings: Sequence[list], brought: Sequence[str]) -> None:
    """Check that a model, in ``comfy.model_base``, can have prompts blended in a way.

    Args:
        blending: see ``PROMPT_BLENDINGS``, or ``AUTO``.
        model: the model.
        conditionings: of all outputs.
        brought: the conditions that chunks bring beside these.

    Raises:
        ValueError: it cannot, or not with these conditions.
    """
    family = family_of(model)
    if blending == "attention":
        check_attention(model)
    if all(len(schedule.prompts) < 2 for schedule in schedules_of(*conditionings)):
        return
    if blending == "attention":
        entries = [extras for conditioning in conditionings for _, extras in conditioning]
        given = [key for extras in entries for key, value in extras.items() if value is not None]
        check_texts(family, [*given, *brought])
    elif blending.startswith("embeddings"):
        check_mixing(family, blending)


def _segment_starts(positive: list, length: int, compression: Compression) -> tuple[int, ...]:
    """The latent frames at which prompts begin."""
    starts = {0}
    for schedule in schedules_of(positive):
        timebase = Timebase.of_latent(length, schedule.fps, compression)
        centres = [timebase.centre_of(index) for index in range(length)]
        for segment in schedule.segments:
            starts.add(next((index for index, centre in enumerate(centres) if centre >= segment.start), 0))
    return tuple(sorted(starts))
