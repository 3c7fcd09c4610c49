"""Training on a folder of videos: the base stays, a run that goes on is the same, its file changes the prediction."""

import copy
import sys

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.demo.clips import centred_scene, render
from glv_core.hosts.diffusers.streamingt2v import StreamingUNet
from glv_core.streamingt2v import load_checkpoint
from glv_core.video_io import save_video
from training.streamingt2v import finetune
from training.streamingt2v.data import VideoFolder
from training.streamingt2v.export import ADDED, export
from training.streamingt2v.finetune import Finetuning, Plan, Trainee, batches_from, inputs_of, main, new_net
from training.streamingt2v.frozen import load_frozen, sizes_of
from training.streamingt2v.text import load_tokenizer, new_text_encoder
from training.streamingt2v.train_image import new_image_encoder
from training.streamingt2v.train_streaming import TRAINED, freeze_all_but
from training.streamingt2v.train_vae import new_vae
from training.streamingt2v.unet import new_unet

CHANNELS = (32, 32, 32, 32)


@pytest.fixture(scope="module")
def base(out, tmp_path_factory):
    """A base with random weights and its image encoder, as a folder."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    text_encoder = new_text_encoder(load_tokenizer(out / "tokenizer"))
    export(folder, out / "tokenizer", new_vae(), new_unet(CHANNELS), text_encoder, new_image_encoder())
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of one window each, and their prompts."""
    folder = tmp_path_factory.mktemp("videos")
    for name, words in (("a", ("circle", "red", "white", "right")), ("b", ("square", "blue", "black", "down"))):
        scene = centred_scene(*words, 5.0)
        frames = render(scene, 4 * 32)[::4].permute(0, 2, 3, 1)
        save_video(folder / f"{name}.mp4", (frames * 255).round().to(torch.uint8), 3, crf=10)
        (folder / f"{name}.txt").write_text(scene.prompt())
    return folder


@pytest.fixture(scope="module")
def frozen(base):
    return load_frozen(base, base / "image_encoder")


@pytest.fixture
def accelerator():
    return pytest.importorskip("accelerate", reason="needs accelerate").Accelerator(
        cpu=True, gradient_accumulation_steps=2
    )


def _inputs(frozen, videos, anchored):
    (_, batch) = next(batches_from(VideoFolder(videos, 64), Plan("cam", 1, batch=2), 0))
    return inputs_of(frozen, batch, anchored, torch.Generator().manual_seed(4))


