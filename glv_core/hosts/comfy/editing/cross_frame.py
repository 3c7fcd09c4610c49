"""Cross-frame attention and pooled norms in ComfyUI's image UNets and in ControlNets for them.

A network is tied for the length of one call: hooks on its self-attentions and norms are set before and removed behind
it, so that other MODELs and ControlNets with the same network see nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel

from ....editing import RULES, fold_frames, gather_tokens, seen_frames, unfold_frames
from ..families import IMAGE, LAYERS_OVER_TIME, family_of
from .hooks_of_a_call import frames_in, with_hooks

OFF = "off"
_KEY = "cross_frame"
_OPTIONS = "transformer_options"


@dataclass(frozen=True)
class CrossFrame:
    """How the frames of a window are tied together in a network.

    ``rule``: one of ``RULES``, or ``off`` for the attention of the model. ``pooled_norm``: the norms of the ResNet
    blocks and of the output take the statistics of all frames of the window together.

    Raises:
        ValueError: an unknown rule.
    """

    rule: str = OFF
    pooled_norm: bool = False

    def __post_init__(self) -> None:
        if self.rule not in (*RULES, OFF):
            raise ValueError(f"Unknown rule {self.rule!r} of cross-frame attention. Known: {', '.join(RULES)}, {OFF}.")

    @property
    def does_nothing(self) -> bool:
        """Whether a network is left as it is."""
        return self.rule == OFF and not self.pooled_norm

    @contextmanager
    def on(self, network: torch.nn.Module, rows: int, frames: int) -> Iterator[None]:
        """Tie the frames of a network's batch for a while.

        Args:
            network: a UNet or ControlNet of ComfyUI's.
            rows: of the batches to come.
            frames: of each group among them; one frame alone is left as it is.
        """
        handles: list[Any] = []
        try:
            if frames > 1 and self.rule != OFF:
                look = _look_at(seen_frames(self.rule, frames), rows)
                for attention in _self_attentions(network):
                    handles.append(attention.register_forward_pre_hook(look, with_kwargs=True))
            if frames > 1 and self.pooled_norm:
                for norm in _norms(network):
                    handles.append(norm.register_forward_pre_hook(lambda _, given: fold_frames(given[0], frames)))
                    handles.append(norm.register_forward_hook(lambda _, given, made: unfold_frames(made, frames)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _look_at(seen: torch.Tensor, rows: int) -> Callable:
    """A hook that gives a self-attention, ``(g f) n c``, the tokens of other frames for its keys and values."""

    def look(module: torch.nn.Module, args: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        (tokens,) = args
        if tokens.shape[0] != rows:
            raise ValueError(
                f"Cross-frame attention finds {tokens.shape[0]} images in an attention where the model was given "
                f"{rows}: another node cuts them into tiles. Take it off the model (HyperTile, for one)."
            )
        keys = tokens if given.get("context") is None else given["context"]
        values = keys if given.get("value") is None else given["value"]
        gathered = gather_tokens(keys, seen)
        both = {"context": gathered, "value": gathered if values is keys else gather_tokens(values, seen)}
        return args, {**given, **both}

    return look


def _self_attentions(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    for block in network.modules():
        if isinstance(block, BasicTransformerBlock) and not block.disable_self_attn:
            yield block.attn1


def _norms(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The norms of the ResNet blocks and of the output; not those in front of the transformers."""
    for block in network.modules():
        if isinstance(block, ResBlock):
            yield block.in_layers[0]
            yield block.out_layers[0]
    if isinstance(network, UNetModel):
        yield network.out[0]


def not_an_image_unet(model: Any) -> str:
    """What a MODEL is, where it is no image model with a UNet; empty where it is one."""
    base = model.model
    is_video = base.latent_format.latent_dimensions == 3
    if is_video or family_of(base) is not IMAGE:
        name = type(base).__name__ if is_video else family_of(base).name
        return f"a video model ({name}), which sees along the video by itself"
    return "" if isinstance(base.diffusion_model, UNetModel) else f"a {type(base).__name__}, which has no UNet"


def is_follow_your_pose(model: Any) -> bool:
    """Whether the UNet of a MODEL has layers over time of its own."""
    return any(hasattr(block, LAYERS_OVER_TIME) for block in model.model.diffusion_model.modules())


