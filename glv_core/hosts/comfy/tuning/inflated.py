"""Image models inflated to video as Gen-L-Video's one-shot tuning does it (arXiv 2305.18264), in ComfyUI.

The frames of a window look at each other in self-attention, share the statistics of norms, and have layers over time
behind each transformer block. The network itself is not changed: all of it is put on for the length of a call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.ldm.modules.attention import BasicTransformerBlock

from ....tuning.over_time import LayersOverTime
from ..editing.cross_frame import OFF, CrossFrame, is_follow_your_pose, not_an_image_unet, tie_model
from ..editing.hooks_of_a_call import with_hooks

RULE = "middle_and_inward_neighbour"
_KEY = "tuned_layers_over_time"
_ANIMATEDIFF = "ADE"  # by which AnimateDiff-Evolved keeps its motion models with a MODEL


def transformer_blocks(model: Any) -> dict[str, tuple[int, int]]:
    """The transformer blocks of a MODEL's UNet, by their names in it: width and heads."""
    return {name: (block.norm1.normalized_shape[0], block.n_heads) for name, block in _blocks(model).items()}


def trained_queries(model: Any) -> list[str]:
    """Names of the queries' layers in every transformer block, below the MODEL's ``model``: of attention to the frame
    itself, then to the text. With the layers over time they are all that Gen-L-Video trains."""
    queries = [(name, attention, "to_q") for name in _blocks(model) for attention in ("attn1", "attn2")]
    return [".".join(("diffusion_model", *each)) for each in queries]


def check_inflatable(model: Any) -> None:
    """Refuse a MODEL that cannot be inflated.

    Raises:
        ValueError: it is no image model with a UNet and transformer blocks, or has layers over time already.
    """
    wrong = not_an_image_unet(model)
    if not wrong and is_follow_your_pose(model):
        wrong = "Follow-Your-Pose, which has layers over time already"
    if not wrong and model.additional_models.get(_ANIMATEDIFF):
        wrong = "one with AnimateDiff's motion modules, which see along the video already"
    if not wrong and not _blocks(model):
        wrong = f"a {type(model.model).__name__} whose UNet has no transformer blocks"
    if wrong:
        raise ValueError(
            f"The model is {wrong}. Gen-L-Video's tuning makes a video model of an image model: SD 1.5, SD 2 or SDXL. "
            "Connect one of them, or tune this one with method 'low_rank'."
        )


def inflate(model: Any, layers: LayersOverTime | None, cross_frame: bool = True, pooled_norm: bool = True) -> Any:
    """A clone of a MODEL whose frames are tied together as in Gen-L-Video's one-shot tuning.

    Args:
        model: an image model with a UNet; it is not changed. What ties its frames already is replaced.
        layers: behind its transformer blocks, or None for none.
        cross_frame: whether each frame attends to the middle one of its window and to its neighbour toward it.
        pooled_norm: whether norms take the statistics of all frames of the window.

    Raises:
        ValueError: the model cannot be inflated, or the layers belong to another.
    """
    check_inflatable(model)
    if layers is not None:
        _check_fit(model, layers)
    tied = tie_model(model, CrossFrame(RULE if cross_frame else OFF, pooled_norm))
    return _with_layers(tied, layers)


def with_own_layers(model: Any) -> Any:
    """A MODEL whose layers over time, if it has any, are a copy that gradients may flow through, and that is not
    trained: those of a file are made in inference mode.
    """
    found: _Inflated | None = model.model_options.get("transformer_options", {}).get(_KEY)
    return model if found is None else _with_layers(model, copy.deepcopy(found.layers).requires_grad_(False))


def _with_layers(model: Any, layers: LayersOverTime | None) -> Any:
    made = with_hooks(model, _KEY, None if layers is None else _Inflated(layers))
    made.remove_additional_models(_KEY)
    if layers is not None:  # as a model of its own, which the host moves to the device, and back
        patcher = comfy.model_patcher.ModelPatcher(layers, model.load_device, model.offload_device)
        made.set_additional_models(_KEY, [patcher])
    return made


@dataclass(frozen=True)
class _Inflated:
    layers: LayersOverTime

    def __deepcopy__(self, _seen: dict) -> _Inflated:
        """Itself: the host copies the options of a MODEL, whose layers are moved as those of its additional model."""
        return self

    @contextmanager
    def on(self, network: torch.nn.Module, rows: int, frames: int) -> Iterator[None]:
        """Put the layers behind the blocks of a network for a while."""
        handles = []
        try:
            for name in self.layers.blocks:
                behind = self._behind(name, rows // frames)
                handles.append(network.get_submodule(name).register_forward_hook(behind))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _behind(self, name: str, clips: int) -> Callable:
        return lambda _block, _given, made: self.layers.add(name, made, clips)


def _check_fit(model: Any, layers: LayersOverTime) -> None:
    blocks = transformer_blocks(model)
    for name in sorted(blocks.keys() ^ layers.sizes.keys()):
        whose = "the model has, and the layers over time lack" if name in blocks else "is not in the model"
        raise ValueError(
            f"{name} {whose}: they were tuned with another kind of model. Connect the kind that they were tuned with."
        )
    for name, sizes in blocks.items():
        if sizes != layers.sizes[name]:
            raise ValueError(
                f"{name} of the model has a width of {sizes[0]} and {sizes[1]} heads, the layers over time "
                f"{layers.sizes[name][0]} and {layers.sizes[name][1]}. Connect the kind of model that they were tuned "
                "with."
            )


def _blocks(model: Any) -> dict[str, BasicTransformerBlock]:
    modules = model.model.diffusion_model.named_modules()
    return {name: each for name, each in modules if isinstance(each, BasicTransformerBlock)}
