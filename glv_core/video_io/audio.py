"""Sound that is read as it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

import av
import numpy as np
import torch

BLOCK = 4096  #: samples
_JITTER = 0.04  # seconds by which time stamps may differ from a count of samples


class Audio(Protocol):
    """Sound of a video.

    ``sample_rate`` in Hz; ``channels``: how many.
    """

    sample_rate: int
    channels: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples from the start of the video, in pieces ``channels samples``, float32 in -1..1."""


class Waveform:
    """Sound in memory.

    Args:
        waveform: ``channels samples``, float in -1..1; a leading axis of one is dropped. More
            than two channels are mixed down to two.
        sample_rate: in Hz.

    Raises:
        ValueError: another shape, several videos in one batch, or a rate that is no rate.
    """

    def __init__(self, waveform: torch.Tensor, sample_rate: int) -> None:
        if waveform.ndim == 3 and waveform.shape[0] == 1:
            waveform = waveform[0]
        if waveform.ndim != 2 or not waveform.shape[0]:
            raise ValueError(f"audio has the shape {list(waveform.shape)}; expected channels x samples.")
        if sample_rate < 1:
            raise ValueError(f"audio has {sample_rate} samples a second; it must be at least 1.")
        self._waveform = _stereo(waveform)
        self.sample_rate = int(sample_rate)
        self.channels = self._waveform.shape[0]

    def blocks(self) -> Iterator[np.ndarray]:
        for part in self._waveform.split(BLOCK, dim=1) if self._waveform.shape[1] else ():
            yield np.ascontiguousarray(part.detach().cpu().float().numpy())


def _stereo(waveform: torch.Tensor) -> torch.Tensor:
    """At most two channels ``channels samples``; 5.1 in its usual order, with speech in the middle channel."""
    if waveform.shape[0] <= 2:
        return waveform
    if waveform.shape[0] == 6:
        left, right, middle, _, back_left, back_right = waveform
        share = 0.5**0.5
        both = torch.stack([left + share * (middle + back_left), right + share * (middle + back_right)])
        return both / (1 + 2 * share)
    return waveform.mean(dim=0, keepdim=True)


class FileAudio:
    """The sound of a file, decoded as it is read.

    Args:
        path: the file.
        start: where the video begins in it, in seconds.
        seconds: how much of it, or None for all.

    Raises:
        OSError: it has no sound.
    """

    def __init__(self, path: str | os.PathLike[str], start: float = 0.0, seconds: float | None = None) -> None:
        self._path = os.fspath(path)
        self._start, self._seconds = start, seconds
        with av.open(self._path) as container:
            if not container.streams.audio:
                raise OSError(f"{path} has no sound.")
            context = container.streams.audio[0].codec_context
            self.sample_rate = context.sample_rate
            self.channels = min(2, context.channels)

    def blocks(self) -> Iterator[np.ndarray]:
        layout = "mono" if self.channels == 1 else "stereo"
        left = None if self._seconds is None else round(self._seconds * self.sample_rate)
        at: int | None = None  # the sample, counted from the start, that comes next
        with av.open(self._path) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("fltp", layout, self.sample_rate)
            if self._start > 0:
                container.seek(int(max(0.0, self._start - 0.1) / stream.time_base), stream=stream)
            for frame in _decoded(container, stream, self._path):
                for part in resampler.resample(frame):
                    samples = part.to_ndarray()
                    time = frame.time
                    due = at if time is None else round((time - self._start) * self.sample_rate)
                    limit = _JITTER * self.sample_rate
                    if at is None:
                        at, limit = min(0, due or 0), 0  # below 0: it begins before the part that is wanted
                    apart = 0 if due is None else due - at
                    # A hole, or sound that begins later than the image, is silence; what comes twice is left out.
                    if apart > limit:
                        for block in _silence(self.channels, apart if left is None else min(apart, left)):
                            yield block
                            left = None if left is None else left - block.shape[1]
                        at = due
                    elif apart < -limit:
                        samples = samples[:, -apart:]
                    if at < 0:
                        skipped = min(-at, samples.shape[1])
                        at, samples = at + skipped, samples[:, skipped:]
                    if left is not None:
                        samples = samples[:, :left]
                        left -= samples.shape[1]
                    if samples.shape[1]:
                        at += samples.shape[1]
                        yield np.ascontiguousarray(samples)
                    if left == 0:
                        return


def _decoded(container: Any, stream: Any, path: str) -> Iterator[Any]:
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError as error:
        raise OSError(f"The sound of {path} is damaged: {error.strerror or error}") from error


def _silence(channels: int, samples: int) -> Iterator[np.ndarray]:
    for start in range(0, samples, BLOCK):
        yield np.zeros((channels, min(BLOCK, samples - start)), dtype=np.float32)


def read_audio(audio: Audio) -> torch.Tensor:
    """All of the sound, ``channels samples``."""
    blocks = list(audio.blocks())
    return torch.from_numpy(np.concatenate(blocks, axis=1)) if blocks else torch.zeros(audio.channels, 0)
