"""Chunks of a streamed video, sampled by ComfyUI's KSampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.utils
import torch

from ....prompts import AUTO, PromptSchedule, PromptTrack
from ....streaming import Chunk, Clock, chunk_seed
from ....timeline import Place
from ..co_denoise.patch import patch_model
from ..co_denoise.progress import WindowProgress
from ..co_denoise.prompt_tags import TAG, schedules_of, track_of
from ..co_denoise.sampling import SamplerOptions, StepOptions
from ..families import (
    Continuation,
    ContinuationInputs,
    Family,
    SamplingInputs,
    map_streams,
    nested,
    streams_of,
    time_dim_of,
)
from .conditions import conditions_of
from .hashes import model_hash, value_hash, weights_hash
from .options import LowNoise, StreamOptions
from .sound import SoundAgain

_ANY_SCHEDULER = "normal"  # the host wants a name where noise levels are given, too


def to_video(samples: torch.Tensor, time_dim: int) -> torch.Tensor:
    """A LATENT's samples as ``b c t h w``; frames as batch become one video."""
    return samples if time_dim == 2 else samples.movedim(0, 1)[None]


def from_video(video: torch.Tensor, time_dim: int) -> torch.Tensor:
    """The reverse of ``to_video``."""
    return video if time_dim == 2 else video[0].movedim(1, 0)


