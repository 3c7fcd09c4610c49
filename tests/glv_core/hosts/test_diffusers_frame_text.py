"""Prompts by attention in the diffusers host: every latent frame of a window attends to its own, in one forward pass.

Where self-attention is silenced the latent frames of Wan know nothing of each other, so that what each of them shows
can be told from calls with one prompt.
"""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.hosts.diffusers import UnsupportedDenoiserError, co_denoising, timebase_for
from glv_core.prompts import parse_schedule

LENGTH, FRAMES, TOKENS = 9, 33, 5
WAN = ("wan", "wan_vace")


def settings(blending: str = "attention", window: int = LENGTH, overlap: int = 2, **more) -> CoDenoiseSettings:
    return CoDenoiseSettings(window, overlap, "static", prompt_blending=blending, **more)


def silence(pipeline):
    """A copy of the pipeline with latent frames that know nothing of each other."""
    pipeline = copy.deepcopy(pipeline)
    layers = [module for name, module in pipeline.transformer.named_modules() if name.endswith("attn1.to_out.0")]
    assert layers
    for layer in layers:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return pipeline


def call(pipeline, text: torch.Tensor) -> torch.Tensor:
    """The denoiser on the same noise, with text ``b l d``."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(len(text), 16, LENGTH, 4, 6, generator=generator)
    more = {}
    if "VACE" in type(pipeline).__name__:
        more = {
            "control_hidden_states": torch.randn(len(text), 96, LENGTH, 4, 6, generator=generator),
            "control_hidden_states_scale": torch.ones(1),
        }
    with torch.no_grad():
        return pipeline.transformer(x, torch.full((len(text),), 500), text, return_dict=False, **more)[0]


def long(pipeline, schedule: str, text: torch.Tensor, how: CoDenoiseSettings) -> torch.Tensor:
    pipeline.scheduler.set_timesteps(2)
    timebase = timebase_for(pipeline, FRAMES, 8)
    with co_denoising(pipeline, how, timebase, parse_schedule(schedule, num_frames=FRAMES, fps=8), TOKENS):
        return call(pipeline, text)


def texts(count: int) -> list[torch.Tensor]:
    return list(torch.randn(count, 1, TOKENS, 16, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("name", WAN)
def test_each_latent_frame_sees_its_prompt_alone(tiny_pipelines, name):
    pipeline = silence(tiny_pipelines(name))
    a, b, c = texts(3)
    made = long(pipeline, "0: a\n13 [hard]: b\n21 [hard]: c", torch.cat([a, b, c], dim=1), settings())
    alone = [call(pipeline, text) for text in (a, b, c)]
    assert (alone[0] - alone[1]).abs().amax(dim=(0, 1, 3, 4)).min() > 1e-2
    expected = torch.cat([alone[0][:, :, :4], alone[1][:, :, 4:6], alone[2][:, :, 6:]], dim=2)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", WAN)
def test_two_prompts_that_say_the_same_are_one(tiny_pipelines, name):
    """With self-attention, and weights that sum to 1."""
    pipeline = tiny_pipelines(name)
    [a] = texts(1)
    made = long(pipeline, "0: a\n17 [linear 16]: b", torch.cat([a, a], dim=1), settings())
    torch.testing.assert_close(made, call(pipeline, a), rtol=0, atol=1e-5)


def test_a_fade_weighs_the_prompts_as_many_tokens_would(tiny_pipelines):
    pipeline = silence(tiny_pipelines("wan"))
    a, b = texts(2)
    made = long(pipeline, "0: a\n12 [linear 10]: b", torch.cat([a, b], dim=1), settings())
    expected = call(pipeline, torch.cat([a, b, b, b], dim=1))
    # Latent frame 4 holds frames 13 to 16; its centre 14.5 is 7.5 / 10 into the fade from 7 to 17.
    torch.testing.assert_close(made[:, :, 4], expected[:, :, 4], rtol=0, atol=1e-5)
    assert (made[:, :, 5] - expected[:, :, 5]).abs().max() > 1e-3


@pytest.mark.parametrize("more", [{}, {"closed_loop": True}, {"stride": 2}])
def test_after_cuts_it_is_as_with_predictions(tiny_pipelines, more):
    """Two rows, of which one has the same text everywhere, as the unconditional half."""
    pipeline = silence(tiny_pipelines("wan"))
    a, b, negative = texts(3)
    text = torch.cat([torch.cat([negative, negative], dim=1), torch.cat([a, b], dim=1)])
    made, expected = (
        long(pipeline, "0: a\n17 [hard]: b", text, settings(blending, 4, **more))
        for blending in ("attention", "predictions")
    )
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_windows_get_the_tokens_of_what_they_see_and_folded_ones_their_own_bias(tiny_pipelines, monkeypatch):
    pipeline, seen = tiny_pipelines("wan"), []
    original = pipeline.transformer.forward

    def spy(**given):
        seen.append(tuple(given["encoder_hidden_states"].shape[:2]))
        return original(**given)

    monkeypatch.setattr(pipeline.transformer, "forward", spy)
    text = torch.cat(texts(3), dim=1)
    # Windows 0-4, 2-6, 4-8, 5-9; the cuts are where latent frames 3 and 7 begin: a b, a b, b c and b c.
    schedule = "0: a\n9 [hard]: b\n25 [hard]: c"
    made = [long(pipeline, schedule, text, settings(window=4, windows_per_forward=count)) for count in (1, 4)]
    torch.testing.assert_close(*made, rtol=0, atol=1e-5)
    assert seen == [(1, 10)] * 4 + [(4, 10)]
    seen.clear()
    long(pipeline, "0: a\n13 [hard]: b", text[:, : 2 * TOKENS], settings(window=4))
    assert seen == [(3, 5), (1, 10)]  # a, a b, b and b


def test_processors_are_as_before_and_a_compiled_block_heeds_the_bias(tiny_pipelines):
    pipeline = copy.deepcopy(tiny_pipelines("wan"))
    blocks = pipeline.transformer.blocks
    before = [block.attn2.processor for block in blocks]
    text = torch.cat(texts(2), dim=1)
    schedule = "0: a\n17 [linear 16]: b"
    plain = [long(pipeline, schedule, text, settings(each)) for each in ("attention", "predictions")]
    for block in blocks:
        block.compile(backend="eager")
    for each, expected in zip(("predictions", "attention", "predictions"), [plain[1], *plain], strict=True):
        torch.testing.assert_close(long(pipeline, schedule, text, settings(each)), expected, rtol=0, atol=1e-5)
    assert [block.attn2.processor for block in blocks] == before
    assert (plain[0] - plain[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["text_to_video_sd", "animatediff"])
def test_a_denoiser_without_it_is_refused(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    timebase = timebase_for(pipeline, LENGTH, 8)
    schedule = parse_schedule("a | b", num_frames=LENGTH, fps=8)
    match = rf"attention, which {type(pipeline.unet).__name__}.*Set prompt_blending to predictions"
    with pytest.raises(UnsupportedDenoiserError, match=match), co_denoising(
        pipeline, settings(), timebase, schedule, TOKENS
    ):  # fmt: skip
        pass
