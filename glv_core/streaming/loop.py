"""Making a long video chunk by chunk, each from the end of what there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from .drift import correct_drift
from .plan import Chunk
from .run_folder import RunFolder, chunk_key, digest_of

log = logging.getLogger(__name__)

ANCHORS = ("none", "first", "segment", "picture")


class ChunkMaker(Protocol):
    """What a host does for streaming.

    ``numbers_per_latent_frame``: how large a latent frame is, ``b c h w`` together.
    """

    numbers_per_latent_frame: int

    def recipe(self, chunk: Chunk) -> Mapping[str, Any]:
        """Everything that a chunk depends on but the latents it goes on from, in types that JSON can hold."""

    def make(self, chunk: Chunk, known: torch.Tensor | None, anchor: torch.Tensor | None) -> torch.Tensor:
        """Sample a chunk.

        Args:
            chunk: which.
            known: its first ``chunk.overlap`` latent frames ``b c overlap h w``, None where there are none.
            anchor: one latent frame ``b c 1 h w`` to stay close to, or None.

        Returns:
            ``b c chunk.length h w`` on the CPU, the known latent frames first, as they shall be from now on.
        """


@dataclass(frozen=True)
class AnchorChoice:
    """What later chunks stay close to.

    ``kind``: ``first``, the beginning of the video; ``segment``, the beginning of the prompt's segment, which
    ``segment_starts`` gives in latent frames; ``picture``, the latents ``picture`` (``b c t h w``).
    """

    kind: str = "none"
    picture: torch.Tensor | None = None
    segment_starts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.kind not in ANCHORS:
            raise ValueError(f"Unknown anchor {self.kind!r}. Known: {', '.join(ANCHORS)}.")
        if self.kind == "picture" and self.picture is None:
            raise ValueError("The anchor is 'picture', but no picture is connected. Connect one, or choose another.")

    def stretch(self, video: torch.Tensor | None, chunk: Chunk) -> torch.Tensor | None:
        """The latents that a chunk is to stay close to, at most a chunk's length; None where there are none yet."""
        if self.kind == "picture":
            return self.picture
        if self.kind == "none" or video is None:
            return None
        start = (
            max((s for s in self.segment_starts if s <= chunk.first_new), default=0) if self.kind == "segment" else 0
        )
        stop = min(chunk.first_new, start + chunk.length)
        return video[:, :, start:stop] if start < stop else None


OnChunk = Callable[[Chunk, int, bool], None]


def stream(
    maker: ChunkMaker,
    chunks: Sequence[Chunk],
    length: int,
    *,
    given: torch.Tensor | None = None,
    folder: RunFolder | None = None,
    anchor: AnchorChoice = AnchorChoice(),
    drift_correction: float = 0.0,
    settings: Mapping[str, Any] | None = None,
    on_chunk: OnChunk | None = None,
) -> torch.Tensor:
    """Make a video chunk by chunk.

    Args:
        maker: samples a chunk.
        chunks: from ``plan_chunks``.
        length: latent frames of the finished video.
        given: what there is already, ``b c t h w``.
        folder: where finished chunks are kept; those that it has are not made again.
        anchor: what later chunks stay close to.
        drift_correction: how far the statistics of later chunks are drawn to those of the anchor, 0 ... 1; without an
            anchor, to those of the video's first chunk.
        settings: described in the folder's manifest.
        on_chunk: called as ``on_chunk(chunk, number of chunks, whether it was found)`` before each chunk is made and
            when one was found.

    Returns:
        ``b c length h w`` on the CPU.

    Raises:
        ValueError: the maker returned another shape.
        RunFolderError: there is too little space, or a chunk cannot be written.
    """
    video: torch.Tensor | None = None
    if given is not None:
        video = _longer(given.cpu(), length)
    # An anchor also steers drift; without one, the beginning of the video does.
    reference = anchor if anchor.kind != "none" else AnchorChoice("first")
    finished: list[dict[str, Any]] = []
    made = False
    for chunk in chunks:
        known = video[:, :, chunk.start : chunk.first_new].clone() if video is not None and chunk.overlap else None
        close_to = anchor.stretch(video, chunk)
        one = None if close_to is None else close_to[:, :, :1].clone()
        steer = reference.stretch(video, chunk) if drift_correction else None
        recipe = {
            **maker.recipe(chunk),
            "chunk": asdict(chunk),
            "anchor": digest_of(one),
            "drift": [drift_correction, digest_of(steer)] if steer is not None else None,
        }
        key = chunk_key(recipe, known)
        latents = folder.load(chunk.index, key) if folder is not None else None
        found = latents is not None
        if on_chunk is not None:
            on_chunk(chunk, len(chunks), found)
        if latents is None:
            if folder is not None and not made:
                folder.check_space(len(chunks) - chunk.index, 4 * maker.numbers_per_latent_frame * chunk.length)
            made = True
            latents = maker.make(chunk, known, one)
            if latents.shape[2] != chunk.length:
                raise ValueError(f"Chunk {chunk.index + 1} has {latents.shape[2]} latent frames, not {chunk.length}.")
            if steer is not None:
                latents = correct_drift(latents, chunk.overlap, steer, drift_correction)
            latents = latents.cpu()
            if folder is not None:
                folder.save(chunk.index, key, latents)
        if folder is not None:
            finished.append({**recipe, "key": key, "file": folder.file_of(chunk.index, key).name})
            if not found or chunk is chunks[-1]:
                folder.write_manifest(settings or {}, finished)
        if video is None:
            video = latents.new_zeros((*latents.shape[:2], length, *latents.shape[3:]))
        stop = min(chunk.stop, length)
        video[:, :, chunk.start : stop] = latents[:, :, : stop - chunk.start]
    if video is None:
        raise ValueError("There is nothing to make: no chunk and no given video.")
    return video


def _longer(given: torch.Tensor, length: int) -> torch.Tensor:
    video = given.new_zeros((*given.shape[:2], length, *given.shape[3:]))
    kept = min(length, given.shape[2])
    video[:, :, :kept] = given[:, :, :kept]
    return video
