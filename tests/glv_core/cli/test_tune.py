"""``genlong tune`` and ``--tuned``, on tiny folders and on the demo model."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from glv_core.cli import main as cli
from glv_core.cli import options
from glv_core.cli import tune as cli_tune
from glv_core.cli import tuned as cli_tuned
from glv_core.hosts.diffusers import folder as folders
from glv_core.hosts.diffusers.tuned_layers import CHOICES
from glv_core.tuning import KINDS, State, read_state, read_tuned, read_tuned_header, write_state
from glv_core.tuning.identifiers import LENGTHS
from glv_core.video_io import read_video, save_video

FRAMES, FPS = 37, 16
BASE = {
    "--prompt": "a red circle",
    "--steps": "3",
    "--window": "17",
    "--stride": "8",
    "--rank": "2",
    "--width": "32",
    "--height": "32",
    "--identifiers": "bank",
    "--keep": "0.5",
    "--keep-prompts": "a cat | a dog",
    "--device": "cpu",
}
DRAW = {
    "--prompts": "a red circle",
    "--length": "33",
    "--window": "17",
    "--overlap": "8",
    "--schedule": "static",
    "--steps": "1",
    "--width": "32",
    "--height": "32",
    "--cfg": "4",
    "--upscale": "1",
    "--device": "cpu",
    "--no-plan": True,
}


def words(command, values):
    pairs = (([name] if value is True else [name, str(value)]) for name, value in values.items() if value is not None)
    return [*command, *(word for pair in pairs for word in pair)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A video of 48 x 40 pixels with something in it that moves."""
    folder = tmp_path_factory.mktemp("files")
    frames = torch.zeros(FRAMES, 40, 48, 3, dtype=torch.uint8)
    for number in range(FRAMES):
        frames[number, 10:25, number // 2 : number // 2 + 15] = torch.tensor([200, 30, 60], dtype=torch.uint8)
    save_video(folder / "clip.mp4", frames, FPS, crf=0)
    mask = torch.zeros(40, 48, 3, dtype=torch.uint8)
    mask[8:30, 8:40] = 255
    Image.fromarray(mask.numpy()).save(folder / "mask.png")
    return SimpleNamespace(video=folder / "clip.mp4", mask=folder / "mask.png")


@pytest.fixture(scope="module")
def trained(tiny_wan_folder, files, tmp_path_factory):
    """Run ``genlong tune`` and return what it wrote; each different line once."""
    known = {}

    def run(changes=()):
        key = tuple(dict(changes).items())
        if key not in known:
            output = tmp_path_factory.mktemp("tuned") / "a.safetensors"
            given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": output, **dict(changes)}
            assert cli.main(words(["tune"], given)) == 0
            known[key] = SimpleNamespace(path=output, tuned=read_tuned(output))
        return known[key]

    return run


def weights_of(tuned):
    own = {} if tuned.identifiers is None else tuned.identifiers.tensors()
    return {**tuned.lora, **own}


def differ(first, second):
    a, b = weights_of(first), weights_of(second)
    return a.keys() != b.keys() or any(a[key].shape != b[key].shape or not torch.equal(a[key], b[key]) for key in a)


def test_it_writes_a_file_and_says_so(tiny_wan_folder, files, tmp_path, capsys):
    output = tmp_path / "new" / "a.safetensors"
    line = words(["tune"], {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": output})
    assert cli.main(line) == 0
    said, progress = capsys.readouterr()
    assert f"tuned       {output} (on 37 frames of 32 x 32)" in said
    state = tmp_path / "new" / "a.state.safetensors"
    losses = read_state(state).losses
    assert f"loss        {losses[0]:.4g} -> {losses[-1]:.4g}" in said
    assert str(state) in said
    assert "time" in said
    assert "3/3 steps, loss" in progress
    about = read_tuned_header(output)
    expected = {
        "family": "Wan", "model": tiny_wan_folder.name, "prompt": "a red circle", "steps": 3, "window": 5, "stride": 2,
        "rank": 2, "layers": "attention", "identifiers": "bank", "keep": 0.5, "batch": 1, "seed": 0, "text_drop": 0.1,
        "clip_drop": 0.4, "ema_decay": 0.98, "learning_rate": 1e-4,
    }  # fmt: skip
    assert expected.items() <= about.items()
    assert about["losses"] == [round(loss, 6) for loss in losses]
    places = read_tuned(output).identifiers.places
    assert (places.length, places.window, places.stride) == (10, 5, 2)
    assert "replaces" not in said
    assert cli.main(line) == 0  # all is done
    said, progress = capsys.readouterr()
    assert f"replaces    {output}" in said
    assert f"goes on     behind step 3, from {state}" in progress


@pytest.mark.parametrize(
    "change",
    [
        {"--prompt": "a blue square"},
        {"--steps": "4"},
        {"--window": "13"},
        {"--stride": "4"},
        {"--batch": "2"},
        {"--learning-rate": "1e-3"},
        {"--rank": "3"},
        {"--layers": "self_attention"},
        {"--identifiers": "continuous"},
        {"--identifiers": "none"},
        {"--text-drop": "0.999999"},
        {"--clip-drop": "1"},
        {"--keep": "2"},
        {"--keep-prompts": "a cat"},
        {"--seed": "1"},
        {"--length": "33"},
        {"--fps": "8"},
        {"--width": "48"},
        {"--height": "48"},
        {"--dtype": "bfloat16"},
    ],
    ids=lambda change: " ".join(next(iter(change.items()))),
)
def test_every_option_changes_what_is_trained(trained, change):
    assert differ(trained(change).tuned, trained().tuned)


def test_recomputing_is_handed_on(tiny_wan_folder, files, tmp_path, monkeypatch):
    from glv_core.hosts.diffusers import tuning

    seen = []

    def watched(*_, recompute, **__):
        seen.append(recompute)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "tune", watched)
    for changes in ({}, {"--recompute": True}):
        given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": tmp_path / "a.safetensors"}
        assert cli.main(words(["tune"], {**given, **changes})) == 130
    assert seen == [False, True]


def test_an_interrupt_keeps_what_was_done(tiny_wan_folder, files, tmp_path, capsys, monkeypatch, trained):
    output = tmp_path / "a.safetensors"
    line = words(["tune"], {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": output})

    @contextmanager
    def interrupting(steps):
        def show(losses):
            if len(losses) == 2:
                raise KeyboardInterrupt

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(cli_tune, "loss_bar", interrupting)
        assert cli.main(line) == 130
    assert "interrupted; the same line goes on where it was" in capsys.readouterr().err
    assert not output.exists()
    assert len(read_state(tmp_path / "a.state.safetensors").losses) == 2
    assert cli.main(line) == 0
    assert "goes on     behind step 2" in capsys.readouterr().err
    assert not differ(read_tuned(output), trained().tuned)
    line[line.index("--seed") + 1 if "--seed" in line else len(line) :] = ["--seed", "4"]
    assert cli.main(line) == 0
    assert "begins anew" in capsys.readouterr().err


def test_the_same_line_with_more_steps_goes_on_from_the_end(
    tiny_wan_folder, files, tmp_path, capsys, monkeypatch, trained
):
    monkeypatch.chdir(tmp_path)
    given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--steps": "2"}
    assert cli.main(words(["tune"], given)) == 0
    assert cli.main(words(["tune"], {**given, "--seed": "1"})) == 0  # another run, with a name of its own
    assert cli.main(words(["tune"], {**given, "--steps": "3"})) == 0
    said, progress = capsys.readouterr()
    assert "goes on     behind step 2, from tuned/clip.state.safetensors" in progress
    assert "begins anew" not in progress
    assert [line.split()[1] for line in said.splitlines() if line.startswith("tuned ")] == [
        "tuned/clip.safetensors", "tuned/clip_2.safetensors", "tuned/clip.safetensors"
    ]  # fmt: skip
    assert not differ(read_tuned(tmp_path / "tuned/clip.safetensors"), trained().tuned)


def test_defaults(tiny_wan_folder, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def prepared(**changes):
        given = {"--video": files.video, "--prompt": "a cat", "--model": tiny_wan_folder}
        given |= {f"--{name}": value for name, value in changes.items()}
        return cli_tune.prepare_tune(options.build_tune_parser().parse_args(words([], given)))

    job = prepared()
    assert (job.options.window, job.options.stride) == (10, 2)  # all of the short video
    assert (job.options.steps, job.options.rank, job.options.identifiers, job.options.keep) == (200, 16, "none", 0)
    assert job.layers == "attention"
    assert (job.width, job.height) == (688, 576)  # the area of Wan's 832 x 480, in the shape of the video
    assert str(job.output_of("a")) == "tuned/clip.safetensors"
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "clip.state.safetensors").write_bytes(b"")
    (tmp_path / "tuned" / "clip.safetensors").write_bytes(b"")
    (tmp_path / "tuned" / "clip_2.safetensors").write_bytes(b"")
    assert str(prepared().output_of("a")) == "tuned/clip_3.safetensors"
    for name, key, steps in (("clip_4", "a", 3), ("clip_5", "a", 200), ("clip_6", "a", 201), ("other", "a", 9)):
        write_state(tmp_path / "tuned" / f"{name}.state.safetensors", State(key, [0.1] * steps, {}))
    assert str(prepared().output_of("a")) == "tuned/clip_5.safetensors"
    assert str(prepared(steps=100).output_of("a")) == "tuned/clip_4.safetensors"
    assert str(prepared(steps=2).output_of("a")) == "tuned/clip_3.safetensors"
    assert str(prepared().output_of("b")) == "tuned/clip_3.safetensors"
    assert str(prepared(output="x/y.safetensors").output_of("a")) == "x/y.safetensors"
    assert prepared(window="5").options.stride == 1
    assert prepared(fps="8").clip.num_frames == 18


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--video": "/no/such.mp4"}, ["--video /no/such.mp4"]),
        ({"--video": None}, ["--video"]),
        ({"--prompt": " "}, ["--prompt is empty"]),
        ({"--model": "/no/such"}, ["--model /no/such", "no such folder"]),
        ({"--steps": "0"}, ["--steps 0", "1 or more"]),
        ({"--batch": "0"}, ["--batch 0", "1 or more"]),
        ({"--rank": "0"}, ["--rank 0", "1 or more"]),
        ({"--learning-rate": "1"}, ["--learning-rate 1", "below 1"]),
        ({"--learning-rate": "nan"}, ["--learning-rate nan", "above 0"]),
        ({"--text-drop": "1"}, ["--text-drop 1", "below 1"]),
        ({"--clip-drop": "2"}, ["--clip-drop 2", "0 to 1"]),
        ({"--clip-drop": "0.2", "--identifiers": "none"}, ["--clip-drop 0.2", "only with --identifiers"]),
        ({"--keep": "-1"}, ["--keep -1", "0 to 1000"]),
        ({"--keep": "0"}, ["--keep-prompts a cat | a dog", "only with a --keep above 0"]),
        ({"--keep-prompts": None}, ["--keep-prompts is missing"]),
        ({"--keep-prompts": " | "}, ["--keep-prompts is missing"]),
        ({"--window": "0"}, ["--window 0", "at least 1"]),
        ({"--window": "81"}, ["--window 81", "37 frames", "10 latent frames", "Lower --window"]),
        ({"--stride": "0"}, ["--stride 0", "at least 1"]),
        ({"--stride": "40"}, ["--stride 40", "10 latent frames", "window 5", "Lower --stride"]),
        ({"--length": "99"}, ["--length 99", "37 frames"]),
        ({"--fps": "0"}, ["--fps 0"]),
        ({"--width": "33"}, ["--width 33", "32"]),
        ({"--seed": "-1"}, ["--seed -1"]),
        ({"--layers": "all"}, ["--layers", "queries"]),
        ({"--dtype": "float16"}, ["--dtype", "bfloat16"]),
        ({"--device": "toaster"}, ["--device toaster", "Use cpu"]),
        ({"--output": "a.mp4"}, ["--output a.mp4", ".safetensors"]),
        ({"--output": "a.state.safetensors"}, ["--output a.state.safetensors", "Choose another"]),
        ({"--output": "/dev/null/a.safetensors"}, ["--output /dev/null/a.safetensors"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_line_and_the_model_is_not_loaded(
    tiny_wan_folder, files, tmp_path, capsys, monkeypatch, change, said
):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": tmp_path / "a.safetensors"}
    fails(words(["tune"], {**given, **change}), capsys, *said)


def fails(line, capsys, *said):
    capsys.readouterr()
    try:
        code = cli.main(line)
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("genlong: error: ")
    assert "Traceback" not in error
    for word in said:
        assert word in error, error


def test_a_model_with_two_denoisers_is_refused(tiny_wan_folder, files, tmp_path, capsys):
    import shutil

    folder = tmp_path / "wan22"
    shutil.copytree(tiny_wan_folder, folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    given = {**BASE, "--model": folder, "--video": files.video, "--output": tmp_path / "a.safetensors"}
    fails(words(["tune"], given), capsys, "--model", "two denoisers", "Wan 2.1")


def test_what_else_cannot_be(tiny_wan_folder, files, tmp_path, capsys, monkeypatch, tiny_pipelines):
    given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": tmp_path / "a.safetensors"}
    (tmp_path / "a.state.safetensors").write_bytes(b"nothing")
    fails(words(["tune"], given), capsys, "--output", "a.state.safetensors is damaged", "Delete it")
    (tmp_path / "a.state.safetensors").unlink()
    unet = tmp_path / "unet"
    tiny_pipelines("text_to_video_sd").save_pretrained(unet)
    fails(words(["tune"], {**given, "--model": unet, "--recompute": True}), capsys, "--recompute", "second time")
    monkeypatch.setattr(cli_tuned, "find_spec", lambda name: None)
    fails(words(["tune"], given), capsys, "genlong tune", "needs peft", "pip install genlong-video[standalone]")


def test_a_loss_that_is_no_number_is_said(tiny_wan_folder, files, tmp_path, capsys, monkeypatch):
    from glv_core.hosts.diffusers import tuning

    original = tuning.noised

    def noised(*arguments):
        noisy, wanted, timestep = original(*arguments)
        return noisy, wanted / 0, timestep

    monkeypatch.setattr(tuning, "noised", noised)
    given = {**BASE, "--model": tiny_wan_folder, "--video": files.video, "--output": tmp_path / "a.safetensors"}
    assert cli.main(words(["tune"], given)) == 2
    assert "--learning-rate 0.0001: the loss is not a number" in capsys.readouterr().err


@pytest.fixture(scope="module")
def drawn(tiny_wan_folder, trained, tmp_path_factory):
    """Make a video, with what was tuned on the tiny folder, and return its frames; each different line once."""
    known = {}

    def run(changes=()):
        key = tuple(dict(changes).items())
        if key not in known:
            output = tmp_path_factory.mktemp("drawn") / "a.mp4"
            given = {**DRAW, "--model": tiny_wan_folder, "--output": output, **dict(changes)}
            assert cli.main(words([], given)) == 0
            known[key] = read_video(output)[0]
        return known[key]

    return run


STRONG = {"--learning-rate": "0.02", "--steps": "6"}


@pytest.mark.parametrize(
    "change",
    [
        {"--tuned": None},
        {"--tuned-strength": "0.5"},
        {"--tuned-identifiers": "repeated"},
        {"--tuned-identifiers": "off"},
        {"--streaming": True, "--chunk": "17", "--overlap": None, "--tuned": None},
    ],
    ids=str,
)
def test_every_option_of_what_was_tuned_changes_the_frames(drawn, trained, change):
    base = {"--tuned": str(trained(STRONG).path)}
    if "--streaming" in change:
        plain = {name: value for name, value in change.items() if name != "--tuned"}
        assert not torch.equal(drawn({**base, **plain}), drawn(plain))
    else:
        assert not torch.equal(drawn({**base, **change}), drawn(base))


@pytest.mark.parametrize("command", ["edit", "restyle"])
def test_edits_take_it(trained, tiny_branch_folder, files, tmp_path, command):
    more = {"--mask": files.mask, "--no-composite": True} if command == "edit" else {"--control": "canny"}
    given = {name: value for name, value in DRAW.items() if name != "--overlap"}
    given |= {"--model": tiny_branch_folder, "--video": files.video, "--cfg": "1", **more}
    frames, path = [], trained(STRONG).path
    for tuned in ({}, {"--tuned": path, "--tuned-identifiers": "off"}, {"--tuned": path}):
        output = tmp_path / "out.mp4"
        assert cli.main(words([command], {**given, **tuned, "--output": output})) == 0
        frames.append(read_video(output)[0])
    assert not torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[1], frames[2])


def test_what_is_wrong_with_it_is_said_before_the_model_is_loaded(
    trained, tiny_wan_folder, tmp_path, capsys, monkeypatch, tiny_pipelines
):
    path, plain, lora = trained(STRONG).path, trained({"--identifiers": "none"}).path, tmp_path / "lora.safetensors"
    save_file(dict(trained().tuned.lora), lora)
    monkeypatch.setattr(folders, "load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    given = {**DRAW, "--model": tiny_wan_folder, "--output": tmp_path / "a.mp4"}

    def wrong(change, *said):
        fails(words([], {**given, **change}), capsys, *said)

    wrong({"--tuned": "/no/such.safetensors"}, "--tuned /no/such.safetensors: there is no such file")
    wrong({"--tuned": lora}, "--tuned", "an ordinary LoRA")
    wrong({"--tuned": path.with_name("a.state.safetensors")}, "--tuned", "state of a tuning")
    wrong({"--tuned-strength": "2"}, "--tuned-strength 2", "only with --tuned")
    wrong({"--tuned-identifiers": "off"}, "--tuned-identifiers off", "only with --tuned")
    wrong({"--tuned": path, "--tuned-strength": "nan"}, "--tuned-strength nan", "-10 to 10")
    wrong({"--tuned": path, "--tuned-identifiers": "x"}, "--tuned-identifiers", "repeated")
    wrong({"--tuned": plain, "--tuned-identifiers": "off"}, "--tuned-identifiers off", "no clip identifiers")
    unet = tmp_path / "unet"
    tiny_pipelines("text_to_video_sd").save_pretrained(unet)
    wrong({"--model": unet, "--tuned": path}, "--tuned", "UNet3DConditionModel has no place for", "another model")
    monkeypatch.setattr(cli_tuned, "find_spec", lambda name: None)
    wrong({"--tuned": path}, f"--tuned {path}", "needs peft")


def test_streamingt2v_does_not_take_it(trained, tmp_path, capsys):
    from glv_core.demo import STREAMING_T2V_DIR

    given = {"--model": STREAMING_T2V_DIR, "--streaming": True, "--tuned": trained().path, "--prompts": "a cat"}
    fails(words([], {**given, "--output": tmp_path / "a.mp4"}), capsys, "--tuned", "StreamingT2V")


def test_the_demo_model_is_tuned_and_used(tmp_path, capsys):
    """As a first try would be, but for fewer steps."""
    from glv_core.demo.clips import centred_scene, render

    save_video(
        tmp_path / "v.mp4", render(centred_scene("circle", "red", "white", "right", 5.0), 33).movedim(1, -1), FPS, crf=0
    )  # fmt: skip
    output, prompt = tmp_path / "v.safetensors", "a red circle moving right on a white background"
    line = ["tune", "--video", str(tmp_path / "v.mp4"), "--prompt", prompt, "--output", str(output)]
    assert cli.main([*line, "--steps", "6", "--learning-rate", "1e-2", "--device", "cpu"]) == 0
    assert read_tuned_header(output)["family"] == "the demo model"
    frames = []
    for tuned in ([], ["--tuned", str(output)]):
        fixed = ["--length", "33", "--steps", "2", "--upscale", "1", "--no-plan", "--device", "cpu"]
        made = tmp_path / "made.mp4"
        assert cli.main(["--prompts", prompt, *fixed, *tuned, "--output", str(made)]) == 0
        frames.append(read_video(made)[0])
    assert not torch.equal(*frames)
    assert f"--tuned {output}" in capsys.readouterr().out


def test_the_choices_are_those_of_the_core():
    assert options.LAYERS == CHOICES
    assert options.IDENTIFIERS == KINDS
    assert options.LENGTHS == LENGTHS
