"""Names of Wan 2.1's weights: from diffusers' layout to the original one, which ComfyUI's native code reads.

Pure renaming; no tensor changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

# (pattern, replacement) in the order they are tried; the first that matches a whole name counts.
_TRANSFORMER = [
    (r"(vace_)?patch_embedding\.(.*)", r"\1patch_embedding.\2"),
    (r"vace_blocks\.(\d+)\.proj_in\.(.*)", r"vace_blocks.\1.before_proj.\2"),
    (r"vace_blocks\.(\d+)\.proj_out\.(.*)", r"vace_blocks.\1.after_proj.\2"),
    (r"condition_embedder\.text_embedder\.linear_1\.(.*)", r"text_embedding.0.\1"),
    (r"condition_embedder\.text_embedder\.linear_2\.(.*)", r"text_embedding.2.\1"),
    (r"condition_embedder\.time_embedder\.linear_1\.(.*)", r"time_embedding.0.\1"),
    (r"condition_embedder\.time_embedder\.linear_2\.(.*)", r"time_embedding.2.\1"),
    (r"condition_embedder\.time_proj\.(.*)", r"time_projection.1.\1"),
    (r"condition_embedder\.image_embedder\.norm1\.(.*)", r"img_emb.proj.0.\1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.0\.proj\.(.*)", r"img_emb.proj.1.\1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.2\.(.*)", r"img_emb.proj.3.\1"),
    (r"condition_embedder\.image_embedder\.norm2\.(.*)", r"img_emb.proj.4.\1"),
    (r"condition_embedder\.image_embedder\.pos_embed", r"img_emb.emb_pos"),
    (r"scale_shift_table", r"head.modulation"),
    (r"proj_out\.(.*)", r"head.head.\1"),
    (r"(vace_)?blocks\.(\d+)\.scale_shift_table", r"\1blocks.\2.modulation"),
    (r"(vace_)?blocks\.(\d+)\.norm2\.(.*)", r"\1blocks.\2.norm3.\3"),
    (r"(vace_)?blocks\.(\d+)\.ffn\.net\.0\.proj\.(.*)", r"\1blocks.\2.ffn.0.\3"),
    (r"(vace_)?blocks\.(\d+)\.ffn\.net\.2\.(.*)", r"\1blocks.\2.ffn.2.\3"),
    (r"(vace_)?blocks\.(\d+)\.attn1\.to_([qkv])\.(.*)", r"\1blocks.\2.self_attn.\3.\4"),
    (r"(vace_)?blocks\.(\d+)\.attn1\.to_out\.0\.(.*)", r"\1blocks.\2.self_attn.o.\3"),
    (r"(vace_)?blocks\.(\d+)\.attn1\.norm_([qk])\.(.*)", r"\1blocks.\2.self_attn.norm_\3.\4"),
    (r"(vace_)?blocks\.(\d+)\.attn2\.to_([qkv])\.(.*)", r"\1blocks.\2.cross_attn.\3.\4"),
    (r"(vace_)?blocks\.(\d+)\.attn2\.to_out\.0\.(.*)", r"\1blocks.\2.cross_attn.o.\3"),
    (r"(vace_)?blocks\.(\d+)\.attn2\.norm_([qk])\.(.*)", r"\1blocks.\2.cross_attn.norm_\3.\4"),
    (r"(vace_)?blocks\.(\d+)\.attn2\.add_([kv])_proj\.(.*)", r"\1blocks.\2.cross_attn.\3_img.\4"),
    (r"(vace_)?blocks\.(\d+)\.attn2\.norm_added_k\.(.*)", r"\1blocks.\2.cross_attn.norm_k_img.\3"),
]

_RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
_UPSAMPLES_PER_LEVEL = 4  # three residual blocks and, except at the last level, one upsampler

_VAE: list[tuple[str, str | Callable[[re.Match], str]]] = [
    (r"quant_conv\.(.*)", r"conv1.\1"),
    (r"post_quant_conv\.(.*)", r"conv2.\1"),
    (r"(encoder|decoder)\.conv_in\.(.*)", r"\1.conv1.\2"),
    (r"(encoder|decoder)\.norm_out\.(.*)", r"\1.head.0.\2"),
    (r"(encoder|decoder)\.conv_out\.(.*)", r"\1.head.2.\2"),
    (
        r"(encoder|decoder)\.mid_block\.resnets\.([01])\.(.*)",
        lambda m: f"{m[1]}.middle.{int(m[2]) * 2}.{_residual(m[3])}",
    ),
    (r"(encoder|decoder)\.mid_block\.attentions\.0\.(.*)", r"\1.middle.1.\2"),
    (r"encoder\.down_blocks\.(\d+)\.((?:resample|time_conv)\..*)", r"encoder.downsamples.\1.\2"),
    (r"encoder\.down_blocks\.(\d+)\.(.*)", lambda m: f"encoder.downsamples.{m[1]}.{_residual(m[2])}"),
    (
        r"decoder\.up_blocks\.(\d+)\.resnets\.(\d)\.(.*)",
        lambda m: f"decoder.upsamples.{int(m[1]) * _UPSAMPLES_PER_LEVEL + int(m[2])}.{_residual(m[3])}",
    ),
    (
        r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.(.*)",
        lambda m: f"decoder.upsamples.{int(m[1]) * _UPSAMPLES_PER_LEVEL + 3}.{m[2]}",
    ),
]


def _residual(name: str) -> str:
    layer, _, rest = name.partition(".")
    if layer == "conv_shortcut":
        return f"shortcut.{rest}"
    return f"{_RESIDUAL[layer]}.{rest}"


def _rename(weights: Mapping[str, T], table: list, what: str) -> dict[str, T]:
    renamed = {}
    unknown = []
    for name, weight in weights.items():
        for pattern, replacement in table:
            match = re.fullmatch(pattern, name)
            if match:
                renamed[match.expand(replacement) if isinstance(replacement, str) else replacement(match)] = weight
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"The {what} has {len(unknown)} weights that Wan 2.1's does not have, for example {unknown[0]!r}. "
            "It is another architecture."
        )
    return renamed


def transformer_to_original(weights: Mapping[str, T]) -> dict[str, T]:
    """Rename the weights of diffusers' ``WanTransformer3DModel`` (text-to-video and image-to-video) or
    ``WanVACETransformer3DModel``.

    Raises:
        ValueError: a name that this architecture does not have.
    """
    return _rename(weights, _TRANSFORMER, "transformer")


def vae_to_original(weights: Mapping[str, T]) -> dict[str, T]:
    """Rename the weights of diffusers' ``AutoencoderKLWan`` of Wan 2.1.

    Raises:
        ValueError: a name that this architecture does not have (Wan 2.2's VAE has some).
    """
    return _rename(weights, _VAE, "VAE")
