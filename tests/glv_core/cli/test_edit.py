"""``genlong edit`` and ``genlong restyle``, on tiny folders of VACE and on the demo model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.cli import edit as cli_edit
from glv_core.cli import main as cli
from glv_core.cli import options
from glv_core.cli.masks import fitted_masks, mask_source
from glv_core.demo.clips import centred_scene, render
from glv_core.demo.detector import agrees, read_frames
from glv_core.hosts.diffusers import folder as folders
from glv_core.perception.controls.canny import canny
from glv_core.perception.controls.edges import darkest, scribble
from glv_core.perception.packed_masks import PackedMasks
from glv_core.video_io import Waveform, open_clip, read_video, save_video

FRAMES, FPS = 33, 16
BASE = {
    "--prompts": "a red circle | a blue square",
    "--window": "17",
    "--overlap": "8",
    "--schedule": "static",
    "--steps": "2",
    "--width": "32",
    "--height": "32",
    "--cfg": "4",
    "--upscale": "1",
    "--dtype": "float32",
    "--device": "cpu",
    "--no-plan": True,
}


def arguments(command, folder, files, changes=()):
    base = {**BASE, "--model": str(folder), "--video": str(files.video), "--output": str(files.output)}
    base |= {"--mask": str(files.mask)} if command == "edit" else {"--control": "canny"}
    pairs = (
        ([name] if value is True else [name, value])
        for name, value in {**base, **dict(changes)}.items()
        if value is not None
    )
    return [command, *(word for pair in pairs for word in pair)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A video of 48 x 40 pixels with sound, a mask for every frame and one image for all, and where to write."""
    folder = tmp_path_factory.mktemp("files")
    shapes = torch.linspace(0, 255, FRAMES * 40 * 48 * 3).reshape(FRAMES, 40, 48, 3)
    shapes[:, 10:25, 12:30] = torch.tensor([200.0, 30.0, 60.0])
    sound = Waveform(torch.sin(torch.arange(FRAMES * 500) / 9)[None], 8000)
    save_video(folder / "video.mp4", shapes.to(torch.uint8), FPS, crf=0, audio=sound)
    masks = torch.zeros(FRAMES, 40, 48, 3, dtype=torch.uint8)
    for frame in range(FRAMES):
        masks[frame, 8:24, 4 + frame // 2 : 20 + frame // 2] = 255
    save_video(folder / "mask.mp4", masks, FPS, crf=0)
    (folder / "masks").mkdir()
    for number, mask in enumerate(masks):
        Image.fromarray(mask.numpy()).save(folder / "masks" / f"{number:03}.png")
    Image.fromarray(masks[0].numpy()).save(folder / "one.png")
    return SimpleNamespace(
        folder=folder, video=folder / "video.mp4", mask=folder / "mask.mp4", output=folder / "out.mp4", masks=masks
    )


@pytest.fixture(scope="module")
def ran(tiny_vace_folder, files):
    """Run a command and return the frames that are written; each different line once."""
    known = {}

    def run(command, changes=(), folder=tiny_vace_folder):
        key = (command, str(folder), *dict(changes).items())
        if key not in known:
            from glv_core import video_io

            seen = []
            original = video_io.save_video

            def spy(path, frames, fps, **more):
                def watched():
                    for part in frames:
                        seen.append(part.clone())
                        yield part

                return original(path, watched(), fps, **more)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(video_io, "save_video", spy)
                assert cli.main(arguments(command, folder, files, dict(changes))) == 0
            known[key] = torch.cat(seen)
        return known[key]

    return run


def sources(files):
    return torch.cat(list(open_clip(files.video).frames()))


def test_an_edit_keeps_every_pixel_outside_of_its_mask(ran, files):
    """The mask lies in the model's 32 x 32 pixels of the middle 40 x 40; where it is 0 the video's bytes stay."""
    made, original = ran("edit"), sources(files)
    assert made.dtype == torch.uint8 and made.shape == original.shape == (FRAMES, 40, 48, 3)
    moved = (made != original).any(-1)
    far = torch.nn.functional.max_pool2d((files.masks[..., 0] > 0).float()[:, None], 17, 1, 8)[:, 0] == 0
    assert 0.3 < far.float().mean() < 0.9
    assert not moved[far].any()
    assert not moved[:, :, :4].any() and not moved[:, :, -4:].any(), "beside the middle nothing is made"
    near = files.masks[..., 0] > 0
    near[:, :, :6] = near[:, :, -6:] = False
    assert moved[near].float().mean() > 0.9


def test_an_edit_is_whole_and_small_without_the_composite(ran):
    made = ran("edit", {"--no-composite": True})
    assert made.shape == (FRAMES, 32, 32, 3) and made.is_floating_point()


def test_files_and_folders_are_the_same_masks(ran, files):
    assert torch.equal(ran("edit"), ran("edit", {"--mask": str(files.folder / "masks")}))
    assert not torch.equal(ran("edit"), ran("edit", {"--mask": str(files.folder / "one.png")}))


def test_the_sound_is_kept(ran, files):
    ran("edit", {"--seed": "7"})
    clip = open_clip(files.output)
    assert clip.has_audio and clip.num_frames == FRAMES


@pytest.mark.parametrize(
    ("command", "change"),
    [
        *(
            ("edit", change)
            for change in (
                {"--grow": "0"}, {"--grow": "-2"}, {"--feather": "3"}, {"--no-composite": True}, {"--strength": "0.2"},
                {"--prompts": "a cat | a dog"}, {"--negative": "a dog left"}, {"--seed": "1"}, {"--length": "25"},
                {"--length": "1s"}, {"--fps": "8"}, {"--width": "48"}, {"--height": "48"}, {"--window": "13"},
                {"--overlap": "4"}, {"--schedule": "shifted"}, {"--merge": "flat"}, {"--steps": "3"}, {"--cfg": "1"},
                {"--transition": "hard"}, {"--transition-length": "16"}, {"--noise": "stable"},
                {"--prompt-blending": "embeddings"}, {"--scheduler": "UniPCMultistepScheduler"}, {"--flow-shift": "9"},
                {"--isolated": True, "--overlap": None, "--schedule": None}, {"--dtype": "bfloat16"},
            )
        ),
        *(
            ("restyle", change)
            for change in (
                {"--control": "scribble"}, {"--control": "ready"}, {"--strength": "0.2"}, {"--closed-loop": True},
                {"--prompts": "a cat | a dog"}, {"--length": "25"}, {"--seed": "1"},
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_every_option_changes_the_result(ran, command, change):
    before, after = ran(command), ran(command, change)
    assert before.shape != after.shape or (before.float() - after.float()).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["canny", "scribble", "ready", "mask"])
def test_the_hint_is_the_control_of_the_video(tiny_vace_folder, files, monkeypatch, kind):
    import glv_core.hosts.diffusers as host

    seen = {}
    original = host.encode_hint

    def spy(pipeline, *sizes, inside=None, outside=None, masks=None, **more):
        seen.update(frames=torch.cat(list(inside)), outside=outside, masks=masks)
        return original(pipeline, *sizes, inside=[seen["frames"]], **more)

    monkeypatch.setattr(host, "encode_hint", spy)
    changes = {"--control": kind, **({"--mask": str(files.mask)} if kind == "mask" else {})}
    assert cli.main(arguments("restyle", tiny_vace_folder, files, changes)) == 0
    assert seen["outside"] is None and seen["masks"] is None
    parsed = options.build_restyle_parser().parse_args(arguments("restyle", tiny_vace_folder, files, changes)[1:])
    frames = torch.cat(list(cli_edit.prepare_edit(parsed).frames()))
    assert frames.shape == (FRAMES, 32, 32, 3)
    if kind == "mask":
        want = torch.cat(list(fitted_masks(mask_source(str(files.mask), open_clip(files.video), drawn=False), 32, 32)
                              .frames(FRAMES))).to(torch.uint8) * 255  # fmt: skip
    else:
        want = {"canny": canny(frames), "scribble": scribble(darkest(frames)), "ready": frames}[kind]
    assert torch.equal(seen["frames"], want if want.ndim == 4 else want[..., None].expand(-1, -1, -1, 3))
    assert seen["frames"].float().std() > 1


def test_it_says_what_came_out(tiny_vace_folder, files, capsys):
    changes = {"--no-plan": None, "--upscale": "2"}
    assert cli.main(arguments("edit", tiny_vace_folder, files, changes)) == 0
    said, progress = capsys.readouterr()
    assert f"{files.output} (33 frames, 2.062 s, 96 x 80)" in said
    assert files.output.with_suffix(".plan.png").read_bytes().startswith(b"\x89PNG")
    for word in ("mask        ", "% of the video", "seam ratio", "forwards", "time"):
        assert word in said
    for word in ("mask:", "encode:", "windows", "write:", "33/33"):
        assert word in progress
    assert read_video(files.output)[0].shape == (FRAMES, 80, 96, 3)


def test_sizes_follow_the_video(tiny_vace_folder, files):
    def size(**changes):
        names = {"--width": None, "--height": None} | {f"--{name}": value for name, value in changes.items()}
        words = arguments("edit", tiny_vace_folder, files, names)[1:]
        job = cli_edit.prepare_edit(options.build_edit_parser().parse_args(words)).job
        return job.width, job.height

    assert size() == (688, 576)  # the area of 832 x 480 in the proportions of 48 x 40
    assert size(width="96") == (96, 80)
    assert size(height="160") == (192, 160)
    assert size(width="64", height="32") == (64, 32)


@pytest.mark.parametrize(
    ("command", "change", "words"),
    [
        ("edit", {"--video": "/no/video.mp4"}, ["--video /no/video.mp4", "No such file"]),
        ("edit", {"--video": None}, ["--video", "genlong edit --help"]),
        ("edit", {"--prompts": None}, ["--prompts"]),
        ("edit", {"--mask": None}, ["--mask"]),
        ("edit", {"--mask": "mask.mp4"}, ["--mask mask.mp4", "no such file"]),
        ("edit", {"--mask": "somewhere/else"}, ["--mask somewhere/else", "no such file"]),
        ("edit", {"--mask": "a dog"}, ["--detector is missing", "grounding-dino-tiny"]),
        ("edit", {"--mask": "a dog", "--detector": "/no/dino"}, ["--segmenter is missing", "sam2"]),
        ("edit", {"--mask": "a dog", "--detector": "/no/dino", "--segmenter": "/no/sam"}, ["--detector /no/dino"]),
        ("edit", {"--mask": " . "}, ["--mask", "text is empty"]),
        ("edit", {"--strength": "-1"}, ["--strength -1.0"]),
        ("edit", {"--strength": "nan"}, ["--strength nan"]),
        ("edit", {"--feather": "-1"}, ["--feather -1"]),
        ("edit", {"--feather": "2", "--no-composite": True}, ["--feather 2", "--no-composite"]),
        ("edit", {"--length": "34"}, ["--length 34", "33 frames"]),
        ("edit", {"--length": "soon"}, ["--length soon", "10s"]),
        ("edit", {"--fps": "0"}, ["--fps 0"]),
        ("edit", {"--width": "33"}, ["--width 33", "32"]),
        ("edit", {"--overlap": "40"}, ["--overlap 40"]),
        ("edit", {"--prompts": "a cat |"}, ["--prompts a cat |"]),
        ("edit", {"--closed-loop": True}, ["--closed-loop"]),
        ("edit", {"--streaming": True}, ["--streaming"]),
        ("restyle", {"--control": None}, ["--control"]),
        ("restyle", {"--control": "foo"}, ["--control", "canny"]),
        ("restyle", {"--control": "depth"}, ["--depth-model is missing", "Depth-Anything"]),
        ("restyle", {"--control": "depth", "--depth-model": "/no/depth"}, ["--depth-model /no/depth", "no such"]),
        ("restyle", {"--depth-model": "/no/depth"}, ["--depth-model /no/depth", "only with --control depth"]),
        ("restyle", {"--control": "mask"}, ["--mask is missing"]),
        ("restyle", {"--mask": "a dog"}, ["--mask a dog", "only with --control mask"]),
        ("restyle", {"--detector": "x"}, ["--detector x", "only with --control mask"]),
        ("restyle", {"--grow": "2"}, ["--grow"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_line_and_nothing_is_loaded(
    tiny_vace_folder, files, capsys, monkeypatch, command, change, words
):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    try:
        code = cli.main(arguments(command, tiny_vace_folder, files, change))
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("genlong: error: ")
    for word in words:
        assert word in said


@pytest.mark.parametrize("command", ["edit", "restyle"])
def test_a_model_without_vace_is_refused_by_name(tiny_wan_folder, files, capsys, command):
    assert cli.main(arguments(command, tiny_wan_folder, files)) == 2
    said = capsys.readouterr().err
    assert f"--model {str(tiny_wan_folder)[:20]}" in said
    assert f"WanPipeline has no VACE, which genlong {command} needs" in said and "VACE-1.3B" in said


def test_a_mask_with_too_few_frames_is_refused(tiny_vace_folder, files, capsys, tmp_path):
    save_video(tmp_path / "short.mp4", files.masks[:20], FPS)
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--mask": str(tmp_path / "short.mp4")})) == 2
    assert "it has 20 frames at 16 frames a second, and 33 frames" in capsys.readouterr().err
    Image.fromarray(files.masks[0].numpy()).save(tmp_path / "a.png")
    Image.fromarray(files.masks[0].numpy()).save(tmp_path / "b.png")
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--mask": str(tmp_path)})) == 2
    assert "it has 2 images, and 33 frames" in capsys.readouterr().err


def test_an_empty_mask_is_refused_before_the_model_is_loaded(tiny_vace_folder, files, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    Image.new("RGB", (48, 40)).save(tmp_path / "black.png")
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--mask": str(tmp_path / "black.png")})) == 2
    assert "nothing of it is found" in capsys.readouterr().err
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--grow": "-50"})) == 2
    assert "nothing of it is left with --grow -50. Raise --grow." in capsys.readouterr().err


def test_the_video_itself_is_never_overwritten(tiny_vace_folder, files, capsys):
    before = files.video.read_bytes()
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--output": str(files.video)})) == 2
    assert "that is the video itself" in capsys.readouterr().err
    assert files.video.read_bytes() == before


def test_interrupting_writes_nothing(tiny_vace_folder, files, tmp_path, capsys, monkeypatch):
    import glv_core.hosts.diffusers as host

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "generate", interrupted)
    assert cli.main(arguments("edit", tiny_vace_folder, files, {"--output": str(tmp_path / "a.mp4")})) == 130
    assert list(tmp_path.iterdir()) == []
    assert "interrupted" in capsys.readouterr().err


def test_packed_masks_come_back():
    masks = torch.rand(20, 9, 13, generator=torch.Generator().manual_seed(0)) > 0.6
    packed = PackedMasks(9, 13)
    assert not packed
    packed.add(masks[:7])
    packed.add(masks[7:])
    assert packed and len(packed) == 20
    assert torch.equal(torch.cat(list(packed.frames(20, batch=6))), masks)
    assert torch.equal(torch.cat(list(packed.frames(18))), masks[:18])
    assert packed.share(20) == pytest.approx(float(masks.float().mean()))
    with pytest.raises(ValueError, match="20 masks for 21 frames"):
        next(packed.frames(21))
    with pytest.raises(ValueError, match="expected bool"):
        packed.add(masks.float())
    one = PackedMasks(9, 13)
    one.add(masks[:1])
    assert torch.equal(torch.cat(list(one.frames(5))), masks[:1].expand(5, -1, -1))
    assert one.share(5) == pytest.approx(float(masks[0].float().mean()))


# The demo model


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A red circle that moves right on white, as a video of the demo model's size."""
    folder = tmp_path_factory.mktemp("drawn")
    frames = render(centred_scene("circle", "red", "white", "right", 5.0), 81).permute(0, 2, 3, 1)
    save_video(folder / "red.mp4", frames, FPS, crf=0)
    return folder / "red.mp4"


def demo(drawn, tmp_path, *words):
    output = tmp_path / "out.mp4"
    fixed = ["--video", str(drawn), "--output", str(output), "--upscale", "1", "--steps", "12", "--device", "cpu"]
    assert cli.main([words[0], *fixed, *words[1:]]) == 0
    frames, _ = read_video(output)
    assert frames.shape == (81, 64, 64, 3)
    return read_frames(frames.float() / 255)


def test_the_demo_model_paints_what_words_name(drawn, tmp_path):
    prompt = "a blue square moving right on a white background"
    readings = demo(drawn, tmp_path, "edit", "--mask", "red circle", "--prompt", prompt)
    assert np.mean([agrees(each, prompt) for each in readings]) >= 0.9


def test_the_demo_model_follows_the_silhouette(drawn, tmp_path):
    prompt = "a yellow circle moving right on a black background"
    readings = demo(drawn, tmp_path, "restyle", "--control", "depth", "--prompt", prompt)
    assert np.mean([agrees(each, prompt) for each in readings]) >= 0.9
    original = read_frames(read_video(drawn)[0].float() / 255)
    apart = [(a.x - b.x + 32) % 64 - 32 for a, b in zip(readings, original) if a.found and b.found]
    assert np.abs(apart).mean() < 1.5


def test_a_loop_lies_on_its_video(drawn, tmp_path, monkeypatch):
    """With the latents of the video itself in place of the model's, every frame is the video's at the same time."""
    import glv_core.hosts.diffusers as host
    from glv_core.hosts.diffusers.encode import encode_frames

    original = torch.cat(list(open_clip(drawn).frames()))
    monkeypatch.setattr(host, "generate", lambda pipeline, *_, **__: encode_frames(pipeline, [original]))
    words = ["restyle", "--video", str(drawn), "--output", str(tmp_path / "a.mp4"), "--upscale", "1", "--closed-loop"]
    assert cli.main([*words, "--control", "canny", "--prompt", "x", "--device", "cpu", "--no-plan"]) == 0
    frames, _ = read_video(tmp_path / "a.mp4")
    assert len(frames) == 84
    apart = [
        (a.x - b.x + 32) % 64 - 32
        for a, b in zip(read_frames(frames[8:73].float() / 255), read_frames(original[8:73].float() / 255))
        if a.found and b.found
    ]
    assert len(apart) > 50
    assert np.abs(apart).mean() < 0.4, "three quarters of a pixel are one frame"


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    """A tiny random Depth Anything."""
    import transformers

    folder = tmp_path_factory.mktemp("depth")
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=28,
            patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
        ),
        reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    processor = transformers.DPTImageProcessor(size={"height": 42, "width": 42}, ensure_multiple_of=14)
    processor.save_pretrained(folder)
    return folder


def test_depth_has_one_range_for_the_whole_video(depth_folder, files):
    from glv_core.cli.controls import depths
    from glv_core.hosts.transformers.depth import MODEL_CLASS, DepthEstimator
    from glv_core.hosts.transformers.loading import load_parts

    frames, seen = sources(files), []
    made = torch.cat(list(depths(frames.split(5), FRAMES, str(depth_folder), "cpu", seen.append)))
    assert seen == [*range(4, 33, 4), 33]
    with torch.inference_mode():
        raw = DepthEstimator(*load_parts(depth_folder, MODEL_CLASS, "AutoImageProcessor")).inverse_depth(frames)
    want = ((raw - raw.amin()) / (raw.amax() - raw.amin()) * 255).to(torch.uint8)[..., None].expand(-1, -1, -1, 3)
    assert made.shape == (FRAMES, 40, 48, 3) and made.dtype == torch.uint8
    assert (made.int() - want.int()).abs().max() <= 1
    assert made.amin() == 0 and made.amax() >= 254 and made[0].amax() != made[-1].amax()


def test_restyle_along_a_depth_network(depth_folder, ran, tiny_vace_folder, files, capsys):
    made = ran("restyle", {"--control": "depth", "--depth-model": str(depth_folder)})
    assert made.shape == (FRAMES, 32, 32, 3)
    assert "depth:" in capsys.readouterr().err
    assert (made - ran("restyle")).abs().max() > 1e-4


def test_words_that_the_demo_world_lacks_are_refused(drawn, capsys):
    assert cli.main(["edit", "--video", str(drawn), "--mask", "a dog", "--prompt", "x"]) == 2
    assert "the drawn world has no 'a dog'" in capsys.readouterr().err
    assert cli.main(["edit", "--video", str(drawn), "--mask", "blue square", "--prompt", "x", "--device", "cpu"]) == 2
    assert "nothing of it is found" in capsys.readouterr().err
