"""HunyuanVideo 1 and 1.5, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ....video_models import HUNYUAN
from .family import Family, JointRow, JointText

_CONDS = {
    "shared": frozenset({"ref_latent"}),
    "undivided": frozenset({"ref_latent"}),
    "unbatched": frozenset({"ref_latent"}),  # the network fails with several rows of it
    "first_frame": frozenset({"guiding_frame_index"}),
}


def _of_prompts(conds: Sequence[Mapping[str, Any]], weights: torch.Tensor, beside: Sequence[torch.Tensor]) -> JointRow:
    """The row of a window whose prompts stand side by side: the start image, all words to be written, all texts."""
    prompts = torch.arange(len(conds))
    image = conds[0]["clip_fea"].cond.shape[1] if "clip_fea" in conds[0] else 0
    words = [each.get("txt_byt5") for each in conds]
    texts = [each["c_crossattn"].cond.shape[1] for each in conds]
    written = [0 if cond is None else cond.cond.shape[1] for cond in words]
    owners = torch.cat([
        torch.full((image,), -1), *(prompts.repeat_interleave(torch.tensor(counts)) for counts in (written, texts))
    ])  # fmt: skip
    found = [cond for cond in words if cond is not None]
    joined = {"txt_byt5": found[0]._copy_with(torch.cat([cond.cond for cond in found], dim=1))} if found else {}
    return JointRow(joined, tuple(texts), owners, weights)


def _text_is_last(network: Any) -> bool:
    """Whether text stands behind the video in the row of attention, as in older hosts."""
    return getattr(network.double_blocks[0], "flipped_img_txt", False)


#: Its network has no place for "y", a text pooled.
_JOINT_TEXT = JointText(
    _of_prompts, frozenset({"txt_byt5", "y"}), side=1, by_prompt="txt_in", head_is_last=_text_is_last
)  # fmt: skip

FAMILIES = (
    Family(HUNYUAN, latent_formats=("HunyuanVideo", "HunyuanImage21Refiner"), **_CONDS),
    Family(
        HUNYUAN,
        latent_formats=("HunyuanVideo15",),
        joint_text=dict.fromkeys(("HunyuanVideo15", "HunyuanVideo15_SR_Distilled"), _JOINT_TEXT),
        frame_text_refused={
            "attention_mask": "masks of text with this model", "ref_latent": "reference latents with this model",
        },
        vae_classes=("comfy.ldm.hunyuan_video.vae_refiner.Encoder",),
        **_CONDS,
    ),
)  # fmt: skip
