"""Files that appear under their names when they are whole, and names that nobody else takes."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_MINUTES = 300  # seconds in which every file that is being written to has grown
DAY = 86_400  # seconds after which a file that nobody wrote to is nobody's


@contextmanager
def reserved(folder: Path, name_of: Callable[[int], str], number: int, is_folder: bool = False) -> Iterator[Path]:
    """The first name that nothing has, counted from a number on, for a file or a folder to be written meanwhile.

    Something empty has the name from now on: of any number of processes, on any number of machines, that ask for the
    same name at once each gets its own. After an error it is removed: a file if it is still empty, a folder with what
    was written into it.

    Raises:
        OSError: the folder cannot be written.
    """
    while True:
        path = folder / name_of(number)
        try:
            path.mkdir() if is_folder else path.open("xb").close()
            break
        except FileExistsError:
            number += 1
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            if is_folder:
                shutil.rmtree(path)
            elif not path.stat().st_size:
                path.unlink()
        raise


@contextmanager
def written_whole(path: Path, lasting: bool = False) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place at the end, or is removed after an error.

    ``lasting``: it is on the disk then, also after a power cut. What processes that were killed left in this folder is
    removed: of this machine's after minutes, of others' after a day.
    """
    remove_left_over(path.parent)
    partial = path.with_name(f".{path.stem}.partial-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    partial.touch()
    try:
        yield partial
        if lasting:
            _to_disk(partial, os.O_RDWR)
        partial.replace(path)
        if lasting and os.name == "posix":
            with suppress(OSError):  # some network drives cannot
                _to_disk(path.parent, os.O_RDONLY)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _to_disk(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_left_over(folder: Path) -> None:
    """Remove the unfinished files of processes that are no more, and the empty ones that kept their names."""
    for path in folder.glob("*.partial-*"):  # those without a dot in front are of earlier versions
        stem, _, rest = path.name.removeprefix(".").partition(".partial-")
        with suppress(OSError, ValueError):
            if _is_left_over(path, Path(rest).stem.split("-")):
                path.unlink()
                kept = path.with_name(stem + path.suffix)
                if not kept.stat().st_size:
                    kept.unlink()


def _is_left_over(path: Path, owner: list[str]) -> bool:
    age = time.time() - path.stat().st_mtime
    # Containers that share a name and a folder do not see each other's processes; whoever writes now is alive.
    if len(owner) == 3 and owner[0] == _HOST and os.name == "posix" and age > _MINUTES:
        try:
            os.kill(int(owner[1]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    return age > DAY
