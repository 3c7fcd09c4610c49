"""ComfyUI's memory tracker of SAM 3, fed a frame at a time, against its own run of the clip; tiny random weights."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import tiny_host_sam3
import torch
import torch.nn.functional as F
import video_files

SIZE = 168  # pixels of the square that the networks see
HEIGHT, WIDTH = 60, 80
BOXES = {1: (5.0, 4.0, 30.0, 40.0), 4: (20.0, 10.0, 70.0, 50.0)}


def clip(length):
    """Frames ``t h w 3`` uint8 of patches that move."""
    generator = torch.Generator().manual_seed(3)
    ground = F.interpolate(torch.rand(1, 3, 8, 12, generator=generator), (HEIGHT, 2 * WIDTH), mode="bicubic")[0]
    frames = torch.stack([ground[..., (3 * k) % WIDTH :][..., :WIDTH] for k in range(length)])
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1)


@pytest.fixture(params=["SAM3", "SAM31"])
def host(request, monkeypatch):
    """A MODEL with its network, and how many images its trunk has seen in each call."""
    pytest.importorskip("comfy.ldm.sam3.detector")
    from long_video_pack.glv_core.hosts.comfy.vision import host_sam3

    monkeypatch.setattr(host_sam3, "_SIZE", SIZE)
    model = tiny_host_sam3.host_model(request.param, SIZE)
    network, seen = model.model.diffusion_model, []
    network.detector.backbone["vision_backbone"].trunk.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]))
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield SimpleNamespace(model=model, network=network, seen=seen, kind=request.param)
    torch.set_num_threads(threads)


def memory_of(host, length):
    from long_video_pack.glv_core.hosts.comfy.vision.host_sam3 import HostSam3
    from long_video_pack.glv_core.hosts.comfy.vision.host_sam3_memory import Sam3Memory

    sam3 = HostSam3(host.model, tiny_host_sam3.conditioning(), "thing", 0.5, resize="bicubic")
    return Sam3Memory(sam3, length), sam3


def recorded(host, monkeypatch):
    """What the tracker gives from now on: logits of each call; and when it was asked who hides whom."""
    tracker = host.network.tracker
    made, original, asked = [], tracker.track_step, []
    if host.kind == "SAM31":
        hides = type(tracker)._suppress_recently_occluded
        monkeypatch.setattr(
            tracker,
            "_suppress_recently_occluded",
            lambda masks, last, index: asked.append((index, last.tolist())) or hides(masks, last, index),
        )

    def spy(**arguments):
        out = original(**arguments)
        made.append(out["pred_masks_high_res"].clone())
        return out

    monkeypatch.setattr(tracker, "track_step", spy)
    return made, asked


@pytest.mark.parametrize("length", [5, 20])  # shorter and longer than the tracker looks back
def test_frame_by_frame_is_the_hosts_own_run(host, monkeypatch, length):
    frames = clip(length)
    memory, sam3 = memory_of(host, length)
    ours, asked = recorded(host, monkeypatch)
    memory.step(frames[0])
    found = [memory.add(BOXES), *(memory.step(each) for each in frames[1:])]
    ours = torch.stack(ours).view(length, 2, SIZE, SIZE)
    masks = (sam3.logits(frames[0], list(BOXES.values())) > 0).float()
    assert all(0.02 < float(each.mean()) < 0.98 for each in masks) and not torch.equal(*masks)
    theirs, also_asked = recorded(host, monkeypatch)
    host.network.forward_video(frames.movedim(-1, 1).float() / 255, masks)
    if host.kind == "SAM3":  # object after object
        theirs = torch.stack(theirs).view(2, length, SIZE, SIZE).transpose(0, 1)
    else:
        theirs = torch.stack(theirs).view(length, 2, SIZE, SIZE)
    assert torch.equal(ours, theirs)
    assert asked == also_asked and len(asked) == (length - 1 if host.kind == "SAM31" else 0)
    assert not torch.equal(ours[-1], ours[-2]), "the same in all frames: the test would see nothing"
    for number, each in enumerate(found):
        assert list(each) == list(BOXES)
        whole = F.interpolate(theirs[number][None], (HEIGHT, WIDTH), mode="bilinear")[0] > 0
        assert torch.equal(torch.stack([each[1].mask, each[4].mask]), whole)
        assert all(0.5 < other.score <= 1 for other in each.values())


def test_those_before_do_not_depend_on_who_comes_and_goes(host):
    """Objects that begin later, are corrected or forgotten have memories of their own."""
    frames = clip(6)
    alone, _ = memory_of(host, 6)
    alone.step(frames[0])
    alone.add({1: BOXES[1]})
    expected = [alone.step(each)[1].mask for each in frames[1:]]
    memory, _ = memory_of(host, 6)
    memory.step(frames[0])
    memory.add({1: BOXES[1]})
    got = [memory.step(frames[1])]
    assert list(memory.add({4: BOXES[4], 5: BOXES[1]})) == [4, 5]
    got += [memory.step(frames[2]), memory.step(frames[3])]
    before = got[-1][4].mask
    corrected = memory.add({4: (2.0, 30.0, 50.0, 58.0)})
    assert list(corrected) == [4] and not torch.equal(corrected[4].mask, before)
    got.append(memory.step(frames[4]))
    memory.forget([4, 5, 9])
    got.append(memory.step(frames[5]))
    assert [sorted(each) for each in got] == [[1], [1, 4, 5], [1, 4, 5], [1, 4, 5], [1]]
    assert all(torch.equal(each[1].mask, mask) for each, mask in zip(got, expected, strict=True))
    assert memory.fresh().step(frames[0]) == {}


def stand_in_boxes(monkeypatch):
    """The detector's own work, and then a box at the first looks and two at those after the third."""
    from long_video_pack.glv_core.hosts.comfy.vision.host_sam3 import HostSam3
    from long_video_pack.glv_core.perception.boxes import Detection

    original, calls = HostSam3._detections, []

    def detections(self, frame):
        calls.append(original(self, frame))
        return [Detection(box, 0.9, "thing") for box in list(BOXES.values())[: 1 + (len(calls) > 3)]]

    monkeypatch.setattr(HostSam3, "_detections", detections)


