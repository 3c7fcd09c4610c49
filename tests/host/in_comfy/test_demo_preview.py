"""What is seen while the demo model samples: its true colours, and how long the rest takes."""

import comfy.cli_args
import comfy.latent_formats
import latent_preview
import numpy as np
import pytest
import tiny
import torch
from comfy.cli_args import LatentPreviewMethod
from long_video_pack.glv_core.demo.clips import Scene, render
from long_video_pack.glv_core.hosts.comfy.co_denoise import progress as progress_module
from long_video_pack.glv_core.hosts.comfy.co_denoise.progress import TimeLeft, WindowProgress, in_words
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline

pytestmark = pytest.mark.every_host
SCENES = [
    Scene("circle", "red", "white", "right", 20.0, 32.0),
    Scene("square", "blue", "gray", "up", 32.0, 40.0),
    Scene("triangle", "yellow", "black", "left", 40.0, 32.0),
]


@pytest.fixture(scope="module")
def demo():
    return LoadVideoPipeline.execute("demo model (built in)", "transformer").args


def previews(model, vae, scene, method, monkeypatch):
    """What the host shows of a scene's latent frames, and the mean colours of their decoded frames; ``t h w 3``."""
    monkeypatch.setattr(comfy.cli_args.args, "preview_method", method)
    latents = vae.encode(render(scene, 17).movedim(1, -1))
    decoded = vae.decode(latents).reshape(17, 8, 8, 8, 8, 3).mean(dim=(2, 4))
    x0 = model.model.process_latent_in(latents)
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    images = [np.asarray(previewer.decode_latent_to_preview(x0[:, :, [index]])) for index in range(x0.shape[2])]
    means = [decoded[0], *(part.mean(dim=0) for part in decoded[1:].split(4))]
    return torch.from_numpy(np.stack(images)).float() / 255, torch.stack(means)


@pytest.mark.parametrize("method", [LatentPreviewMethod.Latent2RGB, LatentPreviewMethod.TAESD])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.colour)
def test_the_preview_shows_the_colours_of_the_frames(demo, scene, method, monkeypatch):
    model, _, vae = demo
    shown, wanted = previews(model, vae, scene, method, monkeypatch)
    assert (shown - wanted).abs().mean() < 0.08
    coloured = wanted.amax(dim=-1) - wanted.amin(dim=-1) > 0.6
    assert coloured.sum() > 20 and (shown - wanted)[coloured].abs().mean() < 0.15


def test_with_the_colours_of_wan_it_would_not(demo, monkeypatch):
    model, _, vae = demo
    _, wanted = previews(model, vae, SCENES[0], LatentPreviewMethod.Latent2RGB, monkeypatch)
    shown = model.model.latent_format
    monkeypatch.setattr(shown, "latent_rgb_factors", comfy.latent_formats.Wan21.latent_rgb_factors)
    monkeypatch.setattr(shown, "latent_rgb_factors_bias", comfy.latent_formats.Wan21.latent_rgb_factors_bias)
    seen, _ = previews(model, vae, SCENES[0], LatentPreviewMethod.Latent2RGB, monkeypatch)
    assert (seen - wanted).abs().mean() > 0.16


def test_other_models_keep_the_host_s_colours(demo, wan):
    assert wan.model.latent_format.latent_rgb_factors is comfy.latent_formats.Wan21.latent_rgb_factors
    assert wan.model.latent_format.taesd_decoder_name == comfy.latent_formats.Wan21().taesd_decoder_name


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_rest_is_estimated_from_the_windows_that_took_time():
    clock = Clock()
    left = TimeLeft(40, clock)
    assert left.after(1) is None  # weights were loaded in it
    clock.now += 0.5
    assert left.after(2) is None  # too early to tell
    clock.now += 2.5
    assert left.after(3) == pytest.approx(3.0 / 2 * 37)
    left.skip(20)  # chunks that were found
    clock.now += 1.0
    assert left.after(21) == pytest.approx(4.0 / 3 * 19)
    assert left.after(15) == pytest.approx(4.0 / 3 * 19)  # a sampler that evaluates twice in a step
    assert left.after(40) == 0


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (9.4, "9 s"), (65, "1:05"), (7209.3, "2:00:09")])
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_the_node_says_how_long_the_rest_takes(wan, monkeypatch):
    clock, texts = Clock(), []
    monkeypatch.setattr(progress_module, "send_text", texts.append)
    monkeypatch.setattr(progress_module.TimeLeft.__init__, "__defaults__", (clock,))
    with WindowProgress([4, 4], wan) as progress:
        for step in range(2):
            for done in range(1, 5):
                clock.now += 10
                progress.on_windows(step, done, 4)
    assert texts[:3] == [
        "Step 1/2, window 1/4", "Step 1/2, window 2/4, about 1:00 left", "Step 1/2, window 3/4, about 50 s left",
    ]  # fmt: skip
    assert texts[-1] == "Step 2/2, window 4/4, about 0 s left"


def test_a_run_says_it_too(wan, monkeypatch):
    texts = []
    monkeypatch.setattr(progress_module, "send_text", texts.append)
    monkeypatch.setattr(progress_module, "LEAST_SECONDS", 0.0)
    tiny.co_denoise(wan, tiny.latent(13), steps=3, cfg=1.0, per_forward=1)
    told = [text for text in texts if text.startswith("Step ")]
    assert "left" not in told[0] and all(" left" in text for text in told[1:])
