"""The demo model with its VACE branch, as shipped: the plain pipeline's bits, and long videos that do as they are told.

What frames show is read by the detector, from pixels alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from PIL import Image

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.demo import MODEL_DIR
from glv_core.demo.clips import SIZE, Scene, render
from glv_core.demo.detector import agreement, object_masks, read_clip
from glv_core.editing.composite import composite_frames
from glv_core.hosts.diffusers import VaceHint, encode_hint, generate, timebase_for
from glv_core.hosts.diffusers.folder import load_pipeline, read_model_folder
from glv_core.prompts import parse_schedule

LENGTH, LONG = 61, 97  #: frames: a clip as it was trained on, and more than that
SOURCE = "a red circle moving right on a black background"
SETTINGS = CoDenoiseSettings(window=16, overlap=4)


@pytest.fixture(scope="module")
def pipeline():
    loaded = load_pipeline(read_model_folder(MODEL_DIR), "cpu", "float32", branch=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def source():
    """A drawn video ``t h w 3`` uint8, and where its object is, ``t h w`` bool."""
    scene = Scene(shape="circle", colour="red", background="black", direction="right", x=20.0, y=32.0)
    frames = (render(scene, LONG).movedim(1, -1) * 255).round().to(torch.uint8)
    masks = torch.from_numpy(np.stack([mask for _, mask in object_masks(frames.float() / 255, "object")]))
    return frames, masks


def silhouettes(masks):
    """Masks as control images ``t h w 3`` uint8: what is near is white."""
    return (masks.to(torch.uint8) * 255)[..., None].expand(-1, -1, -1, 3)


def made(pipeline, text, hint, length=LONG, settings=SETTINGS, **options):
    """Frames ``t h w 3`` of a run with the demo model's own values."""
    timebase = timebase_for(pipeline, length, 16)
    schedule = parse_schedule(text, num_frames=length, fps=16)
    values = {"num_inference_steps": 20, "guidance_scale": 2.0, "height": SIZE, "width": SIZE, "seed": 1, **options}
    return generate(pipeline, schedule, timebase, settings, hint=hint, **values)


@pytest.mark.parametrize("masked", [False, True])
def test_one_window_and_one_prompt_is_the_plain_pipeline_bit_for_bit(pipeline, source, masked):
    frames, masks = (each[:LENGTH] for each in source)
    if masked:
        hint = encode_hint(pipeline, 16, SIZE, SIZE, outside=[frames], inside=[frames], masks=[masks])
        given = {"video": frames, "mask": silhouettes(masks)}
    else:
        hint = encode_hint(pipeline, 16, SIZE, SIZE, inside=[silhouettes(masks)])
        given = {"video": silhouettes(masks)}
    ours = made(pipeline, SOURCE, VaceHint(hint), LENGTH, num_inference_steps=2, output_type="latent")
    plain = pipeline(
        SOURCE, negative_prompt="", num_frames=LENGTH, num_inference_steps=2, guidance_scale=2.0, height=SIZE,
        width=SIZE, generator=torch.Generator().manual_seed(1), output_type="latent",
        **{name: [Image.fromarray(image.numpy()) for image in images] for name, images in given.items()},
    ).frames  # fmt: skip
    assert torch.equal(ours, plain)


def test_a_long_video_follows_its_control_and_its_prompts(pipeline, source):
    """Another colour and background in either half, along the movement of the source."""
    texts = "a blue circle moving right on a white background", "a green circle moving right on a gray background"
    hint = encode_hint(pipeline, 25, SIZE, SIZE, inside=[silhouettes(source[1])])
    frames = made(pipeline, " | ".join(texts), VaceHint(hint))
    halves = frames[: LONG // 2 - 16], frames[LONG // 2 + 16 :]  # a second to either side of the change is left out
    for text, half in zip(texts, halves, strict=True):
        shares = agreement(read_clip(half), text)
        assert min(shares.values()) >= 0.9, (text, shares)
    found = torch.from_numpy(np.stack([mask for _, mask in object_masks(frames, "object")]))
    overlap = (found & source[1]).sum((1, 2)) / (found | source[1]).sum((1, 2))
    assert overlap.median() > 0.8
    # Without its strength the control says nothing, and the object is somewhere else.
    loose = made(pipeline, " | ".join(texts), VaceHint(hint, 0.0))
    missed = torch.from_numpy(np.stack([mask for _, mask in object_masks(loose, "object")]))
    assert ((missed & source[1]).sum((1, 2)) / (missed | source[1]).sum((1, 2))).median() < overlap.median() - 0.2


def test_an_edit_changes_the_object_and_leaves_the_rest(pipeline, source):
    frames, masks = source
    hint = encode_hint(pipeline, 25, SIZE, SIZE, outside=[frames], masks=[masks])
    text = "a blue circle moving right on a black background"
    edited = (made(pipeline, text, VaceHint(hint)) * 255).round().to(torch.uint8)
    whole = torch.cat(list(composite_frames([frames], [edited], masks)))
    assert torch.equal(whole[~masks], frames[~masks])
    assert torch.equal(whole[masks], edited[masks])
    shares = agreement(read_clip(whole.float() / 255), text)
    assert min(shares.values()) >= 0.9, shares
