"""Prompts by attention in Hunyuan 1.5: a row of a start image, words to be written, texts and video."""

import uuid

import comfy.ldm.hunyuan_video.vae
import pytest
import rows_parts
import tiny
import torch
from comfy.ldm.hunyuan_video import vae_refiner
from comfy_api.torch_helpers import set_torch_compile_wrapper
from long_video_pack.glv_core.hosts.comfy.co_denoise import frame_text, joint_text
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG
from long_video_pack.glv_core.prompts import frame_attention
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from long_video_pack.nodes.window_plan import WindowPlan
from torch.testing import assert_close

pytestmark = pytest.mark.every_host

#: Of prompts: tokens of text, and of words to be written.
TEXTS, WORDS = (5, 8, 3), (4, 0, 6)
FRAMES, SIDE, IMAGE = 5, 4, 9


def model(depth=2, kind="HunyuanVideo15", channels=65):
    """A MODEL whose text and words say enough to be seen."""
    made = rows_parts.build(
        kind, in_channels=channels, out_channels=32, vec_in_dim=None, context_in_dim=rows_parts.TEXT,
        hidden_size=128, mlp_ratio=4.0, num_heads=1, depth=depth, depth_single_blocks=1, axes_dim=[16, 56, 56],
        theta=256, patch_size=[1, 1, 1], qkv_bias=True, guidance_embed=False, byt5=True, meanflow=False,
        use_cond_type_embedding=True, vision_in_dim=1152, meanflow_sum=True,
    )  # fmt: skip
    with torch.no_grad():
        for name, value in made.model.diffusion_model.named_parameters():
            if "norm" not in name and not name.startswith("byt5_in"):
                value.mul_(2)
    return made


def text(seed, words=0, tokens=8, **extras):
    """A CONDITIONING with words to be written."""
    generator = torch.Generator().manual_seed(100 + seed)
    if words:
        extras["conditioning_byt5small"] = torch.randn(1, words, 1472, generator=generator)
    return rows_parts.text(seed, rows_parts.TEXT, tokens, pooled_output=torch.full((1, 8), float(seed)), **extras)


class Pass:
    """Prompts of tiny Hunyuan 1.5, and its forward passes."""

    def __init__(self, seeds, image=True, **more):
        self.model = model(**more).model
        self.x = torch.randn(2, 32, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(8))
        self.entries = []
        for seed in seeds:
            [[embedding, extras]] = text(seed, WORDS[seed], TEXTS[seed])
            if image:
                extras["clip_vision_output"] = rows_parts.vision(1152, IMAGE)
            conds = self.model.extra_conds(cross_attn=embedding, noise=self.x, device=torch.device("cpu"), **extras)
            self.entries.append({"uuid": uuid.uuid4(), "model_conds": conds})

    def of(self, entry, **options):
        """What the network predicts, of two videos."""
        conds = {}
        for key, cond in entry["model_conds"].items():
            conds[key] = cond.process_cond(batch_size=2, area=None).cond
        options = frame_text.with_frame_text({"transformer_options": options})["transformer_options"]
        with torch.no_grad():
            return self.model.apply_model(self.x, torch.full((2,), 0.7), transformer_options=options, **conds)

    def joined(self, weights):
        return frame_text.join_prompts(self.entries, weights, self.model)


def close(made, expected, atol=2e-5):
    assert_close(made, expected, rtol=1e-4, atol=atol)


def shares():
    """Weights of three prompts in latent frames: one, another, fades of two and of three, and a third."""
    return torch.tensor([[1.0, 0.0, 0.25, 0.2, 0.0], [0.0, 0.0, 0.75, 0.5, 1.0], [0.0, 1.0, 0.0, 0.3, 0.0]])


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("prompt", [0, 1, 2])
def test_a_window_with_one_prompt_is_the_pass_with_it_whatever_others_stand_beside(prompt, image):
    run = Pass([0, 1, 2], image)
    weights = torch.zeros(3, FRAMES)
    weights[prompt] = 1
    alone = [run.of(entry) for entry in run.entries]
    close(run.of(run.joined(weights)), alone[prompt])
    assert min((alone[prompt] - other).abs().max() for other in alone[:prompt] + alone[prompt + 1 :]) > 1e-3


