"""Memory, options, errors and the host's other features."""

import json
import logging
from pathlib import Path

import comfy.controlnet
import comfy.ldm.wan.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import comfy.supported_models
import folder_paths
import pytest
import tiny
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic, Noise_RandomNoise, SamplerCustomAdvanced
from families import weights_of
from long_video_pack.nodes.co_denoise_model import CoDenoiseModel
from long_video_pack.nodes.co_denoise_phase import CoDenoisePhase
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
from long_video_pack.nodes.long_latent import LongLatent
from long_video_pack.nodes.multi_prompt_schedule import MultiPromptSchedule
from torch.testing import assert_close

pytestmark = pytest.mark.every_host
WINDOWS = {"window": 17, "overlap": 8, "schedule": "static", "merge": "pyramid", "windows_per_forward": 0}


def test_the_largest_batch_does_not_grow_with_the_video():
    largest = []
    for frames in (101, 2001):
        recorder = tiny.Recorder(tiny.wan(1))
        tiny.co_denoise(recorder.model, tiny.latent((frames - 1) // 4 + 1, 2, 2), steps=1, cfg=1.0)
        largest.append(max(recorder.shapes, key=lambda shape: shape[0] * shape[2]))
    assert largest[0] == largest[1] and largest[0][2] == 5


def test_the_memory_estimate_is_given_the_shape_of_a_call(recorder, monkeypatch):
    asked, model = [], recorder.model.model
    original = model.memory_required

    def memory_required(shape, cond_shapes=None):
        asked.append(list(shape))
        return original(shape, cond_shapes=cond_shapes or {})

    monkeypatch.setattr(model, "memory_required", memory_required, raising=False)
    tiny.co_denoise(recorder.model, tiny.latent(49), steps=1, per_forward=1)
    assert {shape[2] for shape in recorder.shapes} == {5}
    # The host asks for cond and uncond together, then for one; then come the calls themselves.
    assert asked[:2] == [[2, 16, 5, 4, 4], [1, 16, 5, 4, 4]]


@pytest.mark.parametrize("free", [1, 2, 3])
def test_as_many_windows_share_a_forward_as_fit_in_memory(recorder, monkeypatch, free):
    room = recorder.model.model.memory_required([free, 16, 5, 4, 4]) * 1.5 + 1
    monkeypatch.setattr(type(recorder.model), "get_free_memory", lambda self, device: room)
    tiny.co_denoise(recorder.model, tiny.latent(49), steps=1, cfg=1.0)
    assert max(shape[0] for shape in recorder.shapes) == free


@pytest.mark.parametrize(("fits", "halvings"), [(1, 2), (2, 1)])  # 4 -> 2 (-> 1), said once for each
def test_running_out_of_memory_halves_and_goes_on(caplog, fits, halvings):
    expected = tiny.co_denoise(tiny.wan(1), tiny.latent(33), cfg=1.0, per_forward=1)
    failing, rows = tiny.wan(1), []

    def call(apply_model, arguments):
        if arguments["input"].shape[0] > fits:
            raise comfy.model_management.OOM_EXCEPTION("out of memory, says the test")
        rows.append(arguments["input"].shape[0])
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    failing.set_model_unet_function_wrapper(call)
    with caplog.at_level(logging.WARNING):
        assert_close(tiny.co_denoise(failing, tiny.latent(33), cfg=1.0), expected, rtol=0, atol=1e-3)
    assert max(rows) == fits
    assert sum("ran out of memory" in record.getMessage() for record in caplog.records) == halvings


def phase(**changed):
    given = {"start": 0.25, "schedule": "unchanged", "overlap": -1, "stride": 0, "merge": "unchanged", **changed}
    return CoDenoisePhase.execute(**given).args[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"window": 17}, {"window": 21}),
        ({"overlap": 8}, {"overlap": 4}),
        ({"schedule": "static"}, {"schedule": "shifted"}),
        ({"merge": "pyramid"}, {"merge": "flat"}),
        ({"merge": "pyramid"}, {"merge": "hann"}),
        ({"denoise": 1.0}, {"denoise": 0.5}),
        ({"cfg": 1.0}, {"cfg": 3.0}),
        ({"steps": 3}, {"steps": 4}),
        ({"seed": 1}, {"seed": 2}),
        ({}, {"schedule": "static_balanced", "overlap": 4}),
        ({}, {"schedule": "batched"}),
        ({"schedule": "shifted", "overlap": 0}, {"schedule": "shifted_golden", "overlap": 0}),
        ({"schedule": "shifted"}, {"schedule": "shifted_random"}),
        ({"schedule": "shifted"}, {"schedule": "shifted_trimmed"}),
        ({"stride": 2}, {"schedule": "uniform", "stride": 2}),
        ({}, {"stride": 2}),
        ({}, {"closed_loop": True}),
        ({}, {"merge": "random_cut"}),
        ({}, {"merge": "gaussian"}),
        ({}, {"merge": "squared"}),
        ({}, {"merge": "relative"}),
        ({"schedule": "shifted", "overlap": 12}, {"schedule": "shifted", "overlap": 12, "merge": "linear_in_overlap"}),
        ({}, {"prompt_blending": "embeddings"}),
        ({"window": 13, "prompt_blending": "embeddings"}, {"window": 13, "prompt_blending": "embeddings_spherical"}),
        ({}, {"prompt_blending": "one_per_window"}),
        ({}, {"noise": "stable"}),
        ({"noise": "shuffled"}, {"noise": "repeated"}),
        ({"noise": "mixed"}, {"noise": "mixed", "shared_noise": 0.9}),
        ({}, {"fresh_noise_until": 0.5}),
        ({"fresh_noise_until": 0.25}, {"fresh_noise_until": 0.5}),
        ({}, {"step_cache": 1.0}),
        ({}, {"causal_anchor": True}),
        ({}, {"phases": phase(schedule="shifted")}),
        ({}, {"phases": phase(overlap=12)}),
        ({}, {"phases": phase(stride=2)}),
        ({}, {"phases": phase(merge="flat")}),
        ({}, {"phases": phase(window=21)}),
        ({}, {"phases": phase(prompt_blending="one_per_window")}),
        ({"phases": phase(overlap=12)}, {"phases": phase(overlap=12, start=0.75)}),
    ],
)
def test_every_option_of_the_sampler_changes_the_result(wan, first, second):
    positive = tiny.scheduled("a | b", 49)
    one, other = (tiny.co_denoise(wan, tiny.latent(13), positive=positive, **each) for each in (first, second))
    assert (one - other).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"text": "a | c"}),
        ({}, {"text": "b | a"}),
        ({}, {"transition": "hard"}),
        ({"frames": 24}, {"frames": 24, "transition": "ease"}),
        ({"frames": 8}, {"frames": 24}),
        ({"text": "0: a\n1s: b"}, {"text": "0: a\n1s: b", "fps": 24.0}),
    ],
)
def test_every_option_of_the_prompts_changes_the_result(wan, first, second):
    scheduled = [tiny.scheduled(**{"text": "a | b", "num_frames": 49, **each}) for each in (first, second)]
    one, other = (tiny.co_denoise(wan, tiny.latent(13), positive=each) for each in scheduled)
    assert (one - other).abs().max() > 1e-3


