"""Every family of video models can be tuned: gradients reach each layer, and identifiers lie on its attention."""

import combined
import pytest
import rows
import torch
from comfy.utils import load_torch_file

#: Rows of the truth table -> layers of attention, and feed-forward layers, in their one or two blocks.
ROWS = {
    "Wan I2V": 10, "Wan VACE, control": 30, "Wan 2.2 5B TI2V": 10, "Wan S2V": 10, "Uni3C": 10, "LTXV I2V": 10,
    "LTXV, guides": 10, "Hunyuan I2V v1": 6, "Hunyuan 1.5 I2V": 6, "Kandinsky 5 T2V": 10, "Cosmos 1 T2V": 10,
    "Cosmos Predict2 T2V": 10, "CogVideoX T2V": 6, "SD 1.5, frames as batch": 30,
}  # fmt: skip


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


def tuned(output, model, positive, empty, latent, steps=2, window=33):
    """The weights of a short tuning on noise in the shape of a latent."""
    from long_video_pack.glv_core.hosts.comfy.families import nested, streams_of
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    generator = torch.Generator().manual_seed(0)
    streams = [torch.randn(each.shape, generator=generator) for each in streams_of(latent["samples"])]
    given = {**latent, "samples": streams[0] if len(streams) == 1 else nested(streams)}
    window, stride = (window, 8) if streams[0].ndim == 5 else (5, 2)
    _, file, losses = TuneOnVideo.execute(
        model, positive, empty, given, "tuned", steps, 1e-2, 2, window, stride, "low_rank",
        "attention_and_feed_forward", "continuous", 1, clip_drop=0.0, text_drop=0.0, preview_every=0,
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


def test_guides_behind_the_video_are_no_part_of_it(output, monkeypatch):
    """With prompts along the video, whose length is that without the guides."""
    import tiny
    from long_video_pack.glv_core.hosts.comfy.tuning import training
    from long_video_pack.glv_core.tuning import Places, read_tuned

    [row] = [row for row in rows.ROWS if row.name == "LTXV, guides"]
    made = row.make(11)
    [[text, extras]], tagged = made.positive, tiny.scheduled("one | two", 8 * 11 - 7, transition="hard")
    positive = [[text * sign, {**extras, **own}] for sign, (_, own) in zip((1, -1), tagged, strict=True)]
    seen, entry = [], training._Windows._entry

    def spy(self, name, view, draw):
        sliced = entry(self, name, view, draw)
        prompt = 1 if torch.equal(sliced["model_conds"]["c_crossattn"].cond, text) else 2
        seen.append((draw.start, prompt, len(view.indices), sliced["model_conds"]["denoise_mask"].cond.shape[2]))
        return sliced

    monkeypatch.setattr(training._Windows, "_entry", spy)
    tuned(output, made.model, positive, made.negative, made.latent, steps=16, window=17)
    [file] = (output / "loras").glob("*.safetensors")
    assert read_tuned(file).identifiers.places == Places(11, 3, 1)
    # frames 0 to 40 show the first prompt: latent frames 0 to 5
    assert {(start, prompt) for start, prompt, *_ in seen} <= {
        *((start, 1) for start in range(4)), *((start, 2) for start in range(6, 9))
    }  # fmt: skip
    assert {prompt for _, prompt, *_ in seen} == {1, 2}
    for start, _, shown, masked_frames in seen:
        guides = sum(start <= guided < start + 3 for guided in made.guides)
        assert shown == masked_frames == 3 + guides


@pytest.mark.parametrize("kind", combined.KINDS)
def test_video_with_sound_is_tuned(output, kind):
    latent = combined.latent(kind, 17)
    weights = tuned(output, combined.model(kind), combined.text(kind, 1), combined.text(kind, 0), latent)
    check(weights, {"ltx": 10, "h3": 4}[kind])
    assert not any("audio" in name for name in weights)


KEPT = ["Wan T2V", "Wan 2.2 5B TI2V", *combined.KINDS]


def masked(name):
    """A model, texts, and a LATENT whose noise mask keeps every third latent frame, and others in part."""
    if name in combined.KINDS:
        model, texts = combined.model(name), [combined.text(name, 1), combined.text(name, 0)]
        streams = combined.latent(name, 17)["samples"].unbind()
    else:
        [row] = [row for row in rows.ROWS if row.name == name]
        made = row.make(11)
        model, texts, streams = made.model, [made.positive, made.negative], [made.latent["samples"]]
    generator = torch.Generator().manual_seed(0)
    streams = [torch.randn(each.shape, generator=generator) for each in streams]
    masks = [torch.ones(each.shape) for each in streams]
    time_dim_of_sound = {"ltx": 2, "h3": 3}.get(name)
    for mask, axis in zip(masks, (2, time_dim_of_sound), strict=False):
        along = mask.movedim(axis, 0)
        along[::3], along[1::3, ..., :2] = 0.0, 0.5
    if len(streams) == 1:
        return model, texts, {"samples": streams[0], "noise_mask": masks[0]}
    made = combined.nested(*streams)
    return model, texts, {**made, "noise_mask": combined.nested(*masks)["samples"]}


@pytest.mark.parametrize("name", KEPT)
def test_what_a_noise_mask_keeps_is_as_in_sampling_and_not_learnt(output, monkeypatch, name):
    import comfy.samplers
    from long_video_pack.glv_core.hosts.comfy.tuning import training
    from long_video_pack.nodes.tune_on_video import TuneOnVideo

    noisy, error, seen = training._Windows._noisy, training._Windows._error, []

    def spy_noisy(self, view, draw, mask):
        """With noise of 0.3 everywhere: what the network sees is a part of what the sampler shows it of it all."""
        assert 0 < float(mask.mean()) < 1
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randn", lambda shape, generator: torch.full(shape, 0.3))
            latent, x, sigma = noisy(self, view, draw, mask)
        shown = []

        class Guider:
            inner_model = self.model

            def __call__(self, x, sigma, **_):
                return shown.append(x) or x

        level = torch.full((1,), sigma)
        inpaint = comfy.samplers.KSamplerX0Inpaint(Guider(), None)
        inpaint.latent_image, inpaint.noise = self.latent, torch.full_like(self.latent, 0.3)
        whole = self.model.model_sampling.noise_scaling(
            level.view(-1, *[1] * (self.latent.ndim - 1)), inpaint.noise, self.latent, False
        )
        inpaint(whole, level, self.mask)
        torch.testing.assert_close(x, self.run.latent.part(shown[0], view))
        if name in ("Wan 2.2 5B TI2V", "ltx"):  # told what is clean
            assert torch.equal(x[mask == 0], latent[mask == 0])
        return latent, x, sigma

    def spy_error(self, predicted, wanted, view, sigma, mask):
        made = error(self, predicted, wanted, view, sigma, mask)
        for changed in (mask == 0, mask == 1):
            with torch.no_grad():
                other = error(self, predicted + 5.0 * changed, wanted, view, sigma, mask)
            seen.append(bool(torch.isclose(other, made.detach(), rtol=1e-5)))
        return made

    monkeypatch.setattr(training._Windows, "_noisy", spy_noisy)
    monkeypatch.setattr(training._Windows, "_error", spy_error)
    model, (positive, empty), latent = masked(name)
    frames = 17 if name == "h3" else 33
    TuneOnVideo.execute(
        model,
        positive,
        empty,
        latent,
        "tuned",
        3,
        1e-2,
        2,
        frames,
        8,
        "low_rank",
        "attention",
        "none",
        1,
        preview_every=0,
    )
    assert seen == [True, False] * 3
