"""The folder of the small StreamingT2V with random weights, by what exports the trained one."""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent


_KEPT: list[Any] = []  # removed when the process ends


@functools.cache
def random_model(seed: int = 0) -> tuple[Path, Any]:
    """The folder, made once in a process, and the ``StreamingUNet`` in it with weights as the files round them."""
    if str(ROOT) not in sys.path:  # inside ComfyUI, which knows the pack by another name, and not what trains it
        sys.path.append(str(ROOT))
    from training.streamingt2v.export import export
    from training.streamingt2v.text import load_tokenizer, new_text_encoder, write_tokenizer
    from training.streamingt2v.train_image import new_image_encoder
    from training.streamingt2v.train_streaming import added_weights, new_streaming
    from training.streamingt2v.train_vae import new_vae
    from training.streamingt2v.unet import new_unet

    _KEPT.append(tempfile.TemporaryDirectory())
    run = Path(_KEPT[-1].name)
    folder = run / "model"
    with torch.random.fork_rng(), torch.inference_mode(False), torch.no_grad():
        torch.manual_seed(seed)
        write_tokenizer(run / "tokenizer")
        tokenizer = load_tokenizer(run / "tokenizer")
        vae, unet, text, image = new_vae(), new_unet(), new_text_encoder(tokenizer), new_image_encoder()
        net = new_streaming(unet, tokenizer.model_max_length)
        for weight in net.parameters():
            if not weight.any():  # what is added ends in nothing before it is trained
                weight.copy_(torch.randn(weight.shape) * 0.1)
        for weight in (*net.parameters(), *text.parameters(), *image.parameters(), *vae.parameters()):
            weight.copy_(weight.half())
        unet.load_state_dict(net.unet.state_dict())
        export(folder, run / "tokenizer", vae, unet, text, image, added_weights(net))
    return folder, net.eval().requires_grad_(False)
