"""Memory of conditionings and composites of long videos. Runs inside ComfyUI."""

import ctypes

import streaming
import torch
from video_files import execute, load, memory
from vision import anonymous_memory


def memory_of_vace(path: str) -> dict:
    """Most memory that was held while a file with a mask for every frame was encoded.

    Taken at every piece of frames, when what the allocator keeps for itself is given back: its peaks are noise.
    """
    from long_video_pack.glv_core.hosts.comfy.conditioning import vace
    from long_video_pack.nodes.long_vace_conditioning import LongVaceConditioning

    held, pieces = [], vace.pieces

    def watched(*arguments, **options):
        for piece in pieces(*arguments, **options):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            held.append(anonymous_memory())
            yield piece

    video, length, _, width, height = load(path)
    masks = torch.zeros(1, height, width)
    masks[:, 32:64, 32:64] = 1
    vace.pieces = watched
    try:
        made = execute(
            LongVaceConditioning, positive=[[torch.zeros(1, 1, 1), {}]], negative=[], vae=streaming.wan_vae(),
            width=width, height=height, control_video=video, control_masks=masks.expand(length, -1, -1),
        ).args  # fmt: skip
    finally:
        vace.pieces = pieces
    values = made[0][0][1]
    return {
        "memory": max(held),
        "pieces": len(held),
        "shapes": [list(values[key][0].shape) for key in ("vace_frames", "vace_mask")],
    }


def memory_of_composite(path: str) -> dict:
    """Most memory so far, after a file was edited with another and saved."""
    from long_video_pack.nodes.composite_edit import CompositeEdit
    from long_video_pack.nodes.save_long_video import SaveLongVideo

    video, length, _, width, height = load(path)
    edited, *_ = load(path)
    mask = torch.zeros(1, height, width)
    mask[:, 32:64, 32:64] = 1
    made = execute(CompositeEdit, original=video, edited=edited, mask=mask, feather=4).args[0]
    saved = execute(SaveLongVideo, video=made, filename_prefix="composite", crf=40).args[0]
    return {"memory": memory(), "frames": saved.get_frame_count(), "length": length}
