"""StreamingT2V's chunks with a diffusers pipeline, on a small folder with random weights."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from small_streamingt2v import random_model

from glv_core.hosts.diffusers import streamingt2v_video as video
from glv_core.hosts.diffusers.folder import load_pipeline, read_model_folder
from glv_core.hosts.diffusers.streamingt2v_video import StreamingT2VSettings, load_parts, stream_frames
from glv_core.prompts import parse_schedule
from glv_core.streaming import RunFolder, chunk_seed
from glv_core.streamingt2v import clip_pixels
from glv_core.timeline import Compression, Timebase

SETTINGS = StreamingT2VSettings(steps=2, guidance=3.0, seed=5, height=32, width=32, negative_prompt="blurred")
PROMPTS = "0: a red circle\n20: a blue square"


@pytest.fixture(scope="module")
def parts():
    folder = read_model_folder(random_model()[0])
    return load_parts(folder, load_pipeline(folder, "cpu", "float32"), anchored=True)


def made(parts, length=32, prompts=PROMPTS, settings=SETTINGS, transition="hard", **options):
    schedule = parse_schedule(prompts, num_frames=length, fps=8, transition=transition, transition_frames=8)
    scheduler = options.pop("scheduler", None) or DDIMScheduler.from_config(parts.pipeline.scheduler.config)
    return stream_frames(
        parts, schedule, Timebase(length, 8, Compression.causal(1)), settings, scheduler=scheduler, **options
    )


@torch.no_grad()
def by_hand(parts, text, index, known=None, anchor=None, anchor_weight=None, settings=SETTINGS):
    """A chunk by the published recipe, with each prediction alone: DDIM with eta as in its paper (2010.02502)."""
    pipe, net = parts.pipeline, parts.net
    generator = torch.Generator().manual_seed(chunk_seed(settings.seed, index))
    x = torch.randn(1, 4, 16, 4, 4, generator=generator)

    def words(prompt):
        ids = pipe.tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return pipe.text_encoder(ids.input_ids)[0]

    def pixels(latents):
        frames = pipe.vae.decode(latents[0].movedim(1, 0) / pipe.vae.config.scaling_factor).sample
        return frames.clamp(-1, 1)

    def tokens(images):
        seen = parts.image_encoder(clip_pixels(images, 64)).image_embeds
        return net.resampler(seen[None])

    condition = None if known is None else pixels(known)[None]
    seen = grey = None
    if anchor is not None:
        seen, grey = tokens(pixels(anchor)), tokens(torch.zeros(1, 3, 32, 32))
    alphas = DDIMScheduler.from_config(pipe.scheduler.config).alphas_cumprod
    gap = 1000 // settings.steps
    for step in reversed(range(settings.steps)):
        t = step * gap + 1
        neither = net(x, t, words(settings.negative_prompt), grey, condition)
        of_text = net(x, t, words(text), grey, condition)
        both = net(x, t, words(text), seen, condition)
        weight = settings.guidance if anchor_weight is None else anchor_weight
        eps = neither + settings.guidance * (of_text - neither) + weight * (both - of_text)
        now, then = alphas[t], alphas[t - gap] if t - gap >= 0 else alphas[0]
        clean = (x - (1 - now).sqrt() * eps) / now.sqrt()
        spread = settings.eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        x = then.sqrt() * clean + (1 - then - spread**2).sqrt() * eps
        if settings.eta:
            x = x + spread * torch.randn(x.shape, generator=generator)
    return x


@pytest.mark.parametrize("changed", [{}, {"eta": 0.0}, {"anchor_guidance": 1.5}, {"anchor": "none"}])
def test_a_video_is_its_chunks_by_hand(parts, changed):
    settings, text = replace(SETTINGS, **changed), "a red circle"
    whole = made(parts, prompts=text, settings=settings)
    assert whole.shape == (1, 4, 32, 4, 4)
    torch.testing.assert_close(whole[:, :, :16], by_hand(parts, text, 0, settings=settings), atol=2e-3, rtol=1e-2)
    for index in (1, 2):
        start = 8 * index
        anchor = None if settings.anchor == "none" else whole[:, :, :1]
        known = whole[:, :, start : start + 8]
        alone = by_hand(parts, text, index, known, anchor, settings.anchor_guidance, settings)
        torch.testing.assert_close(whole[:, :, start + 8 : start + 16], alone[:, :, 8:], atol=2e-3, rtol=1e-2)


def test_prompts_inside_a_chunk_are_mixed_frame_by_frame(parts, monkeypatch):
    asked = []
    original = type(parts.net).guided

    def guided(self, latents, time, text, *given):
        asked.append(text)
        return original(self, latents, time, text, *given) * 0 + len(asked) % 2  # 1 for the first prompt, 0 after it

    monkeypatch.setattr(type(parts.net), "guided", guided)
    steps = []

    class Steps(DDIMScheduler):
        def step(self, noise, *given, **options):
            steps.append(noise.clone())
            return super().step(noise, *given, **options)

    scheduler = Steps.from_config(parts.pipeline.scheduler.config)
    made(parts, 16, "0: a red circle\n8: a blue square", transition="linear", scheduler=scheduler)
    schedule = parse_schedule("0: a red circle\n8: a blue square", num_frames=16, fps=8, transition="linear",
                              transition_frames=8)  # fmt: skip
    wanted = torch.tensor([schedule.weights(frame)[0] for frame in range(16)])
    assert len(asked) == 4 and len(steps) == 2
    torch.testing.assert_close(steps[0][0, 0, :, 0, 0], wanted.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"steps": 3}, 0), ({"guidance": 5.0}, 0), ({"seed": 6}, 0), ({"negative_prompt": "dull"}, 0),
        ({"eta": 0.5}, 0), ({"anchor": "last_chunk"}, 16), ({"anchor": "past"}, 16), ({"anchor": "none"}, 16),
        ({"anchor_guidance": 1.0}, 16), ({"anchor": "segment"}, 24), ({"drift_correction": 0.5}, 16),
        ({"overlap": 4}, 16), ({"chunk": 12}, 0), ({"height": 64}, 0), ({"width": 64}, 0),
    ],
)  # fmt: skip
def test_every_option_changes_the_video_from_where_it_counts(parts, changed, first):
    plain, other = made(parts), made(parts, settings=replace(SETTINGS, **changed))
    if other.shape != plain.shape:
        assert {"height", "width"} & changed.keys()
        return
    assert torch.equal(other[:, :, :first], plain[:, :, :first])
    assert not torch.equal(other[:, :, first : first + 8], plain[:, :, first : first + 8])


def test_a_given_video_stays_and_is_gone_on_from(parts):
    given = torch.randn(1, 4, 20, 4, 4, generator=torch.Generator().manual_seed(1))
    whole, other = (made(parts, given=each) for each in (given, -given))
    assert torch.equal(whole[:, :, :20], given)
    assert not torch.equal(whole[:, :, 20:], other[:, :, 20:])
    with pytest.raises(ValueError, match="has 7 frames; StreamingT2V looks back at 8"):
        made(parts, given=given[:, :, :7])


def test_a_finished_chunk_is_found_again_and_a_changed_one_made_anew(parts, tmp_path):
    told = []

    def run(settings=SETTINGS, **options):
        told.clear()
        return made(
            parts, settings=settings, folder=RunFolder(tmp_path), on_progress=lambda *each: told.append(each), **options
        )

    whole = run()
    assert [(index, p.step, p.num_steps) for index, p in told if p.passes_done == p.num_passes] == [
        (index, step, 2) for index in range(3) for step in range(2)
    ]
    assert torch.equal(run(), whole) and told == [(0, None), (1, None), (2, None)]
    run(replace(SETTINGS, anchor="last_chunk"))
    assert told[0] == (0, None) and {index for index, p in told if p is not None} == {1, 2}
    run(prompts="0: a red circle\n24: a green square")
    assert {index for index, p in told if p is None} >= {0} and {index for index, p in told if p is not None} >= {2}
    run(scheduler=DDIMScheduler.from_config(parts.pipeline.scheduler.config, beta_end=0.013))
    assert {index for index, p in told if p is not None} == {0, 1, 2}


_KILLED = """
import os, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_diffusers_streamingt2v_video import *
folder = read_model_folder(Path({model!r}))
parts = load_parts(folder, load_pipeline(folder, "cpu", "float32"), anchored=True)
def progress(index, step):
    if step is not None and (index, step.step) == (2, 1):
        os.kill(os.getpid(), 9)
