"""Memory, options, errors and the host's other features, on native models of tiny random weights."""

import pytest

pytestmark = pytest.mark.every_host


def test_the_largest_batch_does_not_grow_with_the_video(inside):
    short, long = inside("behaviour", "largest_batches", lengths=[101, 2001])
    assert short == long
    assert short[2] == 5


def test_the_memory_estimate_is_given_the_shape_of_a_call(inside):
    result = inside("behaviour", "estimated_shapes", frames=193)
    assert {shape[2] for shape in result["calls"]} == {5}
    # The host asks for cond and uncond together, then for one; then come the calls themselves.
    assert result["before_loading"] == [[2, 16, 5, 4, 4], [1, 16, 5, 4, 4]]


def _phase(**changed):
    return {"start": 0.25, "schedule": "unchanged", "overlap": -1, "stride": 0, "merge": "unchanged", **changed}


@pytest.mark.parametrize("free", [1, 2, 3])
def test_as_many_windows_share_a_forward_as_fit_in_memory(inside, free):
    rows = inside("behaviour", "batches_by_memory", free=free)
    assert max(rows) == free


@pytest.mark.parametrize("fits", [1, 2])
def test_running_out_of_memory_halves_and_goes_on(inside, fits):
    result = inside("behaviour", "out_of_memory", fits=fits)
    assert result["difference"] < 1e-3
    assert result["rows"] == fits
    assert len(result["messages"]) == (2 if fits == 1 else 1)  # 4 -> 2 (-> 1): once for each halving


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
        ({}, {"phases": _phase(schedule="shifted")}),
        ({}, {"phases": _phase(overlap=12)}),
        ({}, {"phases": _phase(stride=2)}),
        ({}, {"phases": _phase(merge="flat")}),
        ({"phases": _phase(overlap=12)}, {"phases": _phase(overlap=12, start=0.75)}),
    ],
)
def test_every_option_of_the_sampler_changes_the_result(inside, first, second):
    assert inside("behaviour", "changes", first=first, second=second) > 1e-2


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
def test_every_option_of_the_prompts_changes_the_result(inside, first, second):
    assert inside("behaviour", "schedule_changes", first=first, second=second) > 1e-3


def test_a_prompt_reaches_its_frames_and_no_others(inside):
    changed = inside("behaviour", "prompt_reaches_its_frames")
    # Windows 0-5, 5-10, 10-15, 15-20. Frame 37 starts latent frame 10: the second prompt is in the last two windows.
    assert max(changed[:10]) == 0
    assert min(changed[10:]) > 1e-3


def test_a_length_equal_to_the_height(inside):
    assert inside("behaviour", "same_length_and_height") is True


def test_a_noise_mask_keeps_what_it_covers(inside):
    result = inside("behaviour", "noise_mask")
    assert result["kept"] < 1e-4
    assert result["made"] > 0.01


def test_custom_samplers_and_guiders_through_the_patch_node(inside):
    assert inside("behaviour", "custom_guider") < 1e-5


def test_the_conditioning_works_in_a_plain_ksampler(inside):
    assert inside("behaviour", "plain_ksampler_takes_the_schedule") is True


def test_inputs_are_not_changed(inside):
    assert inside("behaviour", "the_model_and_latent_are_not_changed") is True


def test_conds_resized_by_the_hosts_own_interface(inside):
    assert inside("behaviour", "resized_conds") == [[3, 4, 5, 6], [3, 4, 5, 6]]


def test_interrupting_works_between_forward_passes(inside):
    assert inside("behaviour", "interrupted_after", forwards=6) == 6


def test_image_models_with_frames_as_batch(inside):
    result = inside("behaviour", "frames_as_batch")
    assert result["difference"] < 1e-3 * max(1, result["scale"])
    assert result["rows"][0] < result["rows"][1]


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
        ("audio_vae", ["LongLatent", "VAE", "video model"]),
        ("clip", ["MultiPromptSchedule", "clip is missing", "CLIPLoader"]),
        ("empty_prompt", ["MultiPromptSchedule", "line 2", "prompt"]),
        ("empty_text", ["MultiPromptSchedule", "there is no prompt", "Write one"]),
        ("outside", ["MultiPromptSchedule", "line 2", "60", "49"]),
        ("syntax", ["MultiPromptSchedule", "line 2, column 3", "^"]),
        ("transition", ["MultiPromptSchedule", "wobble", "linear", "ease", "hard"]),
    ],
)
def test_bad_values_say_what_to_do(inside, case, words):
    message = inside("behaviour", "error", case=case)
    for word in words:
        assert word in message, message


def test_folders_that_cannot_be_loaded(inside):
    messages = inside("behaviour", "folder_errors", base="")
    assert "CogVideoXTransformer3DModel" in messages["cog"] and "Supported: Wan 2.1" in messages["cog"]
    assert "config.json" in messages["half"]
    assert "not valid JSON" in messages["broken"]
    assert "There is no diffusers folder" in messages["missing"]
    assert "There is no diffusers folder" in messages["../outside"]
    assert all(message.startswith("LoadVideoPipeline: ") for message in messages.values())
