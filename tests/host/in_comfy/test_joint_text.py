"""Prompts by attention in MiniMax H3, where text, references, keyframes, sound and video are one row of tokens."""

import uuid

import combined
import pytest
import tiny
import tiny_sound
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from long_video_pack.glv_core.hosts.comfy.co_denoise import frame_text, joint_text
from long_video_pack.glv_core.hosts.comfy.co_denoise.conditioning import Conditions
from long_video_pack.glv_core.hosts.comfy.co_denoise.packed import PackedLatent
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG
from long_video_pack.glv_core.hosts.comfy.families import family_of
from long_video_pack.glv_core.prompts import frame_attention
from long_video_pack.glv_core.windows import View, Window
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from long_video_pack.nodes.streaming_extend import StreamingExtend
from long_video_pack.nodes.window_plan import WindowPlan
from torch.testing import assert_close

if combined.HAS_H3:
    import comfy.ldm.minimax.model as host

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


def shares():
    """Weights of three prompts in a window: frames with one, a fade of two and one of three."""
    weights = torch.zeros(3, WINDOW.length)
    weights[0, 0], weights[2, 1], weights[1, 5:] = 1, 1, 1
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
            beside = query - len(owner)  # those that are not text
            share = float(owner[query] == prompt) if beside < 0 else float(shares[beside][prompt])
            bias[query, key] = torch.tensor(share).double().log() if share else -torch.inf
    return bias


def test_each_text_lies_before_the_rest_as_it_would_alone():
    """Places in time, which the network only sees as distances."""
    run = Pass([0, 1, 2], **everything())
    layout = run.joined(shares())[0]["model_conds"]["minimax_payload"].cond["layout"]
    places, first, text = layout.position_ids, 0, sum(TOKENS)
    assert layout.segments[0] == (0, text, "text") and layout.segments[-1][1] == layout.seq_len == len(places)
    for entry, count in zip(run.entries, TOKENS, strict=True):
        own = entry["model_conds"]["minimax_payload"].cond["layout"]
        shift = torch.cat([places[first : first + count], places[text:]]) - own.position_ids
        assert shift[:, 1:].abs().max() == 0
        assert_close(shift[:, 0], torch.full_like(shift[:, 0], max(TOKENS) - count), rtol=0, atol=1e-9)
        assert [(b - a, kind) for a, b, kind in layout.segments[1:]] == [
            (b - a, kind) for a, b, kind in own.segments[1:]
        ]
        first += count


def test_no_mask_is_as_large_as_the_row_and_what_sees_one_prompt_has_none(monkeypatch):
    """The override of attention that a user chose has all tokens that see one prompt, each once."""
    monkeypatch.setattr(frame_attention, "_MANY", 20)
    run = Pass([0, 1, 2], layers=1)
    entry, [sound] = run.joined(shares())
    attention, masked, chosen = joint_text.attention_pytorch, [], []

    def spy(q, k, v, heads, mask, *args, **given):
        masked.append((q.shape[-2], k.shape[-2], tuple(mask.shape)))
        return attention(q, k, v, heads, mask, *args, **given)

    def override(func, q, k, v, heads, *args, **given):
        assert given.get("mask") is None
        chosen.append((q.shape[-2], k.shape[-2]))
        return func(q, k, v, heads, *args, **given)

    monkeypatch.setattr(joint_text, "attention_pytorch", spy)
    plain = run.of(entry)
    masks, masked[:] = list(masked), []
    close(run.of(entry, optimized_attention_override=override), plain, 0)
    assert masked == masks and all(mask[-2] <= 20 and mask[-1] == keys for _, keys, mask in masks)
    rest = WINDOW.length * 4 + 2 * sound.shape[1]
    one = torch.cat([(shares() == 1).repeat_interleave(4, dim=1), (sound == 1).repeat(1, 2)], dim=1).sum(1)
    assert chosen == [(count + int(more), count + rest) for count, more in zip(TOKENS, one, strict=True)]
    assert sum(queries for queries, _ in chosen) + sum(queries for queries, *_ in masks) == sum(TOKENS) + rest


