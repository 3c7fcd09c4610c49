"""`genlong --streaming` with StreamingT2V's weights beside the model, on a small folder with random weights."""

from __future__ import annotations

import shutil

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from small_streamingt2v import random_model

from glv_core.cli import main as cli
from glv_core.cli import streamingt2v as cli_streamingt2v
from glv_core.hosts.diffusers import folder as folders
from glv_core.hosts.diffusers import streamingt2v_video as video
from glv_core.streaming import ANCHORS
from glv_core.video_io import open_clip, read_video, save_video

BASE = {
    "--prompts": "0: a red circle\n20: a blue square", "--length": "32", "--steps": "2", "--width": "32",
    "--height": "32", "--upscale": "1", "--device": "cpu", "--dtype": "float32", "--streaming": True, "--seed": "3",
}  # fmt: skip


def run(output, changes=(), model=None):
    given = {**BASE, "--model": str(model or random_model()[0]), "--output": str(output), **dict(changes)}
    pairs = (([name] if value is True else [name, value]) for name, value in given.items() if value is not None)
    return cli.main([word for pair in pairs for word in pair])


def test_it_makes_a_video_and_goes_on_where_it_was(tmp_path, capsys):
    assert run(tmp_path / "a.mp4") == 0
    said = capsys.readouterr().out
    assert open_clip(tmp_path / "a.mp4").num_frames == 32 and "3, 0 found from before" in said
    assert run(tmp_path / "a.mp4") == 0 and "3, 3 found from before" in capsys.readouterr().out
    assert run(tmp_path / "a.mp4", {"--anchor": "last_chunk"}) == 0
    assert "3, 1 found from before" in capsys.readouterr().out


@pytest.mark.parametrize(("length", "chunks"), [("24", 2), ("48", 5), ("240", 29)])
def test_the_reported_lengths_are_made_to_the_frame(tmp_path, capsys, length, chunks):
    """StreamingT2V #6, #8: 16 frames, and 8 more with each chunk."""
    assert run(tmp_path / "a.mp4", {"--length": length, "--steps": "1", "--anchor": "none"}) == 0
    assert open_clip(tmp_path / "a.mp4").num_frames == int(length)
    assert f"chunks      {chunks}, 0 found" in capsys.readouterr().out


def test_options_arrive(tmp_path, monkeypatch):
    seen = {}

    def stream(parts, schedule, timebase, settings, *, scheduler, given, **_):
        seen.update(parts=parts, settings=settings, scheduler=type(scheduler).__name__, given=given)
        return torch.zeros(1, 4, timebase.num_latent_frames, 4, 4)

    monkeypatch.setattr(video, "stream_frames", stream)
    assert run(tmp_path / "a.mp4") == 0
    settings = seen["settings"]
    assert (settings.chunk, settings.overlap, settings.anchor, settings.eta) == (16, 8, "first", 1.0)
    assert (settings.guidance, settings.anchor_guidance, settings.seed, settings.steps) == (7.5, None, 3, 2)
    assert seen["scheduler"] == "DDIMScheduler" and seen["given"] is None and seen["parts"].image_encoder is not None
    frames = torch.zeros(10, 32, 32, 3, dtype=torch.uint8)
    save_video(tmp_path / "start.mp4", frames, 8)
    changes = {
        "--chunk": "12", "--chunk-overlap": "4", "--anchor": "none", "--eta": "0.25", "--cfg": "4",
        "--negative": "dull", "--drift-correction": "0.5", "--start": str(tmp_path / "start.mp4"),
    }  # fmt: skip
    assert run(tmp_path / "b.mp4", changes) == 0
    wanted = video.StreamingT2VSettings(
        12, 4, "none", 2, 4.0, None, 0.25, 3, 32, 32, negative_prompt="dull", drift_correction=0.5
    )
    assert seen["settings"] == wanted and seen["given"].shape == (1, 4, 10, 4, 4)
    assert seen["parts"].image_encoder is None
    assert run(tmp_path / "c.mp4", {"--anchor-cfg": "2", "--scheduler": "DPMSolverMultistepScheduler"}) == 0
    assert seen["settings"].anchor_guidance == 2.0 and seen["scheduler"] == "DPMSolverMultistepScheduler"


