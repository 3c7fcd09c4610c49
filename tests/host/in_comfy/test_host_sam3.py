"""The host's own SAM 3 with tiny random weights, where this ComfyUI has it."""

import pytest
import tiny_host_sam3
import torch

BOXES = [(5.0, 4.0, 30.0, 40.0), (20.0, 10.0, 70.0, 50.0), (0.0, 0.0, 80.0, 60.0)]


@pytest.fixture(params=["SAM3", "SAM31"])
def host(request):
    """Our detector and segmenter, its network, and the images that the network's trunk has seen."""
    pytest.importorskip("comfy.ldm.sam3.detector")
    from long_video_pack.glv_core.hosts.comfy.vision.host_sam3 import HostSam3

    model, text = tiny_host_sam3.host_model(request.param), tiny_host_sam3.conditioning()
    network = model.model.diffusion_model
    seen = []
    trunk = network.detector.backbone["vision_backbone"].trunk
    trunk.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    with torch.inference_mode():
        ours = HostSam3(model, text, "red thing", 0.5)
        yield ours, network, seen, text[0][0]


def frame(seed):
    return torch.randint(256, (60, 80, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_trunk_sees_a_frame_once(host):
    """Whether objects are looked for first or asked for first."""
    ours, _, seen, _ = host
    ours.detect(frame(0)[None])
    ours.segment(frame(0), BOXES)
    assert seen == [1]
    ours.segment(frame(1), BOXES)
    ours.segment(frame(1), BOXES[:1])
    ours.detect(frame(1)[None])
    assert seen == [1, 1]


def test_masks_and_detections_are_those_of_separate_calls(host, monkeypatch):
    ours, network, _, text = host
    alone, made = network.forward_segment, []
    monkeypatch.setattr(network, "forward_segment", lambda *a, **k: made.append(alone(*a, **k)) or made[-1])
    ours.detect(frame(1)[None])  # another frame before: nothing of it may be left
    ours._threshold = 0.0
    masks, detections = ours.segment(frame(0), BOXES), ours._detections(frame(0))
    square = torch.nn.functional.interpolate(frame(0).movedim(-1, 0)[None] / 255, (1008, 1008), mode="bilinear")
    assert len(masks) == len(made) == len(BOXES)
    for logits, box in zip(made, BOXES, strict=True):
        corners = torch.tensor(box).view(1, 2, 2) * torch.tensor([1008 / 80, 1008 / 60])
        assert torch.equal(logits, alone(square, box_inputs=corners))
    assert not torch.equal(made[0], made[1]), "the same for all boxes: the test would see nothing"
    theirs = network(square, text_embeddings=text, text_mask=torch.ones(1, 4), threshold=0.0, orig_size=(60, 80))
    assert [each.score for each in detections] == theirs["scores"][0].sigmoid().tolist()
    assert len(detections) == 200
