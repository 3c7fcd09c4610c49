"""Every family of video models can be tuned: gradients reach each layer, and identifiers lie on its attention."""

import combined
import pytest
import rows
import torch
from comfy.utils import load_torch_file

#: Rows of the truth table -> layers of attention in their one or two blocks.
ROWS = {
    "Wan I2V": 8, "Wan VACE, control": 24, "Wan 2.2 5B TI2V": 8, "Wan S2V": 8, "Uni3C": 8, "LTXV I2V": 8,
    "LTXV, guides": 8, "Hunyuan I2V v1": 2, "Hunyuan 1.5 I2V": 2, "Kandinsky 5 T2V": 8, "Cosmos 1 T2V": 8,
    "Cosmos Predict2 T2V": 8, "CogVideoX T2V": 4, "SD 1.5, frames as batch": 24,
}  # fmt: skip


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


def tuned(output, model, positive, empty, latent):
    """The weights of a short tuning on noise in the shape of a latent."""
    from long_video_pack.glv_core.hosts.comfy.families import nested, streams_of
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    generator = torch.Generator().manual_seed(0)
    streams = [torch.randn(each.shape, generator=generator) for each in streams_of(latent["samples"])]
    given = {**latent, "samples": streams[0] if len(streams) == 1 else nested(streams)}
    window, stride = (33, 8) if streams[0].ndim == 5 else (5, 2)
    _, file, losses = TuneOnVideo.execute(
        model, positive, empty, given, "tuned", 2, 1e-2, 2, window, stride, "low_rank", "attention", "continuous", 1,
        clip_drop=0.0, text_drop=0.0, preview_every=0,
    ).args  # fmt: skip
    assert all(loss > 0 for loss in losses["loss"])
    return load_torch_file(str(output / "loras" / file))


def check(weights, layers):
    downs = [name for name in weights if name.endswith("lora_down.weight")]
    assert len(downs) == layers
    assert all(weights[name].any() for name in downs), [name for name in downs if not weights[name].any()]
    ups = [name for name in weights if name.startswith("clip_identifiers.") and name.endswith(".up")]
    assert ups and all(weights[name].any() for name in ups)


@pytest.mark.parametrize("name", ROWS)
def test_a_family_is_tuned(output, name):
    [row] = [row for row in rows.ROWS if row.name == name] or [None]
    if row is None:
        pytest.skip("this ComfyUI has no such model")
    try:
        made = row.make(11)
    except (AttributeError, ImportError) as error:
        pytest.skip(f"this ComfyUI has no such model: {error}")
    check(tuned(output, made.model, made.positive, made.negative, made.latent), ROWS[name])


@pytest.mark.parametrize("kind", combined.KINDS)
def test_video_with_sound_is_tuned(output, kind):
    latent = combined.latent(kind, 17)
    weights = tuned(output, combined.model(kind), combined.text(kind, 1), combined.text(kind, 0), latent)
    check(weights, {"ltx": 8, "h3": 2}[kind])
    assert not any("audio" in name for name in weights)
