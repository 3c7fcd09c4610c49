"""Chunks of a streamed video, sampled by ComfyUI's KSampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import comfy.utils
import torch

from ....prompts.weights import prompt_weights
from ....streaming import Chunk, chunk_seed
from ....timeline import Place
from ..co_denoise.options import WindowOptions
from ..co_denoise.patch import patch_model
from ..co_denoise.progress import WindowProgress
from ..co_denoise.prompt_tags import TAG
from ..families.continuation import Continuation, Ingredients, continuation_of
from ..families.latents import time_dim_of, timebase_of_latent
from .conditions import conditions_of
from .fingerprint import model_fingerprint, value_fingerprint, weights_fingerprint


@dataclass(frozen=True)
class SamplerOptions:
    """What KSampler is told."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str


@dataclass(frozen=True)
class StreamOptions:
    """What a user sets for streaming; sizes in frames of the video.

    ``length``: of the finished video. ``chunk``: what is sampled at once. ``overlap``: the part of it that is known.
    ``window``: what the model sees at once, 0 for a whole chunk; ``window_overlap`` is between windows. ``blend``: see
    ``ramp``. ``run_name``: of the run folder; empty keeps nothing.
    """

    length: int
    chunk: int
    overlap: int
    window: int = 0
    window_overlap: int = 16
    schedule: str = "shifted"
    merge: str = "pyramid"
    anchor: str = "none"
    drift_correction: float = 0.0
    blend: float = 0.5
    run_name: str = ""

    @property
    def in_windows(self) -> bool:
        """Whether a chunk is cut into windows."""
        return 0 < self.window < self.chunk

    @property
    def keeps(self) -> bool:
        """Whether finished chunks are kept."""
        return bool(self.run_name.strip())


def to_video(samples: torch.Tensor, time_dim: int) -> torch.Tensor:
    """A LATENT's samples as ``b c t h w``; frames as batch become one video."""
    return samples if time_dim == 2 else samples.movedim(0, 1)[None]


def from_video(video: torch.Tensor, time_dim: int) -> torch.Tensor:
    """The reverse of ``to_video``."""
    return video if time_dim == 2 else video[0].movedim(1, 0)


