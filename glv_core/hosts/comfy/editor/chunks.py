"""Finished chunks of a streamed run, and small videos of them, for the editor."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ....streaming import MANIFEST, preview_of
from ..streaming.run import run_folder

_CHUNK = re.compile(r"chunk_[0-9]{5}_[0-9a-f]{16}\.safetensors")


def made_chunks(run_name: str) -> list[dict[str, Any]]:
    """The chunks that the manifest of a run names and whose files are there; none where there is no such run."""
    if not run_name.strip():
        return []
    folder = run_folder(run_name)
    try:
        chunks = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["chunks"]
        return [each for each in chunks if (folder / each["file"]).exists() and "index" in each["chunk"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def chunk_preview(run_name: str, file: str) -> Path:
    """The small video of a finished chunk.

    Raises:
        ValueError: there is none, or the name is not that of a chunk.
    """
    if not _CHUNK.fullmatch(file):
        raise ValueError(f"{file!r} is not the name of a chunk.")
    path = preview_of(run_folder(run_name) / file)
    if not path.is_file():
        raise ValueError(f"There is no preview of {file} in the run {run_name!r}.")
    return path
