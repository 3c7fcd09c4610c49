"""Trains the tiny StreamingT2V with one command: `python -m training.streamingt2v.train --out runs/streamingt2v`.

Stages, in order: tokenizer, text, vae, latents, base, image, cam, apm, export, evaluate. Each leaves its result in
`--out`, so a later stage can be run again alone with `--stage`, and one that was cut off goes on with `--resume`.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from glv_core.demo import STREAMING_T2V_DIR

logger = logging.getLogger(__name__)


def _tokenizer(args: argparse.Namespace) -> None:
    from .text import write_tokenizer

    write_tokenizer(args.out / "tokenizer")


def _text(args: argparse.Namespace) -> None:
    from .train_text import train_text

    train_text(args.out, args.text_steps, args.seed, resume=args.resume)


def _vae(args: argparse.Namespace) -> None:
    from .train_vae import psnr, train_vae

    vae = train_vae(args.out, args.vae_steps, args.seed, args.vae_batch, resume=args.resume)
    logger.info("vae: %.1f dB", psnr(vae))


def _latents(args: argparse.Namespace) -> None:
    from .train_vae import load_vae
    from .world import cache_latents

    torch.save(cache_latents(load_vae(args.out)), args.out / "latents.pt")


def _base(args: argparse.Namespace) -> None:
    from .train_unet import train_base

    latents = torch.load(args.out / "latents.pt", weights_only=True)
    train_base(args.out, latents, args.steps, args.seed, args.batch, resume=args.resume)


def _image(args: argparse.Namespace) -> None:
    from .train_image import train_image
    from .train_text import load_text_encoder

    train_image(args.out, load_text_encoder(args.out), args.image_steps, args.seed, resume=args.resume)


def _streaming(args: argparse.Namespace, part: str, steps: int) -> None:
    from .text import load_tokenizer
    from .train_image import load_image_encoder
    from .train_streaming import (
        Windows,
        cache_frames,
        load_streaming,
        new_streaming,
        train_encoder,
        train_part,
    )
    from .train_unet import load_base
    from .train_vae import load_vae

    latents = torch.load(args.out / "latents.pt", weights_only=True)
    if not (args.out / "frames.pt").exists():
        torch.save(cache_frames(load_vae(args.out), latents), args.out / "frames.pt")
    windows = Windows(latents, torch.load(args.out / "frames.pt", weights_only=True))
    unet, text_encoder = load_base(args.out)
    net = new_streaming(unet, load_tokenizer(args.out / "tokenizer").model_max_length)
    image_encoder = None
    if part == "cam":
        train_encoder(args.out, net, windows, args.encoder_steps, args.seed)
    if part == "apm":
        net, image_encoder = load_streaming(args.out, "cam", net), load_image_encoder(args.out)
    train_part(
        args.out, part, net, windows, text_encoder, image_encoder, steps, args.seed, args.batch, resume=args.resume
    )


def _cam(args: argparse.Namespace) -> None:
    _streaming(args, "cam", args.cam_steps)


def _apm(args: argparse.Namespace) -> None:
    _streaming(args, "apm", args.apm_steps)


def _export(args: argparse.Namespace) -> None:
    from .export import export
    from .train_image import load_image_encoder
    from .train_unet import load_base
    from .train_vae import load_vae

    unet, text_encoder = load_base(args.out)
    image_encoder, added = load_image_encoder(args.out), None
    if (args.out / "apm.pt").exists():
        from .text import load_tokenizer
        from .train_streaming import added_weights, load_streaming, new_streaming

        net = new_streaming(unet, load_tokenizer(args.out / "tokenizer").model_max_length)
        net = load_streaming(args.out, "apm", net)
        added = added_weights(net)
        unet.load_state_dict(net.unet.state_dict())  # trained beside it
    export(args.model, args.out / "tokenizer", load_vae(args.out), unet, text_encoder, image_encoder, added)


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluate import evaluate_clips, evaluate_vae, load_pipeline

    pipeline = load_pipeline(args.model)
    clips = evaluate_clips(pipeline, args.prompts, guidance=args.guidance)
    result = {"vae": evaluate_vae(pipeline), "clips": clips}
    (args.out / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    logger.info("%s", json.dumps(result, indent=2))


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "tokenizer": _tokenizer,
    "text": _text,
    "vae": _vae,
    "latents": _latents,
    "base": _base,
    "image": _image,
    "cam": _cam,
    "apm": _apm,
    "export": _export,
    "evaluate": _evaluate,
}


def main(argv: list[str] | None = None) -> None:
    """Runs the chosen stages."""
    parser = argparse.ArgumentParser(prog="training.streamingt2v.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and caches")
    parser.add_argument("--model", type=Path, default=STREAMING_T2V_DIR, help="folder the finished model is written to")
    parser.add_argument("--stage", choices=tuple(STAGES), action="append", help="run only this stage (repeatable)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text-steps", type=int, default=400, help="steps of the text encoder")
    parser.add_argument("--vae-steps", type=int, default=2000)
    parser.add_argument("--vae-batch", type=int, default=16, help="frames a step of the VAE")
    parser.add_argument("--steps", type=int, default=4500, help="steps of the UNet")
    parser.add_argument("--batch", type=int, default=6, help="clips a step of the UNet")
    parser.add_argument("--image-steps", type=int, default=1500, help="steps of the image encoder")
    parser.add_argument("--encoder-steps", type=int, default=500, help="steps of the encoder of frames alone")
    parser.add_argument("--cam-steps", type=int, default=4000, help="steps of the conditional attention")
    parser.add_argument("--apm-steps", type=int, default=800, help="steps of it and the appearance preservation")
    parser.add_argument("--prompts", type=int, default=32, help="prompts to evaluate with")
    parser.add_argument("--guidance", type=float, default=3.0, help="guidance to evaluate with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoints")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        if not args.stage or name in args.stage:
            begin = time.monotonic()
            logger.info("stage %s", name)
            stage(args)
            logger.info("stage %s took %.0f s", name, time.monotonic() - begin)


if __name__ == "__main__":
    main()
