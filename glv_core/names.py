"""Names of files and folders that every system can hold, so that a workflow made on one runs on another."""

from __future__ import annotations

import re

LONGEST = 200  #: characters of one name: file systems hold 255 bytes, and what is in a folder adds to its files' names

_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
#: Names that Windows keeps for devices, with any ending.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in "123456789¹²³")})


def check_names(what: str, path: str) -> None:
    """Check the names of a relative path with forward slashes.

    Args:
        what: the input that it comes from.
        path: as it was written.

    Raises:
        ValueError: some system cannot hold one of the names; says which and a path that all can.
    """
    parts = path.split("/")
    safe = [part if part in ("", ".", "..") else _safe(part) for part in parts]
    if safe != parts:
        wrong = next(part for part, other in zip(parts, safe, strict=True) if part != other)
        shown = wrong if len(wrong) <= 60 else f"{wrong[:59]}… ({len(wrong)} characters)"
        raise ValueError(
            f"{what} is {path if len(path) <= 60 else path[:59] + '…'!r}, and not every system can hold the name "
            f"{shown!r}. Use {'/'.join(safe)!r}."
        )


def _safe(name: str) -> str:
    name = _FORBIDDEN.sub("_", name).strip(" ").rstrip(". ")
    name = name.encode("utf-8", "replace").decode()[:LONGEST].rstrip(". ")
    while len(name.encode()) > LONGEST:
        name = name[:-1]
    if name.split(".")[0].rstrip(" ").lower() in _DEVICES:
        name = f"_{name}"
    return name or "_"
