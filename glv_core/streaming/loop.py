"""Making a long video chunk by chunk, each from the end of what there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch

from .clock import Clock, lengths_of
from .drift import correct_drift
from .plan import Chunk
from .run_folder import RunFolder, chunk_key, digest_of

log = logging.getLogger(__name__)

ANCHORS = ("none", "first", "segment", "image", "last_chunk", "past")


class _Sampler(Protocol):
    """What a host does for streaming, whatever its streams.

    ``latent_frame_size``: values of all streams for a latent frame; of the video ``b c h w`` together.
    """

    latent_frame_size: int

    def cache_inputs(self, chunk: Chunk) -> Mapping[str, Any]:
        """Everything that a chunk depends on but the latents it goes on from, in types that JSON can hold."""


class ChunkSampler(_Sampler, Protocol):
    """What a host does for streaming of video."""

    def sample(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """Sample a chunk.

        Args:
            chunk: which.
            known: its first ``chunk.overlap`` latent frames ``b c overlap h w``, None where there are none.
            anchor: one latent frame ``b c 1 h w`` to stay close to, with ``past`` several; or None.

        Returns:
            ``b c chunk.length h w`` on the CPU, the known latent frames first, as they shall be from now on.
        """


class StreamsSampler(_Sampler, Protocol):
    """What a host does for streaming of several streams."""

    def sample(
        self, chunk: Chunk, known: Sequence[torch.Tensor], anchor: torch.Tensor | None
    ) -> Sequence[torch.Tensor]:
        """Sample a chunk.

        Args:
            chunk: which.
            known: what there is of each stream already, the video first, behind its clock's margin; empty where there
                is nothing.
            anchor: of the video, as for ``ChunkSampler``.

        Returns:
            The streams of the chunk on the CPU, without margins, what is known first, as it shall be from now on.
        """


@dataclass
class _VideoAlone:
    """A ``ChunkSampler`` as a ``StreamsSampler``."""

    sampler: ChunkSampler
    latent_frame_size: int

    def cache_inputs(self, chunk: Chunk) -> Mapping[str, Any]:
        return self.sampler.cache_inputs(chunk)

    def sample(self, chunk: Chunk, known: Sequence[torch.Tensor], anchor: torch.Tensor | None) -> list[torch.Tensor]:
        return [self.sampler.sample(chunk, known[0] if chunk.overlap else None, anchor)]


@dataclass(frozen=True)
class AnchorChoice:
    """What later chunks stay close to.

    ``kind``: ``first``, the beginning of the video; ``segment``, the beginning of the prompt's segment, which
    ``segment_starts`` gives in latent frames; ``image``, the latents ``image`` (``b c t h w``); ``last_chunk``, the end
    of the chunk before; ``past``, the beginnings of all chunks before (StreamingT2V's three are first, last_chunk and
    past). ``frame``: which latent frame of the beginning it is for ``first`` and ``segment``, counted from 0; the last
    one where there are fewer.
    """

    kind: str = "none"
    image: torch.Tensor | None = None
    segment_starts: tuple[int, ...] = (0,)
    frame: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ANCHORS:
            raise ValueError(f"Unknown anchor {self.kind!r}. Known: {', '.join(ANCHORS)}.")
        if self.kind == "image" and self.image is None:
            raise ValueError("The anchor is 'image', but no image is connected. Connect one, or choose another.")

    def stretch(self, video: torch.Tensor | None, chunk: Chunk) -> torch.Tensor | None:
        """The latents that a chunk is to stay close to, at most a chunk's length; None where there are none yet."""
        if self.kind == "image":
            return self.image
        if self.kind == "none" or video is None:
            return None
        if self.kind == "last_chunk":
            return video[:, :, max(0, chunk.first_new - 1) : chunk.first_new]
        start = (
            max((s for s in self.segment_starts if s <= chunk.first_new), default=0) if self.kind == "segment" else 0
        )
        stop = min(chunk.first_new, start + chunk.length)
        return video[:, :, start:stop] if start < stop else None

    def frames(self, video: torch.Tensor | None, chunk: Chunk) -> torch.Tensor | None:
        """The latent frames that are a chunk's anchor: one, with ``past`` several; None where there are none yet."""
        stretch = self.stretch(video, chunk)
        if stretch is None or not stretch.shape[2]:
            return None
        if self.kind != "past" or video is None:
            at = min(self.frame, stretch.shape[2] - 1) if self.kind in ("first", "segment") else 0
            return stretch[:, :, at : at + 1].clone()
        step = chunk.length - chunk.overlap
        heard = [
            index for start in range(0, chunk.start, step) for index in range(start, start + max(1, chunk.overlap))
        ]
        return video[:, :, [index for index in heard or [0] if index < chunk.first_new]]


