"""Cuts, and what looks like them."""

import pytest
import torch
import torch.nn.functional as F

from glv_core.perception.cuts import LATE, CutFinder, moments


def picture(seed):
    """A scene ``120 320 3`` uint8 of large patches of color."""
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand(1, 3, 1, 1, generator=generator)
    patches = 0.5 * torch.rand(1, 3, 6, 16, generator=generator) + 0.5 * tint
    return (F.interpolate(patches, (120, 320), mode="bicubic").clamp(0, 1) * 255)[0].movedim(0, -1).to(torch.uint8)


def view(scene, left, width=160):
    return scene[:, left : left + width].contiguous()


def cuts(*frames):
    finder = CutFinder()
    return [finder.push(frame) for frame in frames]


@pytest.mark.parametrize("seed", range(6))
def test_another_scene_is_a_cut(seed):
    a, b = view(picture(seed), 0), view(picture(seed + 6), 0)
    assert cuts(a, a, b, b, a) == [False, False, True, False, True]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [10, 40, 70])
def test_a_fast_pan_is_none(seed, step):
    scene = picture(seed)
    assert not any(cuts(*(view(scene, left) for left in range(0, 160, step))))


@pytest.mark.parametrize("seed", range(6))
def test_light_is_none(seed):
    scene = view(picture(seed), 0)
    white, black = torch.full_like(scene, 255), torch.zeros_like(scene)
    warm = (scene * torch.tensor([1.0, 0.8, 0.6])).to(torch.uint8)
    dark = (scene * 0.2).to(torch.uint8)
    assert not any(cuts(scene, dark, scene, warm, white, scene, black, scene))


def test_a_cut_behind_black_is_found():
    a, b = view(picture(0), 0), view(picture(6), 0)
    assert cuts(a, torch.zeros_like(a), b) == [False, False, True]


def test_what_moves_fast_in_front_is_none():
    ground = view(picture(1), 0)
    frames = []
    for left in (0, 60, 110, 20):
        frame = ground.clone()
        frame[30:90, left : left + 45] = torch.tensor([250, 20, 20])
        frames.append(frame)
    assert not any(cuts(*frames))


def test_images_of_one_pixel():
    assert cuts(torch.zeros(1, 1, 3, dtype=torch.uint8), torch.full((1, 1, 3), 255, dtype=torch.uint8)) == [False] * 2


def fades(frames):
    """A letter a frame: ``o`` and ``i`` in dissolves, ``c`` for a cut, ``.`` for others."""
    return "".join(each.fading[:1] or ("c" if each.cut else ".") for each in moments(frames))


def mixed(a, b, weights):
    """Frames of two shots, which are ``number -> frame``, one after another."""
    return [torch.lerp(a(k).float(), b(k).float(), float(w)).round().to(torch.uint8) for k, w in enumerate(weights)]


def ramp(length, ease=False):
    weights = torch.cat([torch.zeros(10), (torch.arange(length) + 1) / (length + 1), torch.ones(10)])
    return weights * weights * (3 - 2 * weights) if ease else weights


@pytest.mark.parametrize("length", [2, 4, 8, 16, 24])
@pytest.mark.parametrize("seed", range(3))
def test_a_dissolve_has_its_cut_in_the_middle(seed, length):
    a, b = picture(seed), picture(seed + 6)
    found = fades(mixed(lambda k: view(a, 60 + k // 4), lambda k: view(b, 80 - k // 4), ramp(length)))
    assert found == "." * 10 + "o" * (length // 2) + "i" * (length // 2) + "c" + "." * 9


@pytest.mark.parametrize("length", [8, 16])
def test_a_dissolve_that_begins_and_ends_slowly(length):
    a, b = view(picture(0), 0), view(picture(6), 0)
    found = fades(mixed(lambda k: a, lambda k: b, ramp(length, ease=True)))
    middle = 10 + length // 2
    assert found[:8] + found[-8:] == "." * 16 and found.count("c") == 1
    assert set(found[middle - 3 : middle]) == {"o"} and set(found[middle : middle + 3]) == {"i"}


def test_two_dissolves_and_a_cut():
    shots = [view(picture(seed), 0) for seed in (0, 6, 1, 7)]
    frames = mixed(lambda k: shots[0], lambda k: shots[1], ramp(4))
    frames += mixed(lambda k: shots[1], lambda k: shots[2], ramp(6)) + [shots[3]] * 40
    assert fades(frames) == "." * 10 + "ooiic" + "." * 19 + "oooiiic" + "." * 9 + "c" + "." * 39


def test_a_dissolve_longer_than_is_looked_for_is_none():
    a, b = view(picture(0), 0), view(picture(6), 0)
    assert "o" not in fades(mixed(lambda k: a, lambda k: b, ramp(25)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [2, 10, 40])
def test_a_pan_is_no_dissolve(seed, step):
    scene = picture(seed)
    lefts = [0] * 5 + list(range(0, 160, step)) + [159] * 5
    assert set(fades([view(scene, left) for left in lefts])) == {"."}


def test_other_light_is_no_dissolve():
    a = view(picture(0), 0)
    warm = (a * torch.tensor([1.0, 0.8, 0.5])).to(torch.uint8)
    for other in (warm, torch.zeros_like(a), torch.full_like(a, 255)):
        assert set(fades(mixed(lambda k: a, lambda k, other=other: other, ramp(8)))) == {"."}


def test_frames_come_late_but_all():
    asked = []

    def frames():
        for number in range(40):
            asked.append(number)
            yield torch.full((4, 4, 3), number, dtype=torch.uint8)

    found = moments(frames())
    assert int(next(found).frame[0, 0, 0]) == 0 and len(asked) == LATE + 1
    assert [int(each.frame[0, 0, 0]) for each in found] == list(range(1, 40))
    assert list(moments([])) == []
