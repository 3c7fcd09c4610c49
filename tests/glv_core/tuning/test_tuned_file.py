"""Files of tunings."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from glv_core.tuning import ClipIdentifiers, NotTunedError, Places, Tuned, read_tuned, read_tuned_header, write_tuned

LORA = {"diffusion_model.a.lora_up.weight": torch.ones(2, 1), "diffusion_model.a.lora_down.weight": torch.ones(1, 3)}


def tuned(**more):
    identifiers = ClipIdentifiers("bank", {"diffusion_model.a": (3, 2)}, 2, Places(20, 8, 4))
    return Tuned(LORA, {"family": "WAN21", "prompts": ["ein Stern 星"]}, identifiers, **more)


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "folder" / "file.safetensors"
    made = tuned(over_time={"block.norm.weight": torch.arange(3.0)})
    write_tuned(path, made)
    read = read_tuned(path)
    assert dict(read.about) == made.about == read_tuned_header(path)
    assert read.lora.keys() == LORA.keys() and torch.equal(read.over_time["block.norm.weight"], torch.arange(3.0))
    assert read.identifiers.places == Places(20, 8, 4)
    for name, weight in made.identifiers.tensors().items():
        assert torch.equal(read.identifiers.tensors()[name], weight)
    names = load_file(path)
    assert LORA.keys() <= names.keys()
    assert all(name in LORA or name.startswith(("clip_identifiers.", "layers_over_time.")) for name in names)


def test_other_files_are_refused_with_a_reason(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(LORA, path)
    with pytest.raises(NotTunedError, match=r"an ordinary LoRA.*LoraLoaderModelOnly"):
        read_tuned(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(NotTunedError, match="other weights"):
        read_tuned_header(path)
    path.write_bytes(b"PK\x03\x04" * 20)
    with pytest.raises(NotTunedError, match="no safetensors file, or is damaged"):
        read_tuned(path)
    save_file(LORA, path, {"format": "gen-l-video tuning", "version": "9", "about": "{}"})
    with pytest.raises(NotTunedError, match=r"format 9, not 1.*Update the pack"):
        read_tuned(path)
    save_file(LORA, path, {"format": "gen-l-video tuning", "version": "1", "about": "{"})
    with pytest.raises(NotTunedError, match="header cannot be read"):
        read_tuned(path)
    write_tuned(path, tuned())
    weights = load_file(path)
    header = {"format": "gen-l-video tuning", "version": "1", "about": "{}"}
    save_file(weights, path, header)
    with pytest.raises(NotTunedError, match="says nothing of the clip identifiers"):
        read_tuned(path)
    weights.pop("clip_identifiers.diffusion_model.a.0.up")
    header["identifiers"] = '{"kind": "bank", "rank": 2, "length": 20, "window": 8, "stride": 4}'
    save_file(weights, path, header)
    with pytest.raises(NotTunedError, match="damaged: The clip identifiers lack"):
        read_tuned(path)
