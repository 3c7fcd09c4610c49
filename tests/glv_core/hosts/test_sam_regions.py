"""SAM's regions of a picture, with a stand-in for the model that answers each point with known masks."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from glv_core.hosts.transformers.sam import SamSegmenter

SIZE = 64  # of pictures and masks


class Processor:
    image_processor = SimpleNamespace(pad_size={"height": SIZE, "width": SIZE})

    def __call__(self, images, return_tensors, input_points=None, input_boxes=None):
        assert images.dtype == torch.uint8 and images.shape == (3, SIZE, SIZE)
        inputs = {
            "pixel_values": images[None].float(), "original_sizes": torch.tensor([[SIZE, SIZE]]),
            "reshaped_input_sizes": torch.tensor([[SIZE, SIZE]]),
        }  # fmt: skip
        return inputs | {"input_points": torch.tensor([input_points]).view(1, -1, 1, 2)}


class Model:
    """The quarter of the picture around a point, the whole picture, and a mask that is not sure of itself."""

    device, dtype = torch.device("cpu"), torch.float32
    scores = (0.95, 0.9, 0.99)

    def __init__(self):
        self.batches = []

    def get_image_embeddings(self, pixels):
        return pixels

    def __call__(self, image_embeddings, input_points, multimask_output):
        assert multimask_output
        count = input_points.shape[1]
        self.batches.append(count)
        logits = torch.full((1, count, 3, SIZE, SIZE), -10.0)
        for number, (x, y) in enumerate(input_points[0, :, 0].tolist()):
            half = SIZE // 2
            left, top = int(x // half) * half, int(y // half) * half
            logits[0, number, 0, top : top + half, left : left + half] = 10
            logits[0, number, 1] = 10
            logits[0, number, 2, :half] = 0.5
        return SimpleNamespace(pred_masks=logits, iou_scores=torch.tensor(self.scores).expand(1, count, 3))


def test_quarters_and_the_whole_are_found_once():
    model = Model()
    masks = SamSegmenter(model, Processor(), prompts_per_forward=5).regions(torch.rand(SIZE, SIZE, 3), 4)
    assert model.batches == [5, 5, 5, 1]
    assert sorted(masks.flatten(1).sum(1).tolist()) == [1024, 1024, 1024, 1024, 4096]
    assert masks[:4].any(0).all()  # the best first: the quarters


def test_what_is_not_good_or_not_steady_does_not_count():
    frame = torch.rand(SIZE, SIZE, 3)
    segmenter = SamSegmenter(Model(), Processor())
    assert len(segmenter.regions(frame, 4, quality=0.93)) == 4
    assert len(segmenter.regions(frame, 4, quality=0.96)) == 0
    assert segmenter.regions(frame, 4, quality=0.96).shape == (0, SIZE, SIZE)
    assert len(segmenter.regions(frame, 4, stability=-1.0)) == 6


def test_progress():
    calls = []
    SamSegmenter(Model(), Processor(), 10).regions(
        torch.rand(SIZE, SIZE, 3), 4, on_prompts=lambda *at: calls.append(at)
    )
    assert calls == [(10, 16), (16, 16)]
