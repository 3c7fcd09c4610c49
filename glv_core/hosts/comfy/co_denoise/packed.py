"""Latents as ComfyUI's samplers hold them: one tensor, or several streams packed into one row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ....fusion import select_window
from ....noise import NoiseSettings, long_noise
from ....streams import Stream
from ....windows import View, Window
from ..families import Family


@dataclass(frozen=True)
class PackedLatent:
    """The streams of a long latent: how they are packed, and what belongs to a window.

    A latent of video alone is not packed. Several streams lie one after the other in ``b 1 n``.

    Args:
        shapes: of the streams, the video's first.
        streams: how the others lie on its timeline.
        time_dim: the video's axis of time.
        guided: for each guide that lies behind the video, in its stream, the latent frame that it guides.
    """

    shapes: tuple[tuple[int, ...], ...]
    streams: tuple[Stream, ...]
    time_dim: int
    guided: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, family: Family, shapes: Sequence[Sequence[int]], time_dim: int, guided: Sequence[int] = ()
    ) -> PackedLatent:
        """A latent of a family's model.

        Raises:
            ValueError: the family's latents do not hold so many streams.
        """
        if len(shapes) == 1:
            return cls((tuple(shapes[0]),), (), time_dim, tuple(guided))
        if family.streams_beside is None or len(shapes) != len(family.streams):
            raise ValueError(
                f"The latent combines {len(shapes)} streams, which co-denoising does not know of {family.name}. Use a "
                "latent of video alone."
            )
        video = _with_length(shapes[0], time_dim, shapes[0][time_dim] - len(guided))
        streams = family.streams_beside([video, *shapes[1:]])
        return cls(tuple(tuple(shape) for shape in shapes), tuple(streams), time_dim, tuple(guided))

    @property
    def several(self) -> bool:
        """Whether there is more than video."""
        return len(self.shapes) > 1

    @property
    def length(self) -> int:
        """Latent frames of the video, without guides."""
        return self.shapes[0][self.time_dim] - len(self.guided)

    def with_guides(self, view: View) -> View:
        """A view with the guides of its latent frames, and those that stand before the video."""
        if not self.guided:
            return view
        shown = [number for number, index in enumerate(self.guided) if index < 0 or index in view.video]
        guided = tuple(self.guided[number] for number in shown)
        return replace(view, guides=tuple(shown), guided=guided, first_guide=self.length)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape is such a latent, or some of its rows."""
        if not self.several:
            return len(shape) == len(self.shapes[0]) and shape[self.time_dim] == self.shapes[0][self.time_dim]
        return len(shape) == 3 and shape[-1] == sum(math.prod(each[1:]) for each in self.shapes)

    def split(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The streams of a tensor, views of it."""
        return _split(x, self.shapes) if self.several else [x]

    def join(self, streams: Sequence[torch.Tensor]) -> torch.Tensor:
        """The tensor of streams."""
        if not self.several:
            return streams[0]
        return torch.cat([stream.reshape(stream.shape[0], 1, -1) for stream in streams], dim=-1)

    def shapes_of(self, view: View) -> list[torch.Size]:
        """The shapes of what a window shows of the streams."""
        video = _with_length(self.shapes[0], self.time_dim, view.length)
        shown = [torch.Size(video if view.tile is None else (*video[:-2], view.tile.height, view.tile.width))]
        for shape, stream in zip(self.shapes[1:], self.streams, strict=True):
            shown.append(torch.Size(_with_length(shape, stream.time_dim, stream.part(view).length)))
        return shown

    def packed_shape_of(self, view: View) -> list[int]:
        """The shape of the tensor that a window shows."""
        shapes = self.shapes_of(view)
        return [shapes[0][0], 1, sum(math.prod(each[1:]) for each in shapes)] if self.several else list(shapes[0])

    def part(self, x: torch.Tensor, view: View) -> torch.Tensor:
        """What a window shows of a tensor, as a tensor of the same kind."""
        video, *beside = self.split(x)
        shown = [select_window(video if view.tile is None else view.tile.of(video), view, self.time_dim)]
        for stream, tensor in zip(self.streams, beside, strict=True):
            shown.append(select_window(tensor, stream.part(view), stream.time_dim))
        return self.join(shown)

    def videos(self, xs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Streams without the guides."""
        return [xs[0].narrow(self.time_dim, 0, self.length), *xs[1:]]

    def guides_of(self, part: torch.Tensor, view: View) -> torch.Tensor:
        """The guides of a part."""
        video = _split(part, self.shapes_of(view))[0] if self.several else part
        return video.narrow(self.time_dim, view.length - len(view.guides), len(view.guides))

    def of_window(self, part: torch.Tensor, view: View) -> list[torch.Tensor]:
        """The streams of a part, without what is shown in front of the window and behind it."""
        video, *beside = _split(part, self.shapes_of(view)) if self.several else [part]
        streams = [video.narrow(self.time_dim, view.lead, view.window.length)]
        for stream, tensor in zip(self.streams, beside, strict=True):
            lead = stream.lead(view)
            streams.append(tensor.narrow(stream.time_dim, lead, tensor.shape[stream.time_dim] - lead))
        return streams

    def beside(self, weights: torch.Tensor, view: View) -> list[torch.Tensor]:
        """Weights of a view's latent frames, ``... [latent frame]``, at the elements of the other streams' parts."""
        video = weights[..., : len(view.video)]
        return [
            stream.in_part(view if view.lead else view.window, video, stream.part(view), not view.lead)
            for stream in self.streams
        ]

    def mask(self, weights: torch.Tensor, view: View) -> torch.Tensor:
        """Weights of a view's latent frames as ComfyUI multiplies a part with them, ``1 n``, of several streams."""
        shapes = self.shapes_of(view)
        rows = [weights.reshape(_with_length([1] * (len(shapes[0]) - 1), self.time_dim - 1, -1)).expand(shapes[0][1:])]
        for shape, stream, values in zip(shapes[1:], self.streams, self.beside(weights, view), strict=True):
            rows.append(values.reshape(_with_length([1] * (len(shape) - 1), stream.time_dim - 1, -1)).expand(shape[1:]))
        return torch.cat([row.reshape(1, -1) for row in rows], dim=-1)

    def noise(self, likes: Sequence[torch.Tensor], seed: int, settings: NoiseSettings) -> list[torch.Tensor]:
        """Noise of the streams' shapes; a stream's windows are as long as the video's, and its seed is another."""
        made = [long_noise(likes[0], seed, settings, self.time_dim)]
        for number, (like, stream) in enumerate(zip(likes[1:], self.streams, strict=True), start=1):
            window = stream.part(Window(0, min(settings.window, self.length))).length
            overlap = min(round(settings.overlap * window / settings.window), window - 1)
            own = NoiseSettings(settings.kind, window, overlap, settings.shared)
            made.append(long_noise(like, (seed + number) % 2**63, own, stream.time_dim))
        return made


def _split(x: torch.Tensor, shapes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    sizes = [math.prod(shape[1:]) for shape in shapes]
    parts = x.split(sizes, dim=-1)
    return [part.reshape(x.shape[0], *shape[1:]) for part, shape in zip(parts, shapes, strict=True)]


def _with_length(shape: Sequence[int], axis: int, length: int) -> list[int]:
    return [*shape[:axis], length, *shape[axis + 1 :]]
