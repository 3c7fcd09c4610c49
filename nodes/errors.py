"""Errors as users see them: with the name of the node in front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..glv_core.streaming import RunFolderError


@contextmanager
def naming(node_id: str) -> Iterator[None]:
    """Put the node's name in front of a user error, so that its message says where it comes from.

    A ValueError, RunFolderError or OSError keeps its type (of the built-in ones).
    """
    try:
        yield
    except (ValueError, RunFolderError) as error:
        if str(error).startswith(f"{node_id}:"):
            raise
        kind = RunFolderError if isinstance(error, RunFolderError) else ValueError
        raise kind(f"{node_id}: {error}") from error
    except OSError as error:  # a file that is damaged or cannot be read
        kind = next(each for each in type(error).__mro__ if each.__module__ == "builtins")  # others want more arguments
        raise kind(f"{node_id}: {error}") from error