def test_a_prompt_reaches_its_frames_and_no_others(wan):
    """Windows 0-5, 5-10, 10-15, 15-20; frame 37 starts latent frame 10: the second prompt is in the last two."""
    one, other = (
        tiny.co_denoise(
            wan, tiny.latent(20), overlap=0, steps=1,
            positive=tiny.scheduled(f"0: a\n37: {second}", 77, transition="hard"),
        )
        for second in ("b", "c")
    )  # fmt: skip
    changed = (one - other).abs().amax(dim=(0, 1, 3, 4))
    assert changed[:10].max() == 0 and changed[10:].min() > 1e-3


def test_a_length_equal_to_the_height():
    """A reference latent, which the network reads, is as long as the video in another axis: it is never sliced."""
    module = comfy.ldm.wan.model.WanModel(
        model_type="t2v", dim=128, ffn_dim=64, num_heads=1, num_layers=1, in_dim=16, in_dim_ref_conv=16,
        operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu",
    )  # fmt: skip
    model = comfy.sd.load_diffusion_model_state_dict(weights_of(module))
    references = torch.randn(2, 1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(3))

    def run(reference, **options):
        positive = tiny.conditioning(1)
        positive[0][1]["reference_latents"] = [reference]
        return tiny.co_denoise(model, tiny.latent(8, 8, 8), positive=positive, **options)

    one = run(references[0], per_forward=1)
    assert_close(run(references[0], per_forward=3), one, rtol=0, atol=1e-3)
    changed = (run(references[1], per_forward=1) - one).abs().amax(dim=(0, 1, 3, 4))
    assert changed.min() > 1e-3  # every window sees it


