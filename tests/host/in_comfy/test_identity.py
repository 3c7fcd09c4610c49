"""One window is the host's KSampler; several windows are the area-and-mask oracle."""

import comfy.samplers
import pytest
import tiny
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc", "euler_ancestral"])
def test_a_latent_that_fits_in_one_window_is_bit_identical_to_ksampler(wan, sampler, cfg):
    arguments = {"sampler": sampler, "cfg": cfg}
    ours = tiny.co_denoise(wan, tiny.latent(5), **arguments)
    assert torch.equal(ours, tiny.ksampler(wan, tiny.latent(5), **arguments))
    assert not torch.equal(ours, tiny.co_denoise(wan, tiny.latent(5), seed=8, **arguments))


def folded(sampler: str, schedule: str, tolerance: float, steps: int = 4, batch: int = 1) -> None:
    """Windows that share a forward pass give the same as one by one."""
    one, many = tiny.Recorder(tiny.wan()), tiny.Recorder(tiny.wan())
    arguments = {
        "sampler": sampler, "schedule": schedule, "steps": steps, "positive": tiny.scheduled("a | b | c", 49),
        "prompt_blending": "predictions",
    }  # fmt: skip
    apart = tiny.co_denoise(one.model, tiny.latent(13, batch=batch), per_forward=1, **arguments)
    together = tiny.co_denoise(many.model, tiny.latent(13, batch=batch), per_forward=4, **arguments)
    assert_close(together, apart, rtol=0, atol=tolerance * max(1.0, float(apart.std())))
    assert {shape[2] for shape in one.shapes + many.shapes} == {5}
    rows = [max(shape[0] for shape in each.shapes) for each in (one, many)]
    assert rows[0] <= 4 * batch and rows[1] >= 8 * batch  # cond (at most three prompts), uncond
    assert len(many.shapes) < len(one.shapes)


@pytest.mark.parametrize("schedule", ["static", "shifted"])
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde"])
def test_folded_windows_equal_windows_one_by_one(sampler, schedule):
    folded(sampler, schedule, 1e-3)


def test_a_batch_of_videos():
    folded("euler", "shifted", 1e-3, batch=2)


@pytest.mark.parametrize("sampler", comfy.samplers.KSampler.SAMPLERS)
def test_every_sampler_of_the_host(sampler):
    folded(sampler, "shifted", 2e-2, steps=3)


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_every_scheduler_of_the_host(wan, scheduler):
    arguments = {"steps": 3, "scheduler": scheduler}
    one = tiny.co_denoise(wan, tiny.latent(13), per_forward=1, **arguments)
    assert_close(tiny.co_denoise(wan, tiny.latent(13), per_forward=4, **arguments), one, rtol=0, atol=1e-3)


@pytest.mark.parametrize("merge", ["pyramid", "flat"])
@pytest.mark.parametrize("texts", [["a"], ["a", "b"]])
def test_windows_equal_the_hosts_own_areas_and_masks(wan, texts, merge):
    """One cond for each window (and prompt), with its weights as a mask."""
    length, window, starts = 13, 5, [0, 3, 6, 8]
    # The schedule by hand: 49 frames, boundary at frame 24.5 -> 25 (half up), cross-fade of 8 frames around it.
    centres = [0.0] + [4 * i - 1.5 for i in range(1, length)]
    second = [min(1.0, max(0.0, (c - 21) / 8)) if len(texts) > 1 else 0.0 for c in centres]
    shares = [[1 - share for share in second], second]
    peak = {"pyramid": [1, 2, 3, 2, 1], "flat": [1] * 5}[merge]
    total = [sum(peak[i - start] for start in starts if start <= i < start + window) for i in range(length)]

    def entries(seeds):
        made = []
        for start in starts:
            for seed, share in zip(seeds, shares):
                weights = [peak[k] / total[start + k] * share[start + k] for k in range(window)]
                if max(weights) == 0:
                    continue
                mask = torch.zeros(1, length, 4, 4)
                mask[:, start : start + window] = torch.tensor(weights)[None, :, None, None]
                area = {"area": (window, 4, 4, start, 0, 0), "mask": mask, "strength": 1.0}
                made.append([tiny.conditioning(seed)[0][0], area])
        return made

    seeds = [sum(map(ord, text)) for text in texts]
    theirs = tiny.ksampler(wan, tiny.latent(length), positive=entries(seeds), negative=entries([0, 0]))
    given = tiny.scheduled(" | ".join(texts), 49) if len(texts) > 1 else tiny.conditioning(seeds[0])
    ours = tiny.co_denoise(
        wan, tiny.latent(length), window=17, overlap=8, merge=merge, positive=given, prompt_blending="predictions"
    )
    assert_close(ours, theirs, rtol=0, atol=1e-3 * max(1.0, float(theirs.std())))
    plain = tiny.ksampler(wan, tiny.latent(length), positive=tiny.conditioning(seeds[0]))
    assert float((ours - plain).abs().max()) > 0.05 * float(theirs.std())
