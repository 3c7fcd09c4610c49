"""The parts of the tiny StreamingT2V: their shapes, that they learn, and that a run goes on where it was cut off."""

import pytest
import torch
from torch import nn

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from training.demo.muon import Muon
from training.demo.text import all_prompts
from training.streamingt2v import train_image, train_text, train_unet, train_vae
from training.streamingt2v.loop import Training, load_average, step_generator
from training.streamingt2v.text import load_tokenizer, new_text_encoder, prompt_words, token_ids
from training.streamingt2v.train_unet import LOST_FROM, add_noise, diffusion_loss, loss_weights, signal_to_noise
from training.streamingt2v.unet import fast_on_cpu, new_scheduler, new_unet
from training.streamingt2v.world import AXES, LOOKS, PHASES, World


def learns(model, loss_of, lr=0.003):
    """Whether a step of the optimiser lowers the loss of a batch."""
    optimizer = Muon(model.parameters(), lr=lr, adam_lr=0.1 * lr)
    before = loss_of()
    before.backward()
    optimizer.step()
    with torch.no_grad():
        return loss_of() < before


def test_every_word_is_one_token_and_any_text_can_be_written(out):
    tokenizer = load_tokenizer(out / "tokenizer")
    assert all(len(tokenizer(word).input_ids) == 3 for word in prompt_words())
    ids = token_ids(tokenizer, ["A red circle, moving left", ""])
    assert ids.shape == (2, 77)
    assert ids[0, :8].tolist().count(tokenizer.eos_token_id) == 1 and ids[1, 0] == tokenizer.bos_token_id
    assert (ids[1, 1:] == tokenizer.eos_token_id).all()
    unusual = "Größe 7: mauve!"
    assert tokenizer.decode(tokenizer(unusual).input_ids, skip_special_tokens=True).split() == unusual.lower().replace(
        ":", " :").replace("!", " !").split()  # fmt: skip
    assert max(len(row) for row in tokenizer(all_prompts()[:500]).input_ids) < 20


def test_the_text_encoder_has_one_state_a_token(out):
    tokenizer = load_tokenizer(out / "tokenizer")
    encoder = new_text_encoder(tokenizer)
    made = encoder(token_ids(tokenizer, ["a red circle", "a blue circle"]))
    assert made.last_hidden_state.shape == (2, 77, 64)
    ends = (token_ids(tokenizer, ["a red circle"])[0] == tokenizer.eos_token_id).nonzero()[0]
    torch.testing.assert_close(made.pooler_output[0], made.last_hidden_state[0, int(ends)])


def test_the_vae_learns_and_its_scale_is_one():
    torch.manual_seed(0)
    vae = train_vae.new_vae()
    train_vae.initialise(vae)
    pixels, _ = train_vae.random_frames(4, step_generator(0, 0))
    assert learns(vae, lambda: train_vae.loss_of_frames(vae, pixels, step_generator(0, 1)))
    with torch.no_grad():
        latents, before = train_vae.means(vae, pixels), train_vae.decode(vae, train_vae.encode(vae, pixels))
        assert latents.shape == (4, 4, 8, 8)
        train_vae.fold_scale(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
        folded = train_vae.encode(vae, pixels)
        torch.testing.assert_close(folded.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
        torch.testing.assert_close(folded.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
        torch.testing.assert_close(train_vae.decode(vae, folded), before, atol=1e-3, rtol=0)
        spread = vae.encode(pixels).latent_dist
        torch.testing.assert_close(spread.mode() * train_vae.SCALING_FACTOR, folded)
        assert spread.std.max() < 0.01


def test_the_unet_learns_from_a_batch(out):
    torch.manual_seed(0)
    unet = train_unet.new_model().eval()
    latents, text = torch.randn(2, 4, 16, 8, 8, generator=step_generator(0, 0)), torch.randn(2, 77, 64)

    def loss_of():
        return diffusion_loss(unet, latents, text, step_generator(0, 1), half=False)

    with fast_on_cpu(unet):
        assert learns(unet, loss_of)


def test_the_text_encoder_learns_to_tell_the_words(out):
    torch.manual_seed(0)
    model = train_text.new_model(out)
    prompts, labels = train_text.draw_words(64, step_generator(0, 0))
    assert labels.shape == (64, 4) and [len(words) for words in train_text.WORDS] == [3, 6, 3, 4]
    for prompt, row in zip(prompts, labels.tolist(), strict=True):
        assert all(train_text.WORDS[kind][word] in prompt.lower() for kind, word in enumerate(row))
    ids = token_ids(load_tokenizer(out / "tokenizer"), prompts)
    assert learns(model, lambda: train_text.text_loss(model, ids, labels))


def test_training_the_text_encoder_leaves_one_that_tells_them(out):
    encoder = train_text.train_text(out, 60, seed=0)
    average = load_average(out / "text.pt", train_text.new_model(out))
    assert all(share > 0.9 for share in train_text.measure(average, out, count=64))
    again = train_text.load_text_encoder(out)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))


def test_the_fast_way_gives_the_same_and_leaves_the_unet_as_it_was():
    torch.manual_seed(0)
    unet = new_unet().eval()
    noisy, text = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 77, 64)
    with torch.no_grad():
        plain = unet(noisy, torch.tensor([3, 900]), text).sample
        with fast_on_cpu(unet, num_frames=3):
            fast = unet(noisy, torch.tensor([3, 900]), text).sample
        again = unet(noisy, torch.tensor([3, 900]), text).sample
    assert plain.shape == noisy.shape
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-3)
    assert torch.equal(again, plain)


