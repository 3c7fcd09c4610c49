"""The loop over time of ComfyUI's Wan VAEs, taken apart: a piece at a time, with the bits of the whole.

A Wan VAE keeps the ends of what it has seen in caches, one for each layer that looks back, and is fed in steps. Which
steps differs between VAEs and hosts, and is read off the VAE at hand:

* Wan 2.2's, and Wan 2.1's in older hosts: one latent frame, or four frames, at a time.
* Wan 2.1's in newer hosts: two latent frames, or two frames, at a time; the decoder gives a list, and the encoder holds
  back an odd latent frame until it is told that no more is to come.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from typing import Any

import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import comfy.model_management
import torch

from ..memory import ran_out_of_memory

log = logging.getLogger(__name__)

BLOCK = 128  #: latent frames that are on the device at once, as latents


class WanLoop:
    """The steps of one VAE; see ``wan_loop``."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._model = vae.first_stage_model
        self._patched = isinstance(self._model, comfy.ldm.wan.vae2_2.WanVAE)  # works on 2 x 2 pixels as channels
        self._holds_back = "final" in inspect.signature(self._model.encoder.forward).parameters
        self._latent_step, self._frame_step = (2, 2) if self._holds_back else (1, 4)

    def decode(self, samples: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Decode ``1 c t h w``; yields how many latent frames are done and their frames ``t h w c`` in 0..1."""
        vae = self._vae
        _load(vae, vae.memory_used_decode(samples.shape, vae.vae_dtype))
        # Wan 2.1's keeps no caches for a single latent frame.
        caches = _caches(self._model.decoder) if self._patched or samples.shape[2] > 1 else None
        is_first = True
        for block in _parts(samples, 1 + BLOCK, BLOCK):
            # The host's loop begins with this for the whole latent; part by part it would round in another way.
            latents = _once_more(vae, None, partial(self._unpacked, block))
            for step in _parts(latents, 1 if is_first else self._latent_step, self._latent_step):
                pixels = _once_more(vae, caches, partial(self._decoded, step, caches, is_first))
                is_first = False
                yield step.shape[2], vae.process_output(pixels.to(vae.output_device).float()).movedim(1, -1)[0]

    def _unpacked(self, samples: torch.Tensor) -> torch.Tensor:
        return self._model.conv2(samples.to(device=self._vae.device, dtype=self._vae.vae_dtype))

    def _decoded(self, latent: torch.Tensor, caches: list | None, is_first: bool) -> torch.Tensor:
        first = {"first_chunk": True} if self._patched and is_first else {}
        pixels = self._model.decoder(latent, feat_cache=caches, feat_idx=[0], **first)
        if isinstance(pixels, list):
            pixels = torch.cat(pixels, dim=2)
        return comfy.ldm.wan.vae2_2.unpatchify(pixels, patch_size=2) if self._patched else pixels

    def encode(self, pieces: Iterable[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor | None]]:
        """Encode pieces ``t h w 3`` in 0..1, the first of one frame and the others of four.

        Yields how many frames are read, and the latents ``1 c t h w`` that are ready, or None where there is none yet.
        """
        vae = self._vae
        caches, begun = None, False
        waiting: list[torch.Tensor] = []
        for piece, is_last in _with_last(pieces):
            pixels = vae.vae_encode_crop_pixels(piece).movedim(-1, 0)[None]
            if not begun:
                # The host's estimate for a clip, which is what the caches of its loop come to.
                shape = (*pixels.shape[:2], 81, *pixels.shape[3:])
                _load(vae, vae.memory_used_encode(shape, vae.vae_dtype))
                begun = True
                if self._patched or not is_last:  # Wan 2.1's keeps no caches for a single frame
                    caches = _caches(self._model.encoder)
            steps = vae.process_input(pixels).split(self._frame_step, dim=2)
            for index, step in enumerate(steps):
                is_end = is_last and index == len(steps) - 1
                encoded = _once_more(vae, caches, partial(self._encoded, step, caches, is_end))
                if encoded is not None:
                    waiting.append(encoded)
            latents = None
            if is_last or sum(part.shape[2] for part in waiting) >= BLOCK:
                # The host's loop ends with this for the whole latent.
                latents = _once_more(vae, None, partial(self._packed, waiting)).to(vae.output_device).float()
                waiting = []
            yield len(piece), latents

    def _encoded(self, step: torch.Tensor, caches: list | None, is_end: bool) -> torch.Tensor | None:
        pixels = step.to(self._vae.vae_dtype).to(self._vae.device)
        if self._patched:
            pixels = comfy.ldm.wan.vae2_2.patchify(pixels, patch_size=2)
        end = {"final": is_end} if self._holds_back else {}
        return self._model.encoder(pixels, feat_cache=caches, feat_idx=[0], **end)

    def _packed(self, encoded: list[torch.Tensor]) -> torch.Tensor:
        return self._model.conv1(torch.cat(encoded, dim=2)).chunk(2, dim=1)[0]


def wan_loop(vae: Any) -> WanLoop | None:
    """The loop of a ComfyUI VAE that is one of Wan's; None for others, and where the host has changed it too much."""
    model = vae.first_stage_model
    if not isinstance(model, (comfy.ldm.wan.vae.WanVAE, comfy.ldm.wan.vae2_2.WanVAE)):
        return None
    for part in (model.encoder, model.decoder):
        if not {"feat_cache", "feat_idx"} <= set(inspect.signature(part.forward).parameters):
            log.warning("This ComfyUI's Wan VAE keeps no caches that this pack knows; pieces are cross-faded instead.")
            return None
    return WanLoop(vae)


def _caches(module: torch.nn.Module) -> list[None]:
    """A place for what each layer keeps; a layer keeps at most two things, and no module is without a place."""
    return [None] * (2 * sum(1 for _ in module.modules()))


def _parts(video: torch.Tensor, first: int, then: int) -> Iterator[torch.Tensor]:
    """``b c t h w`` in parts of ``first``, and then of ``then`` latent frames or what is left."""
    yield video[:, :, :first]
    if video.shape[2] > first:
        yield from video[:, :, first:].split(then, dim=2)


def _with_last(pieces: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, bool]]:
    """Each piece, and whether it is the last."""
    pieces = iter(pieces)
    held = next(pieces, None)
    if held is None:
        return
    for piece in chain(pieces, [None]):
        yield held, piece is None
        held = piece


