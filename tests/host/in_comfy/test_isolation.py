"""Without overlap every window is what ComfyUI's own sampler makes of its latent frames alone, whatever is set.

15 latent frames in windows of 5; the latents bring what noise they have, so that nothing but the windows is shared.
"""

import comfy.hooks
import comfy.samplers
import node_helpers
import nodes
import pytest
import streaming
import tiny
import torch
from comfy_extras.nodes_custom_sampler import DualCFGGuider, SamplerCustomAdvanced
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel

pytestmark = pytest.mark.every_host
WINDOW, LENGTH, FRAMES = 5, 15, 57
STARTS = (0, 5, 10)
STEPS, START, CFG = 4, 1, 3.0


def latents(batch=1):
    return torch.randn(batch, 16, LENGTH, 4, 4, generator=torch.Generator().manual_seed(2))


def part(value, start):
    """The latent frames of a window."""
    return value[:, :, start : start + WINDOW]


def alone(model, samples, positive, negative, mask=None):
    """Core's sampler on a window."""
    given = {"samples": samples, **({} if mask is None else {"noise_mask": mask})}
    return nodes.KSamplerAdvanced().sample(
        model, "disable", 7, STEPS, CFG, "euler", "simple", positive, negative, given, START, STEPS, "disable"
    )[0]["samples"]  # fmt: skip


def in_windows(model, samples, positive, negative, mask=None, per_forward=0):
    given = {"samples": samples, **({} if mask is None else {"noise_mask": mask})}
    return tiny.co_denoise(
        model, given, positive=positive, negative=negative, overlap=0, steps=STEPS, cfg=CFG, start_at_step=START,
        add_noise=False, per_forward=per_forward,
    )  # fmt: skip


def check(found, wanted):
    for start in STARTS:
        torch.testing.assert_close(part(found, start), wanted(start), rtol=0, atol=1e-3)
    assert (part(found, 0) - part(found, 5)).abs().max() > 0.1


def segments(words):
    """A schedule that changes where windows do, and the plain prompt of each of them."""
    cond = tiny.scheduled("\n".join(f"{at}: {word}" for at, word in zip((0, 17, 37), words)), FRAMES, transition="hard")
    return cond, {start: tiny.conditioning(ord(word)) for start, word in zip(STARTS, words)}


@pytest.mark.parametrize("per_forward", [1, 4])
def test_prompts_and_negatives_of_each_segment(wan, per_forward):
    (positive, own), (negative, avoided) = segments("abc"), segments("xyz")
    found = in_windows(wan, latents(), positive, negative, per_forward=per_forward)
    check(found, lambda start: alone(wan, part(latents(), start), own[start], avoided[start]))


def test_timestep_ranges(wan):
    """One prompt for the first steps and another for the rest, beside a third for all of them."""
    early = node_helpers.conditioning_set_values(tiny.conditioning(1), {"start_percent": 0.0, "end_percent": 0.5})
    late = node_helpers.conditioning_set_values(tiny.conditioning(2), {"start_percent": 0.5, "end_percent": 1.0})
    positive, negative = [*early, *late, *tiny.conditioning(3)], tiny.conditioning(0)
    found = in_windows(wan, latents(), positive, negative)
    check(found, lambda start: alone(wan, part(latents(), start), positive, negative))
    assert (found - in_windows(wan, latents(), tiny.conditioning(3), negative)).abs().max() > 1e-2


