"""MiniMax H3, whose latents hold video and sound.

Its network packs text, references, keyframes, sound and video into one row of tokens with positions in time. A window
gets positions in the whole video: without them every window believes that the video begins with it, and the picture
flickers where windows meet.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import comfy.conds
import torch

from ....streams import Stream
from ....timeline import Place
from ....video_models import MINIMAX_H3
from ....windows import Tile, View
from .continuation import CleanClips
from .family import Family, JointRow, JointText
from .sound import MINIMAX_LATENTS_PER_SECOND

#: Positions in time, and latent frames of sound, for each frame of the video: 40 a second at 24 frames a second.
PER_FRAME = MINIMAX_LATENTS_PER_SECOND / MINIMAX_H3.fps
#: Frames of one round of the pattern.
_ROUND = sum(MINIMAX_H3.compression.pattern)
#: Tokens that lie on the video's timeline, and those of the sound to be made, which counts its own latent frames.
_ON_TIMELINE, _SOUND = ("video", "cond", "cond_audio"), "audio"
_TEXT_TAG = 1  # of a token of text, among the kinds of tokens that the network knows
_JUST = 1e-3  # what rounding does to positions in time


class CONDAlone(comfy.conds.CONDConstant):
    """A constant that shares no forward pass with another."""

    def can_concat(self, other: Any) -> bool:
        """Never."""
        return False


def first_frame_of(latent_frame: int) -> int:
    """The frame of the video with which a latent frame begins."""
    return MINIMAX_H3.compression.frames_of(latent_frame).start


def _sound(shapes: Sequence[Sequence[int]]) -> list[Stream]:
    """The sound ``b c 2 t`` beside the video ``b c t h w``, on the clock of its frames."""
    frames, sound = shapes[0][2], shapes[1][3]
    edges = [PER_FRAME * first_frame_of(index) for index in range(frames + 1)]
    if round(edges[-1]) != sound:  # not the host's own length for the video
        edges = [*(min(edge, sound) for edge in edges[:-1]), float(sound)]
    return [Stream(tuple(edges), 3, steady=True, keeps_power=True)]


def _payload(cond: Any, view: View, shapes: Sequence[Sequence[int]], firsts: Sequence[int]) -> Any:
    """What the network is told of a window: its keyframes, all references, and positions in the whole video."""
    from comfy.ldm.minimax.model import PackedLayout

    whole = cond.cond
    start = first_frame_of(view.start)
    stop = start + sum(len(MINIMAX_H3.compression.frames_of(index)) for index in view.indices)
    payload = dict(whole)
    references = whole.get("refs") or []
    if "keyframes" in whole:
        held = _keyframes(whole["keyframes"], start, stop)
        if view.tile is not None:
            held = [_of_tile(frame, view.tile) for frame in held]
        payload["keyframes"] = held
        for name, key in (("cond_video_latents", "latent"), ("cond_audio_latents", "audio_latent")):
            payload[name] = [each[key] for each in (*held, *references) if each.get(key) is not None]
    if "layout" in whole:
        text = whole["layout"].signature[0]
        video, sound = shapes
        layout = PackedLayout(
            text, video[2], (video[3] + 1) // 2 * 2, (video[4] + 1) // 2 * 2, sound[3],
            keyframes=payload.get("keyframes"), refs=whole.get("refs"),
        )  # fmt: skip
        for first, last, kind in layout.segments:
            if kind in _ON_TIMELINE:
                layout.position_ids[first:last, 0] += PER_FRAME * start
            elif kind == _SOUND:
                layout.position_ids[first:last, 0] += firsts[1]
        payload["layout"] = layout
    return CONDAlone(payload)


def _of_prompts(conds: Sequence[Mapping[str, Any]], weights: torch.Tensor, beside: Sequence[torch.Tensor]) -> JointRow:
    """The row of a window whose prompts stand side by side.

    The texts all end where the timeline begins, so that each lies before the rest as it would alone.
    """
    payloads = [each["minimax_payload"].cond for each in conds]
    texts = [payload["layout"].signature[0] for payload in payloads]
    longest = max(range(len(texts)), key=texts.__getitem__)
    payload = dict(payloads[longest])
    layout = payload["layout"] = copy.copy(payload["layout"])
    text, more, places = texts[longest], sum(texts) - texts[longest], layout.position_ids
    of_tokens = _weights_of_tokens(layout.segments, places[:, 0], weights, beside)
    layout.position_ids = torch.cat([*(places[text - count : text] for count in texts), places[text:]])
    layout.segments = [(first + more if first else 0, last + more, kind) for first, last, kind in layout.segments]
    layout.img_pos, layout.audio_pos = layout.img_pos + more, layout.audio_pos + more
    layout.seq_len += more
    layout.signature = (text + more, *layout.signature[1:])
    tags = [payload.get("text_token_tags") for payload in payloads]
    if any(tag is not None for tag in tags):  # without them all are of text
        payload["text_token_tags"] = torch.cat([
            torch.full((count,), _TEXT_TAG) if tag is None else tag.view(-1).cpu()
            for tag, count in zip(tags, texts, strict=True)
        ])  # fmt: skip
    owners = torch.arange(len(texts)).repeat_interleave(torch.tensor(texts))
    return JointRow({"minimax_payload": CONDAlone(payload)}, tuple(texts), owners, of_tokens)


def _weights_of_tokens(
    segments: Sequence[tuple[int, int, str]], times: torch.Tensor, weights: torch.Tensor, beside: Sequence[torch.Tensor]
) -> torch.Tensor:
    """How much each prompt counts for the tokens behind the text, ``[prompt, token]``.

    For keyframes it is what it is for the latent frame that they lie in, for their sound what it is for the sound of
    that time, and for references, which are for all of the window, the mean.
    """
    starts = {kind: first for first, _, kind in segments}
    frames, [sound] = weights.shape[1], beside
    video = times[starts["video"] :]
    per_frame = len(video) // frames
    found = []
    for first, last, kind in segments[1:]:
        if kind == "video":
            found.append(weights.repeat_interleave(per_frame, dim=1))
        elif kind == _SOUND:
            found.append(sound.repeat(1, (last - first) // sound.shape[1]))
        elif kind == "cond":
            place = torch.searchsorted(video[::per_frame].contiguous(), times[first:last] + _JUST, right=True) - 1
            found.append(weights[:, place.clamp(0, frames - 1)])
        elif kind == "cond_audio":
            place = (times[first:last] - times[starts[_SOUND]]).round().long()
            found.append(sound[:, place.clamp(0, sound.shape[1] - 1)])
        else:
            found.append(weights.mean(dim=1, keepdim=True).expand(-1, last - first))
    return torch.cat(found, dim=1)


def _of_tile(keyframe: dict[str, Any], tile: Tile) -> dict[str, Any]:
    """A keyframe of a tile."""
    latent = keyframe.get("latent")
    return keyframe if latent is None else {**keyframe, "latent": tile.of(latent)}


def _keyframes_of_chunk(keyframes: Sequence[Mapping[str, Any]], place: Place, length: int) -> list[dict[str, Any]]:
    """The keyframes of a chunk, on the clock of its own clip; of one that begins before it, what lies in the chunk."""
    held = _keyframes(keyframes, first_frame_of(place.start), first_frame_of(place.start + length))
    cut = [_without_rounds(frame, -(frame["resolved_frame_index"] // _ROUND)) for frame in held]
    return [frame for frame in cut if any(frame.get(name) is not None for name in ("latent", "audio_latent"))]


def _without_rounds(keyframe: dict[str, Any], rounds: int) -> dict[str, Any]:
    """A keyframe without its first rounds of the pattern of latent frames."""
    if rounds <= 0:
        return keyframe
    frames = rounds * _ROUND
    shorter = {**keyframe, "resolved_frame_index": keyframe["resolved_frame_index"] + frames}
    for name, axis, elements in (
        ("latent", 2, rounds * MINIMAX_H3.compression.grain),
        ("audio_latent", 3, round(frames * PER_FRAME)),
    ):
        value = keyframe.get(name)
        if value is not None:
            count = value.shape[axis] - elements
            shorter[name] = value.narrow(axis, elements, count) if count > 0 else None
    return shorter


def _keyframes(keyframes: Sequence[Mapping[str, Any]], start: int, stop: int) -> list[dict[str, Any]]:
    """The keyframes that lie in the frames ``start`` to ``stop``, on a clock that begins with the first of these."""
    return [
        {**frame, "resolved_frame_index": frame["resolved_frame_index"] - start}
        for frame in keyframes
        if _lies_in(frame, start, stop)
    ]


def _lies_in(keyframe: Mapping[str, Any], start: int, stop: int) -> bool:
    """Whether some of a keyframe, an image, a clip or sound, lies in the frames ``start`` to ``stop``."""
    first = keyframe["resolved_frame_index"]
    frames = 0.0
    if keyframe.get("latent") is not None:
        frames = MINIMAX_H3.compression.num_frames(keyframe["latent"].shape[2])
    if keyframe.get("audio_latent") is not None:
        frames = max(frames, keyframe["audio_latent"].shape[-1] / PER_FRAME)
    return first < stop and first + frames > start


FAMILIES = (
    Family(
        MINIMAX_H3,
        latent_formats=("MiniMaxH3AV", "MiniMaxH3Video"),
        streams=("video", "audio"),
        stream_channels=(24, 32),
        streams_beside=_sound,
        sound_per_frame=lambda entries, frames, sound: PER_FRAME,
        mixes_texts=False,  # it has a place for every token of each
        of_stream={"audio_denoise_mask": 1},
        by_window={"minimax_payload": _payload},
        unbatched=frozenset({"minimax_payload"}),
        joint_text={
            "MiniMaxH3": JointText(_of_prompts, frozenset({"layout", "text_token_tags"}), told="minimax_payload"),
        },
        sound_text=True,
        by_chunk={"minimax_keyframes": _keyframes_of_chunk},
        continuation=lambda model: CleanClips(),
        vae_classes=("comfy.ldm.minimax.vae.MiniMaxH3VideoVAE",),
    ),
)