#: Called as ``on_chunk(chunk, whether it was found)`` before each chunk is sampled, and when one was found.
OnChunk = Callable[[Chunk, bool], None]


def stream(
    sampler: ChunkSampler,
    chunks: Sequence[Chunk],
    length: int,
    *,
    given: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Make a video chunk by chunk; ``options`` and errors are those of ``stream_all``.

    Args:
        sampler: samples a chunk.
        chunks: from ``plan_chunks``.
        length: latent frames of the finished video.
        given: what there is already, ``b c t h w``.

    Returns:
        ``b c length h w`` on the CPU.
    """
    alone = _VideoAlone(sampler, sampler.latent_frame_size)
    [video] = stream_all(alone, chunks, length, given=() if given is None else (given,), **options)
    return video


def stream_all(
    sampler: StreamsSampler,
    chunks: Sequence[Chunk],
    length: int,
    *,
    clocks: Sequence[Clock] = (Clock(),),
    given: Sequence[torch.Tensor] = (),
    folder: RunFolder | None = None,
    anchor: AnchorChoice = AnchorChoice(),
    drift_correction: float = 0.0,
    description: Mapping[str, Any] | None = None,
    on_chunk: OnChunk | None = None,
    notes: Callable[[Chunk], Mapping[str, Any]] | None = None,
    preview: Callable[[torch.Tensor], bytes | None] | None = None,
) -> list[torch.Tensor]:
    """Make a video of several streams chunk by chunk.

    Args:
        sampler: samples a chunk.
        chunks: from ``plan_chunks``.
        length: latent frames of the finished video.
        clocks: how each stream lies on the video's latent frames, the video's own first.
        given: what there is already of each stream; empty where there is nothing.
        folder: where finished chunks are kept; those that it has are not sampled again.
        anchor: what later chunks stay close to.
        drift_correction: how far the statistics of later chunks are drawn to those of the anchor, 0 ... 1; without an
            anchor, to those of the video's first chunk.
        description: of the run, in words and numbers, for the folder's manifest.
        on_chunk: see ``OnChunk``.
        notes: what the folder's manifest says of a chunk beside what it was made from.
        preview: a chunk's video ``b c t h w`` as a small WebP for people to look at, or None.

    Returns:
        The streams on the CPU, each as long as ``length`` latent frames.

    Raises:
        ValueError: the sampler returned another shape.
        RunFolderError: there is too little space, or a chunk cannot be written.
    """
    run = _Stream(
        sampler, len(chunks), length, tuple(clocks), folder, anchor, drift_correction, description or {}, notes, preview
    )  # fmt: skip
    if given:
        run.begin(given)
    for chunk in chunks:
        inputs = run.inputs(chunk)
        latents = run.find(chunk, inputs)
        found = latents is not None
        if on_chunk is not None:
            on_chunk(chunk, found)
        if latents is None:
            latents = run.make(chunk, inputs)
        run.keep(chunk, inputs, latents, found)
    if not run.streams:
        raise ValueError("There is nothing to make: no chunk and no given video.")
    return run.streams


@dataclass(frozen=True)
class _ChunkInputs:
    """What a chunk goes on from: ``known`` and ``anchor`` as its sampler takes them, ``reference`` steers its drift.

    ``cache_inputs``: all that it depends on but ``known``. ``key``: a hash of both.
    """

    known: list[torch.Tensor]
    anchor: torch.Tensor | None
    reference: torch.Tensor | None
    cache_inputs: Mapping[str, Any]
    key: str


@dataclass
class _Stream:
    """The video so far, and what has to be known to go on; ``filled``: how many elements of each stream there are."""

    sampler: StreamsSampler
    num_chunks: int
    length: int
    clocks: tuple[Clock, ...]
    folder: RunFolder | None
    anchor: AnchorChoice
    drift_correction: float
    description: Mapping[str, Any]
    notes: Callable[[Chunk], Mapping[str, Any]] | None = None
    preview: Callable[[torch.Tensor], bytes | None] | None = None
    streams: list[torch.Tensor] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)
    finished: list[dict[str, Any]] = field(default_factory=list)
    has_sampled: bool = False

    @property
    def video(self) -> torch.Tensor | None:
        """The latent frames; None where there are none yet."""
        return self.streams[0] if self.streams and self.filled[0] else None

    def begin(self, given: Sequence[torch.Tensor]) -> None:
        """Begin with streams, which are not changed."""
        for clock, stream in zip(self.clocks, given, strict=True):
            length = clock.length(self.length)
            count = min(length, stream.shape[clock.time_dim])
            shape = list(stream.shape)
            shape[clock.time_dim] = length
            whole = stream.new_zeros(shape, device="cpu")
            whole.narrow(clock.time_dim, 0, count).copy_(stream.narrow(clock.time_dim, 0, count))
            self.streams.append(whole)
            self.filled.append(count)

    def inputs(self, chunk: Chunk) -> _ChunkInputs:
        """What a chunk goes on from."""
        lying = zip(self.clocks, self.streams, self.filled, strict=True) if self.streams else ()
        known = [clock.known(stream, filled, chunk) for clock, stream, filled in lying]
        anchor = self.anchor.frames(self.video, chunk)
        # An anchor also steers drift; without one, the beginning of the video does.
        steering = self.anchor if self.anchor.kind != "none" else AnchorChoice("first")
        reference = steering.stretch(self.video, chunk) if self.drift_correction else None
        cache_inputs = {
            **self.sampler.cache_inputs(chunk),
            "chunk": asdict(chunk),
            "anchor": digest_of(anchor),
            "drift": None if reference is None else [self.drift_correction, digest_of(reference)],
        }
        return _ChunkInputs(known, anchor, reference, cache_inputs, chunk_key(cache_inputs, *known))

    def find(self, chunk: Chunk, inputs: _ChunkInputs) -> list[torch.Tensor] | None:
        """The chunk, if it was finished before."""
        return None if self.folder is None else self.folder.load(chunk.index, inputs.key)

    def make(self, chunk: Chunk, inputs: _ChunkInputs) -> list[torch.Tensor]:
        """Sample the chunk and take its drift back."""
        if self.folder is not None and not self.has_sampled:
            size = 4 * self.sampler.latent_frame_size * chunk.length
            self.folder.check_space(self.num_chunks - chunk.index, size)
        self.has_sampled = True
        video, *beside = self.sampler.sample(chunk, inputs.known, inputs.anchor)
        made, wanted = lengths_of([video, *beside], self.clocks), [len(clock.part(chunk)) for clock in self.clocks]
        if made != wanted:
            raise ValueError(f"Chunk {chunk.index + 1} has {_listed(made)} latent frames, not {_listed(wanted)}.")
        if inputs.reference is not None:
            video = correct_drift(video, chunk.overlap, inputs.reference, self.drift_correction)
        return [video.cpu(), *(each.cpu() for each in beside)]

    def keep(self, chunk: Chunk, inputs: _ChunkInputs, latents: Sequence[torch.Tensor], found: bool) -> None:
        """Put the chunk on the disk, and into the video."""
        if self.folder is not None:
            if not found:
                self.folder.save(chunk.index, inputs.key, *latents)
                seen = self.preview(latents[0]) if self.preview else None
                if seen:
                    self.folder.save_preview(chunk.index, inputs.key, seen)
            file = self.folder.file_of(chunk.index, inputs.key).name
            notes = self.notes(chunk) if self.notes else {}
            self.finished.append({**inputs.cache_inputs, **notes, "key": inputs.key, "file": file})
            if not found or chunk.index == self.num_chunks - 1:
                self.folder.write_manifest(self.description, self.finished)
        if not self.streams:
            nothing = zip(self.clocks, latents, strict=True)
            self.begin([each.narrow(clock.time_dim, 0, 0) for clock, each in nothing])
        for clock, stream, made in zip(self.clocks, self.streams, latents, strict=True):
            clock.put(stream, chunk, made)
        ends = [clock.length(chunk.stop) for clock in self.clocks]
        self.filled = [max(each, end) for each, end in zip(self.filled, ends, strict=True)]


def _listed(lengths: Sequence[int]) -> str:
    return " and ".join(str(length) for length in lengths)
