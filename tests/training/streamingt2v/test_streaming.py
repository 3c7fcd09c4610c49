"""Training what streaming adds: it starts as nothing, only it is trained, and its file is StreamingT2V's."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.streamingt2v import split_weights
from training.streamingt2v.data import BEFORE, CONDITION
from training.streamingt2v.loop import step_generator
from training.streamingt2v.text import TEXT_WIDTH, load_tokenizer, new_text_encoder, write_tokenizer
from training.streamingt2v.train_image import new_image_encoder, prepare
from training.streamingt2v.train_streaming import (
    BESIDE,
    DROPOUT,
    LEVELS_POWER,
    TRAINED,
    Windows,
    added_weights,
    load_streaming,
    match_first,
    new_streaming,
    train_encoder,
    train_part,
)
from training.streamingt2v.train_unet import draw_levels
from training.streamingt2v.unet import fast_on_cpu, new_unet
from training.streamingt2v.world import AXES, LOOKS, PHASES, draw_clip

TOKENS = 77
CHANNELS = (32, 32, 32, 32)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return new_unet(CHANNELS).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def windows():
    """Latents and frames that say which they are: look, axis and phase."""
    shape = (len(LOOKS), len(AXES), PHASES)
    number = torch.arange(len(LOOKS) * len(AXES) * PHASES).view(*shape, 1, 1, 1)
    latents = ((number % 97) / 48.5 - 1).half().expand(*shape, 4, 8, 8)
    frames = (number % 251).to(torch.uint8).expand(*shape, 3, 64, 64)
    return Windows(latents, frames)


def test_what_is_added_starts_as_nothing(unet):
    net = new_streaming(unet, TOKENS)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 16, 8, 8, generator=generator)
    text = torch.randn(1, TOKENS, TEXT_WIDTH, generator=generator)
    frames = torch.rand(1, CONDITION, 3, 64, 64, generator=generator) * 2 - 1
    anchor = net.resampler(torch.randn(1, 1, TEXT_WIDTH, generator=generator))
    with torch.no_grad():
        ours = net(latents, 500, text, anchor, frames)
        torch.testing.assert_close(ours, unet(latents, 500, text, return_dict=False)[0], rtol=0, atol=1e-5)


def test_windows_are_those_of_the_paper(windows):
    """The condition is the target's beginning; the anchor is of the frames before it, at the same speed."""
    generator = torch.Generator().manual_seed(3)
    latents, conditions, anchors, prompts = windows.batch(8, generator, anchored=True)
    assert latents.shape == (8, 4, 16, 8, 8) and conditions.shape == (8, CONDITION, 3, 64, 64)
    assert anchors.shape == (8, 3, 64, 64) and len(prompts) == 8
    clip = draw_clip(generator)
    frames = windows.pixels(clip, 0, BEFORE + CONDITION)
    assert torch.equal(windows.pixels(clip, BEFORE, CONDITION), frames[BEFORE:])
    again = windows.batch(8, torch.Generator().manual_seed(3), anchored=True)
    assert torch.equal(again[1], conditions) and again[3] == prompts
    assert windows.batch(2, generator, anchored=False)[2] is None


def test_drawn_windows_leave_text_and_anchor_out_as_their_table_says(windows):
    lost = {"text": 0, "anchor": 0, "both": 0}
    for number in range(40):
        *_, anchors, prompts = windows.batch(25, torch.Generator().manual_seed(number), anchored=True)
        for anchor, prompt in zip(anchors, prompts, strict=True):
            kind = (not prompt, not anchor.any())
            if any(kind):
                lost[{(True, False): "text", (False, True): "anchor", (True, True): "both"}[kind]] += 1
    assert {kind: count / 1000 for kind, count in lost.items()} == pytest.approx(DROPOUT, abs=0.04)


def test_every_third_step_of_the_first_stage_is_the_bases_alone(unet, windows, tmp_path, monkeypatch):
    write_tokenizer(tmp_path / "tokenizer")
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    torch.manual_seed(5)
    net = new_streaming(unet, tokenizer.model_max_length)
    calls, forward = [], type(net).forward

    def look(self, noisy, levels, text, anchors, condition):
        if torch.is_grad_enabled():
            calls.append((condition is None, levels.tolist()))
        return forward(self, noisy, levels, text, anchors, condition)

    monkeypatch.setattr(type(net), "forward", look)
    train_part(tmp_path, "cam", net, windows, new_text_encoder(tokenizer).eval(), None, 6, 0, batch=2, half=False)
    assert [alone for alone, _ in calls] == [False, False, True] * 2
    for step, (alone, levels) in enumerate(calls):
        generator = step_generator(0, step)
        windows.batch(2, generator, anchored=False)
        drawn = draw_levels(2, generator) / 1000
        assert levels == (1000 * (drawn if alone else drawn**LEVELS_POWER)).long().tolist()