def test_noise_is_that_of_the_scheduler_but_for_the_noisiest():
    latents = torch.randn(400, 4, 1, 2, 2)
    levels = torch.arange(400) * 2 + 100
    noisy, target = add_noise(latents, levels, step_generator(0, 0))
    torch.testing.assert_close(new_scheduler().add_noise(latents, target, levels), noisy, atol=1e-4, rtol=0)
    bright, levels = torch.full_like(latents, 100.0), torch.full((400,), LOST_FROM)
    noisy, target = add_noise(bright, levels, step_generator(0, 0))
    # Whether or not signal is lost, the noise to predict leads to the latents.
    torch.testing.assert_close(new_scheduler().add_noise(bright, target, levels), noisy, atol=1e-3, rtol=0)
    signal = 100 * new_scheduler().alphas_cumprod[LOST_FROM].sqrt()
    less = noisy.mean(dim=(1, 2, 3, 4)) < 0.85 * signal
    assert 0.3 < less.float().mean() < 0.55


def test_weights_are_highest_where_the_object_is_decided():
    ratio, weights = signal_to_noise(), loss_weights(torch.arange(1000))
    assert ratio.shape == (1000,) and (ratio.diff() < 0).all()
    assert weights[999] == weights.max() and weights[:50].max() < 0.5 and weights.min() > 0


def test_the_image_encoder_learns(out):
    torch.manual_seed(0)
    model, encoder = train_image.new_model(), new_text_encoder(load_tokenizer(out / "tokenizer"))
    looks = train_image.look_embeddings(encoder, out / "tokenizer")
    assert looks.shape == (len(LOOKS), 64)
    pixels, scenes = train_vae.random_frames(8, step_generator(0, 0))
    assert model["encoder"](train_image.prepare(pixels)).image_embeds.shape == (8, 64)
    assert learns(model, lambda: train_image.image_loss(model, pixels, scenes, looks))


def test_batches_follow_the_generator():
    world = World(torch.randn(len(LOOKS), len(AXES), PHASES, 4, 8, 8).half())
    (first, texts), (again, same), (other, _) = (world.batch(4, step_generator(0, step)) for step in (1, 1, 2))
    assert first.shape == (4, 4, 16, 8, 8) and texts == same
    assert torch.equal(first, again) and not torch.equal(first, other)
    _, many = world.batch(2000, step_generator(0, 0))
    assert 0.07 < many.count("") / 2000 < 0.13


def _train(checkpoint, stop=6):
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    training = Training(checkpoint, model, 6, 0.01, 0.001)

    def loss_of(step):
        if step == stop:
            training.save()
            raise KeyboardInterrupt
        return (model(torch.randn(8, 4, generator=step_generator(0, step))) - 1).square().mean()

    return training.run(loss_of, resume=True)


def test_a_run_that_was_cut_off_ends_with_the_same_weights(tmp_path):
    whole = _train(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "part.pt", stop=3)
    _train(tmp_path / "part.pt")
    resumed = load_average(tmp_path / "part.pt", nn.Linear(4, 4))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(ValueError, match="run the stage missing first"):
        load_average(tmp_path / "missing.pt", nn.Linear(4, 4))


def test_a_parameter_may_learn_faster_than_the_rest(tmp_path):
    """Adam's steps are as long as its learning rate at first: that of the gate is 20 times as long."""
    torch.manual_seed(0)

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.alpha = nn.Linear(4, 4), nn.Parameter(torch.zeros(()))

    model, x = Gated(), torch.randn(8, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = Training(tmp_path / "m.pt", model, 4, 0.01, 1e-3, faster={"alpha": 20.0})
    training.update((model.layer(x).sum() + model.alpha * x.sum()), warm_up=1)
    gate, bias = (abs(model.state_dict()[name] - before[name]).max() for name in ("alpha", "layer.bias"))
    torch.testing.assert_close(gate, torch.tensor(20e-3), rtol=1e-3, atol=0)
    torch.testing.assert_close(bias, torch.tensor(1e-3), rtol=1e-3, atol=0)
    training.save()
    again = Training(tmp_path / "m.pt", Gated(), 4, 0.01, 1e-3, faster={"alpha": 20.0})
    assert again.resume() and len(again.optimizer.param_groups) == 3