def _opened(net):
    """With ends that are not zero, so that every part has an effect and a gradient."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for end in (net.encoder.conv_out, *(merger.proj_out for merger in net.mergers)):
            end.weight.copy_(0.1 * torch.randn(end.weight.shape, generator=generator))
        for mixer in net.mixers:
            mixer.alpha.fill_(1.0)
    return net


@pytest.mark.parametrize("part", list(TRAINED))
def test_the_loss_falls_and_the_base_stays(frozen, videos, part):
    torch.manual_seed(1)
    net, inputs = new_net(frozen), _inputs(frozen, videos, part == "apm")
    before = copy.deepcopy(net.state_dict())
    freeze_all_but(net, TRAINED[part])
    trainee = Trainee(net)
    optimizer = torch.optim.AdamW([each for each in net.parameters() if each.requires_grad], 1e-3)
    losses = []
    for _ in range(8):
        loss = trainee(**inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    assert {name.split(".")[0] for name, each in net.state_dict().items() if not torch.equal(each, before[name])} == {
        *TRAINED[part]
    }
    assert all(torch.equal(net.unet.state_dict()[name], each) for name, each in frozen.unet.state_dict().items())


def test_the_loss_is_that_of_the_noise_at_its_level(frozen, videos):
    """By hand, of an untrained network, which predicts as its base does."""
    inputs = _inputs(frozen, videos, True)
    generator = torch.Generator().manual_seed(4)
    (_, batch) = next(batches_from(VideoFolder(videos, 64), Plan("cam", 1, batch=2), 0))
    clean = frozen.latents(batch["target"], generator)
    with torch.no_grad():
        text = frozen.text_encoder(
            frozen.tokenizer(
                batch["prompt"], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            ).input_ids
        )[0]
        predicted = frozen.unet(inputs["noisy"], inputs["levels"], text, return_dict=False)[0]
        loss = Trainee(new_net(frozen))(**inputs)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = torch.cumprod(1 - betas, 0)[inputs["levels"]].view(-1, 1, 1, 1, 1)
    noise = (inputs["noisy"] - kept.sqrt() * clean) / (1 - kept).sqrt()
    torch.testing.assert_close(inputs["target"], noise, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(loss, (predicted - noise).square().mean(), atol=1e-4, rtol=1e-3)
    assert torch.equal(inputs["condition"], batch["condition"]) and inputs["seen"].shape == (2, 1, 64)


def test_a_run_that_goes_on_equals_one_that_was_never_cut_off(accelerator, frozen, videos, tmp_path):
    def run(out, steps, resume=False):
        out.mkdir(exist_ok=True)
        torch.manual_seed(2)
        plan = Plan("cam", steps, batch=1, accumulate=2, lr=1e-3)
        training = Finetuning(accelerator, frozen, new_net(frozen), VideoFolder(videos, 64), plan, out)
        if resume:
            training.resume()
        return training.run(save_every=1), training.net.state_dict()

    whole, wanted = run(tmp_path / "whole", 4)
    first, _ = run(tmp_path / "cut", 2)
    rest, found = run(tmp_path / "cut", 4, resume=True)
    assert first + rest == whole and len(whole) == 4 and len(set(whole)) == 4
    assert all(torch.equal(found[name], each) for name, each in wanted.items())
    with pytest.raises(ValueError, match="made with batch 1, and now it is 2"):
        Finetuning(
            accelerator, frozen, new_net(frozen), VideoFolder(videos, 64), Plan("cam", 9, 2, 2, 1e-3), tmp_path / "cut"
        ).resume()


def test_several_batches_make_the_step_of_one_large_one(accelerator, frozen, videos, tmp_path):
    """Both videos in one batch, or one after the other: the same gradient, but for the noise that is drawn."""
    torch.manual_seed(2)
    training = Finetuning(
        accelerator, frozen, new_net(frozen), VideoFolder(videos, 64), Plan("cam", 1, 1, 2, 1e-3, clip=1e9), tmp_path
    )
    start = copy.deepcopy(training.net)
    training.run()
    parts = []
    for number, batch in batches_from(VideoFolder(videos, 64), training.plan, 0):
        if number == 2:
            break
        parts.append(inputs_of(frozen, batch, False, finetune.step_generator(0, number)))
    whole = {name: None if each is None else torch.cat([p[name] for p in parts]) for name, each in parts[0].items()
             if name != "text" and name != "seen"}  # fmt: skip
    freeze_all_but(start, TRAINED["cam"])
    trained = [each for each in start.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, weight_decay=0.01)
    Trainee(start)(text=torch.cat([p["text"] for p in parts]), seen=None, **whole).backward()
    torch.nn.utils.clip_grad_norm_(trained, 1e9)
    optimizer.step()
    for merger, wanted in zip(training.net.mergers, start.mergers, strict=True):
        torch.testing.assert_close(merger.proj_out.weight, wanted.proj_out.weight, atol=1e-4, rtol=0)
        assert merger.proj_out.weight.abs().max() > 5e-4


def test_recomputed_blocks_have_the_same_gradients(frozen, videos):
    torch.manual_seed(3)
    net, inputs = _opened(new_net(frozen)), _inputs(frozen, videos, True)
    again = copy.deepcopy(net.state_dict())
    frugal = new_net(frozen)
    frugal.load_state_dict(again)
    frugal.recompute_blocks()
    gradients = []
    for each in (net, frugal):
        freeze_all_but(each, TRAINED["apm"])
        Trainee(each)(**inputs).backward()
        gradients.append({name: p.grad for name, p in each.named_parameters() if p.requires_grad})
    for name, wanted in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], wanted, msg=name)
    assert gradients[0]["mixers.0.alpha"].abs() > 0 and gradients[0]["branch.conv_in.weight"].abs().max() > 0


def test_cam_then_apm_by_the_command(base, videos, tmp_path):
    pytest.importorskip("accelerate", reason="needs accelerate")
    out = tmp_path / "run"
    common = ["--videos", videos, "--base", base, "--out", out, "--size", 64, "--workers", 0, "--lr", 0.05]
    common = [*map(str, common), "--accumulate", "2", "--mixed-precision", "no"]
    with pytest.raises(SystemExit):
        main([*common, "--part", "apm", "--steps", "1"])  # there is no cam yet
    main([*common, "--part", "cam", "--steps", "2"])
    unet = load_frozen(base).unet
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 4, 16, 8, 8, generator=generator), torch.randn(1, 77, 64, generator=generator)
    condition = torch.rand(1, 8, 3, 64, 64, generator=generator) * 2 - 1

    def predict(seen=None, condition=condition):
        checkpoint = load_checkpoint(out / ADDED)
        net = StreamingUNet.from_checkpoint(checkpoint, unet.state_dict(), torch.float32)
        with torch.no_grad():
            return net(latents, 300, text, None if seen is None else net.resampler(seen), condition)

    plain = predict(condition=None)
    assert torch.equal(plain, unet(latents, 300, text, return_dict=False)[0])
    by_cam = predict()
    anchors = torch.randn(2, 1, 1, 64, generator=generator)
    assert (by_cam - plain).abs().max() > 1e-3
    assert torch.equal(predict(anchors[0]), by_cam)  # no anchor is seen yet
    cam = torch.load(out / "cam.pt", weights_only=True)["weights"]
    again = [*common, "--part", "cam", "--steps", "2"]
    again[again.index(str(out))] = str(tmp_path / "again")
    main(again)
    assert (tmp_path / "again" / ADDED).read_bytes() == (out / ADDED).read_bytes()
    main([*common, "--part", "apm", "--steps", "2", "--recompute"])
    apm = torch.load(out / "apm.pt", weights_only=True)["weights"]
    # Two steps of AdamW are at most two and a bit times the learning rate away from where they began.
    assert 0 < max((apm[name] - each).abs().max() for name, each in cam.items() if name.startswith("branch")) < 0.15
    assert not torch.equal(predict(anchors[0]), predict(anchors[1]))
    main([*common, "--part", "apm", "--steps", "3", "--resume"])
    assert torch.load(out / "apm.pt", weights_only=True)["step"] == 3
    # The file is where others start from: here with the numbers of the finished part.
    started = new_net(load_frozen(base), out / ADDED)
    newest = torch.load(out / "apm.pt", weights_only=True)["weights"]
    for name, each in newest.items():
        torch.testing.assert_close(started.state_dict()[name], each.half().float(), msg=name, rtol=0, atol=0)


def test_mistakes_are_said(base, videos, frozen, tmp_path, capsys, monkeypatch):
    given = ["--videos", str(videos), "--base", str(base), "--size", "64"]

    def said(*more):
        with pytest.raises(SystemExit):
            main([*given, *more])
        return capsys.readouterr().err

    assert "no vocab.json" in said("--part", "cam", "--out", str(tmp_path), "--base", str(_without(base, tmp_path)))
    assert "image_encoder" in said(
        "--part", "apm", "--out", str(tmp_path), "--base", str(_without(base, tmp_path, "image_encoder"))
    )
    assert "batch is 0" in said("--part", "cam", "--out", str(tmp_path), "--batch", "0")
    assert "Train --part cam first" in said("--part", "apm", "--out", str(tmp_path / "new"))
    for option in ("--steps", "--save-every", "--log-every"):
        assert "is 0; it must be 1" in said("--part", "cam", "--out", str(tmp_path / "new"), option, "0")
    (tmp_path / "cam.pt").write_bytes(b"")
    assert "Go on from it with --resume" in said("--part", "cam", "--out", str(tmp_path))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert "accelerate is not installed" in said("--part", "cam", "--out", str(tmp_path / "new"))


def _without(base, tmp_path, name="tokenizer"):
    """The base without one of its parts."""
    folder = tmp_path / f"without_{name}"
    folder.mkdir()
    for path in base.iterdir():
        if path.is_dir() and path.name != name:
            (folder / path.name).symlink_to(path)
    return folder


def test_a_base_that_does_not_fit_is_refused(out, base, tmp_path):
    from diffusers import UNet3DConditionModel

    torch.manual_seed(0)
    odd = UNet3DConditionModel(
        block_out_channels=CHANNELS, cross_attention_dim=64, attention_head_dim=8, norm_num_groups=16
    )
    folder = _without(base, tmp_path, "unet")
    odd.save_pretrained(folder / "unet")
    with pytest.raises(ValueError, match=r"norm_num_groups 16; StreamingT2V needs 32"):
        load_frozen(folder)


def test_sizes_are_the_bases(frozen):
    sizes = sizes_of(frozen)
    assert (sizes.widths, sizes.text_width, sizes.head_width, sizes.text_tokens) == (CHANNELS, 64, 8, 77)
    net = new_net(frozen)
    inside = net.branch.state_dict()
    assert inside and all(torch.equal(each, frozen.unet.state_dict()[name]) for name, each in inside.items())
