"""What is to be told about a file that was read or written: into the log, and to a node that shows it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)
_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def tell(*notes: str) -> None:
    """Log notes, each a sentence that begins with the name of the file, and hand them to who listens."""
    heard = _heard.get()
    for note in notes:
        if heard is None or note not in heard:
            log.warning(note)
        if heard is not None and note not in heard:
            heard.append(note)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collects what is told while it lasts; each note is logged and kept once."""
    notes: list[str] = []
    token = _heard.set(notes)
    try:
        yield notes
    finally:
        _heard.reset(token)
