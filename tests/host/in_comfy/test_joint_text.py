"""Prompts by attention in MiniMax H3, where text, references, keyframes, sound and video are one row of tokens."""

import uuid

import combined
import pytest
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise import frame_text, joint_text
from long_video_pack.glv_core.hosts.comfy.co_denoise.conditioning import Conditions
from long_video_pack.glv_core.hosts.comfy.co_denoise.packed import PackedLatent
from long_video_pack.glv_core.hosts.comfy.families import family_of
from long_video_pack.glv_core.prompts import frame_attention
from long_video_pack.glv_core.windows import View, Window
from torch.testing import assert_close

pytestmark = pytest.mark.skipif(not combined.HAS_H3, reason="this ComfyUI has no MiniMax H3")

LENGTH, WINDOW = 17, Window(5, 7)  # the long latent, and a window of it, in latent frames
TOKENS = (5, 8, 3)  # of prompts 0, 1 and 2


def refs(generator):
    picture, speech = torch.randn(1, 24, 1, 4, 6, generator=generator), torch.randn(1, 32, 2, 9, generator=generator)
    return [
        {"kind": "image", "latent_h": 4, "latent_w": 6, "latent": picture},
        {"kind": "audio", "ref_audio_t": 9, "audio_latent": speech},
    ]


def keyframes(generator):
    """An image in the window's third latent frame, and a clip with sound that begins before it; a window begins with
    the frame 17.
    """
    clip, voice = torch.randn(1, 24, 7, 4, 4, generator=generator), torch.randn(1, 32, 2, 37, generator=generator)
    return [
        {"resolved_frame_index": 17 + 7, "latent": torch.randn(1, 24, 1, 4, 4, generator=generator)},
        {"resolved_frame_index": 13, "latent": clip, "audio_latent": voice},
    ]  # fmt: skip


def everything():
    """All that may stand beside the prompts: references, keyframes, and what is known of the video and the sound."""
    generator = torch.Generator().manual_seed(3)
    masks = [torch.ones(1, 24, LENGTH, 4, 4), torch.ones(1, 32, 2, combined.sound_of("h3", LENGTH))]
    masks[0][:, :, :7], masks[1][..., :40] = 0, 0.5
    mask = torch.cat([each.flatten() for each in masks])[None, None]
    return {"minimax_refs": refs(generator), "minimax_keyframes": keyframes(generator), "denoise_mask": mask}


def entries_of(model, seeds, view, **extras):
    """The cond entries of prompts for a window: of random embeddings, and of tags of their tokens."""
    shapes = [each.shape for each in combined.latent("h3", LENGTH)["samples"].unbind()]
    model.latent_shapes = shapes
    latent = PackedLatent.of(family_of(model), shapes, 2)
    conditions = Conditions(family_of(model), LENGTH, 2, None, latent)
    made = []
    for seed in seeds:
        tags = torch.ones(1, TOKENS[seed], dtype=torch.long)
        tags[:, 1:3] = 0
        text = combined.text("h3", seed, TOKENS[seed])[0][0]
        conds = model.extra_conds(
            cross_attn=text, minimax_token_tags=None if seed == 0 else tags, device=torch.device("cpu"),
            latent_shapes=shapes, noise=torch.zeros(1, 1, 1), **extras,
        )  # fmt: skip
        made.append(conditions.slice({"uuid": uuid.uuid4(), "model_conds": conds}, view, None))
    return made, latent


class Pass:
    """Prompts of a window of tiny H3, and its forward passes."""

    def __init__(self, seeds, layers=2, **extras):
        self.model = combined.model("h3", layers).model
        self.view = View(WINDOW)
        self.entries, self.latent = entries_of(self.model, seeds, self.view, **extras)
        size = self.latent.packed_shape_of(self.view)
        self.x = torch.randn(size, generator=torch.Generator().manual_seed(8))

    def joined(self, weights):
        beside = self.latent.beside(weights, self.view)
        return frame_text.join_prompts(self.entries, weights, self.model, beside), beside

    def of(self, entry, **options):
        """What the network predicts, ``[video, sound]``."""
        conds = {key: cond.cond for key, cond in entry["model_conds"].items()}
        options = frame_text.with_frame_text({"transformer_options": options})["transformer_options"]
        with torch.no_grad():
            said = self.model.apply_model(self.x, torch.tensor([0.7]), transformer_options=options, **conds)
        return self.latent.of_window(said, self.view)


def close(made, expected, atol=3e-4):
    for one, other in zip(made, expected, strict=True):
        assert_close(one, other, rtol=1e-4, atol=atol)


def apart(made, expected):
    return max((one - other).abs().max() for one, other in zip(made, expected, strict=True))


