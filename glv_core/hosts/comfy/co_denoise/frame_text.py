"""Prompts by attention: a window's prompts side by side in one forward pass, and every latent frame attends to its own.

The prompts' tokens stand one after the other in one cond entry, and the bias of the window's latent frames is a cond of
it, so that the host stacks, moves and splits both alike. Around a forward pass that has one, the host's attention is
overridden where it goes from the video's tokens to those of the text, which are known by their numbers; where text is
in one row with all else, as ``joint_text`` says.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import comfy.conds
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import WrappersMP

from ....prompts.frame_attention import UNSEEN, frame_bias, free_length, query_bias
from ..families import Family, JointText, family_of
from .conditioning import Entry
from .joint_text import APPLIED, REPLACED, ROW, Row, attend_in_row, host_attention, text_by_prompt

#: The model cond ``b t tokens`` with the bias, and where a forward pass finds those of its queries, each
#: ``b 1 query tokens``.
_BIAS = "co_denoise_text_bias"
_SOUND_BIAS = "co_denoise_sound_text_bias"  # the same, of the elements of sound
_OVERRIDE = "optimized_attention_override"
_REMEDY = "Set prompt_blending to predictions."


class NoFrameText(ValueError):
    """The latent frames of a model cannot attend to prompts of their own, or not to these."""


def has_frame_text(model: Any, entries: Iterable[Entry], streams: int) -> bool:
    """Whether the latent frames of a model, in ``comfy.model_base``, can attend to prompts of their own.

    Args:
        entries: of all prompts, which may bring what it is not possible with.
        streams: of the latent, 1 where it holds video alone.
    """
    family = family_of(model)
    refused = any(entry.get(key) is not None for entry in entries for key in family.frame_text_refused)
    return _attends(model) and not refused and (streams == 1 or family.sound_text)


def check_attention(model: Any) -> None:
    """Check that the latent frames of a model, in ``comfy.model_base``, can attend to prompts of their own.

    Raises:
        NoFrameText: they cannot, or nobody knows.
    """
    if not _attends(model):
        raise NoFrameText(
            f"prompt_blending is attention, which {family_of(model).name} ({_class_of(model)}) does not support: it "
            "needs attention from the latent frames, one after the other, to text, as in Wan, LTX, Cosmos, MiniMax "
            f"H3 and Hunyuan 1.5. {_REMEDY}"
        )


def check_texts(family: Family, conditions: Iterable[str]) -> None:
    """Check that nothing beside several prompts forbids that each latent frame attends to its own.

    Args:
        family: of the model.
        conditions: the names of its conditions.

    Raises:
        NoFrameText: one of them does.
    """
    for key in conditions:
        if key in family.frame_text_refused:
            what = family.frame_text_refused[key]
            raise NoFrameText(f"prompt_blending is attention, which does not support {what}. {_REMEDY}")


def _class_of(model: Any) -> str:
    """The host's class that a model is of; this pack and others make classes of theirs from it."""
    kinds = type(model).__mro__
    return next((kind for kind in kinds if kind.__module__ == "comfy.model_base"), kinds[0]).__name__


def _token_side(model: Any) -> int:
    """Latent pixels a side of a query token; 0 where latent frames do not attend to text alone."""
    return family_of(model).frame_text.get(_class_of(model), 0)


def _joint(model: Any) -> JointText | None:
    """How prompts share a row of attention; None where text has none with all else."""
    return family_of(model).joint_text.get(_class_of(model))


def _attends(model: Any) -> bool:
    return _token_side(model) > 0 or _joint(model) is not None


def join_prompts(
    entries: Sequence[Entry], weights: torch.Tensor, model: Any, beside: Sequence[torch.Tensor] = ()
) -> Entry:
    """One cond entry that holds several prompts side by side.

    Args:
        entries: sliced for the same window, at least two.
        weights: of each of them, ``[entry, latent frame that the model is shown]``.
        model: in ``comfy.model_base``.
        beside: the same for the streams beside the video, ``[entry, element]`` each.

    Raises:
        NoFrameText: they differ in more than their text, or hold what attention to several prompts does not support.
    """
    family, joint = family_of(model), _joint(model)
    first = entries[0]
    conds = dict(first["model_conds"])
    said = [_said(entry, joint) for entry in entries]
    keys = dict.fromkeys(key for each in said for key in each)
    check_texts(family, keys)
    for key in keys:
        values = [each.get(key) for each in said]
        if key in ("c_crossattn", "attention_mask") and all(isinstance(value, torch.Tensor) for value in values):
            conds[key] = conds[key]._copy_with(torch.cat(values, dim=1))
        elif not all(_same(values[0], value) for value in values[1:]):
            raise NoFrameText(
                f"prompt_blending is attention, and the prompts of a schedule differ in '{key}', which attention "
                f"cannot give to each latent frame. {_REMEDY}"
            )
    if beside and not family.sound_text:
        raise NoFrameText(f"prompt_blending is attention, which does not support {family.combined} together. {_REMEDY}")
    area = first.get("area", ())
    if len(area) == 6:  # in time as well: the model is shown a part of the window
        weights = weights[:, area[3] : area[3] + area[0]]
    if joint is not None:
        row = joint.join([entry["model_conds"] for entry in entries], weights, beside)
        conds |= {**row.conds, ROW: comfy.conds.CONDConstant(row)}
    else:
        tokens = [entry["model_conds"]["c_crossattn"].cond.shape[1] for entry in entries]
        conds[_BIAS] = comfy.conds.CONDRegular(frame_bias(weights, tokens)[None])
        for sound in beside:
            conds[_SOUND_BIAS] = comfy.conds.CONDRegular(frame_bias(sound, tokens)[None])
    names = "+".join(f"{entry['uuid']}*{weight.tolist()}" for entry, weight in zip(entries, weights, strict=True))
    return {**first, "model_conds": conds, "uuid": uuid.uuid5(first["uuid"], names)}


