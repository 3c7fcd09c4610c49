"""Following objects where masks leak, light changes, detectors fail and shots end, against the truth."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glv_core.perception.appearance import light_around, looks
from glv_core.perception.boxes import Detection, mask_box
from glv_core.perception.per_frame import BoxPropagator
from glv_core.perception.selection import union
from glv_core.perception.track import Track
from glv_core.perception.tracking import MaskPrediction, TrackedInstance, Tracker

sys.path.insert(0, str(Path(__file__).parent))

from drawn import HEIGHT, WIDTH, BoxSegmenter, Clip, ColourSegmenter, ids_of, iou


def moving(number):
    return 20 + 0.6 * number, 30


def still(number):
    return 70, 40


class TrueDetector:
    """Boxes of what is drawn; a frame is known by its place in the clip, and nothing is found where ``misses`` says."""

    def __init__(self, clip, frames=None, misses=lambda call: False, among=None):
        self.clip, self.misses, self.calls = clip, misses, 0
        self.frames = clip.frames if frames is None else frames
        self.among = clip.truth if among is None else among

    def detect(self, frames):
        return [self._one(frame) for frame in frames]

    def _one(self, frame):
        self.calls += 1
        if self.misses(self.calls - 1):
            return []
        number = next(k for k, each in enumerate(self.frames) if each.data_ptr() == frame.data_ptr())
        boxes = [mask_box(self.clip.truth[name][number]) for name in self.among]
        return [Detection(box, 0.9, "ball") for box in boxes if box is not None]


def switches(ids):
    found = [ids[k] for k in sorted(ids)]
    return sum(a != b for a, b in pairwise(found))


def overlaps(clip, results):
    truth = torch.stack(list(clip.truth.values())).any(0)
    return [iou(union(found, HEIGHT, WIDTH), truth[k]) for k, found in enumerate(results)]


class Leaking(ColourSegmenter):
    """From its tenth step on, what it has followed so far is all of a box, until it is told where the object is."""

    def __init__(self, leak, at=10):
        super().__init__()
        self.leak, self.at, self.leaked = leak, at, set()

    def step(self, frame):
        if self.steps == self.at + 1:  # its first step is taken twice, and has no objects yet
            self.leaked = set(self.known)
        return super().step(frame)

    def add(self, boxes):
        self.leaked -= set(boxes)
        return super().add(boxes)

    def _find(self, number):
        if number not in self.leaked:
            return super()._find(number)
        left, top, right, bottom = self.leak
        mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        mask[top:bottom, left:right] = True
        return MaskPrediction(mask, 0.95)


MISSES = [lambda call: call % 3 == 0, lambda call: call % 3 == 2]
LEAKS = [(0, 0, WIDTH, HEIGHT), (3, 0, 93, 60), (10, 10, 70, 50)]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("interval", [1, 5, 30, 0])
def test_a_leak_is_mended_at_the_next_look(interval, leak):
    """Which is in the frame of the leak, because the mask has grown suddenly."""
    clip = Clip({"red": moving}, length=80)
    results = list(Tracker(TrueDetector(clip), Leaking(leak), interval).track(clip.frames))
    assert min(overlaps(clip, results)) > 0.9
    assert {each.id for found in results for each in found} == {1}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("misses", MISSES)
def test_a_leak_that_the_detector_misses_at_first_is_mended_soon(leak, misses):
    clip = Clip({"red": moving}, length=80)
    results = list(Tracker(TrueDetector(clip, misses=misses), Leaking(leak), 30).track(clip.frames))
    good = [each > 0.9 for each in overlaps(clip, results)]
    assert all(good[:10]) and all(good[14:])
    assert {each.id for found in results for each in found} == {1}


class Spreading(Leaking):
    """The leak grows by a pixel to each side in each frame until it is told where the object is."""

    def _find(self, number):
        if number in self.leaked:
            at, wide = self.known[number][1], self.steps - self.at
            self.leak = (max(0, int(at[0]) - wide), max(0, int(at[1]) - wide), int(at[2]) + wide, int(at[3]) + wide)
        return super()._find(number)


def test_a_mask_that_spreads_slowly_is_mended_at_the_next_look():
    clip = Clip({"red": still}, length=80)
    results = list(Tracker(TrueDetector(clip), Spreading(None, 40), 30).track(clip.frames))
    good = [each > 0.9 for each in overlaps(clip, results)]
    assert all(good[:41]) and not any(good[41:45]) and all(good[60:])
    assert {each.id for found in results for each in found} == {1}


def test_a_new_object_in_a_leak_is_seen():
    """Where the leaked one is not detected either."""

    def late(number):
        return -100 if number < 20 else 20, 20

    clip = Clip({"red": still, "blue": late}, length=80)

    class Halved(TrueDetector):
        def _one(self, frame):
            found = super()._one(frame)
            return found if self.calls < 7 or self.calls > 9 else found[1:]

    results = list(Tracker(Halved(clip), Leaking(LEAKS[0]), 5).track(clip.frames))
    assert min(overlaps(clip, results[:10])) > 0.9 and min(overlaps(clip, results)[40:]) > 0.9
    ids = {name: ids_of(clip, results, name) for name in ("red", "blue")}
    assert set(ids["red"].values()) == {1} and set(ids["blue"].values()) == {2}
    assert set(ids["blue"]) == set(range(20, 80))


def light(frames, factors, more=0.0):
    factors = torch.as_tensor(factors).float().view(-1, 1, 1, 1)
    return (frames * factors + 255 * more).clamp(0, 255).round().to(torch.uint8)


LIGHTS = {
    "strobe": lambda frames: light(frames, [1.0, 0.35] * 40),
    "flash": lambda frames: light(frames, [2.0 if k % 5 == 4 else 1.0 for k in range(80)]),
    "white flash": lambda frames: light(
        frames, [1.0] * 80, torch.tensor([0.4 if k % 5 == 4 else 0.0 for k in range(80)]).view(-1, 1, 1, 1)
    ),
    "fall": lambda frames: light(frames, [1.0 if k < 40 else 0.7 for k in range(80)]),
    "dusk": lambda frames: light(frames, torch.linspace(1, 0.2, 80)),
    "colored strobe": lambda frames: (
        light(frames, [1.0] * 80, torch.zeros(80, 1, 1, 1))
        .mul(torch.tensor([[1, 1, 1.0], [0.3, 0.3, 1], [1, 0.3, 0.3]])[torch.arange(80) % 3].view(80, 1, 1, 3))
        .byte()
    ),
}


@pytest.mark.parametrize("interval", [1, 30])
@pytest.mark.parametrize("kind", LIGHTS)
def test_objects_keep_their_numbers_in_other_light(kind, interval):
    """The segmenter knows an object by its very color, so that it loses it whenever the light changes."""
    clip = Clip({"blue": still, "red": lambda number: (15 + 0.5 * number, 20)}, length=80)
    frames = LIGHTS[kind](clip.frames)
    results = list(Tracker(TrueDetector(clip, frames), ColourSegmenter(), interval).track(frames))
    ids = [ids_of(clip, results, name) for name in clip.truth]
    assert [switches(each) for each in ids] == [0, 0]
    assert set(ids[0].values()) != set(ids[1].values())
    assert {each.id for found in results for each in found} == {1, 2}
    assert min(overlaps(clip, results)) > 0.9


@pytest.mark.parametrize("misses", MISSES)
@pytest.mark.parametrize("kind", LIGHTS)
def test_a_detector_that_fails_in_other_light_costs_little(kind, misses):
    clip = Clip({"blue": still, "red": lambda number: (15 + 0.5 * number, 20)}, length=80)
    frames = LIGHTS[kind](clip.frames)
    results = list(Tracker(TrueDetector(clip, frames, misses), ColourSegmenter(), 30).track(frames))
    assert max(switches(ids_of(clip, results, name)) for name in clip.truth) <= 1
    assert sum(overlaps(clip, results)) / 80 > 0.95


class Clinging:
    """Of one frame: all of a box, whatever is in it."""

    def segment(self, frame, boxes):
        masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
        for mask, (left, top, right, bottom) in zip(masks, boxes):
            mask[int(top) : int(bottom), int(left) : int(right)] = True
        return masks


class Guessing(ColourSegmenter):
    """Loses what changes its color, and sees something wherever it is asked anew."""

    def fresh(self):
        return BoxPropagator(Clinging())


@pytest.mark.parametrize("gone", [30, 33])
def test_what_leaves_as_the_light_changes_is_soon_gone(gone):
    clip = Clip({"red": lambda number: (50 if number < gone else -100, 30)}, length=60)
    frames = light(clip.frames, [1.0] * 30 + [0.6] * 30)
    results = list(Tracker(TrueDetector(clip, frames), Guessing(), 0).track(frames))
    last = max(gone, 31)  # its place alone is believed for a frame
    assert [len(found) for found in results] == [1] * last + [0] * (60 - last)


NEVER = [lambda call: False, *MISSES]


@pytest.mark.parametrize("interval", [1, 30])
@pytest.mark.parametrize("misses", NEVER)
def test_a_fade_to_black_and_back_leaves_nothing_behind(misses, interval):
    """What a segmenter sees in the dark is everything around."""
    clip = Clip({"blue": still, "red": lambda number: (15 + 0.5 * number, 20)}, length=80)
    frames = light(clip.frames, [min(1, abs(k - 40) / 12) for k in range(80)])
    results = list(Tracker(TrueDetector(clip, frames, misses), ColourSegmenter(), interval).track(frames))
    assert max(switches(ids_of(clip, results, name)) for name in clip.truth) <= 1
    assert sum(overlaps(clip, results)) / 80 > 0.9
    assert min(overlaps(clip, results)[45:]) > 0.9


@pytest.mark.parametrize("interval", [1, 30])
@pytest.mark.parametrize("misses", NEVER)
def test_a_whip_pan_costs_little(misses, interval):
    """The boxes of what does not move stay behind and have only the ground in them."""

    def panned(x, y):
        return lambda number: (x - 20 * max(0, min(number - 30, 3)), y)

    clip = Clip({"blue": panned(70, 40), "red": panned(80, 15)}, length=80)
    tracker = Tracker(TrueDetector(clip, misses=misses), BoxPropagator(BoxSegmenter()), interval)
    results = list(tracker.track(clip.frames))
    assert [switches(ids_of(clip, results, name)) for name in clip.truth] == [0, 0]
    assert sum(overlaps(clip, results)) / 80 > 0.98


@pytest.mark.parametrize("interval", [1, 30])
@pytest.mark.parametrize("misses", NEVER)
@pytest.mark.parametrize("segmenter", [ColourSegmenter, lambda: BoxPropagator(BoxSegmenter())])
def test_two_who_are_shown_in_turn_keep_their_numbers(segmenter, misses, interval):
    clip = Clip(
        {"red": lambda n: (-100 if n // 10 % 2 else 25, 30), "blue": lambda n: (25 if n // 10 % 2 else -100, 30)},
        length=80,
    )
    frames = torch.cat([scene(clip.frames[k : k + 1], k // 10 % 2) for k in range(80)])
    results = list(Tracker(TrueDetector(clip, frames, misses), segmenter(), interval).track(frames))
    assert [set(ids_of(clip, results, name).values()) for name in clip.truth] == [{1}, {2}]
    assert min(overlaps(clip, results)) > 0.9


class Shrinking(Leaking):
    """What has leaked is the four by four pixels in the middle."""

    def _find(self, number):
        if number in self.leaked:
            left, top, right, bottom = self.known[number][1]
            x, y = int((left + right) / 2), int((top + bottom) / 2)
            self.leak = (x - 2, y - 2, x + 2, y + 2)
        return super()._find(number)


@pytest.mark.parametrize("interval", [1, 5, 30, 0])
def test_a_mask_that_shrinks_to_a_dot_is_mended(interval):
    clip = Clip({"red": moving}, length=80)
    results = list(Tracker(TrueDetector(clip), Shrinking(None), interval).track(clip.frames))
    assert min(overlaps(clip, results)) > 0.9
    assert {each.id for found in results for each in found} == {1}


@pytest.mark.parametrize("missed", [(0,), (0, 1)])
def test_an_object_that_is_missed_at_first_is_in_all_frames(missed):
    """Another one is seen, so that the detector is not asked for want of any."""
    clip = Clip({"red": moving, "blue": still}, length=40)

    class Late(TrueDetector):
        def _one(self, frame):
            found = super()._one(frame)
            return found[:1] if self.calls - 1 in missed else found

    results = list(Tracker(Late(clip), ColourSegmenter(), 30).track(clip.frames))
    assert [len(found) for found in results] == [2] * 40


def scene(frames, number):
    """The same objects before another ground."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    ground = torch.full((HEIGHT, WIDTH, 3), 0.3)
    ground[..., 2 * number] += 0.3 * ((columns // 16) % 2 if number else (rows // 15) % 2)
    grey = (frames.float().amax(-1) - frames.float().amin(-1)) < 20
    return torch.where(grey[..., None], (ground * 255).round().to(torch.uint8), frames)


@pytest.mark.parametrize("missed", [(), (0,), (0, 1)])
def test_a_new_object_after_a_cut_is_in_all_its_frames(missed):
    """The first one stays where it is, so that none is lost; the first looks after the cut miss the other."""
    clip = Clip({"red": still, "blue": lambda number: (-100 if number < 35 else 25, 20)}, length=70)
    frames = torch.cat([scene(clip.frames[:35], 0), scene(clip.frames[35:], 1)])

    class Late(TrueDetector):
        def _one(self, frame):
            found, self.after = super()._one(frame), getattr(self, "after", 0)
            self.after += len(found) == 2
            return found[:1] if self.after - 1 in missed else found

    detector = Late(clip, frames)
    results = list(Tracker(detector, ColourSegmenter(), 30).track(frames))
    assert [len(found) for found in results] == [1] * 35 + [2] * 35
    assert {each.id for found in results for each in found} == {1, 2}
    assert detector.calls < 20


def test_who_comes_after_a_cut_is_known_by_looks():
    """Two change places; the segmenter follows places."""
    clip = Clip({"red": lambda n: (20 if n < 30 else 75, 30), "blue": lambda n: (75 if n < 30 else 20, 30)}, length=60)
    frames = torch.cat([scene(clip.frames[:30], 0), scene(clip.frames[30:], 1)])
    results = list(Tracker(TrueDetector(clip, frames), BoxPropagator(BoxSegmenter()), 30).track(frames))
    assert [switches(ids_of(clip, results, name)) for name in clip.truth] == [0, 0]
    assert min(overlaps(clip, results)) > 0.9


def at(x, y):
    return lambda number: (x, y)


AWAY = at(-100, 0)
DISSOLVES = {  # where red and blue are before and after, and what follows them
    "stay": ((lambda n: (15 + 0.6 * n, 20), lambda n: (80 - 0.3 * n, 42)), None, ColourSegmenter),
    "change places": ((at(25, 30), at(70, 30)), (at(70, 30), at(25, 30)), lambda: BoxPropagator(BoxSegmenter())),
    "are elsewhere": ((at(25, 20), at(70, 40)), (at(50, 42), at(20, 40)), ColourSegmenter),
    "come and go": ((at(25, 20), AWAY), (AWAY, at(70, 40)), lambda: BoxPropagator(BoxSegmenter())),
    "come": ((at(25, 20), AWAY), (at(60, 30), at(20, 40)), ColourSegmenter),
}


@pytest.mark.parametrize("misses", NEVER)
@pytest.mark.parametrize("length", [4, 8, 16])
@pytest.mark.parametrize("kind", DISSOLVES)
def test_objects_keep_their_numbers_through_a_dissolve(kind, length, misses):
    before, after, segmenter = DISSOLVES[kind]
    clip = Clip(dict(zip(("red", "blue"), before)), length=60)
    other = Clip(dict(zip(("red", "blue"), after or before)), length=60)
    weights = ((torch.arange(60) - 21) / (length + 1)).clamp(0, 1).view(60, 1, 1, 1)
    frames = torch.lerp(scene(clip.frames, 0).float(), scene(other.frames, 1).float(), weights).round().to(torch.uint8)
    middle = 22 + length // 2
    clip.truth = {name: torch.cat([clip.truth[name][:middle], other.truth[name][middle:]]) for name in clip.truth}
    detector = TrueDetector(clip, frames, misses)
    results = list(Tracker(detector, segmenter(), 30).track(frames))
    ids = {name: ids_of(clip, results, name) for name in clip.truth}
    assert [switches(each) for each in ids.values()] == [0, 0]
    assert set(ids["red"].values()).isdisjoint(ids["blue"].values())
    seen = {name: int((masks.sum((1, 2)) > 60).sum()) for name, masks in clip.truth.items()}
    # A segmenter that knows one color loses a part where stripes come through.
    holes = 0 if misses is NEVER[0] and kind != "come and go" else 3
    assert all(seen[name] - holes <= len(each) <= seen[name] for name, each in ids.items())
    assert sum(overlaps(clip, results)) / 60 > 0.93
    assert detector.calls <= 24


@pytest.mark.parametrize("interval", [1, 5])
def test_what_takes_an_object_s_place_gets_a_number_of_its_own(interval):
    clip = Clip(
        {
            "red": lambda n: (70 if n < 30 or n >= 60 else -100, 40),
            "blue": lambda n: (70 if 30 <= n < 60 else -100, 40),
        },
        length=80,
    )
    results = list(Tracker(TrueDetector(clip), BoxPropagator(BoxSegmenter()), interval).track(clip.frames))
    red, blue = ids_of(clip, results, "red"), ids_of(clip, results, "blue")
    assert set(red.values()) == {1} and set(blue.values()) == {2}
    assert len(red) == 50 and len(blue) == 30


def test_what_takes_its_place_in_other_light_is_not_judged_by_its_colors():
    """Everything turns blue."""
    clip = Clip({"red": still}, length=60)
    frames = clip.frames.clone()
    frames[30:] = (frames[30:] * torch.tensor([0.3, 0.6, 1.0])).to(torch.uint8)
    results = list(Tracker(TrueDetector(clip, frames), BoxPropagator(BoxSegmenter()), 1).track(frames))
    assert {each.id for found in results for each in found} == {1}


@pytest.mark.parametrize("late", [0, 2])
def test_nothing_is_followed_back_over_a_cut(late):
    """A red thing in the same place of the scene before is none that the detector means."""
    clip = Clip({"red": still}, length=50)
    frames = torch.cat([scene(clip.frames[:25], 0), scene(clip.frames[25:], 1)])
    detector = TrueDetector(clip, frames, misses=lambda call: call < 25 + late)  # it is asked in every frame
    results = list(Tracker(detector, ColourSegmenter(), 30).track(frames))
    assert [len(found) for found in results] == [0] * 25 + [1] * 25


def test_what_appears_suddenly_is_not_followed_back_onto_the_ground():
    clip = Clip({"red": still, "blue": lambda number: (20 if number >= 20 else -100, 20)}, length=60)
    results = list(Tracker(TrueDetector(clip), BoxPropagator(BoxSegmenter()), 30).track(clip.frames))
    assert [len(found) for found in results] == [1] * 20 + [2] * 40


def test_what_is_followed_back_is_none_of_those_that_were_there():
    clip = Clip({"red": still}, length=1)
    frame, mask = clip.frames[0], clip.truth["red"][0]
    box = mask_box(mask)
    track = Track("ball", [looks(frame, mask, box)], light_around(frame, box), box)
    seen, other = TrackedInstance(2, "ball", 1.0, box, mask), TrackedInstance(1, "ball", 1.0, box, mask.roll(2, 1))
    assert track.was_there(frame, seen, {}) and not track.was_there(frame, seen, {1: other})


def test_looks_for_the_lost_stay_as_few_however_many_were_there():
    """Every 20 frames one object leaves for ever, each at a place of its own in the rounds of looks."""
    tracker = Tracker(None, BoxPropagator(None), 30)
    tracker._event = -10_000

    def looks_in(first, last):
        count = 0
        for index in range(first, last):
            gone = {n: SimpleNamespace(missing=index - 20 * n) for n in range(index // 20 + 1) if index > 20 * n}
            tracker._tracks = {**gone, -1: SimpleNamespace(missing=0)}
            count += tracker._must_look(index, {-1: None})
        return count

    early, late = looks_in(960, 1280), looks_in(3840, 4160)
    # A look every 30 frames, one every 32 for all that are lost, and six right after each of 16 losses.
    assert early == late <= 11 + 10 + 6 * 16