def shares(seed=0):
    """Weights of three prompts in a window: frames with one, a fade of two and one of three."""
    weights = torch.zeros(3, WINDOW.length)
    weights[0, :2], weights[1, 5:] = 1, 1
    weights[:2, 2] = torch.tensor([0.25, 0.75])
    weights[:, 3] = torch.tensor([0.2, 0.5, 0.3])
    weights[:, 4] = torch.tensor([0.0, 0.6, 0.4])
    return weights


@pytest.mark.parametrize("extras", [{}, everything()], ids=["", "everything"])
@pytest.mark.parametrize("prompt", [0, 1, 2])
def test_a_window_with_one_prompt_is_the_pass_with_it_whatever_others_stand_beside(prompt, extras):
    run = Pass([0, 1, 2], **extras)
    weights = torch.zeros(3, WINDOW.length)
    weights[prompt] = 1
    close(run.of(run.joined(weights)[0]), run.of(run.entries[prompt]))
    assert apart(run.of(run.entries[0]), run.of(run.entries[1])) > 1e-2


@pytest.mark.parametrize("extras", [{}, everything()], ids=["", "everything"])
@pytest.mark.parametrize("many", [512, 1, 3], ids="a mask for {} tokens".format)
def test_prompts_that_say_the_same_are_one_whatever_their_weights(extras, many, monkeypatch):
    """Several layers: a softmax over the same keys twice, with shares that sum to 1, is that over them once."""
    monkeypatch.setattr(frame_attention, "_MANY", many)
    run = Pass([1, 1, 1], **extras)
    close(run.of(run.joined(shares())[0]), run.of(run.entries[0]))


@pytest.mark.parametrize("extras", [{}, everything()], ids=["", "everything"])
@pytest.mark.parametrize("many", [512, 1], ids="a mask for {} tokens".format)
def test_each_token_sees_the_prompts_of_its_time(extras, many, monkeypatch):
    """The oracle is one softmax over all of the row, with a bias for every pair of tokens, made one by one."""
    monkeypatch.setattr(frame_attention, "_MANY", many)
    run = Pass([0, 1, 2], **extras)
    entry, [sound] = run.joined(shares())
    layout = entry["model_conds"]["minimax_payload"].cond["layout"]
    bias = dense_bias(layout, shares(), sound)
    dense = {**entry, "model_conds": {k: v for k, v in entry["model_conds"].items() if k != joint_text.ROW}}
    seen = []

    def softmax(func, q, k, v, heads, *args, **given):
        seen.append(q.shape[-2])
        weights = torch.softmax(q.double() @ k.double().mT / q.shape[-1] ** 0.5 + bias, dim=-1)
        return (weights @ v.double()).to(q).transpose(1, 2).flatten(2)

    expected = run.of(dense, optimized_attention_override=softmax)
    assert seen == [layout.seq_len] * 2
    made = run.of(entry)
    close(made, expected)
    assert apart(made, run.of(dense)) > 1e-3


def dense_bias(layout, weights, sound):
    """``[token, token]``, of the texts of three prompts and what stands behind them, by hand."""
    owner = [number for number, count in enumerate(TOKENS) for _ in range(count)]
    shares = []  # of each token behind the texts
    references = weights.mean(1)
    # Latent frames of a window that begins with frame 17: its frames begin at 0, 1, 5, 9, 13, 17, 18.
    frame_of = [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6, 6, 6]
    kinds = [kind for _, _, kind in layout.segments]
    if "cond" in kinds:
        shares += [weights[:, frame_of[7]]] * 4
        for place in (-4, -3, 1, 5, 9, 13, 14):  # a clip from the frame 13 on: 1, 4, 4, 4, 4, 1, 4
            shares += [weights[:, frame_of[max(place, 0)]]] * 4
        # 40 elements of sound a second: the clip's begin at 21.7, and the window's at 28.
        shares += [sound[:, max(0, round(13 * 40 / 24 + place - 28))] for place in range(37)] * 2
        shares += [references] * (2 * 3 + 9 * 2)
    shares += [sound[:, place] for _ in range(2) for place in range(sound.shape[1])]
    shares += [weights[:, frame] for frame in range(WINDOW.length) for _ in range(4)]
    size = len(owner) + len(shares)
    assert layout.seq_len == size
    bias = torch.zeros(size, size, dtype=torch.float64)
    for query in range(size):
        for key, prompt in enumerate(owner):
            if query < len(owner):
                share = float(owner[query] == prompt)
            else:
                share = float(shares[query - len(owner)][prompt])
            bias[query, key] = torch.tensor(share).double().log() if share else -torch.inf
    return bias
