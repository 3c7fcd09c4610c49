"""The command line, on a tiny Wan folder."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core import __version__, video_io
from glv_core.cli import job as cli_job
from glv_core.cli import main as cli
from glv_core.cli import options
from glv_core.cli.errors import UserError
from glv_core.cli.progress import frame_bar
from glv_core.cli.report import check_whole
from glv_core.co_denoise import CoDenoiseSettings
from glv_core.demo import MODEL_DIR
from glv_core.fusion import MERGES
from glv_core.hosts import diffusers as host
from glv_core.hosts.diffusers import folder as folders
from glv_core.noise import NOISES
from glv_core.prompts import BEYOND_END, TRANSITION_KINDS
from glv_core.prompts.blending import AUTO, PROMPT_BLENDINGS
from glv_core.video_io import read_video, save_video
from glv_core.window_schedules import SCHEDULES

BASE = {
    "--prompts": "a red circle | a blue square",
    "--length": "33",
    "--window": "17",
    "--overlap": "8",
    "--schedule": "static",
    "--steps": "2",
    "--width": "32",
    "--height": "32",
    "--upscale": "1",
    "--cfg": "4",
    "--dtype": "float32",
    "--device": "cpu",
}


def arguments(folder, output, changes=()):
    options = {**BASE, "--model": str(folder), "--output": str(output), **dict(changes)}
    pairs = (([name] if value is True else [name, value]) for name, value in options.items() if value is not None)
    return [word for pair in pairs for word in pair]


@pytest.fixture
def job(tiny_wan_folder, tmp_path):
    """Check a command line, without running it."""

    def prepare(**changes):
        names = {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        return cli_job.prepare(
            options.build_parser().parse_args(arguments(tiny_wan_folder, tmp_path / "a.mp4", names)),
        )

    return prepare


def test_a_run_writes_a_video_and_a_plan_and_says_so(tiny_wan_folder, tmp_path, capsys):
    output = tmp_path / "new" / "a.mp4"
    assert cli.main(arguments(tiny_wan_folder, output, {"--length": "35", "--upscale": "2", "--fps": "10"})) == 0
    frames, fps = read_video(output)
    assert frames.shape == (35, 64, 64, 3)
    assert fps == 10
    assert frames.float().std() > 1
    said, progress = capsys.readouterr()
    assert str(output) in said
    assert str(output.with_suffix(".plan.png")) in said
    assert output.with_suffix(".plan.png").read_bytes().startswith(b"\x89PNG")
    for word in ("seam ratio", "forwards", "time"):
        assert word in said
    assert "windows" in progress
    assert "2/2" in progress


def test_what_is_replaced_is_said(tiny_wan_folder, tmp_path, capsys):
    output = tmp_path / "a.mp4"
    assert cli.main(arguments(tiny_wan_folder, output, {"--no-plan": True})) == 0
    assert "replaces" not in capsys.readouterr().out
    assert cli.main(arguments(tiny_wan_folder, output, {"--no-plan": True})) == 0
    assert f"replaces    {output}, which is there" in capsys.readouterr().out


def test_no_plan_writes_no_image(tiny_wan_folder, tmp_path, capsys):
    output = tmp_path / "a.mp4"
    assert cli.main(arguments(tiny_wan_folder, output, {"--no-plan": True})) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]
    assert "\nplan" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def ran(tiny_wan_folder, tmp_path_factory):
    """Run a command line and return the model's frames, and the file's; each different line once."""
    known = {}

    def run(changes=()):
        key = tuple(dict(changes).items())
        if key not in known:
            seen = {}
            with pytest.MonkeyPatch.context() as patch:
                from glv_core import video_io

                original = video_io.save_video

                def spy(path, frames, fps, **options):
                    seen["frames"] = frames
                    return original(path, frames, fps, **options)

                patch.setattr(video_io, "save_video", spy)
                output = tmp_path_factory.mktemp("run") / "a.mp4"
                assert cli.main(arguments(tiny_wan_folder, output, key)) == 0
            known[key] = SimpleNamespace(frames=seen["frames"], file=read_video(output))
        return known[key]

    return run


@pytest.mark.parametrize(
    "change",
    [
        {"--prompts": "a cat | a blue square"},
        {"--negative": "a dog left moving"},
        {"--length": "37"},
        {"--length": "3s"},
        {"--window": "13"},
        {"--overlap": "4"},
        {"--schedule": "shifted"},
        {"--causal-anchor": True},
        {"--merge": "flat"},
        {"--transition": "hard"},
        {"--transition-length": "16"},
        {"--transition-length": "1s"},
        {"--common-text": "a cat"},
        {"--isolated": True, "--overlap": None, "--schedule": None},
        {"--steps": "3"},
        {"--cfg": "1"},
        {"--seed": "1"},
        {"--scheduler": "UniPCMultistepScheduler"},
        {"--flow-shift": "9"},
        {"--width": "48"},
        {"--height": "48"},
        {"--dtype": "bfloat16"},
        {"--closed-loop": True},
        {"--prompt-blending": "one_per_window"},
        {"--prompt-blending": "predictions"},
        {"--noise": "stable"},
    ],
    ids=str,
)
def test_every_option_changes_the_frames(ran, change):
    before, after = ran().frames, ran(change).frames
    assert before.shape != after.shape or (before - after).abs().max() > 0


def test_the_stride_ends_when_it_is_told(ran):
    longer = {"--length": "61"}  # so that every second latent frame still fills a window
    plain, strided = ran(longer).frames, ran({**longer, "--stride": "2"}).frames
    shorter = ran({**longer, "--stride": "2", "--stride-until": "0.5"}).frames
    assert (plain - strided).abs().max() > 0
    assert (strided - shorter).abs().max() > 0


def test_the_shared_part_of_the_noise_is_used(ran):
    one, other = (ran({"--noise": "mixed", "--shared-noise": share}).frames for share in ("0.1", "0.9"))
    assert (one - other).abs().max() > 0


def test_fps_and_upscale_change_the_file(ran):
    plain, faster, larger = ran().file, ran({"--fps": "24"}).file, ran({"--upscale": "3"}).file
    assert (plain[1], faster[1]) == (16, 24)
    assert (plain[0].shape[1], larger[0].shape[1]) == (32, 96)


def test_windows_per_forward_changes_how_many_share_one(tiny_wan_folder, tmp_path, capsys, job):
    assert [job(windows_per_forward=number).settings.windows_per_forward for number in ("0", "2")] == [0, 2]
    cli.main(arguments(tiny_wan_folder, tmp_path / "a.mp4", {"--windows-per-forward": "1", "--prompts": "a cat"}))
    assert "windows 1/3" in capsys.readouterr().err


def test_the_isolated_baseline_has_no_overlap(job):
    settings = job(isolated=True, overlap=None, schedule=None).settings
    assert settings == CoDenoiseSettings(5, 0, "batched", "earliest", prompt_blending="attention")


@pytest.mark.parametrize(("asked", "meant"), [("auto", "attention"), ("predictions", "predictions")])
def test_prompts_are_blended_by_attention_where_the_model_can(job, asked, meant):
    assert job(prompt_blending=asked).settings.prompt_blending == meant


def test_defaults_come_from_the_model(job):
    bare = job(window=None, overlap=None, schedule=None, steps=None, width=None, height=None, upscale=None, cfg=None)
    assert (bare.settings.window, bare.settings.overlap, bare.settings.schedule) == (21, 3, "shifted_trimmed")
    assert (bare.width, bare.height, bare.steps, bare.cfg, bare.upscale) == (832, 480, 50, 5.0, 1)
    assert job(upscale=None).upscale == 8
    assert job(length="10s").timebase.num_frames == 160


def test_the_default_demo_is_long_and_has_three_prompts(tiny_wan_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MODEL_DIR", tiny_wan_folder)
    parsed = options.build_parser().parse_args(["--model", str(tiny_wan_folder), "--output", str(tmp_path / "a.mp4")])
    job = cli_job.prepare(parsed)
    assert job.timebase.num_frames >= 160
    assert len({segment.prompt for segment in job.schedule.segments}) == 3
    assert (job.settings.window, job.settings.overlap, job.timebase.fps) == (16, 2, 16)
    assert min(job.width, job.height) * job.upscale >= 256
    assert options.build_parser().parse_args([]).model == MODEL_DIR


def test_prompts_can_come_from_a_file(job, tmp_path):
    (tmp_path / "prompts.txt").write_text("0: a cat\n16: a dog\n")
    schedule = job(prompts=f"@{tmp_path / 'prompts.txt'}").schedule
    assert [segment.prompt for segment in schedule.segments] == ["a cat", "a dog"]


def test_the_common_text_stands_in_front_of_every_prompt(job):
    schedule = job(prompts="0: a cat\n16: a dog", common_text="red,").schedule
    assert schedule.prompts == ("red, a cat", "red, a dog")


def test_what_is_dropped_or_not_read_is_said_before_the_model_is_loaded(job, capsys):
    made = job(prompts="0: a cat [1s]\n16: a dog\n40: a bird", beyond_end="drop")
    assert made.schedule.prompts == ("a cat [1s]", "a dog")
    said = capsys.readouterr().err
    assert "genlong: warning: line 1, column 10: '[1s]' looks like a time" in said and f"{' ' * 11}^\n" in said
    assert "genlong: warning: line 3, column 1: 1 prompt lies beyond the end of the video, which is 33 frames" in said


def test_output_names_do_not_repeat(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = job(output=None).output
    assert not first.parent.exists()  # a run that is refused later leaves nothing behind
    first.parent.mkdir()
    first.write_bytes(b"")
    assert (str(first), str(job(output=None).output)) == ("output/genlong_00001.mp4", "output/genlong_00002.mp4")


def test_a_name_that_another_run_took_meanwhile_is_not_written_over(tiny_wan_folder, tmp_path, capsys, monkeypatch):
    """Two runs begin with the same free name; the other is done first, with its plan."""
    monkeypatch.chdir(tmp_path)
    words = arguments(tiny_wan_folder, None, {"--output": None})
    taken = tmp_path / "output" / "genlong_00001.mp4"
    given = video_io.save_video

    def save(path, *more, **options):
        assert not path.stat().st_size  # nobody else takes it while it is written
        return given(path, *more, **options)

    def done_first(*_, **__):
        taken.write_bytes(b"theirs")
        taken.with_suffix(".plan.png").write_bytes(b"theirs")
        return torch.rand(33, 32, 32, 3)

    monkeypatch.setattr(video_io, "save_video", save)
    monkeypatch.setattr(host, "generate", done_first)
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    ours = taken.with_name("genlong_00002.mp4")
    assert f"video       {ours.relative_to(tmp_path)} (33 frames" in said and "replaces" not in said
    assert read_video(ours)[0].shape[0] == 33 and ours.with_suffix(".plan.png").exists()
    assert {path.read_bytes() for path in (taken, taken.with_suffix(".plan.png"))} == {b"theirs"}


def test_a_run_without_a_name_that_fails_leaves_none(tiny_wan_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = arguments(tiny_wan_folder, None, {"--output": None})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_io, "save_video", full)
    assert cli.main(words) == 2
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--length": "0"}, ["--length 0", "1 to 1000000"]),
        ({"--length": "10x"}, ["--length 10x", "10s"]),
        ({"--length": "infs"}, ["--length infs", "10s"]),
        ({"--fps": "0"}, ["--fps 0"]),
        ({"--overlap": "40"}, ["--overlap 40", "below the window"]),
        ({"--length": "999999999"}, ["--length 999999999", "999999999 frames", "1 to 1000000"]),
        ({"--length": "99999999s"}, ["--length 99999999s", "1 to 1000000"]),
        ({"--length": "900000", "--width": "8192", "--height": "8192"}, ["--length 900000", "GB of memory", "shorter"]),
        ({"--window": "10", "--overlap": "10"}, ["--overlap 10", "below the window, which is 10 frames"]),
        ({"--streaming": True, "--chunk": "4", "--overlap": "8"}, ["--overlap 8", "one window", "--chunk-overlap"]),
        ({"--upscale": "100000"}, ["--width 32", "100000 times", "16384", "--upscale"]),
        ({"--device": "meta"}, ["--device meta", "Use cpu"]),
        ({"--flow-shift": "nan"}, ["--flow-shift nan", "above 0"]),
        ({"--flow-shift": "inf"}, ["--flow-shift inf", "above 0"]),
        ({"--cfg": "1e38"}, ["--cfg 1e+38", "0 to 100"]),
        ({"--output": "/proc/x.mp4"}, ["--output /proc/x.mp4", "cannot be written"]),
        ({"--overlap": "-1"}, ["--overlap -1", "at least 0"]),
        ({"--stride": "0"}, ["--stride 0", "at least 1"]),
        ({"--stride-until": "2"}, ["--stride-until 2", "0 to 1"]),
        ({"--noise": "mixed", "--shared-noise": "3"}, ["--shared-noise 3", "0 to 1"]),
        ({"--window": "0"}, ["--window 0", "at least 1"]),
        ({"--window": "9999"}, ["--window 9999", "128"]),
        ({"--windows-per-forward": "-1"}, ["--windows-per-forward -1"]),
        ({"--schedule": "foo"}, ["--schedule", "shifted"]),
        ({"--merge": "foo"}, ["--merge", "pyramid"]),
        ({"--isolated": True}, ["--overlap 8", "--isolated"]),
        ({"--prompts": "a cat |"}, ["--prompts a cat |"]),
        ({"--prompts": "0: a cat\n99: a dog"}, ["--prompts 0: a cat 99: a dog"]),
        ({"--prompts": "@/no/such/file"}, ["--prompts @/no/such/file", "No such file"]),
        ({"--prompts": None}, ["--prompts is missing"]),
        ({"--transition-length": "-1"}, ["--transition-length -1"]),
        ({"--steps": "0"}, ["--steps 0"]),
        ({"--cfg": "-1"}, ["--cfg -1"]),
        ({"--cfg": "nan"}, ["--cfg nan"]),
        ({"--seed": "-5"}, ["--seed -5"]),
        ({"--scheduler": "Foo"}, ["--scheduler Foo", "UniPCMultistepScheduler"]),
        ({"--scheduler": "DDIMScheduler"}, ["--scheduler DDIMScheduler", "flow matching"]),
        ({"--flow-shift": "0"}, ["--flow-shift 0", "above 0"]),
        ({"--width": "33"}, ["--width 33", "32"]),
        ({"--height": "0"}, ["--height 0", "16"]),
        ({"--upscale": "0"}, ["--upscale 0"]),
        ({"--device": "toaster"}, ["--device toaster", "Use cpu"]),
        ({"--model": "/no/such/folder"}, ["--model /no/such/folder", "no such folder"]),
        ({"--output": "a.gif"}, ["--output a.gif", ".mp4"]),
        ({"--output": "/dev/null/a.mp4"}, ["--output /dev/null/a.mp4"]),
        ({"--chunk": "17"}, ["--chunk 17", "only with --streaming"]),
        (
            {"--streaming": True, "--chunk-overlap": "17", "--chunk": "17", "--overlap": None},
            ["--chunk-overlap 17", "below chunk"],
        ),
        ({"--streaming": True, "--closed-loop": True}, ["--closed-loop", "--streaming"]),
        ({"--streaming": True, "--noise": "stable"}, ["--noise stable", "--streaming"]),
        ({"--streaming": True, "--blend": "2"}, ["--blend 2", "0 to 1"]),
        ({"--streaming": True, "--run": "/dev/null/run"}, ["--run /dev/null/run", "cannot be written"]),
        ({"--nonsense": "1"}, ["--nonsense"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_line_and_the_model_is_not_loaded(
    tiny_wan_folder, tmp_path, capsys, monkeypatch, change, words
):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_: pytest.fail("the model was loaded"))
    try:
        code = cli.main(arguments(tiny_wan_folder, tmp_path / "a.mp4", change))
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("genlong: error: ")
    assert "Traceback" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("streaming", [False, True])
def test_a_video_of_no_numbers_is_not_written(tiny_wan_folder, tmp_path, capsys, monkeypatch, streaming):
    from glv_core.hosts.diffusers import decode

    nothing = torch.full((40, 32, 32, 3), float("nan"))
    monkeypatch.setattr(host, "generate", lambda *_, **__: nothing)
    monkeypatch.setattr(decode, "decode_frames", lambda *_: iter([nothing]))
    output = tmp_path / "a.mp4"
    assert cli.main(arguments(tiny_wan_folder, output, STREAM if streaming else {})) == 2
    said = capsys.readouterr().err
    assert "no numbers" in said and "--flow-shift" in said and not output.exists()


def test_what_is_never_held_whole_may_be_longer_than_memory(job):
    long = {"length": "400000", "width": "1280", "height": "720"}
    streamed = job(**long, streaming=True, overlap=None)
    assert streamed.timebase.num_frames == 400000 and streamed.stream is not None
    with pytest.raises(UserError, match=r"--length 400000: .* GB of memory.*--streaming"):
        check_whole(job(**long))


def test_progress_into_a_file_is_a_line_for_each_tenth(capsys):
    with frame_bar(40, "write") as show:
        for done in range(41):
            show(done)
    said = capsys.readouterr().err
    assert "\r" not in said
    assert said.splitlines() == [f"write: {done}/40 frames" for done in range(4, 41, 4)]


STREAM = {"--streaming": True, "--length": "61", "--chunk": "17", "--chunk-overlap": "8", "--overlap": None}


def test_streaming_makes_a_video_and_finds_its_chunks_again(tiny_wan_folder, tmp_path, capsys):
    output = tmp_path / "a.mp4"
    assert cli.main(arguments(tiny_wan_folder, output, STREAM)) == 0
    said = capsys.readouterr().out
    assert "chunks      5, 0 found" in said
    assert "seam ratio" in said
    frames, _ = read_video(output)
    assert frames.shape == (61, 32, 32, 3)
    assert frames.float().std() > 1
    assert len(list((tmp_path / "a.run").glob("chunk_*.safetensors"))) == 5
    assert not output.with_suffix(".plan.png").exists()
    assert cli.main(arguments(tiny_wan_folder, output, STREAM)) == 0
    assert "5 found" in capsys.readouterr().out
    # The chunks are the same bits; the encoder's threads leave it a little freedom.
    assert (read_video(output)[0].float() - frames.float()).abs().mean() < 1
    longer = {**STREAM, "--length": "77", "--prompts": "a red circle", "--run": str(tmp_path / "other")}
    assert cli.main(arguments(tiny_wan_folder, output, longer)) == 0
    assert "chunks      6, 0 found" in capsys.readouterr().out


def streamed_latents(folder, output, options) -> torch.Tensor:
    """The latents of a streamed run ``1 c t h w``: the new part of its chunks, in order."""
    assert cli.main(arguments(folder, output, options)) == 0
    manifest = json.loads((output.with_suffix(".run") / "manifest.json").read_text())
    parts = []
    for each in manifest["chunks"]:
        latents = load_file(output.with_suffix(".run") / each["file"])["latents"]
        parts.append(latents[:, :, each["chunk"]["overlap"] :])
    return torch.cat(parts, dim=2)


@pytest.fixture(scope="module")
def plain_latents(tiny_wan_folder, tmp_path_factory):
    return streamed_latents(tiny_wan_folder, tmp_path_factory.mktemp("plain") / "a.mp4", STREAM)


def test_the_same_options_of_streaming_give_the_same_latents(tiny_wan_folder, tmp_path, plain_latents):
    assert torch.equal(streamed_latents(tiny_wan_folder, tmp_path / "a.mp4", STREAM), plain_latents)


@pytest.mark.parametrize(
    "change",
    [
        {"--chunk": "33"},
        {"--chunk-overlap": "12"},
        {"--blend": "0"},
        {"--drift-correction": "1"},
        {"--window": "9", "--overlap": "4"},
        {"--negative": "a dog left moving"},
        {"--seed": "1"},
    ],
    ids=str,
)
def test_every_option_of_streaming_changes_the_latents(tiny_wan_folder, tmp_path, plain_latents, change):
    changed = streamed_latents(tiny_wan_folder, tmp_path / "a.mp4", {**STREAM, **change})
    length = min(changed.shape[2], plain_latents.shape[2])
    assert (changed[:, :, :length] - plain_latents[:, :, :length]).abs().max() > 1e-4


def test_streaming_goes_on_from_a_video_and_from_an_image(tiny_wan_folder, tmp_path, capsys):
    frames = torch.linspace(0, 255, 9 * 32 * 48 * 3).reshape(9, 32, 48, 3).to(torch.uint8)
    save_video(tmp_path / "start.mp4", frames, 16)
    Image.fromarray(frames[-1].numpy()).save(tmp_path / "start.png")
    latents = []
    for name, given in (("start.mp4", 3), ("start.png", 1)):
        output = tmp_path / f"{name}.mp4"
        options = {**STREAM, "--length": "25", "--start": str(tmp_path / name)}
        made = streamed_latents(tiny_wan_folder, output, options)
        assert "chunks      2, 0 found" in capsys.readouterr().out
        assert read_video(output)[0].shape == (25, 32, 32, 3)
        [start] = output.with_suffix(".run").glob("start_*.safetensors")
        assert load_file(start)["latents"].shape[2] == given
        assert torch.equal(streamed_latents(tiny_wan_folder, output, options), made)
        assert "chunks      2, 2 found" in capsys.readouterr().out
        latents.append(made)
    assert not torch.allclose(latents[0][:, :, :2], latents[1][:, :, :2], atol=1e-2)


def test_attention_to_prompts_needs_a_denoiser_that_has_it(tiny_pipelines, tmp_path, capsys):
    tiny_pipelines("text_to_video_sd").save_pretrained(tmp_path / "model")
    given = arguments(tmp_path / "model", tmp_path / "a.mp4", {"--prompt-blending": "attention"})
    assert cli.main(given) == 2
    said = capsys.readouterr().err
    assert "--prompt-blending attention: " in said and "UNet3DConditionModel does not support" in said


def test_a_start_as_long_as_the_video_is_refused(tiny_wan_folder, tmp_path, capsys):
    save_video(tmp_path / "start.mp4", torch.zeros(30, 32, 32, 3, dtype=torch.uint8), 16)
    options = {**STREAM, "--length": "30", "--start": str(tmp_path / "start.mp4")}
    assert cli.main(arguments(tiny_wan_folder, tmp_path / "a.mp4", options)) == 2
    said = capsys.readouterr().err
    assert "--start" in said and "30 frames" in said and "raise --length" in said


def test_a_folder_without_a_model_is_named(tiny_wan_folder, tmp_path, capsys):
    assert cli.main(arguments(tmp_path, tmp_path / "a.mp4")) == 2
    assert "model_index.json" in capsys.readouterr().err
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": ["diffusers", "Flux"]}')
    assert cli.main(arguments(tmp_path, tmp_path / "a.mp4")) == 2
    assert "the denoiser Flux" in capsys.readouterr().err


def test_interrupting_writes_nothing(tiny_wan_folder, tmp_path, capsys, monkeypatch):
    import glv_core.hosts.diffusers as host

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "generate", interrupted)
    assert cli.main(arguments(tiny_wan_folder, tmp_path / "a.mp4", {"--no-plan": True})) == 130
    assert list(tmp_path.iterdir()) == []
    assert "interrupted" in capsys.readouterr().err


def test_a_wan_folder_is_read_with_and_without_accelerate(tiny_wan_folder, tiny_pipelines, monkeypatch):
    monkeypatch.setattr(folders, "find_spec", lambda _: None)
    loaded = folders.load_pipeline(folders.read_model_folder(tiny_wan_folder), "cpu", "float32")
    expected = tiny_pipelines("wan").transformer.state_dict()
    for name, tensor in loaded.transformer.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_the_choices_are_those_of_the_core():
    assert set(options.SCHEDULES) == set(SCHEDULES)
    assert set(options.MERGES) == set(MERGES)
    assert set(options.NOISES) == set(NOISES)
    assert set(options.PROMPT_BLENDINGS) == {AUTO, *PROMPT_BLENDINGS}
    assert set(options.TRANSITIONS) == set(TRANSITION_KINDS)
    assert options.BEYOND_END == BEYOND_END


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "glv_core", "--help"], capture_output=True, text=True, check=True)
    assert "--windows-per-forward" in done.stdout


def test_it_says_its_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"genlong {__version__}\n"
