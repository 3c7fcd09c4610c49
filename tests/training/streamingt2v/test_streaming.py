"""Training what streaming adds: it starts as nothing, only it is trained, and its file is StreamingT2V's."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.streamingt2v import split_weights
from training.streamingt2v.data import BEFORE, CONDITION
from training.streamingt2v.text import TEXT_WIDTH, load_tokenizer, new_text_encoder, write_tokenizer
from training.streamingt2v.train_image import new_image_encoder, prepare
from training.streamingt2v.train_streaming import (
    TRAINED,
    Windows,
    added_weights,
    load_streaming,
    new_streaming,
    train_part,
)
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
        assert torch.equal(ours, unet(latents, 500, text, return_dict=False)[0])


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
    assert changed == set(TRAINED[part])
    loaded = load_streaming(tmp_path, part, new_streaming(unet, tokenizer.model_max_length))
    checkpoint = split_weights(added_weights(loaded))
    assert not checkpoint.base and checkpoint.sizes.widths == CHANNELS
    assert checkpoint.sizes.text_width == TEXT_WIDTH and checkpoint.sizes.text_tokens == TOKENS
