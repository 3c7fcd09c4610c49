"""What a computer cannot hold is said before work begins."""

from __future__ import annotations

LONGEST_VIDEO = 1_000_000  #: frames; more than half a day at 24 a second
LARGEST_SIDE = 16384  #: pixels of a frame; what H.264 and H.265 hold


def check_memory(what: str, needed: float, remedy: str) -> None:
    """Check that the computer's memory can hold so many bytes; nothing is checked where psutil is missing.

    Args:
        what: that needs them, with its sizes.
        needed: bytes.
        remedy: what to do, a sentence.

    Raises:
        ValueError: it has fewer in all, whether or not others use them now.
    """
    try:
        import psutil
    except ImportError:
        return
    there = psutil.virtual_memory().total + psutil.swap_memory().total
    if needed > there:
        amounts = f"{needed / 2**30:,.1f} GB of memory, and there are {there / 2**30:,.1f}"
        raise ValueError(f"{what} needs {amounts}. {remedy}")
