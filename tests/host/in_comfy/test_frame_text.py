"""Prompts by attention: every latent frame of a window attends to its own, in one forward pass.

Where self-attention is silenced the latent frames of these networks know nothing of each other, so that what each of
them shows can be told from runs with one prompt.
"""

import uuid

import combined
import comfy.ldm.wan.model
import comfy.ops
import comfy.sd
import pytest
import tiny
import torch
from comfy.conds import CONDRegular
from comfy_api.torch_helpers import set_torch_compile_wrapper
from families import hunyuan, ltx, wan_vace, weights_of
from long_video_pack.glv_core.hosts.comfy.co_denoise import frame_text
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from rows_parts import build, cosmos_2_model, cosmos_model, vision
from torch.testing import assert_close


#: How the layer that ends self-attention is called in these networks.
ENDS = ("self_attn.o.", "attn1.to_out.", "self_attn.output_proj.", "block.attn.to_out.")
#: Between video and sound.
BETWEEN = ("audio_to_video_attn.to_out.", "video_to_audio_attn.to_out.")


def close(a, b, atol: float = 1e-5) -> None:
    assert_close(a, b, rtol=0, atol=atol * max(1.0, float(b.std())))


def silence(model):
    """The MODEL with latent frames that know nothing of each other."""
    found = 0
    for name, parameter in model.model.diffusion_model.named_parameters():
        cross = "attn2" in name or "cross_attn" in name or ".blocks.1." in name  # Cosmos 1: FA-CA-MLP
        if any(end in name for end in ENDS + BETWEEN) and not cross:
            parameter.data.zero_()
            found += 1
    assert found
    return model


def prompts(text: str, frames: int, *, width: int = 4096, tokens: int = 16, fade: float = 0.0, **extras) -> list:
    """A CONDITIONING of MultiPromptSchedule; prompts of the same letters have the same embeddings."""

    class Clip:
        def tokenize(self, prompt):
            return sum(map(ord, prompt))

        def encode_from_tokens_scheduled(self, seed):
            return tiny.text(seed, width, tokens, **extras)

    return MultiPromptSchedule.execute(Clip(), text, frames, 16.0, "linear" if fade else "hard", fade).args[0]


def run(model, length: int, positive, **more):
    negative = [[positive[0][0], untagged(positive[0][1])]]
    given = {"cfg": 1.0, "steps": 2, "prompt_blending": "attention", "negative": negative, **more}
    return tiny.co_denoise(model, tiny.latent(length, channels=channels(model)), positive=positive, **given)


def alone(model, length: int, positive):
    """ComfyUI's own sampler with one prompt."""
    latent = tiny.latent(length, channels=channels(model))
    return tiny.ksampler(model, latent, positive=positive, negative=positive, cfg=1.0, steps=2)


def untagged(extras: dict) -> dict:
    """What a CONDITIONING says, without that it belongs to a schedule."""
    return {key: value for key, value in extras.items() if key != TAG}


def channels(model) -> int:
    return model.model.latent_format.latent_channels


def wan_image():
    """Wan image-to-video, with 32 tokens of an image: as many as two prompts have."""
    weights = tiny.wan_weights(2, "i2v", 36)
    extras = {"clip_vision_output": vision(1280, 32), "concat_latent_image": torch.randn(1, 16, 5, 4, 4)}
    extras["concat_mask"] = torch.zeros(1, 1, 5, 4, 4)
    return comfy.sd.load_diffusion_model_state_dict(dict(weights)), dict(extras)


