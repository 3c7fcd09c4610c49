"""Streaming with a diffusers pipeline: a long video chunk by chunk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ...co_denoise import CoDenoiseSettings
from ...prompts.track import PromptTrack
from ...streaming import Chunk, RunFolder, chunk_seed, held_frames, plan_chunks, stream, weights_digest
from ...timeline import Place, Timebase
from .denoisers import denoisers_of, latent_shape
from .forward import Progress
from .generate import generate
from .held import Held, check_scheduler

if TYPE_CHECKING:
    from ...prompts import PromptSchedule

OnProgress = Callable[[int, int, Progress | None], None]


@dataclass(frozen=True)
class StreamSettings:
    """How a video is streamed; sizes in latent frames.

    ``windows``: inside a chunk. ``blend`` and ``drift_correction``: see ``ramp`` and ``correct_drift``.
    """

    chunk: int
    overlap: int
    windows: CoDenoiseSettings
    blend: float = 0.5
    drift_correction: float = 0.0


@dataclass(frozen=True)
class Sampling:
    """What every chunk is sampled with."""

    steps: int
    guidance: float
    seed: int
    height: int
    width: int
    negative_prompt: str = ""
    scheduler: Any = None


class PipelineChunks:
    """Samples chunks with a pipeline; see ``ChunkMaker``."""

    def __init__(
        self, pipeline: Any, track: PromptTrack, timebase: Timebase, settings: StreamSettings, sampling: Sampling
    ) -> None:
        self.pipeline, self.track, self.timebase = pipeline, track, timebase
        self.settings, self.sampling = settings, sampling
        self.clean_frames = bool(pipeline.config.get("expand_timesteps"))
        self.progress: Callable[[Progress], None] | None = None
        self.numbers_per_latent_frame = math.prod(latent_shape(pipeline, 1, sampling.height, sampling.width))
        modules = [module for module, _ in denoisers_of(pipeline)]
        if getattr(pipeline, "text_encoder", None) is not None:
            modules.append(pipeline.text_encoder)
        named = ((f"{n}.{name}", value) for n, each in enumerate(modules) for name, value in each.state_dict().items())
        self._model = weights_digest(named)

    def recipe(self, chunk: Chunk) -> dict[str, Any]:
        """See ``ChunkMaker``."""
        track = self._track(chunk)
        sampling = {key: value for key, value in vars(self.sampling).items() if key not in ("scheduler", "seed")}
        scheduler = self.sampling.scheduler or self.pipeline.scheduler
        described = [type(scheduler).__name__, sorted((k, repr(v)) for k, v in scheduler.config.items() if k[0] != "_")]
        return {
            "model": self._model,
            "clean_frames": self.clean_frames,
            "sampling": sampling,
            "scheduler": hashlib.sha256(repr(described).encode()).hexdigest(),
            "seed": chunk_seed(self.sampling.seed, chunk.index),
            "windows": repr(replace(self.settings.windows, windows_per_forward=0)),
            "blend": self.settings.blend,
            "prompts": list(track.prompts),
            "weights": [[round(float(value), 5) for value in row] for row in track.weights],
        }

    def make(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """See ``ChunkMaker``; these models take no anchor as a condition."""
        clock = Timebase.from_latent_frames(
            chunk.length, self.timebase.fps, self.timebase.temporal_compression, self.timebase.causal
        )
        sampling = self.sampling
        latents = generate(
            self.pipeline, None, clock, self.settings.windows, negative_prompt=sampling.negative_prompt,
            guidance_scale=sampling.guidance, num_inference_steps=sampling.steps,
            seed=chunk_seed(sampling.seed, chunk.index), height=sampling.height, width=sampling.width,
            output_type="latent", progress=self.progress, scheduler=sampling.scheduler, track=self._track(chunk),
            held=None if known is None else Held(known, self.settings.blend, self.clean_frames),
        )  # fmt: skip
        latents = latents.float().cpu()
        if known is not None:
            kept = known.shape[2] if self.clean_frames else held_frames(known.shape[2], self.settings.blend)
            latents[:, :, :kept] = known[:, :, :kept]
        return latents

    def _track(self, chunk: Chunk) -> PromptTrack:
        return self.track.at(Place(chunk.start, self.timebase.num_latent_frames), chunk.length)


def stream_video(
    pipeline: Any,
    schedule: PromptSchedule,
    timebase: Timebase,
    settings: StreamSettings,
    sampling: Sampling,
    *,
    given: torch.Tensor | None = None,
    folder: RunFolder | None = None,
    on_progress: OnProgress | None = None,
) -> torch.Tensor:
    """Make or extend a video chunk by chunk with a text-to-video pipeline.

    The overlap goes in as clean frames where the pipeline's model takes them (``expand_timesteps``), and is held as
    known latents otherwise.

    Args:
        pipeline: a pipeline in ``SUPPORTED``.
        schedule: prompts over ``timebase.num_frames`` frames.
        timebase: see ``timebase_for``.
        settings, sampling: how.
        given: normalised latents ``1 c t h w`` of the video so far, see ``encode_frames``.
        folder: where finished chunks are kept and found.
        on_progress: called as ``on_progress(chunk, number of chunks, progress in it)``; None for one that was found.

    Returns:
        Normalised latents ``1 c t h w`` on the CPU.

    Raises:
        ValueError, UnsupportedDenoiserError: something does not fit, before the first forward pass.
        RunFolderError: a chunk cannot be written.
    """
    begun = 0 if given is None else given.shape[2]
    chunks = plan_chunks(timebase.num_latent_frames, settings.chunk, settings.overlap, begun)
    check_scheduler(sampling.scheduler or pipeline.scheduler)
    maker = PipelineChunks(pipeline, PromptTrack.of(schedule, timebase), timebase, settings, sampling)

    def on_chunk(chunk: Chunk, count: int, found: bool) -> None:
        if on_progress is None:
            return
        maker.progress = lambda progress: on_progress(chunk.index, count, progress)
        if found:
            on_progress(chunk.index, count, None)

    described = {"chunk": settings.chunk, "overlap": settings.overlap, "steps": sampling.steps, "seed": sampling.seed}
    return stream(
        maker, chunks, timebase.num_latent_frames, given=given, folder=folder,
        drift_correction=settings.drift_correction, settings=described, on_chunk=on_chunk,
    )  # fmt: skip
