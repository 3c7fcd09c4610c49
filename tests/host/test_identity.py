"""Issue-level promises against the host's own sampler, on a native Wan 2.1 of tiny random weights."""

import pytest

pytestmark = pytest.mark.every_host


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc", "euler_ancestral"])
def test_a_latent_that_fits_in_one_window_is_bit_identical_to_ksampler(inside, sampler, cfg):
    assert inside("identity", "one_window", sampler=sampler, cfg=cfg, scheduler="simple") is True


@pytest.mark.parametrize("schedule", ["static", "shifted"])
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde"])
def test_folded_windows_equal_windows_one_by_one(inside, sampler, schedule):
    result = inside("identity", "folding", sampler=sampler, schedule=schedule)
    assert result["difference"] < 1e-3 * max(1.0, result["scale"])
    assert result["lengths"] == [5]
    assert result["rows"][0] <= 4 and result["rows"][1] >= 8  # cond (at most three prompts), uncond
    assert result["calls"][1] < result["calls"][0]


def test_a_batch_of_videos(inside):
    result = inside("identity", "folding", sampler="euler", schedule="shifted", batch=2)
    assert result["difference"] < 1e-3 * max(1.0, result["scale"])


@pytest.mark.parametrize("merge", ["pyramid", "flat"])
@pytest.mark.parametrize("with_prompts", [False, True])
def test_windows_equal_the_area_and_mask_oracle(inside, with_prompts, merge):
    result = inside("identity", "oracle", with_prompts=with_prompts, merge=merge)
    assert result["difference"] < 1e-3 * max(1.0, result["scale"])
    assert result["apart_from_plain"] > 0.05 * result["scale"]


def test_every_sampler_of_the_host(inside):
    results = inside("identity", "every_sampler")
    assert len(results) > 30
    bad = {name: r for name, r in results.items() if not r["difference"] < 2e-2 * max(1, r["scale"])}
    assert not bad


def test_every_scheduler_of_the_host(inside):
    assert inside("identity", "every_scheduler") == []