class ComfyChunks:
    """Samples chunks with ComfyUI's KSampler; see ``StreamsSampler``.

    Args:
        model, positive, negative: as for KSampler; prompts on a timeline are read where the chunk lies.
        family, continuation: of the model.
        sampler: seed and so on; every chunk has a seed of its own that follows from this one.
        options: chunk, windows and the rest.
        shapes: of the finished video's streams, its latent frames first, ``b c t h w``.
        clocks: how the streams lie on the latent frames.
        vae: for models whose condition has an empty part, which is what the VAE makes of gray frames, and for those
            that see frames; or None.
        progress: of the whole run.
        num_chunks: how many there are.
        low_noise: the model for the last steps; None where ``model`` makes all.
        clip_vision: for models that see their anchor through it; or None.
        sound: what hands sound on from chunk to chunk; None hands on its latents.
    """

    def __init__(
        self,
        model: Any,
        positive: list,
        negative: list,
        family: Family,
        continuation: Continuation,
        sampler: SamplerOptions,
        options: StreamOptions,
        shapes: Sequence[Sequence[int]],
        clocks: Sequence[Clock],
        vae: Any,
        progress: WindowProgress,
        num_chunks: int,
        low_noise: LowNoise | None = None,
        clip_vision: Any = None,
        sound: SoundAgain | None = None,
    ) -> None:
        self.low_noise = low_noise
        self.model, self.positive, self.negative = model, positive, negative
        self.family, self.continuation = family, continuation
        self.sampler, self.options = sampler, options
        self.shapes, self.clocks = [tuple(shape) for shape in shapes], tuple(clocks)
        self.shape = self.shapes[0]
        self.sound = sound
        self.vae = vae if continuation.uses_gray or continuation.uses_pixels else None
        self.clip_vision = clip_vision if continuation.uses_pixels else None
        self.progress, self.num_chunks = progress, num_chunks
        self.latent_frame_size = sum(-(-math.prod(shape) // self.shape[2]) for shape in self.shapes)
        self._time_dim = time_dim_of(model.model.latent_format)
        self._gray: torch.Tensor | None = None
        self._tracks: dict[PromptSchedule, PromptTrack] = {}
        # Hashes are for finding chunks again.
        keep = options.keeps
        self._model_hash = model_hash(model) if keep else ""
        self._low_noise_hash = model_hash(low_noise.model) if keep and low_noise else ""
        self._vae_hash = weights_hash(self.vae.patcher) if keep and self.vae else ""
        self._sound_hash = sound.hash() if keep and sound else ""
        self._vision_hash = weights_hash(self.clip_vision.patcher) if keep and self.clip_vision else ""
        self._entry_hashes = {id(entry): self._entry_hash(entry) if keep else "" for entry in (*positive, *negative)}

    def begin(self, chunk: Chunk, found: bool = False) -> None:
        """Show that a chunk begins, or that it is there already."""
        steps = max(1, self.sampler.steps)
        self.progress.begin_part((chunk.index + found) * steps, self._label(chunk))

    def cache_inputs(self, chunk: Chunk) -> dict[str, Any]:
        """See ``StreamsSampler``."""
        options = replace(self.options, length_frames=0, run_name="", anchor="", drift_correction=0.0)
        if not options.in_windows:
            options = replace(options, window_frames=0, window_overlap_frames=0, schedule="", merge="")
        if not options.tile_width and not options.tile_height:
            options = replace(options, tile_overlap=0)
        # Left out where they change nothing, so that chunks are found that were made before there were these options.
        left_out = set() if options.step_cache else {"step_cache"}
        as_ever = options.prompt_blending == AUTO and not self.family.joint_text  # of others it was predictions first
        if as_ever or not self._sees_several_prompts(chunk):
            left_out.add("prompt_blending")
        second = {"low_noise": [self._low_noise_hash, self.low_noise.step]} if self.low_noise else {}
        if self.clip_vision:
            second["clip_vision"] = self._vision_hash
        if len(self.shapes) > 1:
            second["beside"] = [self._sound_hash if chunk.overlap else "", self._shapes_of(chunk)[1:]]
        return {
            **second,
            "model": self._model_hash,
            "continuation": self.continuation.name,
            "sampler": [self.sampler.steps, self.sampler.cfg, self.sampler.sampler_name, self.sampler.scheduler],
            **({"levels": self.sampler.levels} if self.sampler.levels else {}),
            "seed": chunk_seed(self.sampler.seed, chunk.index),
            "options": {name: value for name, value in vars(options).items() if name not in left_out},
            "shape": [*self.shape[:2], *self.shape[3:]],
            "vae": self._vae_hash,
            "positive": self._conditioning(self.positive, chunk),
            "negative": self._conditioning(self.negative, chunk),
        }

    def sample(self, chunk: Chunk, known: Sequence[torch.Tensor], anchor: torch.Tensor | None) -> list[torch.Tensor]:
        """See ``StreamsSampler``."""
        shapes = self._shapes_of(chunk)
        empty = torch.zeros(shapes[0])
        if not self.continuation.uses_anchor or chunk.start == 0:  # a video begins with its own first frame
            anchor = None
        if anchor is not None and not self.continuation.several_anchors:
            anchor = anchor[:, :, :1]
        if anchor is not None:
            anchor = anchor.to(empty).expand(empty.shape[0], -1, -1, -1, -1)
        if self.continuation.uses_gray and self.vae is not None and self._gray is None:
            self._gray = _gray(self.vae, self.family.compression.num_frames(chunk.length), self.shape)
        given = ContinuationInputs(
            chunk, empty, known[0] if chunk.overlap else None, anchor, self._gray, self.options.blend, self._decode,
            self._embed, self._encode, chunk_seed(self.sampler.seed, chunk.index),
        )  # fmt: skip
        place, by_chunk = Place(chunk.start, self.shape[2]), self.family.by_chunk
        positive, negative = (
            conditions_of(entries, self.family.chunk_along, place, chunk.length, self._time_dim, by_chunk)
            for entries in (self.positive, self.negative)
        )
        inputs = self.continuation.prepare(self.model, positive, negative, given)
        streams, masks = self._streams(inputs, chunk, shapes, known)
        place = Place(chunk.start - inputs.lead, self.shape[2])
        if self.low_noise is None:
            denoised = self._sample(inputs, streams, masks, chunk, place, StepOptions())
        else:
            first_steps = StepOptions(end=self.low_noise.step, leftover_noise=True)
            denoised = self._sample(inputs, streams, masks, chunk, place, first_steps)
            low = self.continuation.prepare(self.low_noise.model, positive, negative, given)
            if masks is not None:  # what is known goes in clean again
                pairs = zip(streams, denoised, masks, strict=True)
                denoised = [torch.lerp(clean.to(noisy), noisy, mask.to(noisy)) for clean, noisy, mask in pairs]
            last_steps = StepOptions(start=self.low_noise.step, add_noise=False)
            denoised = self._sample(low, denoised, masks, chunk, place, last_steps)
        video, *beside = (each.cpu() for each in denoised)
        video = video[:, :, inputs.lead : video.shape[2] - inputs.trail].clone()
        if inputs.kept:
            video[:, :, : inputs.kept] = known[0][:, :, : inputs.kept]
        for clock, made, stream in zip(self.clocks[1:], beside, known[1:], strict=False):
            _begin_with(made, clock.without_margin(stream, chunk), clock.time_dim)
        return [video, *beside]

    def _streams(
        self, inputs: SamplingInputs, chunk: Chunk, shapes: Sequence[Sequence[int]], known: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
        """What a chunk is sampled from, of every stream, and masks of what of it is to be made; None is all."""
        video_mask = inputs.noise_mask
        beside = [torch.zeros(shape) for shape in shapes[1:]]
        masks = [torch.ones_like(each[:, :1]) for each in beside]
        for clock, samples, mask, stream in zip(self.clocks[1:], beside, masks, known[1:], strict=False):
            if self.sound is not None:
                told = self.sound(stream, clock.before(chunk), clock.time_dim)
            else:
                told = clock.without_margin(stream, chunk)
            _begin_with(samples, told, clock.time_dim)
            _begin_with(mask, torch.zeros_like(told[:, :1]), clock.time_dim)
            if video_mask is None and told.shape[clock.time_dim]:
                video_mask = torch.ones_like(inputs.samples[:, :1])
        return [inputs.samples, *beside], None if video_mask is None else [video_mask, *masks]

    def _shapes_of(self, chunk: Chunk) -> list[list[int]]:
        """The shapes of a chunk's streams."""
        return [
            [*shape[: clock.time_dim], len(clock.part(chunk)), *shape[clock.time_dim + 1 :]]
            for shape, clock in zip(self.shapes, self.clocks, strict=True)
        ]

    def _sample(
        self,
        inputs: SamplingInputs,
        streams: Sequence[torch.Tensor],
        masks: Sequence[torch.Tensor] | None,
        chunk: Chunk,
        place: Place,
        steps: StepOptions,
    ) -> list[torch.Tensor]:
        """Some steps of a chunk, from its streams to its streams."""
        windows = self.options.windows(self.family.compression.num_frames(streams[0].shape[2]))
        stage = steps.stage(self.sampler.steps, 1.0)
        patched = patch_model(inputs.model, windows, self.progress.on_windows, place, stage)
        seed = chunk_seed(self.sampler.seed, chunk.index)
        samples = nested([from_video(streams[0], self._time_dim), *streams[1:]])
        if steps.add_noise:
            noise = comfy.sample.prepare_noise(samples, seed)
        else:
            noise = map_streams(samples, lambda each: [torch.zeros(stream.shape) for stream in each])
        sampler = self.sampler
        if stage.first:
            self.progress.begin_part(chunk.index * stage.total + stage.first, self._label(chunk))
        denoised = comfy.sample.sample(
            patched, noise, sampler.steps, sampler.cfg, sampler.sampler_name, sampler.scheduler or _ANY_SCHEDULER,
            inputs.positive, inputs.negative, samples, noise_mask=None if masks is None else nested(masks),
            callback=self.progress.on_step, disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
            disable_noise=not steps.add_noise, start_step=steps.start, last_step=steps.end,
            force_full_denoise=not steps.leftover_noise,
            sigmas=torch.tensor(sampler.levels) if sampler.levels else None,
        )  # fmt: skip
        video, *beside = streams_of(denoised)
        return [to_video(video, self._time_dim), *beside]

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images ``t h w 3`` in 0..1 of latent frames ``1 c t h w``."""
        return self.vae.decode(from_video(latents, self._time_dim)).flatten(0, -4).float().clamp(0, 1).cpu()

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latent frames ``1 c t h w`` of images ``t h w 3`` in 0..1."""
        return to_video(self.vae.encode(images), self._time_dim).float().cpu()

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """What CLIP's vision says of images ``t h w 3``: its projected vector of each, ``1 t width``."""
        return self.clip_vision.encode_image(images)["image_embeds"].float().cpu()[None]

    def _label(self, chunk: Chunk) -> str:
        return f"Chunk {chunk.index + 1}/{self.num_chunks}. "

    def _conditioning(self, conditioning: list, chunk: Chunk) -> list:
        """What a chunk sees of a conditioning: hashes of its entries, with their weight in every latent frame."""
        seen = []
        for entry in conditioning:
            weights = None
            if TAG in entry[1]:
                tag = entry[1][TAG]
                track = self._track(tag.schedule).at(Place(chunk.start, self.shape[2]), chunk.length)
                weights = track.rounded()[tag.prompt]
                at_anchor = self._at_anchor(tag, chunk)
                if at_anchor not in (None, weights[0]):  # else the first latent frame says it
                    weights = [at_anchor, *weights]
                if not any(weights):
                    continue
            seen.append([self._entry_hashes[id(entry)], weights, *self._by_chunk(entry, chunk)])
        return seen

    def _at_anchor(self, tag: Any, chunk: Chunk) -> float | None:
        """How much an anchor, which stands in the place of the latent frame before a chunk, sees of a prompt."""
        if chunk.start == 0 or not self.continuation.uses_anchor or self.options.anchor == "none":
            return None
        before = self._track(tag.schedule).at(Place(chunk.start - 1, self.shape[2]), 1)
        return before.rounded()[tag.prompt][0]

    def _sees_several_prompts(self, chunk: Chunk) -> bool:
        """Whether a conditioning has several prompts in a chunk, or in the latent frame before it, where an anchor
        may stand.
        """
        first = max(0, chunk.start - 1)
        tracks = (self._track(schedule) for schedule in schedules_of(self.positive, self.negative))
        seen = (track.at(Place(first, self.shape[2]), chunk.stop - first).rounded() for track in tracks)
        return any(sum(map(any, weights)) > 1 for weights in seen)

    def _track(self, schedule: PromptSchedule) -> PromptTrack:
        if schedule not in self._tracks:
            self._tracks[schedule] = track_of(schedule, self.shape[2], self.family.compression)
        return self._tracks[schedule]

    def _by_chunk(self, entry: list, chunk: Chunk) -> list[str]:
        """Hashes of what of an entry is made for a chunk."""
        made, place = self.family.by_chunk, Place(chunk.start, self.shape[2])
        return [value_hash(made[key](entry[1][key], place, chunk.length)) for key in made if entry[1].get(key)]

    def _entry_hash(self, entry: list) -> str:
        apart = {TAG, *self.family.by_chunk}
        return value_hash([entry[0], {key: value for key, value in entry[1].items() if key not in apart}])


def _begin_with(stream: torch.Tensor, known: torch.Tensor, time_dim: int) -> None:
    """Write what is known over the beginning of a stream."""
    stream.narrow(time_dim, 0, known.shape[time_dim]).copy_(known)


def _gray(vae: Any, num_frames: int, shape: Sequence[int]) -> torch.Tensor:
    """What the VAE makes of gray frames, ``1 c t h w``."""
    scale = vae.spacial_compression_encode()
    return vae.encode(torch.full((num_frames, shape[3] * scale, shape[4] * scale, 3), 0.5)).cpu()