@pytest.mark.parametrize("many", [512, 3], ids="a mask for {} tokens".format)
@pytest.mark.parametrize("kind", [{}, {"kind": "HunyuanVideo15_SR_Distilled", "channels": 98}], ids=["", "upscaling"])
def test_prompts_that_say_the_same_are_one_whatever_their_weights(kind, many, monkeypatch):
    monkeypatch.setattr(frame_attention, "_MANY", many)
    run = Pass([2, 2, 2], **kind)
    close(run.of(run.joined(shares())), run.of(run.entries[0]))


@pytest.mark.parametrize("many", [512, 3], ids="a mask for {} tokens".format)
def test_each_token_sees_the_prompts_of_its_time(many, monkeypatch):
    """The oracle is one softmax over all of the row, with a bias for every pair of tokens, made one by one; what makes
    tokens of the text is called for each prompt.
    """
    monkeypatch.setattr(frame_attention, "_MANY", many)
    run = Pass([0, 1, 2])
    entry = run.joined(shares())
    network, last = run.model.diffusion_model, hasattr(run.model.diffusion_model.double_blocks[0], "flipped_img_txt")
    bias, length = dense_bias(last), IMAGE + sum(WORDS) + sum(TEXTS) + FRAMES * SIDE**2
    assert len(bias) == length

    def softmax(func, q, k, v, heads, *args, **given):
        if q.shape[-2] != length:
            return func(q, k, v, heads, *args, **given)
        weights = torch.softmax(q.double() @ k.double().mT / q.shape[-1] ** 0.5 + bias, dim=-1)
        return (weights @ v.double()).to(q).transpose(1, 2).flatten(2)

    made, dense = run.of(entry), {**entry, "model_conds": dict(entry["model_conds"])}
    del dense["model_conds"][joint_text.ROW]
    forward = network.txt_in.forward
    network.txt_in.forward = lambda given, *args, **more: torch.cat(
        [
            forward(given[:, first : first + count], *args, **more)
            for first, count in zip((0, 5, 13), TEXTS, strict=True)
        ],
        1,
    )
    close(made, run.of(dense, optimized_attention_override=softmax))
    assert (made - run.of(dense)).abs().max() > 1e-3


def dense_bias(last):
    """``[token, token]``, by hand: an image, words and texts of three prompts, and video."""
    owner = [-1] * IMAGE
    owner += [prompt for counts in (WORDS, TEXTS) for prompt, count in enumerate(counts) for _ in range(count)]
    owner += [-2 - frame for frame in range(FRAMES) for _ in range(SIDE**2)]
    bias = torch.zeros(len(owner), len(owner), dtype=torch.float64)
    for query, of_query in enumerate(owner):
        for key, of_key in enumerate(owner):
            if of_key < 0:
                continue
            if of_query >= 0:
                share = float(of_query == of_key)
            elif of_query == -1:
                share = float(shares()[of_key].mean())
            else:
                share = float(shares()[of_key, -2 - of_query])
            bias[query, key] = torch.tensor(share).double().log() if share else -torch.inf
    order = [*range(len(owner) - FRAMES * SIDE**2, len(owner)), *range(len(owner) - FRAMES * SIDE**2)]
    return bias[order][:, order] if last else bias


def prompts(words, frames=33, fade=16.0, **extras):
    """A CONDITIONING of MultiPromptSchedule, of texts of other lengths, some with words to be written."""

    class Clip:
        def tokenize(self, prompt):
            return prompt

        def encode_from_tokens_scheduled(self, prompt):
            return text(sum(map(ord, prompt)), 3 * ("w" in prompt), 2 + len(prompt), **extras)

    return MultiPromptSchedule.execute(Clip(), words, frames, 24.0, "linear", fade).args[0]


def sampled(made, positive, **options):
    given = {
        "cfg": 1.0, "steps": 2, "window": 17, "overlap": 8, "prompt_blending": "attention", "negative": text(0),
        "positive": positive, **options,
    }  # fmt: skip
    return tiny.co_denoise(made, given.pop("latent", None) or tiny.latent(9, channels=32), **given)


