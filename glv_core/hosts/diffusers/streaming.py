"""Streaming with a diffusers pipeline: a long video chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...co_denoise import CoDenoiseSettings
from ...prompts import PromptSchedule, PromptTrack
from ...streaming import Chunk, RunFolder, chunk_seed, num_held, plan_chunks, stream, weights_digest
from ...streaming.loop import OnChunk
from ...timeline import Place, Timebase
from .denoisers import denoisers_of, latent_shape
from .forward import Progress, track_of
from .generate import generate
from .held import Held, check_scheduler
from .identified import Identified
from .schedulers import scheduler_digest

#: Called as ``on_progress(chunk, progress in it)``; None for a chunk that was found.
OnProgress = Callable[[int, Progress | None], None]


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
    identified: Identified | None = None


def modules_digest(modules: Sequence[Any]) -> str:
    """A hash of the weights of several networks, of which some may be None."""
    return weights_digest(
        (f"{number}.{name}", value)
        for number, module in enumerate(modules)
        if module is not None
        for name, value in module.state_dict().items()
    )


def telling(on_progress: OnProgress | None) -> OnChunk:
    """What tells ``on_progress`` of chunks that were found."""

    def on_chunk(chunk: Chunk, found: bool) -> None:
        if found and on_progress is not None:
            on_progress(chunk.index, None)

    return on_chunk


class PipelineChunks:
    """Samples chunks with a pipeline; see ``ChunkSampler``."""

    def __init__(
        self,
        pipeline: Any,
        track: PromptTrack,
        timebase: Timebase,
        settings: StreamSettings,
        sampling: Sampling,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.pipeline, self.track, self.timebase = pipeline, track, timebase
        self.settings, self.sampling = settings, sampling
        self.clean_frames = bool(pipeline.config.get("expand_timesteps"))
        self.on_progress = on_progress
        self.latent_frame_size = math.prod(latent_shape(pipeline, 1, sampling.height, sampling.width))
        modules = [module for module, _ in denoisers_of(pipeline)]
        self._model = modules_digest([*modules, getattr(pipeline, "text_encoder", None)])

    def cache_inputs(self, chunk: Chunk) -> dict[str, Any]:
        """See ``ChunkSampler``."""
        track = self._track(chunk)
        sampling = {
            key: value for key, value in vars(self.sampling).items() if key not in ("scheduler", "seed", "identified")
        }
        identified = {} if self.sampling.identified is None else {"identified": self.sampling.identified.described}
        scheduler = self.sampling.scheduler or self.pipeline.scheduler
        return {
            **identified,
            "model": self._model,
            "clean_frames": self.clean_frames,
            "sampling": sampling,
            "scheduler": scheduler_digest(scheduler),
            "seed": chunk_seed(self.sampling.seed, chunk.index),
            "windows": repr(replace(self.settings.windows, windows_per_forward=0)),
            "blend": self.settings.blend,
            "prompts": list(track.prompts),
            "weights": track.rounded(),
        }

    def sample(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """See ``ChunkSampler``; these models take no anchor as a condition."""
        clock = Timebase.of_latent(chunk.length, self.timebase.fps, self.timebase.compression)
        sampling, report = self.sampling, self.on_progress
        progress = None if report is None else lambda progress: report(chunk.index, progress)
        identified = sampling.identified
        if identified is not None:
            identified = replace(identified, begin=chunk.start, length=self.timebase.num_latent_frames)
        latents = generate(
            self.pipeline, self._track(chunk), clock, self.settings.windows, negative_prompt=sampling.negative_prompt,
            guidance_scale=sampling.guidance, num_inference_steps=sampling.steps,
            seed=chunk_seed(sampling.seed, chunk.index), height=sampling.height, width=sampling.width,
            output_type="latent", progress=progress, scheduler=sampling.scheduler,
            held=None if known is None else Held(known, self.settings.blend, self.clean_frames),
            identified=identified,
        )  # fmt: skip
        latents = latents.float().cpu()
        if known is not None:
            kept = known.shape[2] if self.clean_frames else num_held(known.shape[2], self.settings.blend)
            latents[:, :, :kept] = known[:, :, :kept]
        return latents

    def _track(self, chunk: Chunk) -> PromptTrack:
        return self.track.at(Place(chunk.start, self.timebase.num_latent_frames), chunk.length).seen()


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
        on_progress: see ``OnProgress``.

    Returns:
        Normalised latents ``1 c t h w`` on the CPU.

    Raises:
        ValueError, UnsupportedDenoiserError: something does not fit, before the first forward pass.
        RunFolderError: a chunk cannot be written.
    """
    begun = 0 if given is None else given.shape[2]
    chunks = plan_chunks(timebase.num_latent_frames, settings.chunk, settings.overlap, begun)
    check_scheduler(sampling.scheduler or pipeline.scheduler)
    sampler = PipelineChunks(pipeline, track_of(schedule, timebase), timebase, settings, sampling, on_progress)

    described = {"chunk": settings.chunk, "overlap": settings.overlap, "steps": sampling.steps, "seed": sampling.seed}
    return stream(
        sampler, chunks, timebase.num_latent_frames, given=given, folder=folder,
        drift_correction=settings.drift_correction, description=described, on_chunk=telling(on_progress),
    )  # fmt: skip
