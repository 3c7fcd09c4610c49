"""Progress bars of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(steps: int) -> Iterator[Any]:
    """A bar of sampling steps that also counts the windows denoised; yields what to call after each forward pass."""
    from tqdm import tqdm

    windows = 0
    with tqdm(total=steps, unit="step") as bar:

        def show(progress: Any) -> None:
            nonlocal windows
            if progress.passes_done == progress.num_passes:
                windows += progress.num_windows
            bar.total, bar.n = progress.num_steps, progress.step
            done = f"{progress.passes_done}/{progress.num_passes} of this step, {windows} in all"
            bar.set_postfix_str(f"windows {done}")

        yield show
        bar.n = bar.total
        bar.refresh()


@contextmanager
def chunk_bar(chunks: int, steps: int) -> Iterator[Any]:
    """A bar of sampling steps over all chunks; yields what to call after each forward pass and for a found chunk."""
    from tqdm import tqdm

    with tqdm(total=chunks * steps, unit="step") as bar:

        def show(chunk: int, progress: Any) -> None:
            done = steps if progress is None else progress.step
            bar.n = chunk * steps + done
            bar.set_postfix_str(f"chunk {chunk + 1}/{chunks}")

        yield show
        bar.n = bar.total
        bar.refresh()


@contextmanager
def frame_bar(frames: int, what: str) -> Iterator[Any]:
    """A bar of frames that pass by; yields what to call with the number of those that are done."""
    from tqdm import tqdm

    with tqdm(total=frames, unit="frame", desc=what) as bar:

        def show(done: int) -> None:
            bar.update(min(done, frames) - bar.n)

        yield show
        show(frames)
