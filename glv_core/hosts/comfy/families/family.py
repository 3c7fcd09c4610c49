"""A family of models as ComfyUI runs them: all that other rooms have to know of what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ....streams import Stream
from ....timeline import Compression, Place
from ....video_models import VideoModel
from ....windows import View
from .continuation import Continuation, KnownLatents

_KNOWN_LATENTS = KnownLatents()

#: Model conds of every family that do not run along the video: text, and numbers and images for all of it.
SHARED = frozenset({
    "c_crossattn", "crossattn_controlnet", "y", "attention_mask", "num_tokens", "guidance", "clip_fea", "txt_byt5",
    "fps", "frame_rate", "ofs",
})  # fmt: skip
#: Keys of a CONDITIONING with a start image, in latents, and with what of it is to be made.
START_IMAGE = ("concat_latent_image", "concat_mask")


#: Called with a model cond, a view, the shapes that it shows of each stream, and its first elements of each.
ByWindow = Callable[[Any, View, Sequence[Sequence[int]], Sequence[int]], Any]

#: Called with the value of a CONDITIONING's key, where a chunk lies, and its latent frames.
ByChunk = Callable[[Any, Place, int], Any]

#: Called with the entries of all prompts, and with frames and elements of sound that a latent holds.
SoundPerFrame = Callable[[Sequence[Mapping[str, Any]], int, int], float]


@dataclass(frozen=True, eq=False)
class JointRow:
    """A row of joint attention in which the texts of several prompts stand before all that is not text.

    ``conds``: the model conds that tell the network of it. ``texts``: tokens of each prompt's text. ``owners``: the
    prompt of each token of the row's head; -1 for those of none. ``weights``: how much each prompt counts for each
    token behind that, ``[prompt, token]``, or for each latent frame, see ``JointText.side``.
    """

    conds: Mapping[str, Any]
    texts: tuple[int, ...]
    owners: torch.Tensor
    weights: torch.Tensor


#: Called with the model conds of each prompt, how much each counts in the latent frames that the model is shown,
#: ``[prompt, latent frame]``, and in the elements of each stream beside the video.
JoinRow = Callable[[Sequence[Mapping[str, Any]], torch.Tensor, Sequence[torch.Tensor]], JointRow]


@dataclass(frozen=True)
class JointText:
    """How several prompts share a row of joint attention.

    Args:
        join: makes the row of them.
        own: what a prompt says alone: names of model conds, and of what ``told`` holds.
        told: a model cond that holds by name what the network is told of the row.
        side: latent pixels a side of a token, where only those of latent frames stand behind the head.
        by_prompt: the network's layer that makes tokens of the text, and has to see each prompt alone.
        head_is_last: called with the network, whether the head of the row stands behind the rest in it.
    """

    join: JoinRow
    own: frozenset[str]
    told: str = ""
    side: int = 0
    by_prompt: str = ""
    head_is_last: Callable[[Any], bool] = lambda network: False


@dataclass(frozen=True)
class Along:
    """How a condition runs along the video.

    ``axis``: its axis of time. ``scale``: how many of its elements there belong to one latent frame; 0: whatever its
    length is, it lasts as long as the video.
    """

    axis: int = 2
    scale: int = 1

    def indices(self, latent_frames: Sequence[int], length: int, size: int) -> list[int]:
        """The elements that belong to some latent frames of a video of ``length``, of ``size`` in all."""
        if self.scale:
            return [frame * self.scale + part for frame in latent_frames for part in range(self.scale)]
        return [
            element
            for frame in latent_frames
            for element in range(frame * size // length, max((frame + 1) * size // length, frame * size // length + 1))
        ]


@dataclass(frozen=True)
class Family:
    """What differs between families of models; one file of this folder each.

    Classes of ComfyUI's are given by name, since no release has all of them.

    Args:
        model: what is true of it on any host.
        latent_formats: classes in ``comfy.latent_formats``.
        classes: classes in ``comfy.model_base``, where the latents are those of another family as well.
        own_classes: the same, of this pack's own.
        streams: what its latents hold, the first of them video.
        stream_channels: the channels of each, where a latent format names one number for all.
        streams_beside: how the streams beside the video lie on its timeline, from the shapes of all; None where the
            latents hold video alone.
        sound_per_frame: elements of the sound that belong to a frame.
        guided: which latent frames the guides guide that lie behind the video in its latent, from the entries of all
            prompts before they are model conds and the latent's shape; None where there can be none.
        mixes_texts: whether the embeddings of several prompts may be mixed.
        of_stream: model conds that run along a stream beside the video -> its number, from 1.
        by_window: model conds that the family makes anew for a window or a tile of it: called with the cond, what that
            shows, the shapes of that, and where it begins in each stream.
        along: model conds that run along the video -> how. What no table names goes by its shape, or is refused.
        shared: model conds that every window gets, beside text and what else ``SHARED`` names.
        first_frame: model conds of the first latent frame; only a window that begins with it gets them.
        start_frames: model conds that are the first latent frames of the video; a window that begins among them gets
            those that it holds.
        counts: model conds that are the number of latent frames.
        refused: model conds that run along the video in a way that this pack does not slice -> what they are, in words.
            They are sliced where the host does it itself, or where they have a part for every latent frame.
        unbatched: model conds with which the host's network takes one window at a time.
        whole: those of ``unbatched`` that all rows of a window share, and that are not repeated for them.
        frame_text: classes in ``comfy.model_base`` whose latent frames, one after the other, attend to text alone ->
            latent pixels a side of a token.
        joint_text: classes in ``comfy.model_base`` where text stands in one row of attention with all else -> how
            several prompts do.
        frame_text_refused: model conds that put other tokens among theirs -> what they are, in words.
        sound_text: whether sound beside the video attends to prompts of its own too, element by element.
        scaled: model conds of the frames at another scale than the latent's: a tile gets its part of them.
        resized: model conds that show something else, and that the network takes in the size of its input alone: a tile
            gets all of it, smaller.
        undivided: model conds of pictures that a tile gets as they are, whatever their size. What no table names and
            has the size of the latent's frames is cut.
        tile_refused: model conds that are not cut in space -> what they are, in words.
        references: how many reference latents may stand before the video in its latent; its prompts begin behind them.
        chunk_along: keys of a CONDITIONING that run along the video -> how.
        by_chunk: keys of a CONDITIONING that the family makes anew for a chunk.
        chunk_refused: keys of a CONDITIONING that run along the video and cannot be sliced for a chunk -> words.
        start_image: those of ``chunk_along`` that streaming sets itself after the first chunk.
        continuation: how a model, in ``comfy.model_base``, goes on from the end of a video.
        vae_classes: classes of its VAE's network, or of what encodes in it.
        vae_loop: takes apart the VAE's own loop over time (see ``wan_vae``); None where pieces are cross-faded.
    """

    model: VideoModel
    latent_formats: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    own_classes: tuple[str, ...] = ()
    streams: tuple[str, ...] = ("video",)
    stream_channels: tuple[int, ...] = ()
    streams_beside: Callable[[Sequence[Sequence[int]]], Sequence[Stream]] | None = None
    sound_per_frame: SoundPerFrame | None = None
    guided: Callable[[Sequence[Mapping[str, Any]], Sequence[int]], Sequence[int]] | None = None
    mixes_texts: bool = True
    of_stream: Mapping[str, int] = field(default_factory=dict)
    by_window: Mapping[str, ByWindow] = field(default_factory=dict)
    along: Mapping[str, Along] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    first_frame: frozenset[str] = frozenset()
    start_frames: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    unbatched: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    frame_text: Mapping[str, int] = field(default_factory=dict)
    joint_text: Mapping[str, JointText] = field(default_factory=dict)
    frame_text_refused: Mapping[str, str] = field(default_factory=dict)
    sound_text: bool = False
    scaled: frozenset[str] = frozenset()
    resized: frozenset[str] = frozenset()
    undivided: frozenset[str] = frozenset()
    tile_refused: Mapping[str, str] = field(default_factory=dict)
    references: int = 0
    chunk_along: Mapping[str, Along] = field(default_factory=lambda: {key: Along() for key in START_IMAGE})
    by_chunk: Mapping[str, ByChunk] = field(default_factory=dict)
    chunk_refused: Mapping[str, str] = field(default_factory=dict)
    start_image: frozenset[str] = frozenset()
    continuation: Callable[[Any], Continuation] = lambda model: _KNOWN_LATENTS
    vae_classes: tuple[str, ...] = ()
    vae_loop: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.model.name

    @property
    def attends(self) -> bool:
        """Whether latent frames can attend to prompts of their own, in some of its models."""
        return bool(self.frame_text or self.joint_text)

    @property
    def combined(self) -> str:
        """What a nested latent of it holds, in words."""
        return " and ".join(self.streams) if len(self.streams) > 1 else "several streams"

    @property
    def compression(self) -> Compression:
        """How its latent frames hold frames."""
        return self.model.compression