def _said(entry: Entry, joint: JointText | None) -> dict[str, Any]:
    """What the network is told with a prompt, by name, but for what ``joint`` joins itself."""
    said = {key: getattr(cond, "cond", None) for key, cond in entry["model_conds"].items()}
    if joint is None:
        return said
    if joint.told:
        said |= said.pop(joint.told)
    return {key: value for key, value in said.items() if key not in joint.own}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one is other or (one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return one is other or one == other


def with_frame_text(model_options: dict[str, Any]) -> dict[str, Any]:
    """Options of a model whose forward passes heed the bias of joined prompts; the given ones are not changed."""
    options = model_options.get("transformer_options", {})
    wrappers = options.get("wrappers", {})
    around = {**wrappers.get(WrappersMP.APPLY_MODEL, {}), _BIAS: [_apply]}
    wrappers = {**wrappers, WrappersMP.APPLY_MODEL: around}
    return {**model_options, "transformer_options": {**options, "wrappers": wrappers}}


def _apply(
    executor: Any,
    x: torch.Tensor,
    t: torch.Tensor,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: Any = None,
    **conds: Any,
) -> Any:
    """Wraps ``BaseModel.apply_model``, outside of what a compiled network is."""
    options = {} if transformer_options is None else transformer_options
    row = conds.pop(ROW, None)
    if row is not None:
        model = executor.class_obj
        joint = _joint(model)
        own = {ROW: Row.of(row, joint, model.diffusion_model, x), _OVERRIDE: attend_in_row}
        with text_by_prompt(model.diffusion_model, joint, row.texts):
            return _overridden(executor, (x, t, c_concat, c_crossattn, control), options, conds, own, 1)
    bias, of_sound = conds.pop(_BIAS, None), conds.pop(_SOUND_BIAS, None)
    if bias is None:
        return executor(x, t, c_concat, c_crossattn, control, options, **conds)
    model = executor.class_obj
    side = _token_side(model)
    frames, height, width = (x.shape if of_sound is None else conds["latent_shapes"][0])[-3:]
    per_frame = -(-height // side) * -(-width // side)
    # Wan puts the tokens of a reference image before the video's, and latent frames that it is shown besides behind.
    before = per_frame if "reference_latent" in conds and getattr(model.diffusion_model, "ref_conv", None) else 0
    beside = conds.get("time_dim_concat")
    after = 0 if beside is None else beside.shape[2] * per_frame
    clip = conds.get("clip_fea")
    queries = [before + frames * per_frame + after]
    biases = [query_bias(bias.to(x.device), per_frame, before, after)]
    if of_sound is not None:
        reference = conds.get("ref_audio")  # its tokens stand before those of the sound
        before = 0 if reference is None else reference["tokens"].shape[1]
        queries.append(before + of_sound.shape[1])
        biases.append(query_bias(of_sound.to(x.device), 1, before))
        if queries[0] == queries[1]:
            raise NoFrameText(
                f"prompt_blending is attention, and a window has {queries[0]} tokens of video and as many of sound, "
                f"which cannot be told apart. Change the window or the size of the picture. {_REMEDY}"
            )
    text = c_crossattn.shape[1]
    more = free_length(text, {*queries, 0 if clip is None else clip.shape[-2]}) - text
    if more:
        c_crossattn = torch.nn.functional.pad(c_crossattn, (0, 0, 0, more))
        biases = [torch.nn.functional.pad(each, (0, more), value=UNSEEN) for each in biases]
        if "attention_mask" in conds:
            conds["attention_mask"] = torch.nn.functional.pad(conds["attention_mask"], (0, more))
    dtype = model.manual_cast_dtype or model.get_dtype()
    own = {_BIAS: [each.to(dtype) for each in biases], _OVERRIDE: _attend}
    return _overridden(executor, (x, t, c_concat, c_crossattn, control), options, conds, own, len(biases))


def _overridden(executor: Any, given: tuple, options: dict, conds: dict, own: dict, kinds: int) -> Any:
    """A forward pass with an override of attention in ``own`` options, and a check that it came to its ``kinds``."""
    applied: set[int] = set()
    options = {**options, REPLACED: options.get(_OVERRIDE), APPLIED: applied, **own}
    output = executor(*given, options, **conds)
    if len(applied) < kinds:
        raise NoFrameText(
            "prompt_blending is attention, but nothing in this model's forward pass was attention from its latent "
            f"frames to the prompts: a patch on the MODEL may have replaced it. {_REMEDY}"
        )
    return output


def _attend(func: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *args: Any, **given: Any) -> Any:
    """The host's override of attention. One function for all passes, so that a compiled network is compiled once."""
    options = given["transformer_options"]
    shape = (q.shape[0], q.shape[-2], k.shape[-2])
    bias = next((each for each in options[_BIAS] if (each.shape[0], *each.shape[-2:]) == shape), None)
    if bias is None:
        return host_attention(func, options)(q, k, v, heads, *args, **given)
    options[APPLIED].add(q.shape[-2])
    mask, rest = (args[0], args[1:]) if args else (given.pop("mask", None), ())
    bias = bias.to(q.dtype)
    if mask is not None:
        bias = (bias + mask).clamp(min=torch.finfo(q.dtype).min)
    # Not every kernel that a user may have chosen for attention heeds a mask; the host's own for PyTorch does.
    return attention_pytorch(q, k, v, heads, bias, *rest, **given)
