"""Following objects through drawn clips of 200 frames, against the truth."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from glv_core.perception.boxes import Detection, nms
from glv_core.perception.cuts import LATE
from glv_core.perception.per_frame import BoxPropagator, per_frame
from glv_core.perception.selection import Selection, union
from glv_core.perception.tracking import FORGET, LOOK_BACK, MaskPrediction, Tracker

sys.path.insert(0, str(Path(__file__).parent))

from drawn import HEIGHT, WIDTH, BoxSegmenter, Clip, ColourDetector, ColourSegmenter, disc, ids_of, iou


def crossing(number):
    return 12 + 0.36 * number, 30 + 4 * math.sin(number / 15)


def against(number):
    return 84 - 0.36 * number, 30


def still(number):
    return 70, 40


@pytest.fixture(scope="module")
def cross():
    return Clip({"blue": against, "red": crossing})


def mean_iou(clip, results):
    truth = torch.stack(list(clip.truth.values())).any(0)
    return sum(iou(union(found, HEIGHT, WIDTH), truth[k]) for k, found in enumerate(results)) / len(results)


@pytest.mark.parametrize("interval", [1, 7, 30, 0])
def test_objects_that_cross_keep_their_ids(cross, interval):
    results = list(Tracker(ColourDetector(), ColourSegmenter(), interval).track(cross.frames))
    assert len(results) == 200
    ids = {name: ids_of(cross, results, name) for name in ("red", "blue")}
    for name, found in ids.items():
        visible = [k for k in range(200) if cross.truth[name][k].sum() > 60]
        assert set(found) == set(visible), name
        assert len(set(found.values())) == 1, name
    assert set(ids["red"].values()) != set(ids["blue"].values())
    assert max(len(found) for found in results) == 2
    assert mean_iou(cross, results) > 0.97


@pytest.mark.parametrize("misses", [lambda call: call % 3 == 0, lambda call: call % 3 == 2])
def test_a_detector_that_misses_every_third_frame_leaves_no_hole(cross, misses):
    tracked = list(Tracker(ColourDetector(misses), ColourSegmenter(), 10).track(cross.frames))
    faithful = list(per_frame(ColourDetector(misses), BoxSegmenter(), cross.frames.split(4)))
    assert all(tracked)
    assert sum(not found for found in faithful) == pytest.approx(67, abs=1)
    assert mean_iou(cross, tracked) >= 0.9
    assert mean_iou(cross, faithful) <= 0.7


@pytest.mark.parametrize("reach", [8, 200])
def test_one_that_leaves_and_returns_is_the_same(reach):
    """With a segmenter that finds it itself (reach 200), and with one that must be told (8)."""

    def away(number):
        return (20 + 1.2 * number, 20) if number < 110 else (300 - 1.4 * number, 25)

    clip = Clip({"blue": still, "red": away})
    results = list(Tracker(ColourDetector(), ColourSegmenter(reach), 30).track(clip.frames))
    ids = ids_of(clip, results, "red")
    gone = [k for k in range(200) if not clip.truth["red"][k].any()]
    assert len(gone) > 50
    assert len(set(ids.values())) == 1
    back = gone[-1] + 1
    returned = [k for k in range(back, 200) if clip.truth["red"][k].sum() > 60]
    assert set(returned) <= set(ids)
    assert all(len(results[k]) == 1 for k in gone)


def test_an_object_seen_late_is_followed_back(cross):
    """A detector that is blind at first leaves no hole as long as the frames are still there."""
    blind = LOOK_BACK - 1
    results = list(Tracker(ColourDetector(lambda call: call < blind), ColourSegmenter()).track(cross.frames[:60]))
    assert [len(found) for found in results] == [2] * 60
    results = list(Tracker(ColourDetector(lambda call: call < 40), ColourSegmenter()).track(cross.frames[:60]))
    assert [len(found) for found in results] == [0] * (40 - LOOK_BACK) + [2] * (20 + LOOK_BACK)


def test_the_detector_is_asked_seldom():
    clip = Clip({"blue": still})
    detector = ColourDetector()
    list(Tracker(detector, ColourSegmenter(), 50).track(clip.frames))
    assert detector.calls == 10  # in frames 0, 1, 2, 4, 8, 16, 32, 50, 100, 150
    detector = ColourDetector()
    list(Tracker(detector, ColourSegmenter(), 0).track(clip.frames))
    assert detector.calls == 1


def test_a_mask_that_has_drifted_is_corrected():
    """The segmenter goes astray after frame 15, so far that this is seen at once."""

    class Astray(ColourSegmenter):
        def step(self, frame):
            carried = super().step(frame)
            if self.steps == 16:
                for known in self.known.values():
                    known[0] = torch.full((3,), 0.45)
                    known[1] = (0, 0, 12, 12)
            return carried

    clip = Clip({"blue": still})
    results = list(Tracker(ColourDetector(), Astray(), 10).track(clip.frames[:60]))
    good = [iou(found[0].mask, clip.truth["blue"][k]) > 0.9 if found else False for k, found in enumerate(results)]
    assert all(good)
    assert {each.id for found in results for each in found} == {1}


def test_a_mask_that_drifts_slowly_is_corrected_at_the_next_look():
    class Sliding(BoxSegmenter):
        """Carries a mask on with the box, from frame 31 on half a pixel further to the left each time."""

        def __init__(self):
            self.mask, self.steps = disc(70, 40), 0

        def step(self, frame):
            self.steps += 1
            moved = torch.roll(self.mask, -max(0, self.steps - 31) // 2, 1)
            return {1: MaskPrediction(moved, 0.9)}

        def add(self, boxes):
            self.steps = 0
            return {each: MaskPrediction(self.mask, 0.9) for each in boxes}

        def forget(self, ids):
            pass

        def fresh(self):
            return Sliding()

    clip = Clip({"blue": still}, length=80)
    results = list(Tracker(ColourDetector(), Sliding(), 60).track(clip.frames))
    overlap = [iou(found[0].mask, clip.truth["blue"][k]) for k, found in enumerate(results)]
    assert min(overlap[:30]) == 1 and overlap[59] < 0.5 and min(overlap[60:]) == 1
    assert {each.id for found in results for each in found} == {1}


def test_a_new_object_gets_a_new_id_and_most_is_kept():
    def late(number):
        return -100 if number < 60 else 20, 20

    clip = Clip({"blue": still, "red": late})
    results = list(Tracker(ColourDetector(), ColourSegmenter(), 10).track(clip.frames))
    assert [each.id for each in results[40]] == [1]
    assert [each.id for each in results[-1]] == [1, 2]
    one = list(Tracker(ColourDetector(), ColourSegmenter(), 10, most=1).track(clip.frames))
    assert {each.id for found in one for each in found} == {1}


def test_one_of_several_is_chosen(cross):
    results = list(Tracker(ColourDetector(), ColourSegmenter()).track(cross.frames))
    red = ids_of(cross, results, "red")[0]
    chosen = Selection.parse(str(red))
    overlap = [iou(union(chosen.of(found), HEIGHT, WIDTH), cross.truth["red"][k]) for k, found in enumerate(results)]
    assert min(overlap) > 0.8


def test_boxes_of_one_frame_carry_an_object():
    """Without a memory it still follows what moves evenly."""
    clip = Clip({"red": crossing})
    results = list(Tracker(ColourDetector(), BoxPropagator(BoxSegmenter()), 30).track(clip.frames))
    assert all(len(found) == 1 for found in results)
    assert mean_iou(clip, results) > 0.9


def test_an_object_that_is_gone_for_long_is_forgotten_and_found_again():
    def away(number):
        return (20 if number < 20 or number > 25 + FORGET else -100), 20

    clip = Clip({"blue": still, "red": away}, length=FORGET + 60)
    segmenter = ColourSegmenter()
    known = []
    for _ in Tracker(ColourDetector(), segmenter, 30).track(clip.frames):
        known.append(len(segmenter.known))
    assert 1 in known[FORGET:]
    assert known[-1] == 2
    results = list(Tracker(ColourDetector(), ColourSegmenter(), 30).track(clip.frames))
    assert len(set(ids_of(clip, results, "red").values())) == 1


def test_only_a_few_frames_are_kept():
    """The tracker asks for a frame only when it needs it, and gives results while it reads."""
    clip = Clip({"blue": still}, length=50)
    asked = []

    def frames():
        for number, frame in enumerate(clip.frames):
            asked.append(number)
            yield frame

    results = Tracker(ColourDetector(), ColourSegmenter()).track(frames())
    next(results)
    assert len(asked) == LOOK_BACK + LATE + 1


def test_no_objects_at_all():
    frames = torch.full((5, HEIGHT, WIDTH, 3), 102, dtype=torch.uint8)
    assert list(Tracker(ColourDetector(), ColourSegmenter()).track(frames)) == [[]] * 5
    assert list(per_frame(ColourDetector(), BoxSegmenter(), frames.split(2))) == [[]] * 5


class Sure:
    """Follows what it was told of first, by the truth."""

    def __init__(self, truth):
        self.truth, self.number, self.known = truth, -1, []

    def step(self, frame):
        self.number += 1
        return {each: MaskPrediction(self.truth[self.number], 0.95) for each in self.known}

    def add(self, boxes):
        self.known += [each for each in boxes if each not in self.known]
        return {each: MaskPrediction(self.truth[max(0, self.number)], 0.95) for each in boxes}

    def forget(self, ids):
        self.known = [each for each in self.known if each not in set(ids)]

    def fresh(self):
        return Sure(self.truth.flip(0))


@pytest.mark.parametrize("interval", [1, 10, 30])
def test_what_the_detector_no_longer_sees_is_followed_through_changing_light(interval):
    clip = Clip({"blue": still}, length=100)
    frames = (clip.frames * torch.linspace(1, 0.2, 100)[:, None, None, None]).to(torch.uint8)
    tracker = Tracker(ColourDetector(lambda call: call > 0), Sure(clip.truth["blue"]), interval)
    assert [[each.id for each in found] for found in tracker.track(frames)] == [[1]] * 100


def test_no_more_objects_than_asked_for_when_one_comes_back():
    """The followed one is hidden for three frames, in which the other takes its place."""

    def hidden(number):
        return (20 if not 12 <= number < 15 else -100), 30

    clip = Clip({"red": hidden, "blue": still}, length=40)
    first = clip.frames[0].clone()
    first[clip.truth["blue"][0]] = 102
    frames = torch.cat([first[None], clip.frames[1:]])
    results = list(Tracker(ColourDetector(), ColourSegmenter(), 10, most=1).track(frames))
    assert max(len(found) for found in results) == 1
    assert [found[0].id for found in results[:12]] == [1] * 12
    assert [found[0].id for found in results[15:]] == [1] * 25


class TwoThings:
    """A disc, and a larger box around it that only the second look and those after it find."""

    def __init__(self, labels):
        self.labels, self.calls = labels, 0

    def detect(self, frames):
        self.calls += 1
        small, large = (
            Detection((59, 29, 82, 52), 0.6, self.labels[0]),
            Detection((52, 22, 88, 58), 0.9, self.labels[1]),
        )
        return [[small] if self.calls == 1 else [large]] * len(frames)


def test_another_thing_does_not_take_an_object_s_place():
    clip = Clip({"blue": still}, length=21)
    results = list(Tracker(TwoThings(("horse", "man")), ColourSegmenter(), 10).track(clip.frames))
    assert [(each.id, each.label) for each in results[-1]] == [(1, "horse"), (2, "man")]
    results = list(Tracker(TwoThings(("horse", "horse")), ColourSegmenter(), 10).track(clip.frames))
    assert [(each.id, each.label) for each in results[-1]] == [(1, "horse")]


def test_only_boxes_of_one_label_are_doubles():
    person, coat = Detection((0, 0, 100, 100), 0.9, "person"), Detection((0, 0, 100, 80), 0.8, "coat")
    again = Detection((0, 0, 100, 82), 0.5, "coat")
    assert nms([person, coat, again]) == [person, coat]
    assert nms([person, Detection((0, 0, 100, 99), 0.8, "man")]) == [person]
