"""Where tunings lie: their files among ComfyUI's LoRAs, and the states of those that go on beside its output."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import folder_paths

from ....names import check_names
from ....tuning import NotTunedError, read_tuned_header

KIND = "loras"
STATES = "tuning"  #: the folder of states, in ComfyUI's output folder
_KEY_DIGITS = 8


def check_name(name: str) -> None:
    """Check the name of a tuning.

    Raises:
        ValueError: it is empty, leads out of the folder, or some system cannot hold it.
    """
    path = Path(_with_slashes(name))
    if not name.strip() or "\0" in name or path.is_absolute() or ".." in path.parts or name.endswith(("/", "\\")):
        raise ValueError(f"name is {name!r}; it must be a name or a path inside output/{KIND}, without '..'.")
    check_names("name", _with_slashes(name))


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def files_of(name: str, key: str, steps: int) -> tuple[Path, Path]:
    """The file of a tuning and that of its state, from its name, the key of its settings and its steps.

    Settings have a file each, so no tuning is written over another. Steps share a state: more of them go on from it.
    """
    output = Path(folder_paths.get_output_directory())
    stem = f"{_with_slashes(name)}_{key[:_KEY_DIGITS]}"
    return output / KIND / f"{stem}_{steps}.safetensors", output / STATES / f"{stem}.safetensors"


def name_of(path: Path) -> str:
    """The name of a file of a tuning among the LoRAs, with slashes."""
    return path.relative_to(Path(folder_paths.get_output_directory()) / KIND).as_posix()


def list_tuned() -> list[str]:
    """The names of all LoRAs, those of tunings first, the newest of them at the top."""
    names = folder_paths.get_filename_list(KIND)
    ages = {name: age for name in names if (age := _age(name)) is not None}
    return [*sorted(ages, key=lambda name: -ages[name]), *(name for name in names if name not in ages)]


def find_tuned(name: str) -> Path:
    """The file of a name of ``list_tuned``.

    Raises:
        ValueError: there is none.
    """
    path = folder_paths.get_full_path(KIND, name)
    if path is None:
        raise ValueError(
            f"file is {name!r}, which is not among the LoRAs. Tune on Video writes to output/{KIND}; refresh the page "
            "and choose a file."
        )
    return Path(path)


def _age(name: str) -> float | None:
    """When the file of a tuning was written; None of other files."""
    path = folder_paths.get_full_path(KIND, name)
    try:
        written = os.path.getmtime(path) if path is not None else 0.0
    except OSError:
        return None
    return written if path is not None and _is_tuned(path, written) else None


@functools.lru_cache(maxsize=4096)
def _is_tuned(path: str, written: float) -> bool:
    try:
        read_tuned_header(Path(path))
    except NotTunedError:
        return False
    return True
