"""Large results whose memory is a file in ComfyUI's temp folder, so that a long video does not fill host memory."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import folder_paths
import torch

MAPPED_FROM = 256 * 2**20  #: bytes; smaller results lie in ordinary memory
SPARE = 2**30  #: bytes that stay free on the disk


def memory_mapped_zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor of zeros to be filled and handed to other nodes.

    From ``MAPPED_FROM`` bytes on its memory is a file that the system reads and writes back as needed: the tensor, its
    slices and views behave as ever, and the file is gone with the last of them.

    Raises:
        ValueError: the disk of the temp folder has too little room.
    """
    shape = tuple(shape)
    size = math.prod(shape) * dtype.itemsize
    if size < MAPPED_FROM:
        return torch.zeros(shape, dtype=dtype)
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise ValueError(
            f"The result needs {size / 1e9:.1f} GB, and the disk of ComfyUI's temp folder {folder} has "
            f"{free / 1e9:.1f} GB left. Free some, start ComfyUI with --temp-directory on another disk, or use fewer "
            "or smaller frames."
        )
    handle, name = tempfile.mkstemp(prefix="frames_", suffix=".map", dir=folder)
    try:
        _reserve(handle, size, folder)
        memory = mmap.mmap(handle, size)
    except BaseException:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
        raise
    os.close(handle)
    if os.name == "posix":
        os.unlink(name)  # the mapping keeps it alive
    else:
        weakref.finalize(memory, _remove, name)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def _reserve(handle: int, size: int, folder: Path) -> None:
    """Give the file its blocks now: a disk that is full later would end the process."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
        else:
            os.truncate(handle, size)
    except OSError as error:
        raise ValueError(
            f"The result needs a file of {size / 1e9:.1f} GB in ComfyUI's temp folder {folder}, which cannot be made: "
            f"{error}. Free some space, or start ComfyUI with --temp-directory on another disk."
        ) from error


def _remove(name: str) -> None:
    with contextlib.suppress(OSError):  # ComfyUI empties the folder when it starts
        os.unlink(name)
