"""SAM's regions of an image, with a stand-in for the model that answers each point with known masks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from glv_core.hosts.transformers.sam import SamSegmenter

SIZE = 64  # of images and masks


def frame_of(height, width):
    return torch.randint(256, (height, width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class Processor:
    image_processor = SimpleNamespace(pad_size={"height": SIZE, "width": SIZE})

    def __init__(self, size=(SIZE, SIZE), inside=(SIZE, SIZE)):
        self.size, self.inside = size, inside

    def __call__(self, images, return_tensors, input_points=None, input_boxes=None):
        assert images.dtype == torch.uint8 and images.shape == (3, *self.size)
        inputs = {
            "pixel_values": images[None].float(), "original_sizes": torch.tensor([self.size]),
            "reshaped_input_sizes": torch.tensor([self.inside]),
        }  # fmt: skip
        return inputs | {"input_points": torch.tensor([input_points]).view(1, -1, 1, 2)}


class Model:
    """The quarter of the image around a point, the whole image, and a mask that is not sure of itself."""

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
    regions = SamSegmenter(model, Processor(), prompts_per_forward=5).regions(frame_of(SIZE, SIZE), 4)
    masks = torch.stack(list(regions.masks()))
    assert regions.areas.tolist() == masks.flatten(1).sum(1).tolist()
    assert model.batches == [5, 5, 5, 1]
    assert sorted(masks.flatten(1).sum(1).tolist()) == [1024, 1024, 1024, 1024, 4096]
    assert masks[:4].any(0).all()  # the best first: the quarters


def test_what_is_not_good_or_not_steady_does_not_count():
    frame = frame_of(SIZE, SIZE)
    segmenter = SamSegmenter(Model(), Processor())
    assert len(segmenter.regions(frame, 4, quality=0.93)) == 4
    assert len(segmenter.regions(frame, 4, quality=0.96)) == 0
    assert list(segmenter.regions(frame, 4, quality=0.96).masks()) == []
    assert len(segmenter.regions(frame, 4, stability=-1.0)) == 6


class Blobs:
    """Three soft discs around each point, of sizes and scores by chance, as small masks in a 16-bit type."""

    device = torch.device("cpu")

    def __init__(self, dtype, size, inside):
        self.dtype, self.size, self.inside = dtype, size, inside
        self.random = torch.Generator().manual_seed(5)
        self.given = []  # logits ``h w`` and scores

    def get_image_embeddings(self, pixels):
        return pixels

    def __call__(self, image_embeddings, input_points, multimask_output):
        count, small = input_points.shape[1], SIZE // 4
        scale = torch.tensor([self.inside[1] / self.size[1], self.inside[0] / self.size[0]])
        at = input_points[0, :, 0].float() * scale / 4
        y, x = torch.meshgrid(torch.arange(small) + 0.5, torch.arange(small) + 0.5, indexing="ij")
        distance = ((x - at[:, None, None, 0]) ** 2 + (y - at[:, None, None, 1]) ** 2).sqrt()[:, None]
        radius = torch.rand(count, 3, 1, 1, generator=self.random) * 7 - 1  # some are empty
        logits = ((radius - distance) * 4).to(self.dtype)
        scores = torch.rand(count, 3, generator=self.random)
        self.given += list(zip(logits.flatten(0, 1), scores.flatten().tolist(), strict=True))
        return SimpleNamespace(pred_masks=logits[None], iou_scores=scores[None])


def regions_one_by_one(given, size, inside, quality, stability):
    """Every mask in full size, the best first, each against all that are kept."""
    kept = []
    for logits, score in sorted(given, key=lambda each: -each[1]):
        full = torch.nn.functional.interpolate(logits[None, None].float(), (SIZE, SIZE), mode="bilinear")
        full = torch.nn.functional.interpolate(full[..., : inside[0], : inside[1]], size, mode="bilinear")[0, 0]
        inner, outer = int((full > 1).sum()), int((full > -1).sum())
        if score <= quality or not outer or inner / outer <= stability or not (full > 0).any():
            continue
        rows, columns = (full > 0).any(1).nonzero().flatten().tolist(), (full > 0).any(0).nonzero().flatten().tolist()
        box = {(row, column) for row in range(rows[0], rows[-1] + 1) for column in range(columns[0], columns[-1] + 1)}
        if all(len(box & other) / len(box | other) <= 0.7 for _, other in kept):
            kept.append((full > 0, box))
    return [mask for mask, _ in kept]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_regions_are_those_of_masks_one_by_one(dtype):
    size, inside = (36, 48), (48, 64)
    model = Blobs(dtype, size, inside)
    regions = SamSegmenter(model, Processor(size, inside), 10).regions(frame_of(*size), 6, 0.2, 0.3)
    expected = regions_one_by_one(model.given, size, inside, 0.2, 0.3)
    assert 16 < len(expected) < 80
    assert torch.equal(torch.stack(list(regions.masks())), torch.stack(expected))
    assert regions.logits.shape == (len(expected), SIZE // 4, SIZE // 4) and regions.logits.dtype == dtype


def test_few_masks_are_large_at_a_time(monkeypatch):
    """Three masks for each of 64 points, all of which count."""
    size, inside = (480, 640), (48, 64)
    batches, enlarge = [], torch.nn.functional.interpolate

    def spy(images, shape, **options):
        batches.append(len(images))
        return enlarge(images, shape, **options)

    monkeypatch.setattr("glv_core.hosts.transformers.sam.F.interpolate", spy)
    model = Blobs(torch.float16, size, inside)
    regions = SamSegmenter(model, Processor(size, inside)).regions(frame_of(*size), 8, -1.0, -1.0)
    assert sum(1 for _ in regions.masks()) == len(regions) > 16
    assert sum(batches) >= 2 * (8 * 8 * 3 + len(regions))
    assert max(batches) <= 16


def test_progress():
    calls = []
    SamSegmenter(Model(), Processor(), 10).regions(frame_of(SIZE, SIZE), 4, on_prompts=lambda *at: calls.append(at))
    assert calls == [(10, 16), (16, 16)]
