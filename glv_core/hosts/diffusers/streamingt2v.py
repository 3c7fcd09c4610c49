"""StreamingT2V's UNet (arXiv 2403.14773): diffusers' own, with what the paper adds hooked on from outside.

``UNet3DConditionModel`` stays as it is. Its skip connections are replaced on their way to the up blocks, its middle's
output behind it, and the tokens of its layers that read text before them. The copy of its way down, which reads the
frames before, is another of the same class that ends behind its middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn
from torch.utils.checkpoint import checkpoint

from ...streamingt2v.apm import TokenMixer, TokenResampler
from ...streamingt2v.cam import ConditionEncoder, CrossAttentionMerger
from ...streamingt2v.checkpoint import Checkpoint, check_unet
from ...streamingt2v.guidance import WEIGHT, guided
from ...streamingt2v.sizes import Sizes
from .streamingt2v_parts import state_of, unet_config, way_down


@dataclass
class _Call:
    """What the hooks have in common during one forward pass.

    ``clips``: in the batch. ``frames``: of each. ``anchored``: whether the context ends with the anchor's tokens.
    ``added``: to what the copy's first layer over time gives, ``(b k) c h w``. ``seen``: what the copy gives at each
    skip connection and behind its middle, ``b k c h w``; empty where there are no frames before.
    """

    clips: int
    frames: int
    anchored: bool = False
    added: torch.Tensor | None = None
    seen: list[torch.Tensor] = field(default_factory=list)


class StreamingUNet(nn.Module):
    """A text-to-video UNet that goes on from some frames and stays close to an anchor.

    Without those and without an anchor it is the stock UNet, bit for bit.

    Args:
        sizes: of the networks; those of the published weights by default.
    """

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or Sizes()
        self.unet = UNet3DConditionModel(**unet_config(sizes))
        self.branch = way_down(sizes)
        self.encoder = ConditionEncoder(sizes.widths[0], sizes.encoder_widths)
        widths = (*sizes.skips, sizes.widths[-1])
        self.mergers = nn.ModuleList(CrossAttentionMerger(width, sizes.head_width) for width in widths)
        tokens = sizes.text_tokens, sizes.anchor_tokens, sizes.text_width
        self.mixers = nn.ModuleList(TokenMixer(*tokens) for _ in sizes.text_layers)
        self.resampler = TokenResampler(sizes.text_width, sizes.anchor_inner, sizes.anchor_tokens)
        self._call: _Call | None = None
        for name, mixer in zip(sizes.text_layers, self.mixers, strict=True):
            self.unet.get_submodule(name).set_processor(_MixedTokens(self, mixer))
        self.unet.mid_block.register_forward_hook(self._merge_middle)
        first = len(sizes.skips)
        for block in self.unet.up_blocks:
            first -= len(block.resnets)
            block.register_forward_pre_hook(partial(self._merge_skips, first), with_kwargs=True)
        self.branch.transformer_in.register_forward_hook(self._add_condition)
        for block in self.branch.down_blocks:
            block.register_forward_hook(self._keep_skips)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        base: Mapping[str, torch.Tensor] | None = None,
        dtype: torch.dtype | None = None,
    ) -> StreamingUNet:
        """The network of a checkpoint's weights, which it takes as they are; none is held twice.

        Args:
            checkpoint: its text encoder, image encoder and VAE are not used.
            base: weights of the stock UNet, by diffusers' names, in place of the checkpoint's.
            dtype: of all weights; None leaves them as they are.

        Raises:
            ValueError: there is no stock UNet, or it does not fit.
        """
        stock = checkpoint.base if base is None else base
        if not stock:
            raise ValueError(
                "The checkpoint holds no UNet. Give one that does, or the UNet of text-to-video-ms-1.7b beside it."
            )
        check_unet(stock, checkpoint.sizes)
        with torch.device("meta"):
            net = cls(checkpoint.sizes)
        state = state_of(checkpoint, stock)
        net.load_state_dict({name: each.to(dtype or each.dtype) for name, each in state.items()}, assign=True)
        return net.requires_grad_(False).eval()

    def encode_condition(self, frames: torch.Tensor) -> torch.Tensor:
        """Features of the frames before, which are the same at every step.

        Args:
            frames: ``b k 3 (8 h) (8 w)`` in ``[-1, 1]``.

        Returns:
            ``b k c h w``.

        Raises:
            ValueError: the frames are of another form.
        """
        return self.encoder(frames.to(self.encoder.conv_in.weight.dtype))

    def forward(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor | float,
        text: torch.Tensor,
        anchors: torch.Tensor | None = None,
        condition: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The noise that the UNet predicts, ``b 4 f h w``.

        Args:
            latents: noisy, ``b 4 f h w``; the first ``k`` frames are those of ``condition`` anew.
            timestep: 0 to 999, one, or one for each clip.
            text: ``b 77 width``; without ``anchors`` any number of tokens.
            anchors: ``b 16 width``, of ``resampler``. None: the text is read alone.
            condition: the ``k`` frames before: pixels, as of ``encode_condition``, or what it returns; for one clip it
                stands for all. None: there are none.

        Raises:
            ValueError: tokens or frames of another number or size.
        """
        call = _Call(latents.shape[0], latents.shape[2], anchors is not None)
        context = text if anchors is None else self._context(text, anchors)
        if condition is not None:
            call.seen = self._look_back(latents, timestep, text, condition)
        with self._during(call):
            return self.unet(latents, timestep, context, return_dict=False)[0]

    def guided(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor | float,
        text: torch.Tensor,
        negative: torch.Tensor,
        anchors: torch.Tensor | None = None,
        grey: torch.Tensor | None = None,
        condition: torch.Tensor | None = None,
        text_weight: float = WEIGHT,
        anchor_weight: float = WEIGHT,
    ) -> torch.Tensor:
        """The noise with guidance by text and anchor, ``b 4 f h w``, of one forward pass; see ``guided`` in the core.

        The frames before are seen by all predictions, the unconditional ones too.

        Args:
            negative: tokens of the negative prompt, of the shape of ``text``.
            grey: tokens of the anchor that says nothing (``grey_anchor``), of the shape of ``anchors``.
            text_weight, anchor_weight: 0 or more; the same gives two predictions in place of three.
            latents, timestep, text, anchors, condition: as of ``forward``.

        Raises:
            ValueError: as ``forward``; there are anchors and no ``grey``; a weight is below 0.
        """
        if anchors is not None and grey is None:
            raise ValueError(
                "There are anchors and no grey; give the tokens of a grey image for the unconditional half."
            )
        if condition is not None:
            condition = self._features(latents, condition)
        contexts = {"neither": (negative, grey), "text": (text, grey), "both": (text, anchors)}
        times = torch.as_tensor(timestep, device=latents.device).expand(latents.shape[0])

        def predict(names: Sequence[str]) -> Sequence[torch.Tensor]:
            count = len(names)
            texts, tokens = zip(*(contexts[name] for name in names), strict=True)
            eps = self(
                latents.repeat(count, 1, 1, 1, 1),
                times.repeat(count),
                torch.cat(texts),
                None if anchors is None else torch.cat(tokens),
                None if condition is None else condition.repeat(count, 1, 1, 1, 1),
            )
            return eps.chunk(count)

        return guided(predict, text_weight, None if anchors is None else anchor_weight)

    def recompute_blocks(self) -> None:
        """From now on, keep of every block only what goes in, and compute the rest anew when gradients are taken."""
        for unet in (self.unet, self.branch):
            for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
                block.forward = partial(self._recomputed, block.forward)

    def _recomputed(self, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **named)
        call = self._call  # over by then, but the layers that read text must see it once more

        def run(*args: Any, **named: Any) -> Any:
            with self._during(call):
                return forward(*args, **named)

        return checkpoint(run, *args, use_reentrant=False, **named)

    @contextmanager
    def _during(self, call: _Call | None) -> Iterator[None]:
        """Show the hooks a call while it runs."""
        before, self._call = self._call, call
        try:
            yield
        finally:
            self._call = before

    def _context(self, text: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        given, wanted = (text.shape[1], anchors.shape[1]), (self.sizes.text_tokens, self.sizes.anchor_tokens)
        if given != wanted:
            raise ValueError(
                f"text has {given[0]} tokens and anchors {given[1]}; with an anchor they must be {wanted[0]} and "
                f"{wanted[1]}. Pad or cut the text to {wanted[0]}, and make the anchor's tokens with this resampler."
            )
        return torch.cat((text, anchors.to(text)), dim=1)

    def _features(self, latents: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Features ``b k c h w`` of the frames before that fit the latents."""
        ready = condition.ndim == 5 and condition.shape[2] != 3
        features = condition if ready else self.encode_condition(condition)
        (clips, frames, *size), (batch, _, longest, *sides) = features.shape, latents.shape
        wanted = [self.sizes.widths[0], *sides]
        if size != wanted or frames > longest or clips not in (1, batch):
            raise ValueError(
                f"condition has {clips} clips of {frames} frames with features of {size}, and latents have {batch} of "
                f"{longest}, whose features are of {wanted}. Give frames of {self.encoder.factor} times the latents' "
                "sides, not more of them than the latents have, once or for each clip."
            )
        return features.expand(batch, -1, -1, -1, -1)

    def _look_back(
        self, latents: torch.Tensor, timestep: torch.Tensor | float, text: torch.Tensor, condition: torch.Tensor
    ) -> list[torch.Tensor]:
        """What the copy gives for each merger, ``b k c h w``, of the first ``k`` latent frames and those before."""
        features = self._features(latents, condition).to(latents)
        call = _Call(*features.shape[:2], added=features.flatten(0, 1))
        with self._during(call):
            middle = self.branch(latents[:, :, : call.frames], timestep, text, return_dict=False)[0]
        return [*(skip.unflatten(0, (call.clips, call.frames)) for skip in call.seen), middle.transpose(1, 2)]

    def _add_condition(self, _module: nn.Module, _args: Any, output: tuple[torch.Tensor]) -> Any:
        if self._call is None or self._call.added is None:
            return output
        first = output[0] + self._call.added
        self._call.seen.append(first)
        return (first,)

    def _keep_skips(self, _module: nn.Module, _args: Any, output: tuple[torch.Tensor, Sequence[torch.Tensor]]) -> None:
        if self._call is not None:
            self._call.seen += output[1]

    def _merge(self, index: int, hidden: torch.Tensor) -> torch.Tensor:
        assert self._call is not None
        clips = hidden.unflatten(0, (self._call.clips, self._call.frames))
        return self.mergers[index](clips, self._call.seen[index]).flatten(0, 1)

    def _merge_middle(self, _module: nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return self._merge(len(self.mergers) - 1, output) if self._call and self._call.seen else output

    def _merge_skips(self, first: int, _module: nn.Module, args: Any, options: dict[str, Any]) -> Any:
        if not (self._call and self._call.seen):
            return None
        name = "res_hidden_states_tuple"
        return args, options | {name: tuple(self._merge(first + i, skip) for i, skip in enumerate(options[name]))}


class _MixedTokens(AttnProcessor2_0):
    """The stock attention, on text with which the anchor is mixed; all frames of a clip read the same."""

    def __init__(self, net: StreamingUNet, mixer: TokenMixer) -> None:
        super().__init__()
        self.net, self.mixer = net, mixer

    def __call__(
        self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, *args: Any, **named: Any
    ) -> Any:
        call = self.net._call
        if call is not None and call.anchored:
            mixed = self.mixer(encoder_hidden_states[:: call.frames])
            encoder_hidden_states = mixed.repeat_interleave(call.frames, dim=0)
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **named)
