"""StreamingExtend in a real ComfyUI, on native models with tiny random weights."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.every_host


def test_text_to_video_holds_the_overlap_with_every_kind_of_sampler(inside):
    result = inside("streaming", "text_to_video")
    for sampler, (difference, scale, finite, shape) in result["samplers"].items():
        assert finite, sampler
        assert scale > 0.05, sampler
        assert difference < 0.01 * scale, (sampler, difference, scale)
        assert shape[:3] == [1, 16, 9]
    assert "known latents" in result["report"]


def test_blending_redoes_the_end_of_the_overlap(inside):
    change = inside("streaming", "blending")
    assert max(change[:3]) < 1e-3  # before the overlap, and its first frame
    assert 1e-3 < change[3] < change[4]


def test_the_first_chunk_is_the_host_s_ksampler(inside):
    assert inside("streaming", "first_chunk_is_the_ksampler")


@pytest.mark.parametrize("name", ["wan22", "ltx"])
def test_clean_frames_go_where_the_family_expects_them(inside, name):
    result = inside("streaming", "clean_frames", name=name)
    assert "clean frames" in result["report"]
    assert result["clean"] < 1e-5
    assert result["noisy"] > 0.3
    assert result["timesteps"][:2] == [0, 0]
    assert min(result["timesteps"][2:]) > 0.1
    assert result["first"] > 0.1  # nothing is known in the first chunk


def test_an_anchor_among_clean_frames_stands_before_the_overlap(inside):
    result = inside("streaming", "clean_frames_anchor", name="wan22")
    assert result["frames"] == 6
    assert result["anchor"] < 1e-5
    assert result["shape"][2] == 9


def test_an_anchor_of_ltx_is_a_guide_in_the_past(inside):
    result = inside("streaming", "clean_frames_anchor", name="ltx")
    assert result["frames"] == 6
    assert result["anchor"] < 1e-5
    assert result["shape"][2] == 9
    assert result["times"] == [-40, -32]  # one latent frame of eight, a chunk of five before the video


@pytest.mark.parametrize("kind", ["2.1", "2.2", "anchor"])
def test_image_to_video_gets_the_overlap_as_its_start_image(inside, kind):
    result = inside("streaming", "image_condition", kind=kind)
    lead = 1 if kind == "anchor" else 0
    assert "image condition" in result["report"]
    assert result["kept"]
    assert result["shape"][2] == 9
    assert result["mask 0"] == [1.0] + [0.0] * 4  # the beginning is its own anchor
    assert result["mask 1"] == [1.0] * (2 + lead) + [0.0] * 3
    for number in (0, 1):
        assert result[f"image {number}"] < 1e-5
        assert result[f"rest {number}"] < 1e-5
    if lead:
        assert result["anchor 1"] < 1e-5


def test_svd_gets_the_first_known_frame_as_its_start_image(inside):
    result = inside("streaming", "svd_image_condition")
    assert "image condition" in result["report"]
    assert result["shape"] == [12, 4, 4, 4]
    assert result["kept"]
    for number in range(3):
        assert result[f"frames {number}"] == 6
        assert result[f"image {number}"] < 1e-5
        assert result[f"nothing {number}"] == 0


def test_prompts_follow_the_timeline_of_the_whole_video(inside):
    result = inside("streaming", "prompts_follow_the_timeline")
    assert result["differ"] > 0.01
    assert result["first as a alone"] == 0
    assert result["end as a alone"] > 0.005


def test_every_option_has_an_effect(inside):
    changes = [
        {"seed": 6}, {"steps": 4}, {"cfg": 3.0}, {"sampler_name": "euler_ancestral"}, {"scheduler": "karras"},
        {"chunk": 29}, {"overlap": 12}, {"window": 13}, {"window_overlap": 4}, {"schedule": "static"},
        {"merge": "flat"}, {"blend": 0.0}, {"drift_correction": 0.5},
    ]  # fmt: skip
    differences = inside("streaming", "options_have_an_effect", changes=changes)
    assert [change for change, difference in zip(changes, differences, strict=True) if difference < 1e-4] == []
    # With drift correction an anchor counts also for models that take none as a condition.
    first, segment = (
        {"drift_correction": 0.5, "anchor": anchor} for anchor in ("first", "segment")
    )  # fmt: skip
    assert min(inside("streaming", "options_have_an_effect", changes=[first, segment])) > 1e-4


def test_a_chunk_longer_than_the_window_is_co_denoised(inside):
    assert inside("streaming", "co_denoised_chunk") == [3, 5]  # the first and the last one end where they need to


def test_finished_chunks_are_found_again(inside):
    result = inside("streaming", "run_folders")
    assert result["equal"]
    # All five; none; those from the changed prompt on; none for the same weights; all for others, and for a LoRA.
    first, again, prompt, model, other, lora = result["new"]
    assert (first, again, model, other, lora) == (5, 0, 0, 5, 5)
    assert 0 < prompt < 5
    assert "5 chunks were found" in result["report"]
    assert result["manifest"] == [5, 3]


def test_a_model_s_hash_is_that_of_what_it_does(inside):
    result = inside("streaming", "fingerprints")
    assert result["anew"]
    assert not result["shift"]
    same, again, other = result["rescale"]
    assert same == again != other


KINDS = ["plain", "demo", "closure", "lora", "hook", "quantised", "bypass"]


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_found_with_every_kind_of_model_loaded_or_not(inside, inside_alone, kind):
    """In a ComfyUI that has used the model already, and in a new one, as after a restart."""
    results = [run("streaming", "found_again", name=kind) for run in (inside, inside_alone)]
    for result in results:
        assert result["same"] and result["loaded"]
        assert result["found"] == [0, 3, 3]
    assert results[0]["hash"] == results[1]["hash"]


@pytest.mark.parametrize("kind", ["closure", "lora", "hook", "bypass"])
def test_another_lora_or_strength_is_another_model(inside, kind):
    names = inside("streaming", "hashes", kind=kind)
    assert len(names) >= 2
    assert len(set(map(tuple, names.values()))) == len(names)


def test_a_controlnet_is_what_it_is_made_from(inside):
    result = inside("streaming", "control_hashes")
    assert result["same"] == [True, True]
    assert len(result["hashes"]) == 12
    assert len(set(result["hashes"].values())) == len(result["hashes"])


def test_other_networks_hooks_and_closures_are_what_they_hold(inside):
    for name, (made, again, *others) in inside("streaming", "other_hashes").items():
        assert made == again, name
        assert len({made, *others}) == 1 + len(others), name


def test_a_mask_says_what_is_there(inside):
    result = inside("streaming", "masked_start")
    assert result["kept"]
    assert result["made"] > 0.1
    assert "finished parts behind its beginning" in result["message"]


def test_controls_of_the_whole_video_are_cut_for_each_chunk(inside):
    result = inside("streaming", "controls_are_cut")
    assert result["first"] == [[0, 5], [3, 5], [6, 5]]
    assert "'vace_frames' is 5 latent frames long, the video 9" in result["message"]


def test_an_interrupted_run_goes_on(inside):
    result = inside("streaming", "interrupted")
    assert result["stopped"]
    assert result["equal"]
    assert " 0 chunks were found" not in result["report"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 17}, "overlap is 17 frames and chunk 17"),
        ({"run_name": "../out"}, "run_name is '../out'"),
        ({"run_name": "/tmp/out"}, "run_name is '/tmp/out'"),
        ({"latent_shape": [1, 4, 3, 4, 4]}, "made for another model family"),
        ({"prompt_length": 49}, "scheduled over 49 frames"),
        ({"anchor": "image"}, "no image is connected"),
        ({"window": 9, "window_overlap": 9}, "window_overlap is 9 frames and window 9"),
        ({"width": 830}, "width is 830"),
        ({"blend": 2.0}, "blend is 2"),
        ({"drift_correction": 2.0}, "drift_correction is 2"),
    ],
)
def test_mistakes_are_said_before_the_first_forward_pass(inside, options, words):
    message, forwards = inside("streaming", "refused", **options)
    assert message.startswith("StreamingExtend: ")
    assert words in message
    assert forwards == 0


def test_a_image_starts_the_video_and_another_is_its_anchor(inside):
    result = inside("streaming", "image_start")
    assert result["first"] < 1e-5
    assert result["anchor"] > 1e-3


def test_images_are_encoded_once(inside):
    result = inside("streaming", "encodings_are_kept")
    # The start, the anchor, and the gray frames behind them where a chunk is made.
    assert [result[name]["encoded"] for name in ("first", "again", "other")] == [3, 0, 3]
    assert "0 chunks were found" in result["first"]["report"]
    assert "3 chunks were found" in result["again"]["report"]
    assert "0 chunks were found" in result["other"]["report"]
