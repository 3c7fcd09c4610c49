"""Refining a whole video: noise to a part of the schedule, and denoising by chunks that blend at random frames.

StreamingT2V's enhancement (arXiv 2403.14773, 3.3) for any MODEL: SDEdit with one noise for all of the video, randomized
blending where chunks overlap, and tiles where frames are larger than the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ....fusion import MERGES
from ....prompts import AUTO
from ....streamingt2v.lengths import LENGTH_POLICIES, PRESETS, Chunking, chunking_for
from ....timeline import Place
from ..co_denoise.options import WindowOptions
from ..co_denoise.sampling import SamplerOptions, sample_long, samples_for
from ..families import Family, family_of, time_dim_of

#: How chunks are chosen, beside StreamingT2V's presets: as long as the model's clips, or as the inputs say.
CHUNKS = ("model", *PRESETS, "custom")
_SHARED_PART = 1 / 3  # of a chunk of the model's length, with the next


@dataclass(frozen=True)
class RefineOptions:
    """What a user sets for refining.

    ``strength``: the part of the noise schedule that is gone through. ``chunks``: of ``CHUNKS``. ``chunk_frames`` and
    ``overlap_frames`` are for ``custom``. ``length_policy``: of ``LENGTH_POLICIES``. The tiles' sizes are in
    pixels; a side of 0 is not cut.
    """

    strength: float
    chunks: str = "model"
    chunk_frames: int = 0
    overlap_frames: int = 0
    merge: str = "random_cut"
    length_policy: str = "cover"
    windows_per_forward: int = 0
    prompt_blending: str = AUTO
    tile_width: int = 0
    tile_height: int = 0
    tile_overlap: int = 128

    def chunking(self, family: Family, num_frames: int) -> Chunking:
        """Chunk and overlap for a video of so many frames.

        Raises:
            ValueError: unknown chunks, or sizes that do not go together.
        """
        if self.chunks not in CHUNKS:
            raise ValueError(f"Unknown chunks {self.chunks!r}. Known: {', '.join(CHUNKS)}.")
        if self.chunks == "custom":
            return Chunking(self.chunk_frames, self.overlap_frames)
        if self.chunks != "model":
            return chunking_for(self.chunks, num_frames)
        clip = family.model.clip
        return Chunking(clip, int(clip * _SHARED_PART)) if clip < num_frames else Chunking(num_frames, 0)


def refine_long(
    model: Any,
    sampler: SamplerOptions,
    positive: list,
    negative: list,
    samples: torch.Tensor,
    options: RefineOptions,
    sigmas: torch.Tensor | None = None,
) -> torch.Tensor:
    """A LATENT's samples, refined.

    Args:
        model, positive, negative: as for KSampler.
        sampler: of these the seed is that of the noise and of the cuts; ``steps`` are those that are made.
        samples: of the whole video.
        options: see there.
        sigmas: noise levels in place of the scheduler's and the strength's.

    Raises:
        ValueError: something does not fit, before the first forward pass.
    """
    if options.merge not in MERGES:
        raise ValueError(f"Unknown merge {options.merge!r}. Known: {', '.join(MERGES)}.")
    family, time_dim = family_of(model.model), time_dim_of(model.model.latent_format)
    samples = samples_for(model, {"samples": samples})
    length = samples.shape[time_dim]
    num_frames = family.compression.num_frames(length)
    chunking = options.chunking(family, num_frames)
    if options.length_policy not in LENGTH_POLICIES:
        raise ValueError(f"Unknown length policy {options.length_policy!r}. Known: {', '.join(LENGTH_POLICIES)}.")
    windows = WindowOptions(
        chunking.chunk, chunking.overlap, "static", options.merge, options.windows_per_forward,
        prompt_blending=options.prompt_blending, tile_width=options.tile_width, tile_height=options.tile_height,
        tile_overlap=options.tile_overlap,
    )  # fmt: skip
    LENGTH_POLICIES[options.length_policy](num_frames, chunking)  # says in frames what is wrong
    settings = windows.settings(family.compression)
    kept = LENGTH_POLICIES[options.length_policy](length, Chunking(settings.window, settings.overlap))
    samples = samples.narrow(time_dim, 0, kept)
    return sample_long(
        model, sampler, positive, negative, {"samples": samples}, options.strength, windows, sigmas=sigmas,
        place=Place(0, length),
    )["samples"]  # fmt: skip