def test_a_lora_hook_of_one_segment(wan):
    """With a keyframe on its way: the middle window has the LoRA, the others do not."""
    positive, own = segments("abc")
    hooks = comfy.hooks.create_hook_lora(streaming.lora_weights(), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for at, amount in ((0.0, 1.0), (0.5, 0.3)):
        keyframes.add(comfy.hooks.HookKeyframe(strength=amount, start_percent=at))
    hooks.set_keyframes_on_hooks(keyframes)
    positive[1][1]["hooks"] = hooks
    own[5] = [[own[5][0][0], {"hooks": hooks}]]
    negative = tiny.conditioning(0)
    found = in_windows(wan, latents(), positive, negative)
    check(found, lambda start: alone(wan, part(latents(), start), own[start], negative))
    plain = in_windows(wan, latents(), segments("abc")[0], negative)
    moved = (found - plain).abs().amax(dim=(0, 1, 3, 4))
    assert moved[5:10].min() > 1e-3 and moved[:5].max() < 1e-4 and moved[10:].max() < 1e-4


def test_a_noise_mask_that_moves(wan):
    mask = torch.ones(1, 1, LENGTH, 4, 4)
    for frame in range(LENGTH):
        mask[:, :, frame, :, frame % 4] = 0
    negative = tiny.conditioning(0)
    found = in_windows(wan, latents(), tiny.conditioning(1), negative, mask)
    check(found, lambda start: alone(wan, part(latents(), start), tiny.conditioning(1), negative, part(mask, start)))
    assert ((found - latents()) * (1 - mask)).abs().max() < 1e-3


def test_a_batch_of_two_videos(wan):
    positive, own = segments("abc")
    negative = tiny.conditioning(0)
    found = in_windows(wan, latents(2), positive, negative)
    check(found, lambda start: alone(wan, part(latents(2), start), own[start], negative))
    assert (found[0] - found[1]).abs().max() > 0.1


def test_a_guider_of_two_prompts(wan):
    def guider(model, positive, negative):
        more = DualCFGGuider.define_schema().inputs[6:]  # newer ones have a style
        style = {more[0].id: "regular"} if more else {}
        return DualCFGGuider.execute(model, positive, tiny.conditioning(8), negative, CFG, 2.0, **style).args[0]

    class Silence:
        seed = 7

        def generate_noise(self, latent):
            return torch.zeros(latent["samples"].shape)

    sigmas = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", STEPS)[START:]
    euler = comfy.samplers.sampler_object("euler")

    def run(model, samples, positive):
        guide = guider(model, positive, tiny.conditioning(0))
        return SamplerCustomAdvanced.execute(Silence(), guide, euler, sigmas, {"samples": samples}).args[0]["samples"]

    options = {"window": 17, "overlap": 0, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}
    positive, own = segments("abc")
    found = run(CoDenoiseModel.execute(wan, **options).args[0], latents(), positive)
    check(found, lambda start: run(wan, part(latents(), start), own[start]))


@pytest.mark.parametrize("per_forward", [1, 4])
def test_isolated_clips_are_cores_own_clips_whatever_the_windows_say(per_forward):
    """The last clip is moved left to keep its length: it sees the end of the one before, and changes nothing there."""
    model, samples = tiny.wan(), latents()[:, :, :13]
    arguments = {
        "positive": tiny.conditioning(1), "negative": tiny.conditioning(0), "steps": STEPS, "cfg": CFG,
        "start_at_step": START, "add_noise": False, "per_forward": per_forward, "isolated_clips": True,
    }  # fmt: skip
    found = tiny.co_denoise(model, {"samples": samples}, schedule="shifted", overlap=12, merge="hann", **arguments)
    plain = tiny.co_denoise(model, {"samples": samples}, schedule="uniform", overlap=4, stride=2, **arguments)
    assert torch.equal(found, plain)
    for start in (0, 5):
        wanted = alone(model, part(samples, start), arguments["positive"], arguments["negative"])
        torch.testing.assert_close(part(found, start), wanted, rtol=0, atol=1e-3)
    assert (found[:, :, 10:] - samples[:, :, 10:]).abs().max() > 0.1


def test_another_prompt_of_an_isolated_clip_leaves_the_others():
    model, samples = tiny.wan(), latents()
    one, other = (
        tiny.co_denoise(
            model, {"samples": samples}, positive=segments(words)[0], steps=STEPS, start_at_step=START, add_noise=False,
            per_forward=1, isolated_clips=True,
        )
        for words in ("abc", "adc")
    )  # fmt: skip
    assert torch.equal(part(one, 0), part(other, 0)) and torch.equal(part(one, 10), part(other, 10))
    assert (part(one, 5) - part(other, 5)).abs().max() > 1e-2


def test_isolated_clips_behind_the_patch_of_a_model():
    model, samples = tiny.wan(), latents()
    windows = {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}
    patched = CoDenoiseModel.execute(model, isolated_clips=True, **windows).args[0]
    check(
        alone(patched, samples, tiny.conditioning(1), tiny.conditioning(0)),
        lambda start: alone(model, part(samples, start), tiny.conditioning(1), tiny.conditioning(0)),
    )