def _once_more(vae: Any, caches: list | None, step: Callable[[], torch.Tensor | None]) -> torch.Tensor | None:
    """The result of a step; where memory runs out, other models are unloaded, and it is tried once more."""
    before = None if caches is None else list(caches)
    try:
        with _on_device(vae):
            return step()
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
    # Outside the handler of the exception, which holds on to the tensors.
    log.warning("The VAE ran out of memory; other models are unloaded.")
    _unload_others(vae)
    if caches is not None:
        caches[:] = before
    with _on_device(vae):
        return step()


def _on_device(vae: Any) -> AbstractContextManager:
    """Makes the VAE's graphics card the current one, on hosts that can put it on another than the first."""
    context = getattr(comfy.model_management, "cuda_device_context", None)
    return nullcontext() if context is None else context(vae.device)


def _load(vae: Any, memory: float) -> None:
    vae.throw_exception_if_invalid()
    comfy.model_management.load_models_gpu([vae.patcher], memory_required=memory, force_full_load=vae.disable_offload)


def _unload_others(vae: Any) -> None:
    loaded = comfy.model_management.current_loaded_models
    mine = [each for each in loaded if each.model is vae.patcher]
    comfy.model_management.free_memory(1e32, vae.device, keep_loaded=mine)
    comfy.model_management.soft_empty_cache()
