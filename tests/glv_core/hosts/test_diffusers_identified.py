"""What a tuning gave, on tiny pipelines: low-rank weights, and windows that are told where they are."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.hosts.diffusers import generate, timebase_for
from glv_core.hosts.diffusers.folder import read_model_folder
from glv_core.hosts.diffusers.identified import Identified, check_tuned, load_tuned
from glv_core.hosts.diffusers.streaming import Sampling, StreamSettings, stream_video
from glv_core.hosts.diffusers.tuned_layers import TunedLayers
from glv_core.prompts import parse_schedule
from glv_core.streaming import RunFolder
from glv_core.tuning import ClipIdentifiers, NotTunedError, Place, Places, Tuned, read_tuned, write_tuned

FRAMES, LENGTH = 33, 9  # of Wan
SETTINGS = CoDenoiseSettings(window=4, overlap=2, schedule="static")
PLACES = Places(length=17, window=4, stride=2)


def denoiser(pipeline):
    return getattr(pipeline, "transformer", None) or pipeline.unet


def tuned_for(pipeline, kind="bank", rank=2, seed=0, layers="attention"):
    """Random weights for a pipeline, none of them zero."""
    module, generator = denoiser(pipeline), torch.Generator().manual_seed(seed)
    parts = TunedLayers(module)
    lora = parts.add_lora(parts.chosen(layers), rank)
    lora = {name: torch.randn(weight.shape, generator=generator) * 0.2 for name, weight in lora.items()}
    parts.remove_lora()
    identifiers = None
    if kind is not None:
        identifiers = ClipIdentifiers(kind, parts.identified(), rank, PLACES, generator)
        with torch.no_grad():
            for weight in identifiers.weights.values():
                weight.copy_(torch.randn(weight.shape, generator=generator))
    return Tuned(parts.to_file(lora, rank), {"prompt": "a red circle"}, identifiers)


@pytest.fixture
def written(tmp_path):
    def write(pipeline, **options):
        path = tmp_path / "a.safetensors"
        write_tuned(path, tuned_for(pipeline, **options))
        return path

    return write


def video(pipeline, settings=SETTINGS, text="a red circle | a blue square", frames=FRAMES, **options):
    """Latents of a short run."""
    timebase = timebase_for(pipeline, frames, 8)
    schedule = parse_schedule(text, num_frames=frames, fps=8, transition_frames=4)
    defaults = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "latent", "guidance_scale": 4.0}
    return generate(pipeline, schedule, timebase, settings, **{"negative_prompt": "blurry", **defaults, **options})


@pytest.mark.parametrize("strength", [1.0, 0.5, -2.0])
def test_low_rank_weights_are_what_they_are_by_hand(fresh_wan, written, strength):
    names = {"self_attn": "attn1", "cross_attn": "attn2", "o": "to_out.0", "q": "to_q", "k": "to_k", "v": "to_v"}
    pipeline, changed = fresh_wan(), fresh_wan()
    path = written(pipeline, kind=None)
    plain, held = video(pipeline), read_tuned(path).lora
    with torch.no_grad():
        for key in held:
            if key.endswith(".alpha"):
                layer = key.removesuffix(".alpha")
                path_of = ".".join(names.get(part, part) for part in layer.split(".")[1:])
                difference = held[f"{layer}.lora_up.weight"] @ held[f"{layer}.lora_down.weight"]
                changed.transformer.get_submodule(path_of).weight += strength * difference
    assert load_tuned(pipeline, path, strength) is None
    made = video(pipeline)
    torch.testing.assert_close(made, video(changed), atol=1e-3, rtol=1e-3)
    assert (made - plain).abs().max() > 0.05


@pytest.mark.parametrize("name", ["wan", "wan_vace", "text_to_video_sd", "animatediff"])
def test_a_strength_of_nothing_is_the_plain_pipeline(tiny_pipelines, written, name):
    pipeline = tiny_pipelines(name)
    frames = FRAMES if "wan" in name else LENGTH
    options = {"frames": frames, "num_inference_steps": 1}
    path, plain = written(pipeline), video(pipeline, **options)
    parts = TunedLayers(denoiser(pipeline))
    outcomes = {}
    for strength, lengths in ((0.0, "stretched"), (1.0, "off"), (1.0, "stretched")):
        identified = load_tuned(pipeline, path, strength, lengths)
        assert (identified is None) == (lengths == "off")
        try:
            outcomes[strength, lengths] = video(pipeline, identified=identified, **options)
        finally:
            parts.remove_lora()
    torch.testing.assert_close(outcomes.pop((0.0, "stretched")), plain, atol=1e-5, rtol=1e-5)
    off, on = outcomes.values()
    assert (off - plain).abs().max() > 1e-3
    assert (off - on).abs().max() > 1e-3
    assert torch.equal(video(pipeline, **options), plain)


def test_alphas_count(fresh_wan, written, tmp_path):
    pipeline = fresh_wan()
    path = written(pipeline, kind=None)
    held = read_tuned(path)
    half = {
        key: value / 2 if key.endswith((".alpha", ".lora_up.weight")) else value for key, value in held.lora.items()
    }
    write_tuned(tmp_path / "b.safetensors", replace(held, lora=half))
    outcomes = []
    for file, strength in ((path, 0.25), (tmp_path / "b.safetensors", 1.0)):
        load_tuned(pipeline, file, strength)
        outcomes.append(video(pipeline))
        TunedLayers(pipeline.transformer).remove_lora()
    torch.testing.assert_close(*outcomes, atol=1e-5, rtol=1e-5)


@pytest.fixture
def recorded(monkeypatch):
    """The starts that a layer was told, of every forward pass."""
    seen = []
    original = ClipIdentifiers.add

    def add(self, layer, x, starts):
        if layer == self.layers[0]:
            seen.append(list(starts))
        return original(self, layer, x, starts)

    monkeypatch.setattr(ClipIdentifiers, "add", add)
    return seen


def identified_for(pipeline, **options):
    return Identified(tuned_for(pipeline).identifiers, **options)


def test_windows_are_told_their_place_and_the_negative_prompt_nothing(fresh_wan, recorded):
    """Windows of 4 at 0, 2, 4 and 5 of 9; the tuned video has 17, so that starts are stretched from 0 ... 5 to
    0 ... 13. Wan's pipeline asks for the negative prompt in a call of its own, which is left alone.
    """
    pipeline = fresh_wan()
    video(pipeline, text="a red circle", num_inference_steps=1, identified=identified_for(pipeline))
    [told] = recorded
    starts = sorted(window.start for window in SETTINGS.windows(LENGTH, 0, 1))
    assert starts[-1] == LENGTH - 4
    assert sorted(told) == pytest.approx([start * 13 / 5 for start in starts])
    recorded.clear()
    repeated = identified_for(pipeline, lengths="repeated")
    video(pipeline, text="a red circle", num_inference_steps=1, identified=repeated)
    assert sorted(recorded[0]) == starts


def test_rows_of_one_batch_are_told_apart(tiny_pipelines, recorded):
    """UNets see both prompts in one batch."""
    pipeline = tiny_pipelines("text_to_video_sd")
    identified = identified_for(pipeline, lengths="repeated")
    settings = replace(SETTINGS, windows_per_forward=1)
    video(pipeline, settings, frames=LENGTH, text="a cat", num_inference_steps=1, identified=identified)
    assert recorded == [[None, window.start] for window in SETTINGS.windows(LENGTH, 0, 1)]


@pytest.mark.parametrize("name", ["wan", "text_to_video_sd", "animatediff"])
def test_windows_in_one_pass_are_what_they_are_one_by_one(tiny_pipelines, name):
    pipeline = tiny_pipelines(name)
    options = {"frames": FRAMES if name == "wan" else LENGTH, "num_inference_steps": 1}
    options["identified"] = identified_for(pipeline)
    alone, together = (video(pipeline, replace(SETTINGS, windows_per_forward=count), **options) for count in (1, 4))
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["wan", "text_to_video_sd"])
def test_one_window_and_no_guidance(tiny_pipelines, recorded, name):
    pipeline = tiny_pipelines(name)
    frames, one = (FRAMES, 9) if name == "wan" else (LENGTH, LENGTH)
    settings = CoDenoiseSettings(window=one, overlap=2)
    options = {"frames": frames, "text": "a cat", "num_inference_steps": 1, "identified": identified_for(pipeline)}
    video(pipeline, settings, **options)
    assert recorded == ([[0.0]] if name == "wan" else [[None, 0.0]])
    recorded.clear()
    video(pipeline, settings, guidance_scale=1.0, **options)
    assert recorded == [[0.0]]


@pytest.mark.parametrize("kind", ["bank", "continuous"])
def test_what_is_told_is_added_to_the_queries(fresh_wan, kind):
    """By hand: a copy of the transformer whose queries have the weights of the place merged into them."""
    pipeline, changed = fresh_wan(), fresh_wan()
    identifiers = tuned_for(pipeline, kind).identifiers
    settings = CoDenoiseSettings(window=9, overlap=2)
    place = PLACES.start_of(Place(3, 9, 17))  # the run is a chunk at 3 of a video as long as the tuned one
    with torch.no_grad():
        for layer in identifiers.layers:
            eye = torch.eye(identifiers.sizes[layer][0])
            query = changed.transformer.blocks[int(layer.split(".")[2])].attn1.to_q
            query.weight += identifiers.add(layer, eye, [place]).T
    identified = Identified(identifiers, begin=3, length=17)
    options = {"text": "a cat", "guidance_scale": 1.0}
    made = video(pipeline, settings, identified=identified, **options)
    torch.testing.assert_close(made, video(changed, settings, **options), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(made, video(pipeline, settings, **options), atol=1e-2)
    assert not any(part._forward_hooks for part in pipeline.transformer.modules())


def test_chunks_know_where_they_are(fresh_wan, recorded, tmp_path):
    pipeline = fresh_wan()
    timebase = timebase_for(pipeline, 65, 8)
    schedule = parse_schedule("a cat", num_frames=65, fps=8)
    settings = StreamSettings(chunk=9, overlap=1, windows=replace(SETTINGS, window=9))
    sampling = Sampling(1, 1.0, 0, 32, 32, identified=identified_for(pipeline))

    def stream(sampling):
        recorded.clear()
        stream_video(pipeline, schedule, timebase, settings, sampling, folder=RunFolder(tmp_path / "run"))
        return [start for [start] in recorded]

    assert stream(sampling) == [0.0, 8.0]
    assert stream(sampling) == []  # found
    assert len(stream(replace(sampling, identified=identified_for(pipeline, lengths="repeated")))) == 2
    identifiers = tuned_for(pipeline, seed=1).identifiers
    assert len(stream(replace(sampling, identified=Identified(identifiers)))) == 2


def test_chunks_of_another_strength_are_made_again(fresh_wan, written, tmp_path):
    pipeline = fresh_wan()
    path = written(pipeline)
    timebase, settings = timebase_for(pipeline, 33, 8), StreamSettings(9, 1, replace(SETTINGS, window=9))
    schedule, found = parse_schedule("a cat", num_frames=33, fps=8), []
    for strength in (1.0, 1.0, 0.5):
        load_tuned(pipeline, path, strength, "off")
        told = []
        stream_video(
            pipeline, schedule, timebase, settings, Sampling(1, 1.0, 0, 32, 32), folder=RunFolder(tmp_path / "run"),
            on_progress=lambda chunk, step, told=told: told.append(step is None),
        )  # fmt: skip
        found.append(told == [True])
        TunedLayers(pipeline.transformer).remove_lora()
    assert found == [False, True, False]


def test_files_of_other_models_are_refused(tiny_pipelines, fresh_wan, written, tmp_path, tiny_wan_folder):
    pipeline = fresh_wan()
    before = list(pipeline.transformer.state_dict())
    folder = read_model_folder(tiny_wan_folder)

    def refused(path, error, *words):
        for ask in (lambda: load_tuned(pipeline, path), lambda: check_tuned(folder, path)):
            with pytest.raises(error) as said:
                ask()
            assert all(word in str(said.value) for word in ("a.safetensors", *words)), said.value

    path = written(tiny_pipelines("animatediff"))
    refused(path, ValueError, "unet.", "WanTransformer3DModel has no place for", "another model")
    own = tuned_for(pipeline)
    wider = {key: torch.cat([value, value], -1) if "lora_down" in key else value for key, value in own.lora.items()}
    write_tuned(path, replace(own, lora=wider))
    refused(path, ValueError, "from 64 to 32 features", "32 to 32", "another model")
    deeper = {key.replace("blocks.1", "blocks.7"): value for key, value in own.lora.items()}
    write_tuned(path, replace(own, lora=deeper))
    refused(path, ValueError, "blocks.7", "lacks", "another model")
    ranks = dict(own.lora)
    for end, dim in (("lora_down", 0), ("lora_up", 1)):
        key = f"diffusion_model.blocks.0.self_attn.q.{end}.weight"
        ranks[key] = torch.cat([ranks[key]] * 2, dim)
    write_tuned(path, replace(own, lora=ranks))
    refused(path, ValueError, "several ranks")
    half = {key: value for key, value in own.lora.items() if not key.endswith("0.cross_attn.k.lora_up.weight")}
    write_tuned(path, replace(own, lora=half))
    refused(path, ValueError, "damaged", "0.cross_attn.k")
    sizes = {"diffusion_model.blocks.0.self_attn.q": (32, 16)}
    write_tuned(path, replace(own, identifiers=ClipIdentifiers("bank", sizes, 2, PLACES)))
    refused(path, ValueError, "from 32 to 16 features")
    write_tuned(path, replace(own, lora={}))
    refused(path, NotTunedError, "no low-rank weights")
    write_tuned(path, replace(own, over_time={"x": torch.zeros(1)}))
    refused(path, NotTunedError, "layers over time")
    save_file(dict(own.lora), path)
    refused(path, NotTunedError, "an ordinary LoRA")
    assert list(pipeline.transformer.state_dict()) == before


def test_it_is_put_on_once(fresh_wan, written):
    pipeline = fresh_wan()
    path = written(pipeline)
    load_tuned(pipeline, path)
    with pytest.raises(ValueError, match="low-rank weights already"):
        load_tuned(pipeline, path)
    with pytest.raises(ValueError, match=r"'shrunk'.*stretched"):
        load_tuned(copy.copy(pipeline), path, lengths="shrunk")
