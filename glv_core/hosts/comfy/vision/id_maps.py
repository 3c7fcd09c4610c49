"""Id maps of a clip: all regions of every frame, painted by number."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch

from ....perception.id_map import id_map, painting_order
from ...transformers.sam import SamSegmenter
from ..video.frame_source import FrameSource
from ..video.memory_mapped import memory_mapped_zeros

BATCH = 4  #: frames that are read at a time


def make_id_maps(
    source: FrameSource, sam: SamSegmenter, points_per_side: int, quality: float, stability: float, unit: bool
) -> torch.Tensor:
    """The id map of every frame, ``t h w 3``: in 0..1 with ``unit``, else the numbers themselves.

    Args:
        source: the frames.
        sam: finds the regions; ``points_per_side``, ``quality`` and ``stability``: see its ``regions``.
    """
    maps = memory_mapped_zeros((source.num_frames, source.height, source.width, 3))
    points = points_per_side**2
    bar = comfy.utils.ProgressBar(source.num_frames * points)
    done = 0

    def on_prompts(finished: int, _: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done * points + finished)

    for batch in source.batches(BATCH):
        for frame in batch:
            regions = sam.regions(frame, points_per_side, quality, stability, on_prompts)
            masks = regions.masks(painting_order(regions.areas))
            maps[done] = id_map(masks, source.height, source.width) / (255 if unit else 1)
            done += 1
    return maps
