"""Editing modes on the demo model: what comes out, read from pixels. One drawn video is the source of all."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glv_core.demo.clips import centred_scene, render
from glv_core.demo.detector import agrees, centre_distances, read_frames
from glv_core.metrics import frame_differences, ring_flicker, seam_ratio_of

SCENE = ["circle", "red", "white", "right", 5.0]
LONG = 481
WINDOWS = {"window": 61, "overlap": 8, "schedule": "shifted", "merge": "pyramid", "windows_per_forward": 0}
MIX = (
    (0, "a yellow circle moving right on a black background"),
    (80, "a magenta circle moving right on a gray background"),
    (160, "a cyan circle moving right on a white background"),
)


@pytest.fixture(scope="module")
def source():
    """The frames ``t h w 3`` of the drawn video."""
    return render(centred_scene(*SCENE), LONG).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def edit(inside, tmp_path):
    """Makes an edit and reads its frames."""

    def make(prompts: str, num_frames: int, mode: str, **more) -> np.ndarray:
        path = tmp_path / "frames.npy"
        inside(
            "editing", "edited", scene=SCENE, prompts=prompts, num_frames=num_frames, mode=mode, path=str(path), **more
        )
        return np.load(path)

    return make


def errors(frames: np.ndarray, source: np.ndarray) -> list[float]:
    """How far the object's centre is from the source's, in pixels, in the frames where both are seen."""
    return centre_distances(read_frames(frames), read_frames(source))


@pytest.mark.parametrize("refinements", [0, 1])
def test_an_inverted_video_comes_back(inside, refinements):
    """Beside the VAE's own round trip, 241 frames with moving windows."""
    result = inside(
        "editing", "inversion", scene=SCENE, num_frames=241, steps=20, refinements=refinements, windows=WINDOWS
    )
    assert result["frames"] == 241
    assert result["psnr"] >= (40, 47)[refinements]


def test_another_colour_word_changes_the_colour_and_keeps_the_way(edit, source):
    frames = edit("0: a blue circle moving right on a white background", LONG, "depth", steps=12)
    readings = read_frames(frames)
    assert len(readings) == LONG
    assert np.mean([agrees(each, "a blue circle on a white background") for each in readings]) >= 0.95
    assert np.mean(errors(frames, source)) < 1.5


def test_edges_steer_too(edit, source):
    frames = edit("0: a green circle moving right on a white background", 121, "canny", steps=12)
    readings = read_frames(frames)
    assert np.mean([agrees(each, "a green circle on a white background") for each in readings]) >= 0.95
    assert np.mean(errors(frames, source[:121])) < 1.5


def test_what_is_masked_changes_and_the_rest_stays(edit, source):
    frames, original = edit("0: a blue square moving right on a white background", 241, "mask", steps=12), source[:241]
    readings = read_frames(frames)
    assert np.mean([agrees(each, "a blue square on a white background") for each in readings]) >= 0.95
    object_mask = torch.from_numpy(np.abs(original - original[0, 0, 0]).max(-1) > 0.1).float()
    far = F.max_pool2d(object_mask[:, None], 9, 1, 4)[:, 0].numpy() == 0  # the mask was grown by 3 pixels
    assert far.mean() > 0.5 and (frames[far] == original[far]).all()
    assert not (frames[~far] == original[~far]).all()
    grown = F.max_pool2d(object_mask[:, None], 7, 1, 3)[:, 0].numpy()
    assert ring_flicker(frames, original, grown, 8) <= 1.1  # a latent pixel to each side


def by_segment(differences: np.ndarray) -> np.ndarray:
    """Frame differences over the mean of their prompt's stretch, whose colours say how large they are."""
    scaled = np.array(differences, dtype=float)
    for first, last in ((0, 68), (92, 148), (172, 240)):
        scaled[first:last] /= scaled[first:last].mean()
    return scaled


def test_a_mix_follows_its_schedule_without_seams(edit):
    """Isolated clips meet where 16 latent frames end. The control holds the object there, but not the looks."""
    prompts = "\n".join(f"{start}: {text}" for start, text in MIX)
    transitions = [(start - 12, start + 12) for start, _ in MIX[1:]]

    def seam(frames: np.ndarray) -> float:
        return seam_ratio_of(by_segment(frame_differences(frames)), (61, 125, 189), transitions, 4)

    ours = [edit(prompts, 241, "depth", seed=seed) for seed in (0, 1)]
    for frames in ours:
        readings = read_frames(frames)
        for (start, text), end in zip(MIX, (80, 160, 241), strict=True):
            assert np.mean([agrees(each, text) for each in readings[start + 10 : end - 10]]) >= 0.95, text
    assert np.mean([seam(frames) for frames in ours]) <= 1.05
    isolated = edit(prompts, 241, "depth", how="isolated", more={"prompt_blending": "one_per_window"})
    assert seam(isolated) >= 3
