"""StreamingT2V's weights at sizes that run many times a second, by the names of its files."""

from __future__ import annotations

import torch

try:  # inside ComfyUI, which loads the pack under a name of its own
    from long_video_pack.glv_core.streamingt2v.shapes import expected_shapes
    from long_video_pack.glv_core.streamingt2v.sizes import ImageSizes, Sizes, TextSizes, VaeSizes
except ImportError:
    from glv_core.streamingt2v.shapes import expected_shapes
    from glv_core.streamingt2v.sizes import ImageSizes, Sizes, TextSizes, VaeSizes

TINY = Sizes(
    widths=(32, 64, 64, 64),
    text_width=32,
    head_width=8,
    encoder_widths=(4, 6, 8, 8),
    text_tokens=7,
    anchor_tokens=3,
    anchor_inner=12,
    text=TextSizes(vocabulary=20, positions=7, width=32, inner=40, layers=2),
    image=ImageSizes(
        width=24, inner=28, layers=2, patch=4, places=17, out=32, text_width=16, text_positions=5, vocabulary=11
    ),
    vae=VaeSizes(widths=(32, 32, 64, 64)),
)
#: What stands before the names of each part, in the published file and in VidXTend's.
PUBLISHED = {
    "base": "base_model.", "branch": "unet.", "encoder": "unet.controlnet_cond_embedding.",
    "mergers": "base_model.cross_attention_merger_", "mixers": "base_model.", "resampler": "resampler.",
    "image_encoder": "image_encoder.model.", "text_encoder": "text_encoder.", "vae": "vae.",
}  # fmt: skip
VIDXTEND = {
    part: prefix.replace("unet.", "controlnet.").replace("base_model.", "unet.") for part, prefix in PUBLISHED.items()
}
ADDED = ("branch", "encoder", "mergers", "mixers", "resampler")


def in_file(part: str, name: str, prefixes: dict[str, str] = PUBLISHED) -> str:
    """The name in a file of a weight of a part."""
    if part == "mergers":
        words = name.split(".")
        words.insert(1 if words[0] == "mid_block" else 2, "temporal_transformer")
        name = ".".join(words)
    return prefixes[part] + name


def tiny_weights(parts=tuple(PUBLISHED), prefixes=PUBLISHED, sizes=TINY, seed=0) -> dict[str, torch.Tensor]:
    """Random weights of some parts, all away from zero and one, by their names in a file."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for part, shapes in expected_shapes(sizes).items():
        for name, shape in shapes.items():
            some = torch.randn(shape, generator=generator)
            spread = 0.1 if len(shape) < 2 else (2 / some[0].numel()) ** 0.5
            if part in parts:
                weights[in_file(part, name, prefixes)] = some * spread + ("norm" in name and name.endswith("weight"))
    return weights