def tie_model(model: Any, ties: CrossFrame) -> Any:
    """A clone of a ComfyUI MODEL whose frames are tied; one that was on it before is replaced.

    Args:
        model: an image model with a UNet; it is not changed.
        ties: how.

    Raises:
        ValueError: the model is no image model, or has no UNet.
    """
    if wrong := not_an_image_unet(model):
        raise ValueError(
            f"The model is {wrong}. Cross-frame attention is for image models that are given the frames as a batch: "
            "SD 1.5, SD 2 or SDXL. Connect one of them, or leave this node out."
        )
    if not ties.does_nothing and is_follow_your_pose(model):
        raise ValueError(
            "The model is Follow-Your-Pose, whose frames look at the first and the previous one already, and whose "
            f"norms Load Follow-Your-Pose pools; rule is {ties.rule!r} and pooled_norm {ties.pooled_norm}. Leave this "
            "node out."
        )
    return with_hooks(model, _KEY, None if ties.does_nothing else ties)


class TiedNetwork(torch.nn.Module):
    """A ControlNet's network that ties the frames of its batch as its argument ``cross_frame`` says."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def dtype(self) -> Any:
        """Of the network; the host asks for it."""
        return self.network.dtype

    def forward(self, x: torch.Tensor, cross_frame: CrossFrame, transformer_options: dict, **more: Any) -> Any:
        """As the network's, for ``x``, ``(g f) c h w``."""
        with cross_frame.on(self.network, x.shape[0], frames_in(transformer_options, x.shape[0])):
            return self.network(x=x, **more)


class TiedControlLora(comfy.controlnet.ControlLora):
    """A Control-LoRA that is tied: its network is made of the model's for each run."""

    def pre_run(self, model: Any, percent_to_timestep_function: Callable) -> None:
        """Make the network."""
        super().pre_run(model, percent_to_timestep_function)
        self.control_model = TiedNetwork(self.control_model)

    def copy(self) -> TiedControlLora:
        """A copy that is tied as well."""
        return _lora_of(self, TiedControlLora)


def _lora_of(control: Any, kind: type) -> Any:
    made = kind(control.control_weights, global_average_pooling=control.global_average_pooling)
    control.copy_to(made)
    return made


def tie_control(control: Any, ties: CrossFrame) -> Any:
    """A copy of a ControlNet whose frames are tied; its weights are shared, and copies of it are tied as well.

    A T2I-Adapter comes back as it is: it has no attention, and no norm.

    Args:
        control: of ComfyUI's; it is not changed.
        ties: how.

    Raises:
        ValueError: it is of another kind.
    """
    if isinstance(control, comfy.controlnet.T2IAdapter):
        return control
    if type(control) in (comfy.controlnet.ControlLora, TiedControlLora):
        tied = _lora_of(control, comfy.controlnet.ControlLora if ties.does_nothing else TiedControlLora)
    else:
        network = _network_of(control)
        tied = control.copy()
        tied.control_model = network if ties.does_nothing else TiedNetwork(network)
    tied.previous_controlnet = control.previous_controlnet
    tied.extra_args.pop(_KEY, None)
    # What the host tells the UNet of a forward pass comes to the ControlNet as one of its conditions.
    tied.extra_conds = [name for name in tied.extra_conds if name != _OPTIONS]
    if not ties.does_nothing:
        tied.set_extra_arg(_KEY, ties)
        tied.extra_conds.append(_OPTIONS)
    return tied


def _network_of(control: Any) -> torch.nn.Module:
    """The network of a ControlNet, without what ties it."""
    network = getattr(control, "control_model", None)
    network = network.network if isinstance(network, TiedNetwork) else network
    is_the_hosts = type(control) is comfy.controlnet.ControlNet
    if is_the_hosts and isinstance(network, comfy.cldm.cldm.ControlNet):
        return network
    what = type(network if is_the_hosts else control).__name__
    raise ValueError(
        f"The control_net is a {what}, in which cross-frame attention cannot be put. Use a ControlNet, Control-LoRA or "
        "T2I-Adapter for SD 1.5, SD 2 or SDXL, loaded with ComfyUI's own loader, or leave control_net unconnected."
    )