def test_a_noise_mask_keeps_what_it_covers(wan):
    given = torch.randn(1, 16, 13, 4, 4, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 1, 13, 4, 4)
    mask[:, :, 7:] = 1
    changed = (tiny.co_denoise(wan, {"samples": given, "noise_mask": mask}) - given).abs()
    assert changed[:, :, :7].max() < 1e-4 and changed[:, :, 7:].min(dim=2).values.mean() > 0.01


def test_custom_samplers_and_guiders_through_the_patch_node(wan):
    guider = Guider_Basic(CoDenoiseModel.execute(wan, **WINDOWS).args[0].clone())
    positive = tiny.scheduled("a | b", 49)
    guider.set_conds(positive)
    sigmas = comfy.samplers.calculate_sigmas(wan.get_model_object("model_sampling"), "simple", 4)
    euler = comfy.samplers.sampler_object("euler")
    theirs = SamplerCustomAdvanced.execute(Noise_RandomNoise(7), guider, euler, sigmas, tiny.latent(13)).args[0]
    ours = tiny.co_denoise(wan, tiny.latent(13), positive=positive, cfg=1.0)
    assert_close(theirs["samples"], ours, rtol=0, atol=1e-5)


def test_a_plain_ksampler_averages_the_prompts(wan):
    """As the node's description says: the mean over the whole video of what each prompt alone predicts."""
    positive = tiny.scheduled("a | b", 17)
    both = tiny.ksampler(wan, tiny.latent(5), positive=positive, steps=1, cfg=1.0)
    alone = [tiny.ksampler(wan, tiny.latent(5), positive=[entry], steps=1, cfg=1.0) for entry in positive]
    assert_close(both, (alone[0] + alone[1]) / 2, rtol=0, atol=1e-4)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


def test_inputs_are_not_changed(wan):
    latent, options = tiny.latent(13), dict(wan.model_options)
    tiny.co_denoise(wan, latent)
    assert not latent["samples"].any() and wan.model_options == options and wan.wrappers == {}


def test_a_context_handler_that_the_model_had_is_replaced_with_a_warning(wan, caplog):
    wan.model_options["context_handler"] = object()
    with caplog.at_level(logging.WARNING):
        replaced = tiny.co_denoise(wan, tiny.latent(13), steps=1)
    assert any("replaces the context handler object" in record.getMessage() for record in caplog.records)
    assert torch.equal(replaced, tiny.co_denoise(tiny.wan(), tiny.latent(13), steps=1))


def test_interrupting_works_between_forward_passes(recorder):
    inner = recorder.model.model_options["model_function_wrapper"]

    def call(apply_model, arguments):
        if len(recorder.shapes) == 5:
            comfy.model_management.interrupt_current_processing()
        return inner(apply_model, arguments)

    recorder.model.set_model_unet_function_wrapper(call)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tiny.co_denoise(recorder.model, tiny.latent(49), per_forward=1, cfg=1.0)
    assert len(recorder.shapes) == 6


def test_image_models_with_frames_as_batch():
    """SD 1.5's architecture: windows over the batch, folded equals apart."""
    recorder = tiny.Recorder(tiny.sd15())
    generator = torch.Generator().manual_seed(1)
    positive = tiny.scheduled("a | b", 6)
    for entry in positive:
        entry[0] = torch.randn(1, 77, 768, generator=generator)
    negative, latent = [[torch.zeros(1, 77, 768), {}]], {"samples": torch.zeros(6, 4, 4, 4)}
    arguments = {"window": 3, "overlap": 1, "positive": positive, "negative": negative, "steps": 1}
    one = tiny.co_denoise(recorder.model, latent, per_forward=1, **arguments)
    rows_apart = max(shape[0] for shape in recorder.shapes)
    many = tiny.co_denoise(recorder.model, latent, per_forward=4, **arguments)
    assert_close(many, one, rtol=0, atol=1e-3 * max(1, float(one.std())))
    assert rows_apart < max(shape[0] for shape in recorder.shapes)