def wan_reference():
    """Wan Fun Control with a reference image, whose tokens stand before the video's."""
    module = comfy.ldm.wan.model.WanModel(
        model_type="t2v", dim=128, ffn_dim=64, num_heads=1, num_layers=2, in_dim=16, in_dim_ref_conv=16,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    reference = torch.randn(1, 16, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    return comfy.sd.load_diffusion_model_state_dict(weights_of(module)), {"reference_latents": [reference]}


def wan_phantom():
    """Wan with latent frames of a subject behind those of the video."""
    return tiny.wan(), {"time_dim_concat": torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(3))}


def vace():
    model, _, (positive, _) = wan_vace()
    extras = {key: positive[0][1][key] for key in ("vace_frames", "vace_mask", "vace_strength")}
    extras["vace_frames"], extras["vace_mask"] = ([each[:, :, :5] for each in extras[key]] for key in list(extras)[:2])
    return model, extras


def ltx_video():
    mask = torch.ones(1, 16, dtype=torch.long)
    mask[:, 12:] = 0
    return ltx()[0], {"attention_mask": mask, "width": 64}


def ltx_2():
    return build(
        "LTXAV", attention_head_dim=16, num_attention_heads=2, cross_attention_dim=32, caption_channels=64,
        num_layers=1, audio_attention_head_dim=16, audio_num_attention_heads=2, audio_cross_attention_dim=32,
        connector_attention_head_dim=16, connector_num_attention_heads=2, connector_num_layers=1,
    ), {"width": 128}  # fmt: skip


KINDS = {
    "Wan": lambda: (tiny.wan(), {}), "Wan image": wan_image, "Wan reference": wan_reference,
    "Wan phantom": wan_phantom, "Wan VACE": vace, "LTX": ltx_video, "LTX-2": ltx_2,
    "Cosmos": lambda: (cosmos_model("CosmosT2V", 16), {"width": 64}),
    "Cosmos Predict2": lambda: (cosmos_2_model("CosmosT2IPredict2", 16), {"width": 64}),
}  # fmt: skip
SCALE = {"LTX": 8, "LTX-2": 8, "Cosmos": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_each_latent_frame_sees_its_prompt_alone(kind):
    """A cut in one window: every latent frame is that of a run with its prompt, whatever else they are shown."""
    model, extras = KINDS[kind]()
    silence(model)
    frames = 1 + 4 * SCALE.get(kind, 4)
    positive = prompts("a | b", frames, **extras)
    ours = run(model, 5, positive, window=frames)
    a, b = (alone(model, 5, [[tensor, untagged(more)]]) for tensor, more in positive)
    assert (a - b).abs().amax(dim=(0, 1, 3, 4)).min() > 1e-3
    close(ours[:, :, :3], a[:, :, :3])
    close(ours[:, :, 3:], b[:, :, 3:])


@pytest.mark.parametrize("kind", KINDS)
def test_two_prompts_that_say_the_same_are_one(kind):
    """A fade between equal embeddings, with self-attention: the run with one of them, since the weights sum to 1."""
    model, extras = KINDS[kind]()
    frames = 1 + 4 * SCALE.get(kind, 4)
    positive = prompts("ab | ba", frames, fade=frames / 2, **extras)
    tensor, more = positive[0]
    close(run(model, 5, positive, window=frames), alone(model, 5, [[tensor, untagged(more)]]), 1e-4)


def test_a_fade_weighs_the_prompts_as_many_tokens_would():
    """At weights of 1/4 and 3/4 a latent frame sees what it would in one prompt with the second one's tokens thrice."""
    model = silence(tiny.wan(1))
    positive = prompts("0: a\n12: b", 33, fade=10.0)
    a, b = (tensor for tensor, _ in positive)
    ours = run(model, 9, positive, window=33)
    # Latent frame 4 holds frames 13 to 16; its centre 14.5 is 7.5 / 10 into the fade from 7 to 17.
    expected = alone(model, 9, [[torch.cat([a, b, b, b], dim=1), {}]])
    close(ours[:, :, 4], expected[:, :, 4])
    assert (ours[:, :, 5] - expected[:, :, 5]).abs().max() > 1e-3


@pytest.mark.parametrize("more", [
    {}, {"overlap": 0}, {"schedule": "shifted", "steps": 3}, {"closed_loop": True}, {"stride": 2}, {"cfg": 3.0},
    {"start_image": "every_window"}, {"sampler": "heun"}, {"per_forward": 1}, {"offload_latent": True},
])  # fmt: skip
def test_after_cuts_it_is_as_with_predictions(more):
    model, latent = silence(tiny.wan(1)), 20
    positive = prompts("a | b | c", 77)
    close(*(run(model, latent, positive, **{"overlap": 8, **more, "prompt_blending": blending})
            for blending in ("attention", "predictions")))  # fmt: skip


@pytest.mark.parametrize("area", [(6, 4, 4, 4, 0, 0), (9, 2, 4, 2, 2, 0)])
def test_prompts_that_have_an_area(area):
    """In time as well as in space; elsewhere another prompt is seen."""
    model = silence(tiny.wan(1))
    positive = [[tensor, {**extras, "area": area}] for tensor, extras in prompts("a | b", 49)] + tiny.conditioning(3)
    close(*(run(model, 13, positive, prompt_blending=blending) for blending in ("attention", "predictions")))


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_one_forward_a_window_with_the_tokens_of_the_prompts_that_it_sees(wan, cfg):
    """Windows of 5 latent frames: a, a and b, b, b and c. What is not wanted has its own tokens alone, and no bias."""
    seen = []

    def spy(apply_model, arguments):
        text, biased = arguments["c"]["c_crossattn"], frame_text._BIAS in arguments["c"]
        seen.append((arguments["input"].shape[0], text.shape[1], biased))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    wan.set_model_unet_function_wrapper(spy)
    positive = prompts("0: a\n27: b\n68: c", 77)
    run(wan, 20, positive, overlap=0, steps=1, per_forward=1, cfg=cfg, negative=tiny.conditioning(0))
    one, both = [(1, 16, False), (1, 32, True)] if cfg == 1 else [(2, 16, False), (1, 32, True)]
    rest = [] if cfg == 1 else [(1, 16, False)] * 2
    assert sorted(seen) == sorted([one, one, both, both, *rest])


def test_folded_windows_have_each_their_own_bias(recorder):
    positive = prompts("a | b | c", 77, fade=16.0)
    one, many = (
        run(recorder.model, 20, positive, overlap=12, window=17, per_forward=count, merge="flat") for count in (1, 4)
    )
    close(many, one, 1e-4)
    assert max(shape[0] for shape in recorder.shapes) == 4


def sounding(model, length, positive, blending="attention", **more):
    """Video and sound of our sampler."""
    latent = combined.latent("ltx", length)
    given = {"cfg": 1.0, "steps": 2, "prompt_blending": blending, "negative": combined.text("ltx", 0), **more}
    return list(tiny.co_denoise(model, latent, positive=positive, **given).unbind())


@pytest.mark.parametrize("extras", [{}, {"ref_audio": {"tokens": torch.ones(1, 3, 128)}}], ids=["", "reference"])
def test_sound_hears_its_prompt_alone(extras):
    """LTX-2 with sound, a cut in one window, and in windows."""
    model = silence(combined.model("ltx"))
    positive = prompts("a | b", 65, width=128, **extras)
    whole = sounding(model, 9, positive, window=65, overlap=0)
    windows = sounding(model, 9, positive, window=33, overlap=16)
    a, b = (sounding(model, 9, [[tensor, untagged(more)]], window=65) for tensor, more in positive)
    # The cut is behind latent frame 4 of 9; sound fades from its middle to that of frame 5.
    length = whole[1].shape[2]
    first, last = int(4.5 * length / 9), int(5.5 * length / 9) + 1
    for kind, (before, after) in enumerate([(slice(0, 5), slice(5, 9)), (slice(0, first), slice(last, length))]):
        assert (a[kind] - b[kind]).abs().amax(dim=(0, 1, 3)).min() > 1e-4
        for made in (whole, windows):
            close(made[kind][:, :, before], a[kind][:, :, before])
            close(made[kind][:, :, after], b[kind][:, :, after])
        assert (whole[1] - windows[1])[:, :, first:last].abs().max() < 1e-3  # each sees to its own ends
    assert (whole[1] - a[1])[:, :, first + 1 : last].abs().max() > 1e-4


def test_two_prompts_that_say_the_same_are_one_in_sound_too():
    model = combined.model("ltx")
    positive = prompts("ab | ba", 65, fade=32.0, width=128)
    ours = sounding(model, 9, positive, window=65)
    for one, other in zip(ours, sounding(model, 9, [[positive[0][0], {}]], window=65), strict=True):
        close(one, other, 1e-4)


def test_sound_that_cannot_be_told_from_the_video_is_refused():
    """As many tokens of both."""
    model, latent = combined.model("ltx"), combined.nested(torch.zeros(1, 128, 5, 4, 4), torch.zeros(1, 8, 80, 16))
    with pytest.raises(ValueError, match="80 tokens of video and as many of sound"):
        tiny.co_denoise(
            model, latent, window=33, positive=prompts("a | b", 33, width=128), prompt_blending="attention",
            negative=combined.text("ltx", 0),
        )  # fmt: skip


@pytest.mark.parametrize(("length", "size"), [(8, 4), (2, 8)])
def test_as_many_tokens_of_text_as_of_video(length, size):
    """32 of both; self-attention is not taken for attention to text."""
    model, frames = tiny.wan(), 4 * length - 3
    positive = prompts("ab | ba", frames, fade=2.0)
    latent = tiny.latent(length, size, size)
    ours = tiny.co_denoise(model, latent, window=frames, overlap=0, prompt_blending="attention", positive=positive)
    close(ours, tiny.ksampler(model, latent, positive=[[positive[0][0], {}]]), 1e-4)


def test_attention_that_a_user_chose_stays_where_there_is_no_bias(wan):
    """The override of attention that was there has all of self-attention, and none of the prompts side by side."""
    seen = []

    def override(func, q, k, v, *args, **more):
        seen.append((q.shape[1], k.shape[1], more.get("mask") is not None))
        return func(q, k, v, *args, **more)

    positive = prompts("a | b", 17, fade=8.0)
    plain = run(wan, 5, positive, steps=1)
    wan.model_options["transformer_options"]["optimized_attention_override"] = override
    close(run(wan, 5, positive, steps=1), plain)
    assert seen == [(20, 20, False)] * 2  # two blocks


def test_a_compiled_model():
    model = tiny.wan(1)
    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    positive = prompts("a | b", 49, fade=8.0)
    plain = run(model, 13, positive, per_forward=1)
    close(run(compiled, 13, positive, per_forward=1), plain)
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    close(run(compiled, 13, positive, per_forward=1), plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made > 0


def test_the_demo_model():
    model = LoadVideoPipeline.execute("demo model (built in)", "transformer").args[0]
    width = model.model.diffusion_model.text_embedding[0].in_features
    positive = prompts("ab | ba", 17, fade=8.0, width=width, tokens=24)
    close(run(model, 5, positive), alone(model, 5, [[positive[0][0], {}]]), 1e-3)


def sd15():
    return tiny.sd15(), {"samples": torch.zeros(8, 4, 4, 4)}


def scail():
    """A Wan that puts more tokens among its video's."""
    model = tiny.wan()
    model.model.__class__ = type("WAN21_SCAIL", (type(model.model),), {"__module__": "comfy.model_base"})
    return model, tiny.latent(13)


@pytest.mark.parametrize(("make", "name"), [
    (lambda: hunyuan()[:2], r"Hunyuan \(HunyuanVideo\)"), (sd15, r"\(BaseModel\)"), (scail, r"\(WAN21_SCAIL\)"),
])  # fmt: skip
def test_families_without_it_are_refused_before_anything_runs(make, name):
    model, latent = make()
    with pytest.raises(ValueError, match=rf"prompt_blending is attention.*{name}.*Set prompt_blending to predictions"):
        tiny.co_denoise(model, latent, prompt_blending="attention")


def test_prompts_that_cannot_stand_side_by_side(wan):
    def entry(**conds):
        conds = {"c_crossattn": torch.zeros(1, 16, 8), **conds}
        return {"uuid": uuid.uuid4(), "model_conds": {key: CONDRegular(value) for key, value in conds.items()}}

    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    image, same = entry(y=torch.ones(1, 4)), entry(y=torch.ones(1, 4))
    joined = frame_text.join_prompts([image, same], weights, wan.model)["model_conds"]
    assert joined["c_crossattn"].cond.shape == (1, 32, 8) and joined["y"].cond.shape == (1, 4)
    for entries in ([entry(), image], [image, entry()], [image, entry(y=torch.zeros(1, 4))]):
        with pytest.raises(ValueError, match=r"differ in 'y'.*Set prompt_blending to predictions"):
            frame_text.join_prompts(entries, weights, wan.model)
    with pytest.raises(ValueError, match=r"together.*Set prompt_blending to predictions"):
        frame_text.join_prompts([image, same], weights, wan.model, [weights])
    with pytest.raises(ValueError, match="Bernini"):
        frame_text.join_prompts([entry(context_latents=torch.zeros(1, 16, 1, 4, 4))] * 2, weights, wan.model)


def test_a_patch_that_hides_the_attention_is_an_error(wan, monkeypatch, caplog):
    """As of nodes that bring their own attention to text: nothing would keep the prompts apart."""
    forward = comfy.ldm.wan.model.WanT2VCrossAttention.forward
    monkeypatch.setattr(
        comfy.ldm.wan.model.WanT2VCrossAttention, "forward",
        lambda self, x, context, transformer_options=None, **more: forward(self, x, context, **more),
    )  # fmt: skip
    positive = prompts("a | b", 17)
    with pytest.raises(ValueError, match="a patch on the MODEL may have replaced it"):
        run(wan, 5, positive)
    caplog.clear()
    made = run(wan, 5, positive, prompt_blending="auto")
    assert torch.equal(made, run(wan, 5, positive, prompt_blending="predictions"))
    assert [record.message for record in caplog.records if "may have replaced it" in record.message]


@pytest.mark.parametrize("kind", ["Wan", "LTX"])
def test_auto_is_attention_with_a_model_that_can_have_it(kind):
    model, extras = KINDS[kind]()
    frames = 1 + 4 * SCALE.get(kind, 4)
    positive = prompts("a | b", frames, fade=8.0, **extras)
    made = {
        each: run(model, 5, positive, window=frames, prompt_blending=each)
        for each in ("auto", "attention", "predictions")
    }
    assert torch.equal(made["auto"], made["attention"]) and not torch.equal(made["auto"], made["predictions"])


def test_auto_is_predictions_where_attention_is_not_possible():
    """With a model that cannot; and with one that can, whose prompts have an image each."""
    model, latent, (given, _) = hunyuan()
    frames = 4 * latent["samples"].shape[2] - 3
    positive = prompts("a | b", frames, width=given[0][0].shape[-1], **given[0][1])
    both = [{"prompt_blending": each, "positive": positive, "negative": given} for each in ("auto", "predictions")]
    assert torch.equal(*(tiny.co_denoise(model, latent, **each) for each in both))
    model, extras = wan_image()
    positive = prompts("a | b", 17, fade=8.0, **extras)
    positive[1][1]["concat_latent_image"] = extras["concat_latent_image"] + 1
    with pytest.raises(ValueError, match="differ in"):
        run(model, 5, positive)
    assert torch.equal(*(run(model, 5, positive, prompt_blending=each) for each in ("auto", "predictions")))
