"""A family of models as ComfyUI runs them: all that other rooms have to know of what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....timeline import Compression
from ....video_models import VideoModel
from .continuation import Continuation, KnownLatents

_KNOWN_LATENTS = KnownLatents()


@dataclass(frozen=True)
class Family:
    """What differs between families of models; one file of this folder each.

    Classes of ComfyUI's are given by name, since no release has all of them.

    Args:
        model: what is true of it on any host.
        latent_formats: classes in ``comfy.latent_formats``.
        classes: classes in ``comfy.model_base``, where the latents are those of another family as well.
        streams: what its latents hold, the first of them video.
        time_axes: model conds that run along the video elsewhere than in axis 2 -> their axis of time.
        shared: model conds with an axis 2 that is not the time of the video; every window gets them.
        first_frame: model conds of the first latent frame; only a window that begins with it gets them.
        counts: model conds that are the number of latent frames.
        refused: model conds that run along the video in a way that is not sliced yet -> what they are, in words.
        chunk_axes: keys of a CONDITIONING that run along the video, in latents -> their axis of time.
        start_image: those of them that streaming sets itself after the first chunk.
        continuation: how a model, in ``comfy.model_base``, goes on from the end of a video.
        vae_classes: classes of its VAE's network.
        vae_loop: takes apart the VAE's own loop over time (see ``wan_vae``); None where pieces are cross-faded.
    """

    model: VideoModel
    latent_formats: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    streams: tuple[str, ...] = ("video",)
    time_axes: Mapping[str, int] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    first_frame: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    chunk_axes: Mapping[str, int] = field(default_factory=lambda: {"concat_latent_image": 2, "concat_mask": 2})
    start_image: frozenset[str] = frozenset()
    continuation: Callable[[Any], Continuation] = lambda model: _KNOWN_LATENTS
    vae_classes: tuple[str, ...] = ()
    vae_loop: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.model.name

    @property
    def combined(self) -> str:
        """What a nested latent of it holds, in words."""
        return " and ".join(self.streams) if len(self.streams) > 1 else "several streams"

    @property
    def compression(self) -> Compression:
        """How its latent frames hold frames."""
        return self.model.compression
