"""The folder in which a streamed video grows: one file a finished chunk, so that nothing finished is made twice.

A chunk's file is named by what it was made from (its *key*: settings, seed, prompts, model and the latents it goes on
from). Whoever asks for the same chunk again finds it; anything else has another name, and older files stay as they are.
A file appears under its name when it is whole and on the disk, and carries a checksum of its contents.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..partial import written_whole

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
CHUNK_FORMAT = "long-video-chunk/1"
RUN_FORMAT = "long-video-run/1"
_VALUES = 64  # of each weight, for its hash
SPARE_BYTES = 64 * 2**20  #: kept free beyond what the chunks need


class RunFolderError(OSError):
    """A run folder that cannot be used; the message says why and what to do."""


def digest_of(*tensors: torch.Tensor | None) -> str:
    """SHA-256 of the type, shape and values of tensors; of None or nothing, an empty string."""
    digests = [_digest(tensor) for tensor in tensors if tensor is not None]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if len(digests) > 1 else "".join(digests)


def _digest(tensor: torch.Tensor) -> str:
    values = tensor.detach().cpu().contiguous()
    described = hashlib.sha256(f"{values.dtype}{tuple(values.shape)}".encode())
    described.update(values.flatten().view(torch.uint8).numpy().data)
    return described.hexdigest()


def weights_digest(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A hash of a model's named weights, by their names, shapes, types and some values of each.

    Weights that differ only where no value is taken have the same hash; a fine-tuned or quantised model does not.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(weights, key=lambda item: item[0]):
        digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        flat = weight.detach().flatten()
        some = flat[:: max(1, flat.numel() // _VALUES)][: _VALUES + 1]
        digest.update(repr(some.tolist()).encode() if some.is_complex() else some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def chunk_key(cache_inputs: Mapping[str, Any], *known: torch.Tensor | None) -> str:
    """The key of a chunk: SHA-256 over its cache inputs (what JSON can hold) and the latents it goes on from."""
    text = json.dumps({"inputs": cache_inputs, "known": digest_of(*known)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def preview_of(chunk: Path) -> Path:
    """Where the small video of a chunk's file is, or would be."""
    return chunk.with_suffix(".webp")


def check_run_name(what: str, name: str) -> None:
    """Check that a run's folder does not take the place of a file of another run.

    Raises:
        ValueError: it would.
    """
    own = re.compile(rf"{re.escape(MANIFEST)}|.*\.safetensors|.*\.refused(-\d+)?|.*\.partial-[^/]*", re.IGNORECASE)
    taken = [part for part in name.split("/") if own.fullmatch(part)]
    if taken:
        raise ValueError(
            f"{what} is {name!r}, and {taken[0]!r} is what a file in a run's folder is called. Choose another name."
        )