class WanVae:
    latent_dim, latent_channels = 3, 16
    upscale_ratio = (lambda a: max(0, a * 4 - 3), 8, 8)

    def spacial_compression_encode(self):
        return 8

    def temporal_compression_decode(self):
        return 4


class AudioVae(WanVae):
    latent_dim = 1


def long_latent(vae=None, width=64, height=64, length=61.0, unit="frames", fps=16.0, batch_size=1):
    return LongLatent.execute(vae or WanVae(), width, height, length, unit, fps, batch_size)


def schedule(clip="clip", text="a | b", length=49, fps=16.0, transition="linear", frames=8.0):
    return MultiPromptSchedule.execute(clip, text, length, fps, transition, frames)


class Clip:
    """An encoder whose tokens are the text itself."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 1, 4), {"text": tokens}]]


def test_the_node_says_what_it_does_not_read_and_what_it_drops(caplog):
    text = "girl,\n0: in jungle [1s]\n8: in car\n60: close up"
    made = MultiPromptSchedule.execute(Clip(), text, 32, 16.0, "linear", 8.0, "photo", "drop")
    assert [each["text"] for _, each in made.args[0]] == ["photo, girl, in jungle [1s]", "photo, girl, in car"]
    (said,) = made.ui["text"]
    assert "line 2, column 14: '[1s]' looks like a time" in said and "\n               ^\n" in said
    assert "line 4, column 1: 1 prompt lies beyond the end of the video" in said
    assert all(part in caplog.text for part in ("MultiPromptSchedule: line 2, column 14", "line 4, column 1"))
    quiet = MultiPromptSchedule.execute(Clip(), "a | b", 32, 16.0, "linear", 8.0).ui
    assert quiet == {"timeline_video": (32, 16.0)}  # for the timeline, where the length comes through a link


def test_what_lies_beyond_the_end_is_checked_as_it_is_run():
    text = "0: a\n60: b"
    assert "60" in MultiPromptSchedule.validate_inputs(text, 32, 16.0) and "32" in schedule_error(text, 32)
    assert MultiPromptSchedule.validate_inputs(text, 32, 16.0, None, "drop") is True
    assert "choose one of error, drop" in MultiPromptSchedule.validate_inputs(text, 32, 16.0, "", "keep")
    assert MultiPromptSchedule.validate_inputs(text, 32, 16.0, "", None) is True
    assert "common text" in MultiPromptSchedule.validate_inputs("a | b", 32, 16.0, "b" * 5_001)


def schedule_error(text, length):
    with pytest.raises(ValueError, match=r"^MultiPromptSchedule: ") as error:
        MultiPromptSchedule.execute(Clip(), text, length, 16.0, "linear", 8.0)
    return str(error.value)


def with_control(model):
    net = comfy.controlnet.ControlBase()
    net.cond_hint_original = torch.zeros(9, 3, 8, 8)
    net.get_models = lambda: []
    positive = tiny.conditioning(1)
    positive[0][1]["control"] = net
    return tiny.co_denoise(model, tiny.latent(13), positive=positive)


BAD = {
    "overlap": lambda m: tiny.co_denoise(m, tiny.latent(13), window=16, overlap=16),
    "overlap_model": lambda m: CoDenoiseModel.execute(m, **{**WINDOWS, "overlap": 17}),
    "schedule": lambda m: CoDenoiseModel.execute(m, **{**WINDOWS, "schedule": "zigzag"}),
    "merge": lambda m: CoDenoiseModel.execute(m, **{**WINDOWS, "merge": "lumpy"}),
    "family": lambda m: tiny.co_denoise(m, {"samples": torch.ones(1, 128, 13, 4, 4)}),
    "image_latent": lambda m: tiny.co_denoise(m, {"samples": torch.zeros(1, 16, 4, 4)}),
    "empty_latent": lambda m: tiny.co_denoise(m, tiny.latent(0)),
    "other_length": lambda m: tiny.co_denoise(m, tiny.latent(21), positive=tiny.scheduled("a | b", 49)),
    "other_length_negative": lambda m: tiny.co_denoise(m, tiny.latent(21), negative=tiny.scheduled("a | b", 49)),
    "control": with_control,
    "length": lambda m: long_latent(length=0.0),
    "length_seconds": lambda m: long_latent(length=0.01, unit="seconds"),
    "width": lambda m: long_latent(width=100),
    "memory": lambda m: long_latent(length=1_000_000, width=16384, height=16384, batch_size=64),
    "audio_vae": lambda m: long_latent(vae=AudioVae()),
    "clip": lambda m: schedule(clip=None),
    "empty_prompt": lambda m: schedule(text="0: a\n10:\n20: b"),
    "empty_text": lambda m: schedule(text="  \n"),
    "outside": lambda m: schedule(text="0: a\n60: b"),
    "syntax": lambda m: schedule(text="0: a\n12x: b"),
    "transition": lambda m: schedule(transition="wobble"),
}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("overlap", ["CoDenoiseKSampler", "overlap is 16", "window 16", "Lower overlap"]),
        ("overlap_model", ["CoDenoiseModel", "overlap is 17", "window 17"]),
        ("schedule", ["CoDenoiseModel", "'zigzag'", "static", "shifted"]),
        ("merge", ["CoDenoiseModel", "'lumpy'", "pyramid"]),
        ("family", ["CoDenoiseKSampler", "128 channels", "16", "another model family", "LongLatent"]),
        ("image_latent", ["CoDenoiseKSampler", "4 axes", "5", "LongLatent"]),
        ("empty_latent", ["CoDenoiseKSampler", "empty", "LongLatent"]),
        ("other_length", ["CoDenoiseKSampler", "49 frames", "81 frames", "MultiPromptSchedule", "LongLatent"]),
        ("other_length_negative", ["CoDenoiseKSampler", "49 frames", "81 frames"]),
        ("control", ["CoDenoiseKSampler", "ControlNet", "9 images"]),
        ("length", ["LongLatent", "length is 0 frames", "at least 1"]),
        ("length_seconds", ["LongLatent", "0.01 seconds", "at least 1"]),
        ("width", ["LongLatent", "width is 100", "multiple of 8", "96"]),
        ("memory", ["LongLatent", "1000001 frames of 16384 x 16384", "GB of memory", "Lower length"]),
        ("audio_vae", ["LongLatent", "VAE", "video model"]),
        ("clip", ["MultiPromptSchedule", "clip is missing", "CLIPLoader"]),
        ("empty_prompt", ["MultiPromptSchedule", "line 2", "prompt"]),
        ("empty_text", ["MultiPromptSchedule", "there is no prompt", "Write one"]),
        ("outside", ["MultiPromptSchedule", "line 2", "60", "49"]),
        ("syntax", ["MultiPromptSchedule", "line 2, column 3", "^"]),
        ("transition", ["MultiPromptSchedule", "wobble", "linear", "ease", "hard"]),
    ],
)
def test_bad_values_say_what_to_do(recorder, case, words):
    with pytest.raises(ValueError) as error:
        BAD[case](recorder.model)
    assert not recorder.shapes, "the model was called before the check"
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("name", "index", "words"),
    [
        ("cog", {"_class_name": "CogVideoXPipeline", "transformer": ["diffusers", "CogVideoXTransformer3DModel"]},
         ["CogVideoXTransformer3DModel", "Supported: Wan 2.1"]),
        ("half", {"_class_name": "WanPipeline", "transformer": ["diffusers", "WanTransformer3DModel"],
                  "text_encoder": ["transformers", "UMT5EncoderModel"], "vae": ["diffusers", "AutoencoderKLWan"]},
         ["config.json"]),
        ("broken", None, ["not valid JSON"]),
        ("missing", None, ["There is no diffusers folder"]),
        ("../outside", {}, ["There is no diffusers folder"]),
    ],
)  # fmt: skip
def test_folders_that_cannot_be_loaded(name, index, words):
    folder = Path(folder_paths.get_folder_paths("diffusers")[0]) / name
    if name != "missing":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_index.json").write_text("{" if index is None else json.dumps(index))
    with pytest.raises(ValueError, match=r"^LoadVideoPipeline: ") as error:
        LoadVideoPipeline.execute(name, "transformer")
    assert [word for word in words if word not in str(error.value)] == []
