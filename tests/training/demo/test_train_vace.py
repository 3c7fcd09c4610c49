"""The VACE branch before and while it is trained, and the hints it is trained on."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("sentencepiece")

from diffusers import WanTransformer3DModel, WanVACEPipeline

from glv_core.demo.clips import Scene, render
from training.demo import train_vace
from training.demo.train_vace import HintSampler, latent_masks, new_vace, silhouette


def small_base():
    torch.manual_seed(0)
    return WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=32, in_channels=16, out_channels=16, text_dim=24, freq_dim=32,
        ffn_dim=32, num_layers=6, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
    )  # fmt: skip


def cache(count=8):
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(count, 16, 22, 8, 8, generator=generator)
    return {
        "clips": clips.half(), "depth": (clips + 10).half(), "edges": (clips + 20).half(), "paint": (clips + 30).half(),
        "pose": (clips + 40).half(),
        "masks": torch.rand(count, 64, 22, 8, 8, generator=generator) > 0.5,
        "grey": torch.full((16, 22, 8, 8), -7.0).half(), "index": torch.arange(count),
    }  # fmt: skip


def test_an_untrained_branch_changes_nothing():
    base = small_base()
    model = new_vace(base)
    x, text = torch.randn(1, 16, 4, 8, 8), torch.randn(1, 5, 24)
    time = torch.tensor([300.0])
    with torch.no_grad():
        plain = base(x, time, text, return_dict=False)[0]
        hinted = model(x, time, text, control_hidden_states=torch.randn(1, 96, 4, 8, 8), return_dict=False)[0]
    assert torch.allclose(plain, hinted, atol=1e-5)


def test_hints_have_the_layout_of_vace():
    sampler = HintSampler(cache(), torch.Generator().manual_seed(2))
    part, row = slice(3, 19), 5
    stays = {kind: sampler._hint(kind, row, part) for kind in train_vace.KINDS}
    assert {hint.shape for hint in stays.values()} == {(96, 16, 8, 8)}
    clip = sampler.cache["clips"][row][:, part].float()
    for kind, shift in (("depth", 10), ("edges", 20), ("pose", 40)):
        kept, changed, mask = stays[kind].split([16, 16, 64])
        assert (kept == -7).all() and (mask == 1).all()
        assert torch.allclose(changed - shift, clip, atol=0.05)
    kept, changed, mask = stays["paint"].split([16, 16, 64])
    assert (changed == -7).all() and torch.equal(mask, sampler.cache["masks"][row][:, part].float())
    assert torch.allclose(kept - 30, clip, atol=0.05)
    kept, changed, mask = stays["known"].split([16, 16, 64])
    known = int((mask[0, :, 0, 0] == 0).sum())
    assert 1 <= known <= 5 and torch.equal(kept[:, :known], clip[:, :known]) and (kept[:, known:] == -7).all()
    kept, changed, mask = stays["nothing"].split([16, 16, 64])
    assert (kept == -7).all() and (changed == -7).all() and (mask == 1).all()


def test_windows_and_hints_are_of_the_same_frames():
    sampler = HintSampler(cache(), torch.Generator().manual_seed(2))
    sampler.odds = torch.tensor([float(kind == "depth") for kind in sampler.kinds])
    windows, hints, prompts = sampler(8)
    assert torch.allclose(hints[:, 16:32] - 10, windows, atol=0.05) and len(prompts) == 8


def test_masks_are_packed_as_diffusers_packs_them():
    mask = (torch.rand(13, 64, 64, generator=torch.Generator().manual_seed(3)) > 0.5).float()

    class Pipeline:
        vae_scale_factor_temporal, vae_scale_factor_spatial = 4, 8

        class transformer:
            class config:
                patch_size = (1, 2, 2)

    video = mask[None, None].expand(1, 3, -1, -1, -1)
    theirs = WanVACEPipeline.prepare_masks(Pipeline(), video, [[]])[0]
    assert torch.equal(latent_masks(mask, 4), theirs)


def test_a_silhouette_is_where_the_object_is():
    scene = Scene("square", "red", "white", "right", 32.0, 32.0)
    drawn = render(scene, 2)
    cover = silhouette(scene, 2)
    blue = drawn[:, 2]  # less of it where the red is
    assert torch.allclose(cover, (blue.amax() - blue) / (blue.amax() - blue.amin()), atol=1e-5)


def test_training_changes_the_branch_alone(tmp_path):
    base = small_base()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    norms = []

    def embed(texts):
        return torch.zeros(len(texts), 3, 24)

    original = train_vace.nn.utils.clip_grad_norm_
    try:
        train_vace.nn.utils.clip_grad_norm_ = lambda parameters, limit: norms.append(original(parameters, limit))
        train_vace.train_vace(tmp_path, base, embed, cache(), 3, 0, batch=2, compiled=False)
    finally:
        train_vace.nn.utils.clip_grad_norm_ = original
    saved = torch.load(tmp_path / "vace.pt", weights_only=True)
    assert saved["step"] == 3 and len(norms) == 3 and all(norm > 0 for norm in norms)
    assert all(name.startswith("vace_") for name in saved["ema"])
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    fresh = new_vace(base).state_dict()
    changed = [name for name, value in saved["ema"].items() if not torch.equal(value, fresh[name])]
    assert any("proj_out" in name for name in changed)
