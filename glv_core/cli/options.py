"""The options of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..demo import MODEL_DIR
from .job import SHORTEST_SIDE

DEFAULT_LENGTH = "161"

# Spelled out so that --help need not import torch; a test compares them with the core.
SCHEDULES = ("shifted", "shifted_golden", "shifted_random", "static", "static_balanced", "uniform", "batched")
MERGES = (
    "pyramid", "hann", "flat", "gaussian", "linear_in_overlap", "relative", "squared", "earliest", "random_cut",
    "random_cut_paper",
)  # fmt: skip
PROMPT_BLENDINGS = ("predictions", "embeddings", "embeddings_spherical", "one_per_window")
NOISES = ("independent", "stable", "shuffled", "repeated", "mixed")
TRANSITIONS = ("hard", "linear", "ease")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"genlong: error: {message}. See genlong --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = _Parser(
        prog="genlong",
        description="Make long, multi-prompt video with a short video diffusion model: overlapping windows of one long "
        "latent are denoised together, each with the prompt of its place on the timeline. Runs on what is on this "
        "machine and downloads nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genlong {__version__}")
    add = parser.add_argument_group("video").add_argument
    add("--prompts", metavar="TEXT", help="prompt schedule: 'a cat | a dog', or lines such as '0: a cat' and '2.5s: a "
        "dog', or @FILE with such text (default for the demo model: three prompts)")  # fmt: skip
    add("--negative", metavar="TEXT", default="", help="what to avoid, over the whole video")
    add("--length", default=DEFAULT_LENGTH, help="frames (161) or seconds (10s) (default: %(default)s)")
    add("--fps", type=float, help="frames per second (default from the model: demo and Wan 16, others 8)")
    add("--width", type=int, help="pixels (default from the model: demo 64, Wan 832)")
    add("--height", type=int, help="pixels (default from the model: demo 64, Wan 480)")
    add("--transition", choices=TRANSITIONS, default="linear", help="how prompts change (default: %(default)s)")
    add("--transition-length", default="8", metavar="LENGTH", help="frames or seconds (default: %(default)s)")
    add = parser.add_argument_group("windows").add_argument
    add("--window", type=int, help="frames denoised together (default from the model: demo 61, Wan 81, others 16)")
    add("--overlap", type=int, help="frames that neighbours share (default from the model: demo 8, Wan 12, "
        "TextToVideoSD 8, AnimateDiff 4)")  # fmt: skip
    add("--schedule", choices=SCHEDULES, help="shifted: windows move at every step, by bit reversal, golden ratio or "
        "chance; static: they stay; uniform: of stride 1, 2, 4 ... at once; batched: isolated "
        "(default: shifted)")  # fmt: skip
    add("--merge", choices=MERGES, default="pyramid", help="weights inside a window (default: %(default)s)")
    add("--stride", type=int, default=1, metavar="N", help="spacing of the latent frames in a window "
        "(default: %(default)s)")  # fmt: skip
    add("--stride-until", type=float, default=1.0, metavar="SHARE", help="go back to stride 1 after this share of the "
        "steps (default: %(default)s, never)")  # fmt: skip
    add("--closed-loop", action="store_true", help="the end of the video flows into its beginning; the length is "
        "rounded to whole latent frames")  # fmt: skip
    add("--prompt-blending", choices=PROMPT_BLENDINGS, default="predictions", help="what a window sees that touches "
        "two prompts (default: %(default)s)")  # fmt: skip
    add("--windows-per-forward", type=int, default=0, metavar="N", help="windows that share a forward pass; less needs "
        "less memory (default: 0, which is 4)")  # fmt: skip
    add("--isolated", action="store_true", help="baseline: clip after clip without overlap, the last one moved left to "
        "end with the video")  # fmt: skip
    add = parser.add_argument_group("streaming").add_argument
    add("--streaming", action="store_true", help="make the video chunk by chunk, each from the end of the one before; "
        "run the same line again after an interrupt, and it goes on where it was")  # fmt: skip
    add("--chunk", type=int, metavar="N", help="frames made at once; above --window they are co-denoised (default: one "
        "window)")  # fmt: skip
    add("--chunk-overlap", type=int, metavar="N", help="frames of a chunk that are known from the one before (default "
        "from the model, as --overlap)")  # fmt: skip
    add("--blend", type=float, metavar="SHARE", help="part of the overlap over which new predictions take over, with "
        "models that take no clean frames (default: 0.5)")  # fmt: skip
    add("--drift-correction", type=float, metavar="SHARE", help="how far colours and contrast are drawn back to those "
        "of the first chunk (default: 0)")  # fmt: skip
    add("--start", type=Path, metavar="FILE", help="the video or image to begin with, in the size of the video "
        "(other proportions: its middle); its frames count as part of --length")  # fmt: skip
    add("--run", type=Path, metavar="FOLDER", help="where finished chunks are kept and found (default: beside the "
        "video)")  # fmt: skip
    add = parser.add_argument_group("sampling").add_argument
    add("--steps", type=int, help="sampling steps (default from the model: demo 20)")
    add("--cfg", type=float, help="guidance; 1 switches it off (default from the model: demo 2, Wan 5)")
    add("--noise", choices=NOISES, default="independent", help="initial noise; stable: a longer video starts like a "
        "shorter one; shuffled: FreeNoise (default: %(default)s)")  # fmt: skip
    add("--shared-noise", type=float, default=0.5, metavar="SHARE", help="with --noise mixed: the part of the variance "
        "that all frames share (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the noise (default: %(default)s)")
    add("--scheduler", metavar="NAME", help="class name of a diffusers scheduler (default: the model's own)")
    add("--flow-shift", type=float, metavar="SHIFT", help="shift of a flow-matching schedule (default: the model's)")
    add = parser.add_argument_group("model and files").add_argument
    add("--model", type=Path, default=MODEL_DIR, metavar="FOLDER", help="diffusers pipeline folder: Wan text-to-video, "
        "TextToVideoSD or AnimateDiff (default: the demo model)")  # fmt: skip
    add("--device", help="torch device (default: cuda if there is one, else cpu)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="default: float32 on the CPU, else bfloat16")
    add("--output", type=Path, metavar="FILE", help="video file, .mp4 (default: the next free output/genlong_N.mp4)")
    add("--upscale", type=int, metavar="N", help=f"enlarge so many times by repeating pixels (default: to "
        f"{SHORTEST_SIDE} pixels or more)")  # fmt: skip
    add("--no-plan", action="store_true", help="write no image of the windows beside the video")
    return parser
