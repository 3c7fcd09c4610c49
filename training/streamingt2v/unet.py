"""The UNet: ModelScope's text-to-video layout, narrow, and the same sums in an order that a CPU does faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet3DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from .text import TEXT_WIDTH
from .train_vae import LATENT_CHANNELS
from .world import CLIP_FRAMES

#: Multiples of 32, for the norms of the conditional attention have 32 groups.
CHANNELS = (32, 64, 32, 32)
HEAD_DIM = 8  # `transformer_in` is 8 heads wide whatever its channels are, so this is also what it costs
GROUPS = 32
LATENT_SIZE = 8


def new_unet(channels: tuple[int, ...] = CHANNELS) -> UNet3DConditionModel:
    """An untrained UNet with the layout of text-to-video-ms-1.7b."""
    return UNet3DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        block_out_channels=channels,
        layers_per_block=2,
        norm_num_groups=GROUPS,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEAD_DIM,
    )


def new_scheduler() -> DDIMScheduler:
    """The DDIM scheduler of text-to-video-ms-1.7b."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@torch.no_grad()
def initialise(unet: UNet3DConditionModel) -> None:
    """Every residual branch, and the prediction, start at zero, as in the models that this one is shaped after."""
    ends: list[nn.Module] = [unet.conv_out]
    for module in unet.modules():
        if hasattr(module, "transformer_blocks"):
            ends.append(module.proj_out)
        elif hasattr(module, "time_emb_proj"):
            ends.append(module.conv2)
    for end in ends:
        end.weight.zero_()
        end.bias.zero_()


class PlainAttention:
    """Attention in three products; keys and values of the text are made once a clip and not once a frame.

    The UNet repeats the text for each frame. Here the frames of a clip are one long row of queries in its place, which
    gives the same. ``mix`` is what changes the text of a clip ``b n c`` first.
    """

    def __init__(self, num_frames: int = CLIP_FRAMES, mix: Callable[[Tensor], Tensor] | None = None) -> None:
        self.num_frames, self.mix = num_frames, mix

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        rows, length, _ = hidden_states.shape
        query, context = attn.to_q(hidden_states), hidden_states
        if encoder_hidden_states is not None:
            context = encoder_hidden_states[:: self.num_frames]
            context = context if self.mix is None else self.mix(context)
            query = query.reshape(len(context), -1, query.shape[-1])
        query, key, value = (
            part.unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for part in (query, attn.to_k(context), attn.to_v(context))
        )
        weights = ((query * attn.scale) @ key.transpose(2, 3)).softmax(dim=-1)
        out = (weights.type_as(value) @ value).transpose(1, 2).flatten(2).reshape(rows, length, -1)
        return attn.to_out[0](out)


def _convolve_in_time(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """A 3x1x1 convolution [b c t h w] as one of images [b c t (h w)], which has a fast kernel."""
    return F.conv2d(x.flatten(3), conv.weight[..., 0], conv.bias, padding=(1, 0)).unflatten(3, x.shape[3:])


@contextmanager
def fast_on_cpu(
    unet: UNet3DConditionModel,
    num_frames: int = CLIP_FRAMES,
    mixers: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
) -> Iterator[None]:
    """Inside, the UNet gives the same to rounding, of clips with `num_frames` frames, in less time.

    `mixers` change the text of attention layers, by their names.
    """
    processors = unet.attn_processors
    convolutions = [module for module in unet.modules() if isinstance(module, nn.Conv3d)]
    mixing = {f"{name}.processor": mix for name, mix in mixers.items()}
    unet.set_attn_processor({name: PlainAttention(num_frames, mixing.get(name)) for name in processors})
    for conv in convolutions:
        conv.forward = partial(_convolve_in_time, conv)
    try:
        yield
    finally:
        unet.set_attn_processor(processors)
        for conv in convolutions:
            del conv.forward
