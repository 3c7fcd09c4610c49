"""StreamingSVD's file at sizes that run many times a second: its names, written out by hand, and random weights."""

from __future__ import annotations

import torch

WIDTHS = (4, 6, 8, 8)  #: of the condition encoder
NETWORK, COPY = "model.diffusion_model.", "controlnet."
WAY_DOWN = ("time_embed", "label_emb", "input_blocks", "middle_block")


def randomly(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Random weights of the size that keeps activations alive; norms near one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        some = torch.randn(shape, generator=generator)
        spread = 0.1 if len(shape) < 2 else (1 / some[0].numel()) ** 0.5
        weights[name] = some * spread + (len(shape) == 1 and name.endswith("weight"))
    return weights


def merger_names(place: str, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a merger in the file."""
    inside = f"{NETWORK}cross_attention_merger_{place}.temporal_transformer."
    square, line = (width, width), (width,)
    return {
        inside + "attention.to_q.weight": square, inside + "attention.to_k.weight": square,
        inside + "attention.to_v.weight": square, inside + "attention.to_out.0.weight": square,
        inside + "attention.to_out.0.bias": line, inside + "norm.weight": line, inside + "norm.bias": line,
        inside + "proj_in.weight": square, inside + "proj_in.bias": line,
        inside + "proj_out.weight": square, inside + "proj_out.bias": line,
    }  # fmt: skip


def encoder_names(first_level: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the condition encoder in the file, for ``WIDTHS``."""
    pairs = [(4, 4), (6, 4), (6, 6), (8, 6), (8, 8), (8, 8)]
    names = {"conv_in.weight": (4, 3, 3, 3), "conv_in.bias": (4,)}
    for number, (new, old) in enumerate(pairs):
        names |= {f"blocks.{number}.weight": (new, old, 3, 3), f"blocks.{number}.bias": (new,)}
        names |= {f"norms.{number}.weight": (new,), f"norms.{number}.bias": (new,)}
    names |= {"conv_out.weight": (first_level, 8, 3, 3), "conv_out.bias": (first_level,)}
    return {f"{COPY}controlnet_cond_embedding.{name}": shape for name, shape in names.items()}


def added_weights(base: dict[str, tuple[int, ...]], skips: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """What StreamingSVD adds to a network of these shapes, with these channels in its skip connections."""
    copied = {COPY + name: shape for name, shape in base.items() if name.split(".")[0] in WAY_DOWN}
    mergers: dict[str, tuple[int, ...]] = {}
    for number, width in enumerate(skips):
        mergers |= merger_names(f"input_blocks.{number}", width)
    return {
        **randomly(copied, 11),
        **randomly(encoder_names(skips[0]), 12),
        **randomly(mergers | merger_names("mid_block", skips[-1]), 13),
    }
