"""Control images of a video for ``genlong restyle``, a few frames at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def edges(frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Canny edges of frames ``t h w 3`` uint8, as images ``t h w 3`` uint8."""
    from ..perception.controls.canny import canny

    return (_grey(canny(part)) for part in frames)


def scribbles(frames: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Dark parts of frames ``t h w 3`` uint8 as white, as images ``t h w 3`` uint8."""
    from ..perception.controls.edges import darkest, scribble

    return (_grey(scribble(darkest(part))) for part in frames)


def depths(
    frames: Iterable[torch.Tensor],
    num_frames: int,
    model: str,
    device: str,
    on_frames: Callable[[int], None] | None = None,
) -> Iterator[torch.Tensor]:
    """Depth of frames ``t h w 3`` uint8, near bright, as images ``t h w 3`` uint8 with one range for the whole video.

    The network sees every frame once, in pieces of four, before this returns; what it says lies in a temporary file.

    Args:
        frames: in pieces of any length, ``num_frames`` in all.
        num_frames: of the video.
        model: a folder or name, see ``local_model``.
        device: of the network.
        on_frames: called with the number of frames that the network has seen; an exception ends the run.

    Raises:
        ValueError: the model is not there or of another type.
    """
    import numpy as np
    import torch

    from ..hosts.transformers.depth import MODEL_CLASS, MODELS, DepthEstimator
    from ..hosts.transformers.loading import load_local
    from ..perception.controls.depth import depth_map, value_range
    from ..video_io import rechunk

    _, network, processor = load_local(model, dict.fromkeys(MODELS, (MODEL_CLASS, "AutoImageProcessor")), device)
    estimator = DepthEstimator(network, processor)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as what is read from it
    kept, ranges, done = None, [], 0
    for part in rechunk(frames, 4, 4, keep_rest=True):
        with torch.inference_mode():
            depth = estimator.inverse_depth(part.to(device)).float().cpu()
        if kept is None:
            kept = np.memmap(file, np.float32, "w+", shape=(num_frames, *depth.shape[1:]))
        kept[done : done + len(depth)] = depth.numpy()
        ranges.append(value_range(depth))
        done += len(depth)
        if on_frames is not None:
            on_frames(done)
    together = torch.cat(ranges)
    bounds = torch.stack([together[:, 0].amin(), together[:, 1].amax()])

    def images() -> Iterator[torch.Tensor]:
        with file:
            for start in range(0, done, 4):
                yield _grey(depth_map(torch.from_numpy(np.array(kept[start : start + 4])), bounds))

    return images()


def _grey(images: torch.Tensor) -> torch.Tensor:
    return images[..., None].expand(-1, -1, -1, 3)
