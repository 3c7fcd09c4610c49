"""How a ComfyUI model goes on from the end of a video: each family in the way it was made for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from inspect import signature
from typing import Any

import comfy.model_base
import node_helpers
import torch

from ....streaming import Chunk, held_frames, ramp
from .frame_times import takes_clean_frames
from .latents import time_dim_of

Conditioning = list


@dataclass
class Prepared:
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
class Ingredients:
    """What there is to go on from, in the LATENT's own scale, ``b c t h w``.

    ``empty``: zeros in the shape of the chunk. ``known``: its first latent frames. ``anchor``: one latent frame.
    ``gray``: what the VAE makes of gray frames, in the shape of the chunk, or None without a VAE. ``blend``: the part
    of the known latent frames over which new predictions rise.
    """

    chunk: Chunk
    empty: torch.Tensor
    known: torch.Tensor | None
    anchor: torch.Tensor | None
    gray: torch.Tensor | None
    blend: float


class Continuation(ABC):
    """A way to go on.

    ``description`` is shown to the user. ``uses_anchor``: whether an anchor is a condition. ``uses_gray``: whether it
    wants to know what gray frames are. ``anchor_needs_one_window``: whether an anchor forbids to co-denoise a chunk.
    """

    name: str
    description: str
    uses_anchor = True
    uses_gray = False
    anchor_needs_one_window = False

    @abstractmethod
    def prepare(self, model: Any, positive: Conditioning, negative: Conditioning, given: Ingredients) -> Prepared:
        """The model and the conditions of a chunk; what is given is not changed."""


class KnownLatents(Continuation):
    """For any model: the overlap is held at its latents, and predictions rise over its end.

    The prediction of the clean latent is replaced, so every sampler brings the known latents to its own noise level
    at every step, whatever noise it adds.
    """

    name = "known latents"
    description = "the overlap is held as known latents and blended into the new ones"
    uses_anchor = False

    def prepare(self, model: Any, positive: Conditioning, negative: Conditioning, given: Ingredients) -> Prepared:
        held = hold(model, given.known, given.blend, 0)
        return Prepared(held, positive, negative, given.empty, kept=_kept(given))


class CleanFrames(Continuation):
    """Wan 2.2 5B, LTX, the demo model: the overlap goes in clean, and the network is told so frame by frame."""

    name = "clean frames"
    description = "the overlap goes in as clean latent frames, which this model was trained for"

    def prepare(self, model: Any, positive: Conditioning, negative: Conditioning, given: Ingredients) -> Prepared:
        mask = torch.ones_like(given.empty[:, :1])
        prepared = Prepared(model, positive, negative, given.empty, mask)
        if given.known is not None:
            count = given.known.shape[2]
            prepared.samples = torch.cat([given.known, given.empty[:, :, count:]], dim=2)
            mask[:, :, :count] = 0
            prepared.kept = count
        if given.anchor is not None:
            self._add_anchor(prepared, given)
        return prepared

    def _add_anchor(self, prepared: Prepared, given: Ingredients) -> None:
        prepared.samples = torch.cat([given.anchor, prepared.samples], dim=2)
        prepared.noise_mask = torch.nn.functional.pad(prepared.noise_mask, (0, 0, 0, 0, 1, 0))
        prepared.lead = 1


class CleanFramesAndGuide(CleanFrames):
    """LTX: the same, with the anchor as a guide that stands one chunk in the past."""

    anchor_needs_one_window = True

    def _add_anchor(self, prepared: Prepared, given: Ingredients) -> None:
        from comfy_extras.nodes_lt import LTXVAddGuide

        scales = (8, 32, 32)
        append = LTXVAddGuide.append_keyframe
        # The anchor lasts as long as any latent frame, as newer hosts have to be told.
        lasting = {"causal_fix": False} if "causal_fix" in signature(append).parameters else {}
        prepared.positive, prepared.negative, prepared.samples, prepared.noise_mask = append(
            prepared.positive, prepared.negative, -scales[0] * given.chunk.length, prepared.samples,
            prepared.noise_mask, given.anchor, 1.0, scales, in_channels=given.anchor.shape[1], **lasting,
        )  # fmt: skip
        prepared.trail = 1


class WanImage(Continuation):
    """Wan image-to-video: anchor and overlap stand where the start image stands, as latents (SVI 2.0 Pro does so)."""

    name = "image condition"
    description = "the overlap is the model's start image, as latents, and is held"
    uses_gray = True

    def prepare(self, model: Any, positive: Conditioning, negative: Conditioning, given: Ingredients) -> Prepared:
        fronts = [each for each in (given.anchor, given.known) if each is not None]
        lead = 0 if given.anchor is None else 1
        if not fronts:  # the first chunk: whatever image the conditioning brings
            return Prepared(model, positive, negative, given.empty)
        front = torch.cat(fronts, dim=2)
        nothing = model.model.process_latent_out(torch.zeros_like(given.empty))
        rest = nothing if given.gray is None else given.gray.expand_as(nothing)
        count = front.shape[2]
        samples = torch.nn.functional.pad(given.empty, (0, 0, 0, 0, lead, 0))
        image = torch.cat([front, rest[:, :, count - lead :].to(front)], dim=2)
        mask = torch.ones_like(samples[:, :1])
        mask[:, :, :count] = 0
        values = {"concat_latent_image": image, "concat_mask": mask}
        positive, negative = (
            node_helpers.conditioning_set_values(conditioning, values) for conditioning in (positive, negative)
        )
        held = hold(model, given.known, given.blend, lead)
        return Prepared(held, positive, negative, samples, lead=lead, kept=_kept(given))


class SVDImage(Continuation):
    """Stable Video Diffusion: the first known frame is the start image; the anchor stays in the CLIP embedding."""

    name = "image condition"
    description = "the overlap's first frame is the model's start image, and the overlap is held"
    uses_anchor = False

    def prepare(self, model: Any, positive: Conditioning, negative: Conditioning, given: Ingredients) -> Prepared:
        if given.known is None:
            return Prepared(model, positive, negative, given.empty)
        image = given.known[0, :, :1].movedim(1, 0)
        # The unconditional half sees no image, as the host's own node makes it.
        positive = node_helpers.conditioning_set_values(positive, {"concat_latent_image": image})
        negative = node_helpers.conditioning_set_values(negative, {"concat_latent_image": torch.zeros_like(image)})
        held = hold(model, given.known, given.blend, 0)
        return Prepared(held, positive, negative, given.empty, kept=_kept(given))


def _kept(given: Ingredients) -> int:
    """How many known latent frames are held to the end."""
    return 0 if given.known is None else held_frames(given.known.shape[2], given.blend)


def continuation_of(model: Any) -> Continuation:
    """The way in which a MODEL goes on."""
    base = model.model
    if isinstance(base, comfy.model_base.SVD_img2vid):
        return SVDImage()
    if isinstance(base, comfy.model_base.LTXV):
        return CleanFramesAndGuide()
    if takes_clean_frames(model):
        return CleanFrames()
    if type(base) is comfy.model_base.WAN21 and _image_channels(base) == base.latent_format.latent_channels + 4:
        return WanImage()
    return KnownLatents()


def _image_channels(base: Any) -> int:
    """Channels that a Wan network takes beside the latent: of an image-to-video model, the image's and a mask of 4."""
    return base.diffusion_model.patch_embedding.weight.shape[1] - base.latent_format.latent_channels


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
