"""Progress bars of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Lines:
    """A bar for a file or a pipe: a line for each tenth that is done, in place of one that is written over itself."""

    def __init__(self, total: int, unit: str, desc: str | None = None) -> None:
        self.total, self.unit, self.what, self.n = total, unit, f"{desc}: " if desc else "", 0
        self._more, self._told = "", 0

    def set_postfix_str(self, more: str) -> None:
        self._more = f", {more}"
        self.refresh()

    def update(self, count: int) -> None:
        self.n += count
        self.refresh()

    def refresh(self) -> None:
        tenths = 10 * self.n // max(1, self.total)
        if tenths > self._told:
            self._told = tenths
            print(f"{self.what}{self.n}/{self.total} {self.unit}s{self._more}", file=sys.stderr, flush=True)


@contextmanager
def _bar(total: int, unit: str, desc: str | None = None) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield _Lines(total, unit, desc)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, desc=desc) as bar:
        yield bar


@contextmanager
def progress_bar(steps: int) -> Iterator[Any]:
    """A bar of sampling steps that also counts the windows denoised; yields what to call after each forward pass."""
    windows = 0
    with _bar(steps, "step") as bar:

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
    with _bar(chunks * steps, "step") as bar:

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
    with _bar(frames, "frame", what) as bar:

        def show(done: int) -> None:
            bar.update(min(done, frames) - bar.n)

        yield show
        show(frames)


@contextmanager
def loss_bar(steps: int) -> Iterator[Any]:
    """A bar of training steps with their loss; yields what to call with all losses so far."""
    with _bar(steps, "step") as bar:

        def show(losses: list[float]) -> None:
            if losses:
                recent = losses[-20:]
                bar.set_postfix_str(f"loss {sum(recent) / len(recent):.4f}")
            bar.update(len(losses) - bar.n)

        yield show