def test_the_small_model_of_the_pack_has_values_of_its_own(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(folders, "STREAMING_T2V_DIR", random_model()[0].resolve())
    monkeypatch.setattr(
        video, "stream_frames", lambda parts, schedule, clock, settings, **_: seen.append(settings) or torch.zeros(
            1, 4, clock.num_latent_frames, 8, 8
        )
    )  # fmt: skip
    assert run(tmp_path / "a.mp4", {"--steps": None, "--width": None, "--height": None}) == 0
    assert (seen[0].steps, seen[0].guidance, seen[0].width, seen[0].height) == (30, 6.0, 64, 64)
    assert run(tmp_path / "b.mp4", {"--steps": "4", "--cfg": "2"}) == 0
    assert (seen[1].steps, seen[1].guidance) == (4, 2.0)


def test_a_start_is_what_the_video_begins_with(tmp_path, monkeypatch):
    frames = torch.randint(0, 255, (16, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    save_video(tmp_path / "start.mp4", frames, 8, crf=0)
    made, original = [], video.stream_frames
    monkeypatch.setattr(video, "stream_frames", lambda *args, **named: made.append(original(*args, **named)) or made[0])
    assert run(tmp_path / "a.mp4", {"--start": str(tmp_path / "start.mp4"), "--length": "24"}) == 0
    folder = folders.read_model_folder(random_model()[0])
    vae = folders.load_pipeline(folder, "cpu", "float32").vae
    source = read_video(tmp_path / "start.mp4")[0].float().movedim(-1, 1) / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(source).latent_dist.mode() * vae.config.scaling_factor
    assert made[0].shape == (1, 4, 24, 4, 4)
    torch.testing.assert_close(made[0][0, :, :16].movedim(0, 1), latents, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--blend": "0.2"}, ["--blend 0.2", "leave it out"]),
        ({"--merge": "hann"}, ["--merge hann", "leave it out"]),
        ({"--window": "16"}, ["--window 16", "leave it out"]),
        ({"--overlap": "4"}, ["--overlap 4", "leave it out"]),
        ({"--schedule": "static"}, ["--schedule static", "leave it out"]),
        ({"--prompt-blending": "embeddings"}, ["--prompt-blending embeddings"]),
        ({"--windows-per-forward": "2"}, ["--windows-per-forward 2"]),
        ({"--eta": "2"}, ["--eta 2", "0 to 1"]),
        ({"--eta": "0.5", "--scheduler": "DPMSolverMultistepScheduler"}, ["--eta 0.5", "has none"]),
        ({"--anchor-cfg": "-1"}, ["--anchor-cfg -1", "0 or more"]),
        ({"--anchor-cfg": "2", "--anchor": "none"}, ["--anchor-cfg 2", "there is no anchor"]),
        ({"--anchor": "image"}, ["--anchor", "last_chunk"]),
        ({"--streaming": None, "--anchor": "first"}, ["--anchor first", "only with --streaming"]),
    ],
)
def test_a_mistake_is_one_line_and_the_model_is_not_loaded(tmp_path, capsys, monkeypatch, changes, words):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_: pytest.fail("the model was loaded"))
    try:
        code = run(tmp_path / "a.mp4", changes)
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1
    for word in words:
        assert word in said


def test_a_start_that_is_too_short_and_an_eye_that_is_missing_are_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_: pytest.fail("the model was loaded"))
    save_video(tmp_path / "start.mp4", torch.zeros(5, 32, 32, 3, dtype=torch.uint8), 8)
    assert run(tmp_path / "a.mp4", {"--start": str(tmp_path / "start.mp4")}) == 2
    assert "it has 5 frames, and each chunk goes on from 8" in capsys.readouterr().err
    model = tmp_path / "model"
    shutil.copytree(random_model()[0], model)
    shutil.rmtree(model / "image_encoder")
    assert run(tmp_path / "a.mp4", model=model) == 2
    said = capsys.readouterr().err
    assert "--anchor first" in said and "image_encoder" in said
    (model / "streaming_t2v.safetensors").unlink()
    assert run(tmp_path / "a.mp4", {"--anchor": "past"}, model=model) == 2
    said = capsys.readouterr().err
    assert "--anchor past" in said and "streaming_t2v.safetensors" in said


def test_choices_are_those_of_the_core():
    assert cli_streamingt2v.ANCHORS == video.ANCHORS and set(video.ANCHORS) == set(ANCHORS) - {"image"}