class RunFolder:
    """A run folder.

    Args:
        path: the folder; it is made, with its parents.

    Raises:
        RunFolderError: it cannot be made or written, or holds the manifest of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise RunFolderError(
                f"The run folder {path} cannot be written ({error.strerror or error}). Choose another name for the run "
                "or make the folder writable."
            ) from error
        self._read_manifest()

    def check_space(self, num_chunks: int, bytes_per_chunk: int) -> None:
        """Check that so many more chunks fit on the disk.

        Raises:
            RunFolderError: they do not; says how much is missing.
        """
        needed, free = num_chunks * bytes_per_chunk + SPARE_BYTES, shutil.disk_usage(self.path).free
        if free < needed:
            raise RunFolderError(
                f"The disk of the run folder {self.path} has {free / 2**20:.0f} MB free, and {num_chunks} chunks need "
                f"{needed / 2**20:.0f} MB. Free some space, or choose a shorter length."
            )

    def file_of(self, index: int, key: str) -> Path:
        """Where a chunk is, or would be."""
        return self.path / f"chunk_{index:05}_{key[:16]}.safetensors"

    def load(self, index: int, key: str) -> list[torch.Tensor] | None:
        """The streams of a finished chunk, its video ``b c t h w`` first, or None where there is none that can be used.

        A file that is damaged, or is not what its name says, is reported in the log with the reason, set aside under
        a name that ends in ``.refused``, and counts as not there.
        """
        return _load(self.file_of(index, key), key)

    def save(self, index: int, key: str, *latents: torch.Tensor) -> None:
        """Write the streams of a finished chunk; when this returns it is on the disk.

        Raises:
            RunFolderError: it cannot be written; finished chunks are as they were.
        """
        try:
            _save(self.file_of(index, key), key, *latents)
        except OSError as error:
            raise RunFolderError(
                f"Chunk {index + 1} could not be written to {self.path} ({error.strerror or error}). The chunks before "
                "it are safe: free some space and queue again, and the run goes on here."
            ) from error

    def save_preview(self, index: int, key: str, webp: bytes) -> None:
        """Write the small video of a chunk; a disk that is full is nothing to stop for."""
        path = preview_of(self.file_of(index, key))
        try:
            _write_whole(path, webp)
        except OSError as error:
            log.warning("The preview %s could not be written (%s).", path, error)

    def kept(self, name: str, key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What ``make`` makes, made once for each key: an encoder need not give the same bits twice, and the chunks
        that go on from what it gave are found by those bits.

        Raises:
            RunFolderError: it cannot be written.
        """
        path = self.path / f"{name}_{key[:16]}.safetensors"
        found = _load(path, key)
        latents = make().detach().cpu() if found is None else found[0]
        if found is None:
            try:
                _save(path, key, latents)
            except OSError as error:
                raise RunFolderError(
                    f"{path} could not be written ({error.strerror or error}). Free some space and queue again."
                ) from error
        return latents

    def write_manifest(self, description: Mapping[str, Any], chunks: list[dict[str, Any]]) -> None:
        """Write the manifest: what the run is, and what each finished chunk was made from."""
        text = json.dumps({"format": RUN_FORMAT, "description": description, "chunks": chunks}, indent=1)
        try:
            _write_whole(self.path / MANIFEST, text.encode())
        except OSError as error:
            raise RunFolderError(
                f"The manifest could not be written to {self.path} ({error.strerror or error}). The finished chunks "
                "are safe: free some space and queue again."
            ) from error

    def _read_manifest(self) -> None:
        path = self.path / MANIFEST
        if not path.exists():
            return
        try:
            kind = json.loads(path.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            # Chunks are found without it, and it is written again with the next one.
            _set_aside(path, f"it is damaged ({error})")
            return
        if kind != RUN_FORMAT:
            raise RunFolderError(
                f"{path} is a manifest of the kind {kind!r}; this version of the pack reads {RUN_FORMAT!r}. Choose "
                "another name for the run."
            )


def _load(path: Path, key: str) -> list[torch.Tensor] | None:
    if not path.exists():
        return None
    try:
        return _read_chunk(path, key)
    except (SafetensorError, ValueError, OSError) as error:
        _set_aside(path, error)
        return None


def _set_aside(path: Path, reason: object) -> None:
    """Give what cannot be used, whatever it is, a name at which nobody looks.

    Raises:
        RunFolderError: it cannot be moved.
    """
    names = (path.name + ".refused" + (f"-{number}" if number > 1 else "") for number in itertools.count(1))
    aside = next(each for each in map(path.with_name, names) if not os.path.lexists(each))
    try:
        path.rename(aside)
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be used ({reason}) nor moved out of the way ({error.strerror or error}). Remove it, or "
            "choose another name for the run."
        ) from error
    log.warning("%s is refused and will be made again: %s. It is kept as %s.", path, reason, aside.name)


def _save(path: Path, key: str, *latents: torch.Tensor) -> None:
    streams = [each.detach().cpu().contiguous() for each in latents]
    metadata = {"format": CHUNK_FORMAT, "key": key, "sha256": digest_of(*streams)}
    _write_whole(path, save({_name(number): each for number, each in enumerate(streams)}, metadata))


def _read_chunk(path: Path, key: str) -> list[torch.Tensor]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != CHUNK_FORMAT:
            raise ValueError(f"it is no chunk of this pack (format {metadata.get('format')!r})")
        if metadata.get("key") != key:
            raise ValueError("it was made with other settings than its name says")
        streams = [file.get_tensor(_name(number)) for number in range(len(file.keys()))]
    if digest_of(*streams) != metadata.get("sha256"):
        raise ValueError("its checksum is wrong")
    return streams


def _name(stream: int) -> str:
    return f"latents_{stream}" if stream else "latents"


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is either not there or whole, also after a power cut."""
    with written_whole(path, lasting=True) as partial:
        partial.write_bytes(data)