@pytest.mark.parametrize("options", [
    {}, {"cfg": 3.0, "per_forward": 4}, {"tile_width": 32, "tile_height": 64, "tile_overlap": 16}, {"step_cache": 0.3},
    {"window": 33, "overlap": 0},
], ids=str)  # fmt: skip
def test_a_fade_between_prompts_that_say_the_same_is_the_run_with_one(options):
    positive = prompts("aw | wa | aw", clip_vision_output=rows_parts.vision(1152, IMAGE))
    plain = [[positive[0][0], {key: value for key, value in positive[0][1].items() if key != TAG}]]
    expected = sampled(model(), plain, **options)
    close(sampled(model(), positive, **options), expected, 1e-3)
    assert (sampled(model(), prompts("aw | bcd"), **options) - expected).abs().max() > 0.05


def test_windows_that_see_several_prompts_share_no_forward_pass():
    """Four windows of 5 latent frames: two that see one prompt, and two in which it gives way to another."""
    positive = prompts("0: a\n49: bcd\n57: a\n69: bcd", 77, 0.0)
    shapes, made = [], []
    for count in (1, 4):
        recorder = tiny.Recorder(model(1))
        latent = tiny.latent(20, channels=32)
        made.append(sampled(recorder.model, positive, per_forward=count, overlap=0, steps=1, latent=latent))
        shapes.append([shape[0] for shape in recorder.shapes])
    assert shapes[0] == [1] * 4 and sorted(shapes[1]) == [1, 1, 2]
    close(*made)


def test_auto_is_attention_and_each_window_is_one_pass():
    made, passes = {}, {}
    positive = prompts("a | bcw | d")
    for blending in ("auto", "attention", "predictions"):
        recorder = tiny.Recorder(model())
        made[blending] = sampled(recorder.model, positive, prompt_blending=blending)
        passes[blending] = sum(shape[0] for shape in recorder.shapes)
    assert passes["auto"] == passes["attention"] == 2 * 3 < passes["predictions"]
    assert torch.equal(made["auto"], made["attention"])
    assert (made["auto"] - made["predictions"]).abs().max() > 1e-3


class Vae:
    """As much of Hunyuan's VAEs as WindowPlan asks."""

    latent_dim, latent_channels = 3, 32
    upscale_ratio = (lambda a: max(0, a * 4 - 3), 16, 16)

    def __init__(self, encoder):
        self.first_stage_model = torch.nn.Module()
        self.first_stage_model.encoder = encoder.__new__(encoder)

    def temporal_compression_decode(self):
        return 4


@pytest.mark.parametrize(("encoder", "blending"), [
    (vae_refiner.Encoder, "attention"), (comfy.ldm.hunyuan_video.vae.Encoder, "predictions"),
])  # fmt: skip
def test_the_plan_says_what_the_run_does(encoder, blending):
    """Of Hunyuan 1.5, and of the first, whose latent frames do not attend to prompts of their own."""
    positive, windows = prompts("a | bcw | d"), {"window": 17, "overlap": 8}
    planned = WindowPlan.execute(
        Vae(encoder), 33, 24.0, 2, positive, schedule="static", merge="pyramid", windows_per_forward=0, **windows
    ).args[1]
    recorder = tiny.Recorder(model())
    sampled(recorder.model, positive, prompt_blending=blending, **windows)
    assert planned == sum(shape[0] for shape in recorder.shapes)


def test_masks_of_text_are_refused():
    positive = prompts("a | bcd")
    for embedding, extras in positive:
        extras["attention_mask"] = torch.ones(embedding.shape[:2], dtype=torch.long)
        extras["attention_mask"][:, -1] = 0
    with pytest.raises(ValueError, match=r"does not support masks of text.*Set prompt_blending to predictions"):
        sampled(model(), positive)
    ways = (
        {"prompt_blending": each, "per_forward": 1} for each in ("auto", "predictions")
    )  # the host's masks are one row
    assert torch.equal(*(sampled(model(), positive, **options) for options in ways))


def test_a_compiled_model():
    made, positive = model(1), prompts("a | bcw | d")
    compiled = made.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    expected = sampled(made, positive, per_forward=1)
    for _ in range(2):
        close(sampled(compiled, positive, per_forward=1), expected, 1e-4)
    layer = made.model.diffusion_model.txt_in
    assert type(layer).__name__ == "TokenRefiner"  # as it was
