"""Prompts by attention: every latent frame of a window attends to its own, in one forward pass."""

import comfy.ldm.wan.model
import comfy.sd
import pytest
import tiny
import torch
from families import hunyuan, ltx, wan_i2v, wan_vace, weights_of
from torch.testing import assert_close

pytestmark = pytest.mark.every_host

A, B = (tiny.conditioning(seed)[0][0] for seed in (ord("a"), ord("b")))


def close(a, b, atol: float = 1e-5) -> None:
    assert_close(a, b, rtol=0, atol=atol)


def run(model, text, length=5, frames=17, transition="hard", **more):
    positive = tiny.scheduled(text, frames, transition=transition, frames=8.0 if transition == "linear" else 0.0)
    return tiny.co_denoise(
        model, tiny.latent(length), positive=positive, prompt_blending="attention", cfg=1.0, steps=1, **more
    )


def test_one_forward_a_window_with_the_tokens_of_the_prompts_that_it_sees(wan):
    seen = []

    def spy(apply_model, arguments):
        seen.append((arguments["input"].shape[0], arguments["c"]["c_crossattn"].shape[1]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    wan.set_model_unet_function_wrapper(spy)
    run(wan, "a | b | c", 20, 77, "linear", overlap=0, per_forward=1)
    print(seen)
    assert seen == 0
