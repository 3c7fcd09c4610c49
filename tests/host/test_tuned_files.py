"""Files of ``genlong tune`` in ComfyUI: its LoRA loader makes of the demo model what peft makes of it."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from glv_core.demo import MODEL_DIR

pytestmark = pytest.mark.every_host

pytest.importorskip("diffusers")
pytest.importorskip("peft")


def test_comfyuis_lora_loader_reads_all_of_it(inside, tmp_path):
    from glv_core.hosts.diffusers.folder import load_pipeline, read_model_folder
    from glv_core.hosts.diffusers.identified import load_tuned
    from glv_core.hosts.diffusers.tuned_layers import TunedLayers
    from glv_core.tuning import Tuned, write_tuned

    transformer = (pipeline := load_pipeline(read_model_folder(MODEL_DIR), "cpu", "float32")).transformer
    parts, generator = TunedLayers(transformer), torch.Generator().manual_seed(0)
    lora = parts.add_lora(parts.chosen("attention"), 4)
    lora = {name: torch.randn(weight.shape, generator=generator) * 0.05 for name, weight in lora.items()}
    parts.remove_lora()
    file = tmp_path / "tuned.safetensors"
    write_tuned(file, Tuned(parts.to_file(lora, 4), {"prompt": "a red circle"}))
    given = {
        "x": torch.randn(1, 16, 5, 8, 8, generator=generator),
        "timestep": torch.tensor([700.0]),
        "context": torch.randn(1, 512, 4096, generator=generator) * 0.1,
    }
    save_file(given, tmp_path / "given.safetensors")
    out = tmp_path / "out.safetensors"
    left = inside(
        "tuned_files", "velocity", given=str(tmp_path / "given.safetensors"), file=str(file), out=str(out), strength=0.7
    )
    assert left == []
    load_tuned(pipeline, file, 0.7)
    with torch.no_grad():
        velocity = transformer(given["x"], given["timestep"], given["context"], return_dict=False)[0]
        with TunedLayers(transformer).without_lora():
            plain = transformer(given["x"], given["timestep"], given["context"], return_dict=False)[0]
    torch.testing.assert_close(load_file(out)["velocity"], velocity, atol=1e-3, rtol=1e-3)
    assert (velocity - plain).abs().mean() > 0.02
