"""What stands beside this pack in ComfyUI: its own context windows, dynamic memory, several devices, other latents."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize("freenoise", [False, True])
def test_core_s_context_windows_before_ours_are_replaced(inside, freenoise):
    result = inside("neighbours", "core_before_ours", freenoise=freenoise)
    assert result["differences"] == dict.fromkeys(["sampler", "one window", "streaming", "model"], 0.0)
    assert result["wrappers"] == ["co_denoise"]
    assert "replaces the context handler IndexListContextHandler" in result["said"]
    handler, wrappers = result["untouched"]  # the MODEL that was given
    assert handler == "IndexListContextHandler"
    assert len(wrappers) == 1 + freenoise and "co_denoise" not in wrappers


@pytest.mark.parametrize("freenoise", [False, True])
def test_core_s_context_windows_behind_ours_work_as_ever(inside, freenoise):
    assert inside("neighbours", "core_after_ours", freenoise=freenoise) == 0


def test_weights_that_could_be_paged_out_are_not_room_for_windows(inside):
    found = inside("neighbours", "room_of_a_dynamic_patcher", rows=2)
    assert max(found["plain"]) == 4
    assert max(found["dynamic"]) == 2
    assert sum(found["plain"]) == sum(found["dynamic"])


@pytest.mark.parametrize(("devices", "rows", "windows"), [(1, 4, 2), (2, 4, 4), (1, 8, 4), (2, 2, 2), (1, 1, 1)])
def test_each_device_has_its_share_of_the_conditions(inside, devices, rows, windows):
    """Prompt and negative prompt: both on one device, or one on each."""
    assert inside("neighbours", "room_of_several_devices", devices=devices, rows=rows) == windows


def test_every_error_that_says_out_of_memory_halves_the_windows(inside):
    found = inside("neighbours", "any_kind_of_out_of_memory")
    assert found.pop("ValueError").endswith("something else")
    assert found and max(found.values()) < 1e-3


def test_latents_with_sound_are_previewed_by_their_images(inside):
    assert inside("neighbours", "nested_latents_are_previewed")["shapes"] == [[1, 16, 1, 4, 4]] * 3


def test_empty_latents_are_made_to_fit_as_by_the_core_ksampler(inside):
    found = inside("neighbours", "empty_latents_of_other_families")
    assert found == {name: [True, True] for name in ("channels", "size", "time")}


def test_long_latent_says_which_vae_it_is_meant_for(inside):
    found = inside("neighbours", "long_latent_says_what_it_is_for")
    assert found["keys"] == ["downscale_ratio_spacial", "downscale_ratio_temporal", "samples"]
    assert (found["spatial"], found["temporal"], found["dtype"]) == (8, 4, "torch.float32")
    assert found["left"] == ["samples"]
    assert found["equal"]


def test_half_precision_between_nodes(inside_with, comfyui):
    if "--fp16-intermediates" not in (comfyui.path / "comfy" / "cli_args.py").read_text():
        pytest.skip("this ComfyUI has no --fp16-intermediates")
    found = inside_with("--fp16-intermediates")("neighbours", "fp16_intermediates")
    assert found["identical"]
    assert found["types"] == ["torch.float16"] * 4
    assert found["finite"]
    assert found["streamed"] == [True, True, False]
    assert found["frames"] == 49


def test_what_load_video_pipeline_loads_can_be_loaded_once_more(inside):
    found = inside("neighbours", "models_are_loaded_once_more")
    assert len(found) >= 6
    assert all(all(each) for each in found.values()), found


def test_a_lora_for_one_prompt_where_memory_is_dynamic(inside, comfyui):
    if "disable_dynamic" not in (comfyui.path / "comfy" / "model_patcher.py").read_text():
        pytest.skip("this ComfyUI has no dynamic memory")
    found = inside("neighbours", "a_lora_for_one_prompt_on_a_dynamic_patcher")
    assert found["own"]
    assert found["effect"] > 1e-3
    assert found["difference"] == 0
