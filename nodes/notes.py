"""What is to be told about files, in the node that reads or writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..glv_core.hosts.comfy.co_denoise.progress import send_text
from ..glv_core.video_io import listening


def told(text: str) -> dict[str, tuple[str]] | None:
    """Show a text in the running node; what a node returns as ``ui`` for it, None for an empty one."""
    if not text:
        return None
    send_text(text)
    return {"text": (text,)}


@contextmanager
def notes_in_node() -> Iterator[None]:
    """Show in the running node what is told of files meanwhile; it is in the log as well."""
    with listening() as notes:
        yield
    if notes:
        send_text("\n".join(notes))
