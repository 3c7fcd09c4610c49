"""The benchmark of controls: both sides of a pair make the same, and its table has a row for each."""

import sys
import types

import numpy as np
import pytest
import torch

from benchmarks import controls
from glv_core.perception.controls.canny import canny
from glv_core.perception.controls.openpose import decode_people
from glv_core.perception.controls.resample import resample
from glv_core.perception.mask_ops import grow
from glv_core.video_io import open_clip


@pytest.mark.parametrize("radius", [0, 1, 5, 40])
def test_growing_row_by_row_is_growing(radius):
    mask = torch.rand(33, 50, generator=torch.Generator().manual_seed(0)) < 0.02
    assert torch.equal(controls.rows_of_a_disc(mask, radius), grow(mask, radius))


def test_the_crowd_is_found_in_its_maps():
    people = decode_people(*controls.crowd(23), (184, 184), 256, 256)
    assert len(people) == controls.PEOPLE and (people[..., 2] > 0).sum() > 80


def test_files_of_both_ways_hold_the_same_frames(tmp_path):
    (_, _, ours, plain), (_, _, read, decoded) = controls.files(5, 64, tmp_path)
    ours()
    plain()
    kept, theirs = (torch.cat(list(open_clip(tmp_path / f"{name}.mp4").frames())) for name in ("ours", "plain"))
    assert kept.shape == theirs.shape == (5, 64, 64, 3)
    source = controls.pictures(5, 64, 64).float()
    assert (kept.float() - source).abs().mean() < 12 and (theirs.float() - source).abs().mean() < 12
    assert read() == decoded() == 5


def test_the_least_of_all_turns_counts(monkeypatch):
    clock = iter(np.cumsum([0, 5, 0, 1, 0, 3, 0, 2]) / 1000)
    monkeypatch.setattr(controls.time, "process_time", lambda: next(clock))
    assert controls.least(2, lambda: None, lambda: None) == pytest.approx([3, 1])


def opencv():
    """A stand-in with the calls that the benchmark makes, of our own functions."""
    fake = types.ModuleType("cv2")
    fake.INTER_AREA, fake.INTER_LANCZOS4 = "area", "lanczos"
    fake.setNumThreads = lambda count: None
    fake.Canny = lambda image, low, high: canny(torch.from_numpy(image)[None], low, high)[0].numpy()
    fake.resize = lambda image, size, interpolation: resample(
        torch.from_numpy(image)[None], size[1], size[0], interpolation
    )[0].numpy()
    return fake


@pytest.mark.parametrize("present", [True, False])
def test_the_table(monkeypatch, capsys, present):
    monkeypatch.setitem(sys.modules, "cv2", opencv() if present else None)
    monkeypatch.setattr(controls, "SKELETONS", 1)
    sizes = ["--side", "48", "--mask", "64", "--frames", "3", "--files", "20x256x320,2x16x16"]
    assert controls.main(["--runs", "1", *sizes]) == 0
    first, _, second = capsys.readouterr().out.partition("\n\n")
    head, line, *rows = first.splitlines()
    assert head.count("|") == line.count("|") == 6 and all(row.count("|") == 6 for row in rows)
    names = [row.split("|")[1].split()[0].strip(",") for row in rows]
    beside = ["canny", "canny", "resizing", "resizing"] if present else []
    assert names == [*["skeletons"] * 3, *beside, "grow", "writing", "reading"]
    for row in rows:
        mine, theirs, ratio = (float(cell) for cell in row.split("|")[3:6])
        assert mine > 0 and ratio == pytest.approx(mine / theirs, abs=0.02 + 0.2 * ratio)
    if not controls.STATUS.exists():
        return
    written = [row.split("|")[1:-1] for row in second.splitlines()]
    assert [row[0].strip() for row in written[2:]] == ["20 frames of 320 x 256", "2 frames of 16 x 16"]
    assert {len(row) for row in written} == {7}
    assert all(float(written[2][column]) > 0 for column in (1, 2, 4, 5))


def test_both_sides_beside_opencv_make_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", opencv())
    for _, _, ours, theirs in controls.beside_opencv(48):
        np.testing.assert_array_equal(ours()[0], theirs())
