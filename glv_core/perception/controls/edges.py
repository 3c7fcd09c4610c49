"""Scribbles and sketches: what a threshold, or the soft edges of a HED network, become."""

from __future__ import annotations

import torch
from torch.nn import functional

from .blur import gaussian_blur

SCRIBBLE_THRESHOLD = 127.0
SKETCH_THRESHOLD = 0.5


def darkest(frames: torch.Tensor) -> torch.Tensor:
    """The smallest of the colours, ``t h w c`` to ``t h w``: what ``scribble`` cuts."""
    return frames.amin(-1)


def scribble(dark: torch.Tensor, threshold: float = SCRIBBLE_THRESHOLD) -> torch.Tensor:
    """White where a photo of a drawing is dark, ``t h w`` uint8: ``darkest`` below ``threshold`` (0..255).

    The rule of ControlNet's scribble demo, min(R, G, B) < 127.
    """
    return (dark < threshold).to(torch.uint8) * 255


def soft_edges(edges: torch.Tensor) -> torch.Tensor:
    """Edges of a network in 0..1 as uint8, cut off as ControlNet's annotators do: bright edges on black."""
    return (edges.float() * 255).clamp_(0, 255).to(torch.uint8)


def fake_scribble(
    edges: torch.Tensor, sigma: float = 3.0, threshold: float = 127.0, cut: float = 4.0
) -> torch.Tensor:  # fmt: skip
    """Soft edges ``t h w`` uint8 as thick white strokes on black, ``t h w`` uint8.

    Blurred by ``sigma`` pixels, thinned to ridges above ``threshold``, blurred again and filled where above ``cut``:
    the steps and numbers of ControlNet's scribble annotator.
    """
    blurred = gaussian_blur(edges.float(), sigma)
    strokes = (_ridges(blurred) & (blurred > threshold)).to(torch.uint8) * 255
    return (gaussian_blur(strokes, sigma) > cut).to(torch.uint8) * 255


def sketch(edges: torch.Tensor, threshold: float = SKETCH_THRESHOLD) -> torch.Tensor:
    """Soft edges ``t h w`` uint8 as the black and white lines of T2I-Adapter's sketch adapter, ``t h w`` uint8.

    That adapter was trained on a soft edge detector's output cut at one half: white lines on black, as wide as the
    detector draws them. ``threshold`` is in 0..1.
    """
    return (edges > threshold * 255).to(torch.uint8) * 255


def _ridges(values: torch.Tensor) -> torch.Tensor:
    """Where a value is the largest of 3 in a row, a column or a diagonal; neighbours outside do not count."""
    framed = functional.pad(values, (1, 1, 1, 1), value=-torch.inf)
    height, width = values.shape[1:]
    ridges = torch.zeros_like(values, dtype=torch.bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        before = framed[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        after = framed[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        ridges |= (values >= before) & (values >= after)
    return ridges