@pytest.mark.parametrize("differs", ["keyframes", "refs", "audio_cond_noise_aug"])
def test_prompts_that_bring_more_than_their_text(differs):
    run = Pass([0, 1, 2], **everything())
    conds = run.entries[1]["model_conds"]
    payload = dict(conds["minimax_payload"].cond)
    assert run.joined(shares())
    payload[differs] = 0.5 if differs == "audio_cond_noise_aug" else [{**payload[differs][0], "latent": torch.ones(1)}]
    conds["minimax_payload"] = conds["minimax_payload"]._copy_with(payload)
    with pytest.raises(ValueError, match=rf"differ in '{differs}'.*Set prompt_blending to predictions"):
        run.joined(shares())


# In runs of the sampler.

FRAMES = combined.frames_of("h3", 37)


def prompts(text, frames=FRAMES, fade=40.0, **extras):
    """A CONDITIONING of MultiPromptSchedule; prompts of the same letters have the same embeddings, and longer ones more
    of them.
    """

    class Clip:
        def tokenize(self, prompt):
            return prompt

        def encode_from_tokens_scheduled(self, prompt):
            return combined.text("h3", sum(map(ord, prompt)), 3 + 2 * len(prompt), **extras)

    return MultiPromptSchedule.execute(Clip(), text, frames, 24.0, "linear" if fade else "hard", fade).args[0]


def sampled(model, positive, length=37, **options):
    given = {
        "cfg": 1.0, "steps": 2, "window": 56, "overlap": 22, "prompt_blending": "attention",
        "negative": combined.text("h3", 0), "positive": positive, **options,
    }  # fmt: skip
    latent = given.pop("latent", None) or combined.latent("h3", length)
    return list(tiny.co_denoise(model, latent, **given).unbind())


def plain(positive):
    """One of the prompts, without a timeline."""
    return [[positive[0][0], {key: value for key, value in positive[0][1].items() if key != TAG}]]


def long_keyframes():
    made = keyframes(torch.Generator().manual_seed(4))
    return [*made, {"resolved_frame_index": FRAMES - 1, "latent": made[0]["latent"]}]


def masked_latent():
    latent = combined.latent("h3", 37)
    latent["samples"] = combined.nested(*(torch.randn_like(each) for each in latent["samples"].unbind()))["samples"]
    masks = [torch.ones(1, 1, 37, 4, 4), torch.ones(1, 1, 2, combined.sound_of("h3", 37))]
    masks[0][:, :, :7], masks[1][..., :37] = 0, 0
    return {**latent, "noise_mask": combined.nested(*masks)["samples"]}


@pytest.mark.parametrize(("extras", "options"), [
    ({}, {}), ({}, {"cfg": 3.0, "schedule": "shifted"}), ({}, {"sampler": "heun", "offload_latent": True}),
    ({"minimax_keyframes": long_keyframes(), "minimax_refs": refs(torch.Generator().manual_seed(5))}, {}),
    ({"minimax_keyframes": long_keyframes()}, {"tile_width": 32, "tile_height": 32, "tile_overlap": 0}),
    ({}, {"latent": masked_latent}), ({}, {"step_cache": 0.3, "steps": 5}), ({}, {"isolated_clips": True}),
], ids=str)  # fmt: skip
def test_a_fade_between_prompts_that_say_the_same_is_the_run_with_one(extras, options):
    model = combined.model("h3", 2)
    options = {key: value() if callable(value) else value for key, value in options.items()}
    positive = prompts("ab | ba | ab", **extras)
    made, expected = sampled(model, positive, **options), sampled(model, plain(positive), **options)
    close(made, expected, 2e-3)
    assert apart(made, sampled(model, prompts("ab | ca", **extras), **options)) > 0.1