class ComfyChunks:
    """Samples chunks with ComfyUI's KSampler.

    Args:
        model, positive, negative: as for KSampler; prompts on a timeline are read where the chunk lies.
        sampler: seed and so on; every chunk has a seed of its own that follows from this one.
        options: chunk, windows and the rest.
        shape: of the finished video's latent, ``b c t h w``.
        vae: for models whose condition has an empty part, which is what the VAE makes of gray frames; or None.
    """

    def __init__(
        self,
        model: Any,
        positive: list,
        negative: list,
        sampler: SamplerOptions,
        options: StreamOptions,
        shape: Sequence[int],
        vae: Any,
    ) -> None:
        self.model, self.positive, self.negative = model, positive, negative
        self.sampler, self.options = sampler, options
        self.shape = tuple(shape)
        self.time_dim = time_dim_of(model.model.latent_format)
        self.continuation: Continuation = continuation_of(model)
        self.vae = vae if self.continuation.uses_gray else None
        self.numbers_per_latent_frame = math.prod([*self.shape[:2], *self.shape[3:]])
        self.progress: WindowProgress | None = None
        self.first_step = 0  # of the chunk to come, in the whole run
        self.label = ""
        self._gray: torch.Tensor | None = None
        self._tables: dict[Any, torch.Tensor] = {}
        # Hashes are for finding chunks again.
        keep = options.keeps
        self._model_hash = model_fingerprint(model) if keep else ""
        self._vae_hash = weights_fingerprint(self.vae.patcher) if keep and self.vae else ""
        self._entry_hashes = {id(entry): self._entry_hash(entry) if keep else "" for entry in (*positive, *negative)}

    def windows(self, length: int) -> WindowOptions:
        """How so many latent frames are cut: not at all, or where a window is set, into windows of it."""
        options = self.options
        if not options.in_windows:
            whole = timebase_of_latent(self.model.model.latent_format, length, 24.0).num_frames
            return WindowOptions(whole, 0, options.schedule, options.merge)
        if options.window_overlap >= options.window:
            raise ValueError(
                f"window_overlap is {options.window_overlap} frames and window {options.window}; window_overlap must "
                "be below window. Lower window_overlap."
            )
        return WindowOptions(options.window, options.window_overlap, options.schedule, options.merge)

    def windows_per_step(self, chunk_length: int) -> list[int]:
        """How many windows each step of a chunk has.

        Raises:
            ValueError: windows and their overlap do not go together.
        """
        timebase = timebase_of_latent(self.model.model.latent_format, chunk_length, 24.0)
        settings, steps = self.windows(chunk_length).settings(timebase), max(1, self.sampler.steps)
        return [len(settings.windows(chunk_length, step, steps)) for step in range(steps)]

    def recipe(self, chunk: Chunk) -> dict[str, Any]:
        """See ``ChunkMaker``."""
        options = replace(self.options, length=0, run_name="", anchor="", drift_correction=0.0)
        if not options.in_windows:
            options = replace(options, window=0, window_overlap=0, schedule="", merge="")
        return {
            "model": self._model_hash,
            "continuation": self.continuation.name,
            "sampler": [self.sampler.steps, self.sampler.cfg, self.sampler.sampler_name, self.sampler.scheduler],
            "seed": chunk_seed(self.sampler.seed, chunk.index),
            "options": vars(options),
            "shape": [*self.shape[:2], *self.shape[3:]],
            "vae": self._vae_hash,
            "positive": self._conditioning(self.positive, chunk),
            "negative": self._conditioning(self.negative, chunk),
        }

    def make(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """See ``ChunkMaker``."""
        empty = torch.zeros((*self.shape[:2], chunk.length, *self.shape[3:]))
        if not self.continuation.uses_anchor or chunk.start == 0:  # a video begins with its own first frame
            anchor = None
        if anchor is not None:
            anchor = anchor.to(empty).expand(empty.shape[0], -1, -1, -1, -1)
        if self.vae is not None and self._gray is None:
            self._gray = _gray(self.vae, chunk.length, self.shape, self.model.model.latent_format)
        given = Ingredients(chunk, empty, known, anchor, self._gray, self.options.blend)
        positive, negative = (
            conditions_of(entries, Place(chunk.start, self.shape[2]), chunk.length)
            for entries in (self.positive, self.negative)
        )
        prepared = self.continuation.prepare(self.model, positive, negative, given)
        place = Place(chunk.start - prepared.lead, self.shape[2])
        progress = self.progress
        windows = self.windows(prepared.samples.shape[2])
        patched = patch_model(prepared.model, windows, None if progress is None else progress.on_windows, place)
        seed = chunk_seed(self.sampler.seed, chunk.index)
        samples = from_video(prepared.samples, self.time_dim)
        if progress is not None:
            progress.begin_part(self.first_step, self.label)
        denoised = comfy.sample.sample(
            patched, comfy.sample.prepare_noise(samples, seed), self.sampler.steps, self.sampler.cfg,
            self.sampler.sampler_name, self.sampler.scheduler, prepared.positive, prepared.negative, samples,
            noise_mask=prepared.noise_mask, callback=None if progress is None else progress.on_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
        )  # fmt: skip
        video = to_video(denoised, self.time_dim).cpu()
        video = video[:, :, prepared.lead : video.shape[2] - prepared.trail].clone()
        if prepared.kept:
            video[:, :, : prepared.kept] = known[:, :, : prepared.kept]
        return video

    def _conditioning(self, conditioning: list, chunk: Chunk) -> list:
        """What a chunk sees of a conditioning: hashes of its entries, with their weight in every latent frame."""
        seen = []
        for entry in conditioning:
            weights = None
            if TAG in entry[1]:
                tag = entry[1][TAG]
                table = self._table(tag.schedule)[list(tag.segments)].sum(0)
                weights = table[Place(chunk.start, self.shape[2]).frames(chunk.length)]
                if not weights.any():
                    continue
                weights = [round(float(weight), 5) for weight in weights]
            seen.append([self._entry_hashes[id(entry)], weights])
        return seen

    def _table(self, schedule: Any) -> torch.Tensor:
        if schedule not in self._tables:
            timebase = timebase_of_latent(self.model.model.latent_format, self.shape[2], schedule.fps)
            self._tables[schedule] = prompt_weights(schedule, timebase)
        return self._tables[schedule]

    @staticmethod
    def _entry_hash(entry: list) -> str:
        return value_fingerprint([entry[0], {key: value for key, value in entry[1].items() if key != TAG}])


def _gray(vae: Any, chunk: int, shape: Sequence[int], latent_format: Any) -> torch.Tensor:
    """What the VAE makes of gray frames, ``1 c t h w`` with ``chunk`` latent frames."""
    frames = timebase_of_latent(latent_format, chunk, 24.0).num_frames
    scale = vae.spacial_compression_encode()
    return vae.encode(torch.full((frames, shape[3] * scale, shape[4] * scale, 3), 0.5)).cpu()
