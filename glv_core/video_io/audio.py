"""Sound that is read as it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
import torch

from .decoder import ANEW, packets
from .notes import tell

BLOCK = 4096  #: samples
#: Channels -> FFmpeg's name of the layout that sound is read and written in; other numbers are mixed to fewer.
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_JITTER = 0.04  # seconds by which time stamps may differ from a count of samples


class Audio(Protocol):
    """Sound of a video.

    ``sample_rate`` in Hz; ``channels``: one of ``LAYOUTS``.
    """

    sample_rate: int
    channels: int

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples from the start of the video, in pieces ``channels samples``, float32 in -1..1."""


class Waveform:
    """Sound in memory.

    Args:
        waveform: ``channels samples``, float in -1..1; a leading axis of one is dropped. Six channels are 5.1 and
            eight 7.1, in their usual order; other numbers above two are mixed to one.
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
        self._waveform = waveform if waveform.shape[0] in LAYOUTS else waveform.mean(dim=0, keepdim=True)
        self.sample_rate = int(sample_rate)
        self.channels = self._waveform.shape[0]

    def blocks(self) -> Iterator[np.ndarray]:
        for part in self._waveform.split(BLOCK, dim=1) if self._waveform.shape[1] else ():
            yield np.ascontiguousarray(part.detach().cpu().float().numpy())


def stereo(waveform: torch.Tensor) -> torch.Tensor:
    """At most two channels ``channels samples``; of 5.1 and 7.1 the middle and the back (ITU-R BS.775) on both sides.

    The bass channel is left out, and no sample becomes louder than 1.
    """
    if waveform.shape[0] <= 2:
        return waveform
    left, right, middle, _, *around = waveform
    share = 0.5**0.5
    sides = [one + share * (middle + sum(around[side::2])) for side, one in enumerate((left, right))]
    return torch.stack(sides) / (1 + share * (1 + len(around) // 2))


class FileAudio:
    """The sound of a file, decoded as it is read.

    Args:
        path: the file.
        start: where the video begins in it, in seconds.
        seconds: how much of it, or None for all.
        in_order: it is read from the beginning, for its time stamps are no places in it: where they begin anew, as of
            recordings one behind the other, the sound goes on.

    Raises:
        OSError: it has no sound.
    """

    def __init__(
        self, path: str | os.PathLike[str], start: float = 0.0, seconds: float | None = None, in_order: bool = False
    ) -> None:
        self._path, self._in_order = os.path.abspath(path), in_order
        self._start, self._seconds = start, seconds
        with av.open(self._path) as container:
            if not container.streams.audio:
                raise OSError(f"{path} has no sound.")
            context = container.streams.audio[0].codec_context
            if context is None:
                raise OSError(f"{path} has sound of a kind that this PyAV cannot decode. Convert it first.")
            self.sample_rate = context.sample_rate
            self.channels = context.channels if context.channels in LAYOUTS else min(2, context.channels)

    def blocks(self) -> Iterator[np.ndarray]:
        left = None if self._seconds is None else round(self._seconds * self.sample_rate)
        at: int | None = None  # the sample, counted from the start, that comes next
        for time, samples, is_behind_damage in self._decoded():
            due = at or 0 if time is None else round((time - self._start) * self.sample_rate)
            limit = _JITTER * self.sample_rate
            if at is None:
                at, limit = min(0, due), 0  # below 0: it begins before the part that is wanted
            apart = due - at
            # A hole, or sound that begins later than the image, is silence; what comes twice is left out.
            if apart > (0 if is_behind_damage else limit):
                hole = max(0, due - max(at, 0))
                for block in _silence(self.channels, hole if left is None else min(hole, left)):
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

    def _decoded(self) -> Iterator[tuple[float | None, np.ndarray, bool]]:
        """Time stamp in seconds, samples ``channels samples``, and whether what is before them could not be decoded."""
        damaged: list[float] = []
        is_behind_damage = False
        offset, end = 0.0, 0.0
        kind: tuple[str, str, int] | None = None
        try:
            with av.open(self._path) as container:
                stream = container.streams.audio[0]
                if self._start > 0 and not self._in_order:
                    container.seek(int(max(0.0, self._start - 0.1) / stream.time_base), stream=stream)
                for packet in packets(container, stream):
                    try:
                        frames = packet.decode()
                    except av.error.EOFError:
                        return
                    except av.error.FFmpegError:
                        damaged.append(float((packet.pts or 0) * stream.time_base))
                        is_behind_damage = True
                        continue
                    for frame in frames:
                        found = (frame.format.name, frame.layout.name, frame.sample_rate)
                        if found != kind:  # a broadcast changes from stereo to 5.1 and back
                            kind = found
                            resampler = av.AudioResampler("flt", LAYOUTS[self.channels], self.sample_rate)
                        time = frame.time
                        if time is not None and self._in_order:
                            offset = max(offset, end - time) if time + offset < end - ANEW else offset
                            time += offset
                            end = time + frame.samples / frame.sample_rate
                        for part in resampler.resample(frame):
                            yield time, part.to_ndarray().reshape(-1, self.channels).T, is_behind_damage
                            is_behind_damage = False
        finally:
            if damaged:
                first, last = (max(0.0, each - self._start) for each in (damaged[0], damaged[-1]))
                tell(
                    f"{os.path.basename(self._path)} has damaged sound: {len(damaged)} of its packets between "
                    f"{first:.2f} and {last:.2f} seconds of what is read are silence."
                )


def _silence(channels: int, samples: int) -> Iterator[np.ndarray]:
    for start in range(0, samples, BLOCK):
        yield np.zeros((channels, min(BLOCK, samples - start)), dtype=np.float32)


def read_audio(audio: Audio, mix: bool = False) -> torch.Tensor:
    """All of the sound, ``channels samples``; with ``mix`` of at most two channels, see ``stereo``."""
    blocks = list(audio.blocks())
    waveform = torch.from_numpy(np.concatenate(blocks, axis=1)) if blocks else torch.zeros(audio.channels, 0)
    return stereo(waveform) if mix else waveform