made(parts, folder=RunFolder(Path({run!r})), on_progress=progress)
"""


def test_what_a_killed_run_finished_is_not_made_again(parts, tmp_path):
    whole = made(parts)
    model, here = random_model()[0], Path(__file__).parent
    paths = [str(here), str(here.parents[1]), str(here.parents[2])]
    script = _KILLED.format(paths=paths, model=str(model), run=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -9 and len(list(tmp_path.glob("chunk_*.safetensors"))) == 2
    told = []
    again = made(parts, folder=RunFolder(tmp_path), on_progress=lambda *each: told.append(each))
    assert told[:2] == [(0, None), (1, None)] and all(index == 2 for index, _ in told[2:])
    torch.testing.assert_close(again, whole, atol=1e-4, rtol=1e-4)


def test_what_a_chunk_holds_does_not_grow_with_the_video(parts):
    """The network, the VAE and the image tower see as much in a video of 200 frames as in one of 40."""
    sizes = set()

    def look(module, args, given):
        tensors = [each for each in (*args, *given.values()) if torch.is_tensor(each)]
        sizes.update((type(module).__name__, tuple(each.shape)) for each in tensors)

    modules = (parts.net.unet, parts.net.branch, parts.pipeline.vae.decoder, parts.image_encoder)
    handles = [module.register_forward_pre_hook(look, with_kwargs=True) for module in modules]
    made(parts, 40, "a red circle", settings=replace(SETTINGS, steps=1))
    few = set(sizes)
    made(parts, 200, "a red circle", settings=replace(SETTINGS, steps=1))
    for handle in handles:
        handle.remove()
    assert few and sizes == few


def test_a_scheduler_without_eta_makes_a_video_too(parts):
    assert not video.takes_eta(DPMSolverMultistepScheduler) and video.takes_eta(DDIMScheduler)
    scheduler = DPMSolverMultistepScheduler.from_config(parts.pipeline.scheduler.config)
    assert made(parts, 24, "a red circle", scheduler=scheduler).isfinite().all()


def test_the_scheduler_is_the_folders_ddim_or_as_published(parts, tmp_path):
    """A folder may hold another class, which says nothing about how DDIM clips, ends or begins."""
    plain = parts.pipeline.scheduler
    assert dict(video.own_scheduler(plain).config) == dict(plain.config)
    betas = {name: plain.config[name] for name in ("beta_start", "beta_end", "beta_schedule")}
    DPMSolverMultistepScheduler(**betas, prediction_type="v_prediction").save_pretrained(tmp_path)
    made = video.own_scheduler(DPMSolverMultistepScheduler.from_pretrained(tmp_path))
    assert type(made) is DDIMScheduler and torch.equal(made.alphas_cumprod, plain.alphas_cumprod)
    assert made.config.prediction_type == "v_prediction" and not made.config.clip_sample
    made.set_timesteps(50)
    assert made.timesteps.tolist() == [20 * step + 1 for step in reversed(range(50))]
    assert torch.equal(made.final_alpha_cumprod, plain.alphas_cumprod[0])
    assert type(video.own_scheduler(plain, "DPMSolverMultistepScheduler")) is DPMSolverMultistepScheduler


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"overlap": 16}, "overlap is 16 frames and chunk 16"), ({"overlap": 0}, "overlap is 0"),
        ({"anchor": "image"}, "Unknown anchor 'image'"), ({"steps": 0}, "steps is 0"), ({"eta": 1.1}, "eta is 1.1"),
        ({"guidance": -1.0}, "guidance is -1"), ({"anchor_guidance": float("nan")}, "anchor_guidance is nan"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(parts, changed, words):
    with pytest.raises(ValueError, match=words):
        made(parts, settings=replace(SETTINGS, **changed))


def test_the_network_shares_its_unet_with_the_pipeline_and_needs_an_eye_for_an_anchor(parts):
    assert parts.pipeline.unet is parts.net.unet
    with pytest.raises(ValueError, match="anchor is 'first', and there is no image encoder"):
        made(replace(parts, image_encoder=None))
    assert made(replace(parts, image_encoder=None), 24, settings=replace(SETTINGS, anchor="none")).shape[2] == 24
