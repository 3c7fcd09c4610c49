"""Reproduces the demo model with one command: `python -m training.demo.train --out runs/demo`.

Stages, in order: tokenizer, vae, latents, decoder, transformer, export, hints, vace, evaluate. Each leaves its result
in `--out`, so a later stage can be run again alone with `--stage`; those after `export` begin with the exported model.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch

from glv_core.demo import MODEL_DIR

logger = logging.getLogger(__name__)

STAGES = ("tokenizer", "vae", "latents", "decoder", "transformer", "export", "hints", "vace", "evaluate")


def _tokenizer(args: argparse.Namespace) -> None:
    from .text import train_tokenizer

    train_tokenizer(args.out / "tokenizer")


def _vae(args: argparse.Namespace) -> None:
    from .train_vae import train_vae

    train_vae(args.out, args.vae_steps, args.seed, resume=args.resume)


def _latents(args: argparse.Namespace) -> None:
    from .train_transformer import cache_latents
    from .train_vae import fold_statistics, load_vae

    vae = load_vae(args.out)
    raw, index = cache_latents(vae, args.clips_per_combination, args.seed)
    raw = raw.float()
    mean, std = raw.mean(dim=(0, 2, 3, 4), keepdim=True), raw.std(dim=(0, 2, 3, 4), keepdim=True)
    fold_statistics(vae, mean.flatten(), std.flatten())
    torch.save(vae.state_dict(), args.out / "vae_folded.pt")
    # What the folded VAE gives after the standard normalisation, without encoding again.
    torch.save({"latents": ((raw - mean) / std).half(), "index": index}, args.out / "latents.pt")


def _decoder(args: argparse.Namespace) -> None:
    from .train_vae import new_vae, polish_decoder

    vae = new_vae()
    vae.load_state_dict(torch.load(args.out / "vae_folded.pt", weights_only=True))
    polish_decoder(args.out, vae, args.decoder_steps, args.seed)


def _transformer(args: argparse.Namespace) -> None:
    from .train_transformer import train_transformer

    cache = torch.load(args.out / "latents.pt", weights_only=True)
    train_transformer(args.out, cache["latents"], cache["index"], args.steps, args.seed, args.batch, start=args.start)


def _export(args: argparse.Namespace) -> None:
    from .export import export
    from .train_transformer import load_trained
    from .train_vae import new_vae

    vae = new_vae()
    polished = args.out / "vae_polished.pt"
    vae.load_state_dict(torch.load(polished if polished.exists() else args.out / "vae_folded.pt", weights_only=True))
    transformer, text_encoder = load_trained(args.out)
    export(args.model, vae.eval(), transformer, text_encoder, args.out / "tokenizer")


def _hints(args: argparse.Namespace) -> None:
    from .evaluate import load_pipeline
    from .train_vace import cache_hints

    vae = load_pipeline(args.model).vae
    statistics = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    torch.save(cache_hints(vae, args.clips_per_combination, args.seed, statistics), args.out / "hints.pt")


def _vace(args: argparse.Namespace) -> None:
    from .evaluate import load_pipeline
    from .export import export_vace
    from .train_vace import FrozenText, new_vace, train_vace

    pipeline = load_pipeline(args.model)
    embed = FrozenText(pipeline.text_encoder, args.model / "tokenizer" / "spiece.model")
    cache = torch.load(args.out / "hints.pt", weights_only=True)
    train_vace(
        args.out, pipeline.transformer, embed, cache, args.vace_steps, args.seed, args.batch, start=args.vace_start
    )
    weights = torch.load(args.out / "vace.pt", weights_only=True)["ema"]
    export_vace(args.model, new_vace(pipeline.transformer), weights)


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluate import evaluate_clips, evaluate_vae, load_pipeline
    from .evaluate_vace import evaluate_vace

    pipeline = load_pipeline(args.model)
    result = {"vae": evaluate_vae(pipeline.vae), "clips": evaluate_clips(pipeline, args.prompts)}
    if (args.model / "vace").is_dir():
        result["vace"] = evaluate_vace(args.model)
    (args.out / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    logger.info("%s", json.dumps(result, indent=2))


def main(argv: list[str] | None = None) -> None:
    """Runs the chosen stages."""
    parser = argparse.ArgumentParser(prog="training.demo.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for logs, checkpoints and caches")
    parser.add_argument("--model", type=Path, default=MODEL_DIR, help="folder the finished model is written to")
    parser.add_argument("--stage", choices=STAGES, action="append", help="run only this stage (repeatable)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vae-steps", type=int, default=1000)
    parser.add_argument("--decoder-steps", type=int, default=400)
    parser.add_argument("--clips-per-combination", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12000, help="steps of the transformer and text encoder")
    parser.add_argument("--vace-steps", type=int, default=4000, help="steps of the VACE branch")
    parser.add_argument("--start", type=Path, help="a transformer.pt of an earlier run to begin with")
    parser.add_argument("--vace-start", type=Path, help="a branch's safetensors to begin with")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64, help="prompts to evaluate with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of the VAE")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if not args.stage or stage in args.stage:
            logger.info("stage %s", stage)
            {
                "tokenizer": _tokenizer,
                "vae": _vae,
                "latents": _latents,
                "decoder": _decoder,
                "transformer": _transformer,
                "export": _export,
                "hints": _hints,
                "vace": _vace,
                "evaluate": _evaluate,
            }[stage](args)


if __name__ == "__main__":
    main()
