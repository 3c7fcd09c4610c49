"""One window is the host's KSampler; several windows are the area-and-mask oracle. Runs inside ComfyUI."""

import tiny
import torch


def one_window(sampler: str, cfg: float, scheduler: str) -> bool:
    model, latent = tiny.wan(), tiny.latent(5)
    arguments = dict(sampler=sampler, cfg=cfg, scheduler=scheduler)
    ours = tiny.co_denoise(model, latent, window=17, overlap=8, **arguments)
    theirs = tiny.ksampler(model, latent, **arguments)
    other_seed = tiny.co_denoise(model, latent, window=17, overlap=8, seed=8, **arguments)
    assert not torch.equal(ours, other_seed)
    return torch.equal(ours, theirs)


def folding(sampler: str, schedule: str, steps: int = 4, batch: int = 1) -> dict:
    """Largest difference between windows folded into one forward and one by one, and what was folded."""
    latent = tiny.latent(13, batch=batch)
    positive = tiny.scheduled("a | b | c", 49)
    one = tiny.Recorder(tiny.wan())
    many = tiny.Recorder(tiny.wan())
    arguments = dict(sampler=sampler, schedule=schedule, positive=positive, steps=steps)
    apart = tiny.co_denoise(one.model, latent, per_forward=1, **arguments)
    together = tiny.co_denoise(many.model, latent, per_forward=4, **arguments)
    assert torch.isfinite(apart).all()
    return {
        "difference": float((apart - together).abs().max()),
        "scale": float(apart.std()),
        "calls": [len(one.shapes), len(many.shapes)],
        "rows": [max(shape[0] for shape in one.shapes), max(shape[0] for shape in many.shapes)],
        "lengths": sorted({shape[2] for shape in one.shapes + many.shapes}),
    }


def oracle(with_prompts: bool, merge: str) -> dict:
    """Ours against core's own areas and masks: one cond a window (and prompt) with its weights as a mask."""
    frames, window, stride = 13, 5, 3
    starts = [0, 3, 6, 8]
    height = width = 4
    texts = ["a", "b"] if with_prompts else ["a"]
    # The schedule by hand: 49 frames, boundary at frame 24.5 -> 25 (half up), cross-fade of 8 frames around it.
    centres = [0.0] + [4 * i - 1.5 for i in range(1, frames)]
    second = [min(1.0, max(0.0, (c - 21) / 8)) for c in centres] if with_prompts else [0.0] * frames
    shares = [[1 - s for s in second], second]
    peak = {"pyramid": [1, 2, 3, 2, 1], "flat": [1] * 5}[merge]
    total = [0.0] * frames
    for start in starts:
        for k in range(window):
            total[start + k] += peak[k]

    def entries(seeds: list) -> list:
        made = []
        for start in starts:
            for seed, share in zip(seeds, shares):
                weights = [peak[k] / total[start + k] * share[start + k] for k in range(window)]
                if max(weights) == 0:
                    continue
                mask = torch.zeros(1, frames, height, width)
                mask[:, start : start + window] = torch.tensor(weights)[None, :, None, None]
                embedding = tiny.conditioning(seed)[0][0]
                made.append([embedding, {"area": (window, height, width, start, 0, 0), "mask": mask, "strength": 1.0}])
        return made

    seeds = [sum(map(ord, text)) for text in texts]
    positive, negative = entries(seeds), entries([0, 0])
    theirs = tiny.ksampler(tiny.wan(), tiny.latent(frames), positive=positive, negative=negative)
    given = tiny.scheduled(" | ".join(texts), 49) if with_prompts else tiny.conditioning(seeds[0])
    ours = tiny.co_denoise(tiny.wan(), tiny.latent(frames), window=17, overlap=8, merge=merge, positive=given)
    plain = tiny.ksampler(tiny.wan(), tiny.latent(frames), positive=tiny.conditioning(seeds[0]))
    assert stride == window - 2
    return {
        "difference": float((ours - theirs).abs().max()),
        "scale": float(theirs.std()),
        "apart_from_plain": float((ours - plain).abs().max()),
    }


def every_sampler() -> dict:
    """Largest difference, folded to one by one, for every sampler of the host; and which are not finite."""
    import comfy.samplers

    result = {}
    for sampler in comfy.samplers.KSampler.SAMPLERS:
        result[sampler] = folding(sampler, "shifted", steps=3)
    return result


def every_scheduler() -> list:
    import comfy.samplers

    bad = []
    for scheduler in comfy.samplers.KSampler.SCHEDULERS:
        arguments = dict(steps=3, scheduler=scheduler)
        one = tiny.co_denoise(tiny.wan(), tiny.latent(13), per_forward=1, **arguments)
        many = tiny.co_denoise(tiny.wan(), tiny.latent(13), per_forward=4, **arguments)
        if not torch.isfinite(one).all() or not torch.allclose(one, many, atol=1e-3):
            bad.append(scheduler)
    return bad
