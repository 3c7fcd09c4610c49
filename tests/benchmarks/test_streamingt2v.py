"""The ways of going on and of refining that the benchmark of StreamingT2V compares, on an untrained tiny model."""

import json
import math
import sys

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from benchmarks import streamingt2v
from benchmarks.streamingt2v import REFINEMENTS, WAYS, Sampler, means, refine, stream
from training.streamingt2v.export import export
from training.streamingt2v.text import load_tokenizer, new_text_encoder, write_tokenizer
from training.streamingt2v.train_image import new_image_encoder
from training.streamingt2v.train_streaming import added_weights, new_streaming
from training.streamingt2v.train_vae import new_vae
from training.streamingt2v.unet import new_unet

PROMPTS = ["a red circle moving right on a white background", "a blue square moving up on a black background"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model with random weights, of which none is zero."""
    made = tmp_path_factory.mktemp("model")
    write_tokenizer(made / "words")
    torch.manual_seed(0)
    unet = new_unet((32, 32, 32, 32))
    net = new_streaming(unet, 77)
    with torch.no_grad():
        for mixer in net.mixers:
            mixer.alpha.fill_(1)
        for end in (net.encoder.conv_out, *(merger.proj_out for merger in net.mergers)):
            end.weight.normal_(0, 0.1)
    text_encoder = new_text_encoder(load_tokenizer(made / "words"))
    export(made / "tiny", made / "words", new_vae(), unet, text_encoder, new_image_encoder(), added_weights(net))
    return made / "tiny"


@pytest.fixture
def sampler(folder):
    return Sampler.load(folder, 2, 3.0)


def test_every_way_goes_on_from_what_it_should(sampler):
    made = {way.name: list(stream(sampler, way, PROMPTS[:1], 24, 5)) for way in WAYS}
    firsts = [chunks[0] for chunks in made.values()]
    assert all(torch.equal(first, firsts[0]) and first.shape == (1, 16, 3, 64, 64) for first in firsts)
    seconds = [chunks[1] for chunks in made.values()]
    assert len(seconds) == 4
    for number, one in enumerate(seconds):
        assert all((one - other).abs().max() > 1e-3 for other in seconds[:number])
    # The last step's noise is all by which held frames differ from those of the chunk before.
    apart = [(seconds[number][:, :8] - firsts[0][:, 8:]).abs().mean() for number in range(4)]
    assert apart[3] < 0.1 * min(apart[:3])
    # Each clip is one pass: 4 ways of 2 chunks in 2 steps, and the copy of its way down for one chunk of two of them.
    assert sampler.passes == {"unet": 16, "branch": 4}


def test_only_conditional_attention_sees_the_chunk_before(sampler, monkeypatch):
    """With another first chunk, the second changes where it may see it, and only there."""
    plain = {way.name: list(stream(sampler, way, PROMPTS[:1], 24, 5))[1] for way in WAYS}
    decode = sampler.decode
    monkeypatch.setattr(sampler, "decode", lambda latents: -decode(latents))
    for way in WAYS:
        changed = not torch.equal(-list(stream(sampler, way, PROMPTS[:1], 24, 5))[1], plain[way.name])
        assert changed == way.cam


def test_unprompted_only_the_first_chunk_is_told_what_to_show(sampler):
    way = WAYS[1]
    told, silent = (list(stream(sampler, way, PROMPTS[:1], 24, 5, unprompted)) for unprompted in (False, True))
    assert torch.equal(told[0], silent[0]) and (told[1] - silent[1]).abs().max() > 1e-3
    # With a first chunk that an empty prompt made, there is no difference.
    empty = [list(stream(sampler, way, [""], 24, 5, unprompted)) for unprompted in (False, True)]
    assert torch.equal(empty[0][1], empty[1][1])


def test_a_video_does_not_depend_on_those_beside_it(sampler):
    way = WAYS[0]
    both, alone = list(stream(sampler, way, PROMPTS, 24, 5)), list(stream(sampler, way, PROMPTS[:1], 24, 5))
    for one, other in zip(both, alone):
        torch.testing.assert_close(one[:1], other, atol=2e-3, rtol=0)
    assert (both[0][0] - both[0][1]).abs().max() > 1e-3


def test_one_window_is_refined_alike_in_every_way(sampler):
    latents = torch.randn(1, 4, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    one, *others = [refine(sampler, how, latents, PROMPTS[0], 0.5, 3) for how in REFINEMENTS]
    assert all(torch.allclose(one, other, atol=1e-4) for other in others) and not torch.allclose(one, latents, atol=0.1)


def test_windows_share_what_their_way_says(folder, monkeypatch):
    """With a model that looks at each frame alone, windows agree where they have the same noise, and nowhere else."""
    sampler = Sampler.load(folder, 4, 3.0)
    monkeypatch.setattr(sampler, "predict", lambda x, t, text: 0.3 * x)
    latents = torch.randn(1, 4, 32, 8, 8, generator=torch.Generator().manual_seed(1))
    own, shared, blended = (refine(sampler, how, latents, PROMPTS[0], 0.5, 3) for how in REFINEMENTS)
    torch.testing.assert_close(shared, blended)
    torch.testing.assert_close(own[:, :, :16], shared[:, :, :16])
    assert own.shape == latents.shape and ((own - shared)[:, :, 16:].abs().amax(dim=(0, 1, 3, 4)) > 0.1).all()


def test_randomized_blending_has_one_owner_a_frame_and_moving_cuts(folder, monkeypatch):
    sampler, seen = Sampler.load(folder, 4, 3.0), []

    def predict(x, t, text):
        return torch.arange(len(x)).float().view(-1, 1, 1, 1, 1).expand_as(x)

    monkeypatch.setattr(sampler, "predict", predict)
    monkeypatch.setattr(sampler, "step", lambda noise, t, x, random: seen.append(noise[0, 0, :, 0, 0].tolist()) or x)
    refine(sampler, "randomized blending", torch.zeros(1, 4, 24, 8, 8), PROMPTS[0], 1.0, 3)
    cuts = [owners.index(1.0) for owners in seen]
    assert all(owners == [0.0] * cut + [1.0] * (24 - cut) and 8 <= cut < 16 for owners, cut in zip(seen, cuts))
    assert len(cuts) == 4 and len(set(cuts)) > 1


def test_the_strength_is_the_share_of_the_steps(folder, monkeypatch):
    sampler = Sampler.load(folder, 10, 3.0)
    for strength, wanted in ((1.0, 10), (0.6, 6), (0.01, 1)):
        asked = []
        monkeypatch.setattr(sampler, "predict", lambda x, t, text, asked=asked: asked.append(int(t)) or x)
        refine(sampler, "shared noise", torch.zeros(1, 4, 16, 8, 8), PROMPTS[0], strength, 3)
        assert asked == sampler.scheduler.timesteps[-wanted:].tolist()


def test_means_leave_out_what_is_not_known():
    found = means([{"a": 1.0, "b": math.nan}, {"a": math.nan, "b": math.nan}, {"a": 4.0, "b": math.nan}])
    assert found["a"] == 2.5 and math.isnan(found["b"])


def test_the_script_prints_a_row_for_each_way_and_writes_all(folder, tmp_path, monkeypatch, capsys):
    options = {"--model": folder, "--frames": 24, "--seeds": 1, "--steps": 1, "--refined-frames": 24}
    given = [str(each) for pair in options.items() for each in pair]
    monkeypatch.setattr(sys, "argv", ["streamingt2v.py", *given, "--json", str(tmp_path / "found.json")])
    assert streamingt2v.main() == 0
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ")[0].strip("| ") for line in printed if line.startswith("| ") and "---" not in line]
    assert rows == ["", *(way.name for way in WAYS), "", "as drawn", *REFINEMENTS]
    found = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert list(found["streaming"]) == [way.name for way in WAYS]
    assert list(found["refining"]) == ["as drawn", *REFINEMENTS]
    assert found["refining"]["as drawn"]["at_joins"] < 0.02


def test_the_clip_score_is_the_mean_cosine(folder, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    tokenizer = load_tokenizer(folder / "tokenizer")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, **ends, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 64, "patch_size": 16}, projection_dim=8)
    ).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    videos = torch.rand(2, 3, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.4814547, 0.4578275, 0.4082107]), torch.tensor([0.2686295, 0.2613026, 0.2757771])
    wanted = []
    with torch.no_grad():
        for video, prompt in zip(videos, PROMPTS):
            seen = model.visual_projection(model.vision_model(((video - mean) / std).permute(0, 3, 1, 2)).pooler_output)
            said = model.text_projection(
                model.text_model(tokenizer(prompt, return_tensors="pt").input_ids).pooler_output
            )
            wanted.append(100 * torch.cosine_similarity(seen, said).mean().item())
    found = streamingt2v.clip_scores(tmp_path, list(videos.numpy()), PROMPTS)
    assert found == pytest.approx(wanted, abs=1e-3) and abs(found[0] - found[1]) > 0.1
