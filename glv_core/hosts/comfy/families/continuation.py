"""How a model goes on from the end of a video: what every family can do, and what several can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ....streaming import Chunk, num_held, ramp
from .latents import time_dim_of

Conditioning = list


@dataclass
class SamplingInputs:
    """What a chunk is sampled from.

    ``samples`` and ``noise_mask`` are as in a LATENT. ``lead`` latent frames stand before the chunk and ``trail``
    behind it; they are conditions, and no part of the video. ``kept``: how many known latent frames stay as they are.
    """

    model: Any
    positive: Conditioning
    negative: Conditioning
    samples: torch.Tensor
    noise_mask: torch.Tensor | None = None
    lead: int = 0
    trail: int = 0
    kept: int = 0


@dataclass(frozen=True)
class ContinuationInputs:
    """What there is to go on from, in the LATENT's own scale, ``b c t h w``.

    ``empty``: zeros in the shape of the chunk. ``known``: its first latent frames. ``anchor``: one latent frame.
    ``gray``: what the VAE makes of gray frames, in the shape of the chunk, or None without a VAE. ``blend``: the part
    of the known latent frames over which new predictions rise. ``decode``: latent frames to images ``t h w 3`` in 0..1;
    ``encode``: the reverse; ``embed``: images to what CLIP's vision says of each, ``1 t width``; for those that ask for
    pixels. ``seed``: of the chunk, for what else is drawn.
    """

    chunk: Chunk
    empty: torch.Tensor
    known: torch.Tensor | None
    anchor: torch.Tensor | None
    gray: torch.Tensor | None
    blend: float
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None
    embed: Callable[[torch.Tensor], torch.Tensor] | None = None
    encode: Callable[[torch.Tensor], torch.Tensor] | None = None
    seed: int = 0


class Continuation(ABC):
    """A way to go on.

    ``description`` is shown to the user. ``uses_anchor``: whether an anchor is a condition. ``uses_gray``: whether it
    wants to know what gray frames are. ``uses_pixels``: whether it sees frames, decoded, and the anchor through CLIP's
    vision; ``several_anchors``: whether more than one. ``anchor_frame``: which latent frame of the beginning is the
    anchor, counted from 0. ``anchor_needs_one_window``: whether an anchor forbids to co-denoise a chunk.
    ``anchor_conditions``: the conditions that an anchor is for the model, where it is any.
    """

    name: str
    description: str
    uses_anchor = True
    uses_gray = False
    uses_pixels = False
    several_anchors = False
    anchor_frame = 0
    anchor_needs_one_window = False
    anchor_conditions: tuple[str, ...] = ()

    @abstractmethod
    def prepare(
        self, model: Any, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        """The model and the conditions of a chunk; what is given is not changed."""


class KnownLatents(Continuation):
    """For any model: the overlap is held at its latents, and predictions rise over its end.

    The prediction of the clean latent is replaced, so every sampler brings the known latents to its own noise level
    at every step, whatever noise it adds.
    """

    name = "known latents"
    description = "the overlap is held as known latents and blended into the new ones"
    uses_anchor = False

    def prepare(
        self, model: Any, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        held = hold(model, given.known, given.blend, 0)
        return SamplingInputs(held, positive, negative, given.empty, kept=num_kept(given))


class CleanFrames(Continuation):
    """The overlap goes in clean, and the network is told the noise level of every latent frame."""

    name = "clean frames"
    description = "the overlap goes in as clean latent frames, which this model was trained for"

    def prepare(
        self, model: Any, positive: Conditioning, negative: Conditioning, given: ContinuationInputs
    ) -> SamplingInputs:
        prepared = SamplingInputs(model, positive, negative, given.empty)
        if given.known is None and given.anchor is None:
            return prepared
        prepared.noise_mask = mask = torch.ones_like(given.empty[:, :1])
        if given.known is not None:
            count = given.known.shape[2]
            prepared.samples = torch.cat([given.known, given.empty[:, :, count:]], dim=2)
            mask[:, :, :count] = 0
            prepared.kept = count
        if given.anchor is not None:
            self._add_anchor(prepared, given)
        return prepared

    def _add_anchor(self, prepared: SamplingInputs, given: ContinuationInputs) -> None:
        prepared.samples = torch.cat([given.anchor, prepared.samples], dim=2)
        prepared.noise_mask = torch.nn.functional.pad(prepared.noise_mask, (0, 0, 0, 0, 1, 0))
        prepared.lead = 1


class CleanClips(CleanFrames):
    """As ``CleanFrames``, for models of which a latent frame more would make no clip."""

    uses_anchor = False


def num_kept(given: ContinuationInputs) -> int:
    """How many known latent frames are held to the end."""
    return 0 if given.known is None else num_held(given.known.shape[2], given.blend)


def hold(model: Any, known: torch.Tensor | None, blend: float, lead: int) -> Any:
    """A clone of a MODEL whose predictions are replaced in known latent frames, less and less towards their end.

    Args:
        model: a MODEL.
        known: ``b c t h w`` in the LATENT's scale; None changes nothing.
        blend: see ``ramp``.
        lead: latent frames before the known ones.
    """
    if known is None:
        return model
    time_dim = time_dim_of(model.model.latent_format)
    count = known.shape[2]
    if time_dim == 0:
        known = known[0].movedim(1, 0)
    shape = [1] * known.ndim
    shape[time_dim] = count
    amount = torch.tensor(ramp(count, blend)).reshape(shape)
    patched = model.clone()

    def replace(args: dict[str, Any]) -> torch.Tensor:
        denoised = args["denoised"]
        held = args["model"].process_latent_in(known).to(denoised)
        part = denoised.narrow(time_dim, lead, count)
        part = held + amount.to(denoised) * (part - held)
        stop = lead + count
        rest = denoised.narrow(time_dim, stop, denoised.shape[time_dim] - stop)
        return torch.cat([denoised.narrow(time_dim, 0, lead), part, rest], dim=time_dim)

    patched.set_model_sampler_post_cfg_function(replace)
    return patched