def test_windows_that_see_one_prompt_are_as_with_predictions():
    """A cut at latent frame 30 of 37: of windows that begin at 0, 10 and 20 the last sees both prompts."""
    model = combined.model("h3", 2)
    positive = prompts(f"0: a\n{combined.frames_of('h3', 30)}: bcd", fade=0.0)
    ways = [sampled(model, positive, steps=1, prompt_blending=each) for each in ("attention", "predictions")]
    assert torch.equal(*(video[:, :, :20] for video, _ in ways))
    assert not torch.equal(*(video[:, :, 27:] for video, _ in ways))


def test_auto_is_attention_and_each_window_is_one_forward_pass():
    model, positive = combined.model("h3"), prompts("a | bcd | ef")
    made = {}
    for blending in ("auto", "attention", "predictions"):
        spy = combined.Spy(model)
        made[blending] = sampled(model, positive, steps=1, prompt_blending=blending)
        made[blending].append(len(spy.calls))
    windows = 3
    assert made["auto"][2] == made["attention"][2] == windows < made["predictions"][2]
    assert all(torch.equal(one, other) for one, other in zip(made["auto"][:2], made["attention"][:2], strict=True))
    assert apart(made["auto"][:2], made["predictions"][:2]) > 1e-2


@pytest.mark.parametrize("options", [{}, {"schedule": "shifted", "overlap": 5}, {"prompt_blending": "predictions"}])
def test_the_plan_says_what_the_run_does(options):
    model, positive = combined.model("h3"), prompts("a | bcd | ef")
    options = {
        "window": 56,
        "overlap": 22,
        "schedule": "static",
        "merge": "pyramid",
        "prompt_blending": "auto",
        **options,
    }
    vae = tiny_sound.minimax_video_vae()
    planned = WindowPlan.execute(vae, FRAMES, 24.0, 3, positive, windows_per_forward=0, **options).args[1]
    spy = combined.Spy(model)
    sampled(model, positive, steps=3, **options)
    assert planned == len(spy.calls)


def test_auto_goes_on_with_predictions_where_something_hides_the_attention(monkeypatch, caplog):
    model, positive = combined.model("h3"), prompts("a | bcd")
    forward = host.Attention.forward
    monkeypatch.setattr(
        host.Attention,
        "forward",
        lambda self, x, rope_freqs=None, transformer_options=None: forward(self, x, rope_freqs),
    )
    with pytest.raises(ValueError, match="a patch on the MODEL may have replaced it"):
        sampled(model, positive)
    made = sampled(model, positive, prompt_blending="auto")
    expected = sampled(model, positive, prompt_blending="predictions")
    assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))
    assert [record.message for record in caplog.records if "may have replaced it" in record.message]


def test_auto_goes_on_with_predictions_where_prompts_have_keyframes_of_their_own():
    model, positive = combined.model("h3"), prompts("a | bcd", minimax_keyframes=long_keyframes())
    positive[1][1]["minimax_keyframes"] = long_keyframes()[:1]
    with pytest.raises(ValueError, match=r"differ in '(keyframes|cond_video_latents)'"):
        sampled(model, positive)
    ways = (sampled(model, positive, prompt_blending=each) for each in ("auto", "predictions"))
    assert all(torch.equal(one, other) for one, other in zip(*ways, strict=True))


def test_a_compiled_model():
    model, positive = combined.model("h3", 2), prompts("a | bcd | ef")
    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    expected = sampled(model, positive)
    close(sampled(compiled, positive), expected, 1e-4)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    close(sampled(compiled, positive), expected, 1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made > 0


def test_chunks_of_a_stream():
    """Prompts that say the same, in chunks that go on from known latents and sound: the stream with one of them."""
    model, positive = combined.model("h3", 2), prompts("ab | ba")
    made = []
    for each in (positive, plain(positive)):
        samples = StreamingExtend.execute(
            model, latent=combined.latent("h3", 17), positive=each, negative=combined.text("h3", 0), seed=5, steps=2,
            cfg=1.0, sampler_name="euler", scheduler="simple", chunk=combined.frames_of("h3", 17), overlap=22,
            run_name="", length=FRAMES,
        ).args[0]["samples"]  # fmt: skip
        made.append(list(samples.unbind()))
    close(*made, 1e-2)