def test_at_first_a_merger_says_nothing_and_finds_what_is_alike(unet):
    """What the copy says has large averages, of other sizes in each channel, and little that varies."""
    torch.manual_seed(4)
    net = new_streaming(unet, TOKENS)
    shown = []
    for merger in net.mergers:
        width = merger.proj_in.in_features
        hidden = torch.randn(1, 16, width, 6, 6)
        spread, average = 0.1 + 5 * torch.rand(width, 1, 1), 20 * torch.randn(width, 1, 1)
        alike = hidden[:, :CONDITION] + 0.3 * torch.randn_like(hidden[:, :CONDITION])
        shown.append((hidden, alike * spread + average, alike))
    with torch.no_grad():
        match_first(net, lambda: [merger(*each[:2]) for merger, each in zip(net.mergers, shown, strict=True)])
        for merger, (hidden, seen, alike) in zip(net.mergers, shown, strict=True):
            assert torch.equal(merger(hidden, seen), hidden)
            merger.proj_out.weight.copy_(torch.eye(len(merger.proj_out.weight)))
            found = (merger(hidden, seen) - hidden)[:, :CONDITION]
            assert found.mean().abs() < 0.05 and 0.5 < found.std() < 1.1
            far = torch.cdist(found.flatten(2)[0], alike.flatten(2)[0])
            assert torch.equal(far.argmin(dim=1), torch.arange(CONDITION))


def test_the_encoder_of_frames_learns_what_the_first_layer_says_and_is_kept(unet, windows, tmp_path):
    net = new_streaming(unet, TOKENS)
    shade = windows.frames[..., :1, :8, :8].half() / 127.5 - 1
    windows = Windows(shade.expand(*shade.shape[:3], 4, 8, 8), windows.frames)
    frames, latents = windows.some_frames(16, torch.Generator().manual_seed(9))
    assert frames.shape == (16, 3, 64, 64) and latents.shape == (16, 4, 8, 8) and frames.abs().max() <= 1

    def error():
        with torch.no_grad():
            wanted = net.unet.conv_in(latents)
            return float((net.encoder(frames[:, None])[:, 0] - wanted).square().mean() / wanted.square().mean())

    before = {name: value.clone() for name, value in net.unet.state_dict().items()}
    train_encoder(tmp_path, net, windows, 1, 0, batch=8)
    start = error()
    (tmp_path / "encoder.pt").unlink()
    train_encoder(tmp_path, net, windows, 40, 0, batch=8)
    assert error() < 0.5 * start
    assert all(torch.equal(value, before[name]) for name, value in net.unet.state_dict().items())
    kept = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    train_encoder(tmp_path, net, windows, 40, 1, batch=8)  # as it is there, it is not trained again
    assert all(torch.equal(value, kept[name]) for name, value in net.encoder.state_dict().items())


def test_the_fast_way_of_the_whole_gives_the_same(unet):
    torch.manual_seed(3)
    net = new_streaming(unet, TOKENS)
    for part in (*net.mergers, *net.mixers, net.encoder):
        for weight in part.parameters():
            weight.data = 0.1 * torch.randn_like(weight)
    latents, text, anchors = torch.randn(2, 4, 16, 8, 8), torch.randn(2, TOKENS, TEXT_WIDTH), torch.randn(2, 3, 64, 64)
    tokens = net.resampler(new_image_encoder()(prepare(anchors)).image_embeds[:, None])
    given = latents, torch.tensor([3, 900]), text, tokens, torch.rand(2, CONDITION, 3, 64, 64)
    mixers = dict(zip(net.sizes.text_layers, net.mixers, strict=True))
    with torch.no_grad():
        plain, unmixed = net(*given), net(*given[:3], None, given[4])
        with fast_on_cpu(net.unet, mixers=mixers), fast_on_cpu(net.branch, CONDITION):
            fast = net(*given)
    assert (plain - unmixed).abs().max() > 1e-3
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(net(*given), plain)


@pytest.mark.parametrize("part", list(TRAINED))
def test_only_what_a_stage_trains_changes_and_its_file_is_the_checkpoints(unet, windows, tmp_path, part):
    write_tokenizer(tmp_path / "tokenizer")
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    torch.manual_seed(2)
    text_encoder, image_encoder = new_text_encoder(tokenizer).eval(), new_image_encoder().eval()
    net = new_streaming(unet, tokenizer.model_max_length)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train_part(tmp_path, part, net, windows, text_encoder, image_encoder, 3, 0, batch=2, half=False)
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {*TRAINED[part], *BESIDE[part]}
    loaded = load_streaming(tmp_path, part, new_streaming(unet, tokenizer.model_max_length))
    checkpoint = split_weights(added_weights(loaded))
    assert not checkpoint.base and checkpoint.sizes.widths == CHANNELS
    assert checkpoint.sizes.text_width == TEXT_WIDTH and checkpoint.sizes.text_tokens == TOKENS
