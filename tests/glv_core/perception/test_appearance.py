"""What things look like in other light, and beside other things."""

import pytest
import torch

from glv_core.perception.appearance import box_looks, light_around, looks, same_light, similarity


def thing(seed, spread=60):
    """Pixels ``40 60 3`` of a color and two more below it, with texture."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.randint(40, 200, (3, 1, 1, 3), generator=generator).expand(3, 14, 60, 3).reshape(42, 60, 3)[:40]
    texture = torch.rand(40, 60, 1, generator=generator) * spread - spread / 2
    return (color + texture).clamp(1, 254).to(torch.uint8)


def whole(frame):
    height, width = frame.shape[:2]
    return looks(frame, torch.ones(height, width, dtype=torch.bool), (0, 0, width, height))


def test_a_thing_is_like_itself_in_less_and_more_light_and_other_things_are_not():
    things = [whole(thing(seed)) for seed in range(12)]
    for factor in (0.3, 0.6, 0.8, 1.25):
        dimmed = [whole((thing(seed) * factor).clamp(0, 255).to(torch.uint8)) for seed in range(12)]
        assert min(similarity(a, b) for a, b in zip(things, dimmed, strict=True)) > 0.75, factor
    others = sorted(similarity(a, b) for k, a in enumerate(things) for b in things[:k])
    assert others[len(others) // 2] < 0.4 and sum(each > 0.75 for each in others) <= 3


def test_the_same_colors_at_other_heights_are_another_thing():
    one = torch.zeros(30, 30, 3, dtype=torch.uint8)
    one[:15] = torch.tensor([200, 40, 40])
    one[15:] = torch.tensor([40, 40, 200])
    assert similarity(whole(one), whole(one.flip(1))) > 0.999
    assert similarity(whole(one), whole(one.flip(0))) < 0.6


def test_looks_are_parts_of_a_mask_and_there_are_none_in_the_dark():
    frame = torch.zeros(20, 20, 3, dtype=torch.uint8)
    mask = torch.zeros(20, 20, dtype=torch.bool)
    assert not whole(frame).any() and whole(frame + 20).sum().item() == pytest.approx(1)
    assert not looks(frame, mask, (0, 0, 20, 20)).any()
    frame[5:15, 5:15] = torch.tensor([250, 10, 10])
    mask[5:15, 5:15] = True
    assert similarity(looks(frame, mask, (5, 5, 15, 15)), box_looks(frame, (5, 5, 15, 15))) > 0.95
    assert similarity(looks(frame, ~mask, (0, 0, 20, 20)), box_looks(frame, (5, 5, 15, 15))) < 0.1
    assert torch.isfinite(box_looks(frame, (-30, -30, -10, -10))).all()


def test_the_light_is_that_of_the_surroundings():
    frame = torch.full((30, 40, 3), 100, dtype=torch.uint8)
    frame[10:20, 10:30] = torch.tensor([255, 0, 0])
    box = (10, 10, 30, 20)
    blue = frame.clone()
    blue[10:20, 10:30] = torch.tensor([0, 0, 255])
    assert same_light(light_around(frame, box), light_around(blue, box))
    assert not same_light(light_around(frame, box), light_around((frame * 0.7).to(torch.uint8), box))
    assert not same_light(light_around(frame, box), light_around(frame + 30 * (frame == 100), box))