def held():
    """Bytes of all tensors that there are."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


def test_the_trunk_sees_a_frame_once_and_memory_does_not_grow(host, monkeypatch):
    """Whatever is found, corrected and followed back; frames are read as they are needed, and few are kept."""
    from long_video_pack.glv_core.hosts.comfy.vision.grounding_models import TrackOptions, host_tracker
    from long_video_pack.glv_core.perception.cuts import LATE
    from long_video_pack.glv_core.perception.tracking import LOOK_BACK

    stand_in_boxes(monkeypatch)
    options = TrackOptions("thing", "tracked", 0.5, 0.25, 0, "auto", 8)
    length, gone, most, sizes = 88, [], [], []

    def batches():
        for start in range(0, length, 4):
            if start in (56, 84):
                sizes.append(held())
            batch = frames[start : start + 4].numpy().copy()  # which lives as long as a tensor of it
            weakref.finalize(batch, gone.append, start)
            most.append(start // 4 + 1 - len(gone))
            yield torch.from_numpy(batch)

    frames, found = clip(length), 0
    track = host_tracker(options, host.model, tiny_host_sam3.conditioning(), True, length)
    for each in track(batches()):
        found += len(each)
    assert host.seen == [1] * length
    assert found > length
    assert max(most) <= (LOOK_BACK + LATE) // 4 + 3
    assert sizes[1] < 1.02 * sizes[0], sizes


def node(host, frames, **changes):
    from long_video_pack.nodes import GroundedMask

    given = {
        "images": frames.float() / 255, "text": "thing", "mode": "tracked", "detector": "none", "segmenter": "none",
        "fill_holes": 0, "sam3_model": host.model, "sam3_conditioning": tiny_host_sam3.conditioning(),
    }  # fmt: skip
    return video_files.execute(GroundedMask, **given | changes).args


def test_the_node_follows_with_the_memory(host, monkeypatch):
    stand_in_boxes(monkeypatch)
    frames = clip(8)
    plain, _, _, _ = node(host, frames)
    host.seen.clear()
    mask, boxes, _, _ = node(host, frames, sam3_memory=True)
    assert host.seen == [1] * 8
    assert not torch.equal(mask, plain)
    assert mask.shape == (8, HEIGHT, WIDTH) and any(boxes)


def test_the_stop_button_and_progress(host, monkeypatch):
    import comfy.model_management
    import comfy.utils

    stand_in_boxes(monkeypatch)
    shown = []
    comfy.utils.set_progress_bar_global_hook(lambda done, total, image, node_id=None: shown.append((done, total)))
    try:
        node(host, clip(6), sam3_memory=True)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert shown[0] == (1, 6) and shown[-1] == (6, 6)  # the host leaves out those in quick succession
    host.seen.clear()

    def press(module, inputs, output):
        comfy.model_management.interrupt_current_processing(len(host.seen) == 2)

    host.network.detector.backbone["vision_backbone"].trunk.register_forward_hook(press)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        node(host, clip(12), sam3_memory=True)
    assert len(host.seen) == 2


def test_a_tracker_that_is_not_known_is_refused_before_the_first_pass(host, monkeypatch):
    monkeypatch.delattr(type(host.network.tracker), "track_step")
    with pytest.raises(ValueError, match=r"GroundedMask: sam3_memory is on, but .*Tracker.* has no track_step"):
        node(host, clip(2), sam3_memory=True)
    node(host, clip(2))
    with pytest.raises(ValueError, match="GroundedMask: sam3_memory is on, but mode is 'faithful'"):
        node(host, clip(2), sam3_memory=True, mode="faithful")
