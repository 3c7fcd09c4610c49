"""The options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..demo import MODEL_DIR
from .job import SHORTEST_SIDE
from .streamingt2v import ANCHORS, OWN

DEFAULT_LENGTH = "161"

# Spelled out so that --help need not import torch; a test compares them with the core.
SCHEDULES = (
    "shifted", "shifted_trimmed", "shifted_golden", "shifted_random", "static", "static_balanced", "uniform", "batched",
)  # fmt: skip
MERGES = (
    "pyramid", "hann", "flat", "gaussian", "linear_in_overlap", "relative", "squared", "earliest", "random_cut",
    "random_cut_paper",
)  # fmt: skip
PROMPT_BLENDINGS = ("auto", "predictions", "embeddings", "embeddings_spherical", "one_per_window", "attention")
NOISES = ("independent", "stable", "shuffled", "repeated", "mixed")
TRANSITIONS = ("hard", "linear", "ease")
BEYOND_END = ("error", "drop")
LAYERS = ("attention", "attention_and_feed_forward", "self_attention", "cross_attention", "queries")
IDENTIFIERS = ("none", "bank", "continuous")
LENGTHS = ("stretched", "repeated", "off")
CONTROLS = ("depth", "canny", "scribble", "mask", "ready")

_PROMPTS = "prompt schedule: 'a cat | a dog', or lines such as '0: a cat' and '2.5s: a dog', or @FILE with such text"
_MASK = (
    "words such as 'red car', or a video, an image or a folder of images, where white is the mask. Words are found by "
    "--detector and --segmenter; the demo model's colours and shapes without them"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"genlong: error: {message}. See {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """The options of making a video."""
    parser = _Parser(
        prog="genlong",
        description="Make long, multi-prompt video with a short video diffusion model: overlapping windows of one long "
        "latent are denoised together, each with the prompt of its place on the timeline. Runs on what is on this "
        "machine and downloads nothing.",
        epilog="genlong edit changes a part of a video, genlong restyle gives one another look, genlong tune trains a "
        "model on one: see genlong edit --help, genlong restyle --help and genlong tune --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genlong {__version__}")
    add = parser.add_argument_group("video").add_argument
    add("--prompts", metavar="TEXT", help=f"{_PROMPTS} (default for the demo model: three prompts)")
    add("--negative", metavar="TEXT", default="", help="what to avoid, over the whole video")
    add("--length", default=DEFAULT_LENGTH, help="frames (161) or seconds (10s) (default: %(default)s)")
    add("--fps", type=float, help="frames per second (default from the model: demo and Wan 16, others 8)")
    add("--width", type=int, help="pixels (default from the model: demo 64, Wan 832)")
    add("--height", type=int, help="pixels (default from the model: demo 64, Wan 480)")
    _add_transitions(add)
    _add_windows(parser, loop=True)
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
    add("--anchor", choices=ANCHORS, help="what every chunk stays close to, with StreamingT2V's weights beside the "
        "model (streaming_t2v.safetensors or .ckpt): the first frame, the first of the prompt, the end of the chunk "
        "before, or frames of all chunks (default: first)")  # fmt: skip
    add("--anchor-cfg", type=float, metavar="CFG", help="guidance by the anchor apart from that by the text, with "
        "StreamingT2V (default: that of --cfg)")  # fmt: skip
    add("--eta", type=float, help="how much of its noise DDIM draws anew, with StreamingT2V (default: 1)")
    add("--run", type=Path, metavar="FOLDER", help="where finished chunks are kept and found (default: beside the "
        "video)")  # fmt: skip
    _add_sampling(parser)
    _add_files(parser, "Wan text-to-video or VACE, TextToVideoSD or AnimateDiff")
    return parser


def build_edit_parser() -> argparse.ArgumentParser:
    """The options of changing a part of a video."""
    parser = _Parser(
        prog="genlong edit",
        description="Paint a part of a video anew, as prompts say, with Wan VACE or the demo model. Outside of the "
        "mask every pixel stays that of the video, until the file is encoded.",
        allow_abbrev=False,
    )
    add = _add_source(parser)
    add("--mask", required=True, metavar="WHAT", help=f"{_MASK}; what it covers is painted anew")
    _add_finders(add)
    add("--grow", type=int, default=4, metavar="N", help="grow the mask by so many pixels, of --width x --height; "
        "below 0 shrink it (default: %(default)s)")  # fmt: skip
    add("--feather", type=int, default=0, metavar="N", help="blend edit and video over so many pixels to either side "
        "of the mask's edge, of --width x --height (default: %(default)s)")  # fmt: skip
    add("--no-composite", action="store_true", help="write all that the model makes, in its own size, also outside of "
        "the mask")  # fmt: skip
    _add_the_rest(parser, "edit")
    parser.set_defaults(closed_loop=False, control=None, depth_model=None)
    return parser


def build_restyle_parser() -> argparse.ArgumentParser:
    """The options of giving a video another look."""
    parser = _Parser(
        prog="genlong restyle",
        description="Make a video anew as prompts say, along its depth, its edges or an object in it, with Wan VACE "
        "or the demo model.",
        allow_abbrev=False,
    )
    add = _add_source(parser)
    add("--control", required=True, choices=CONTROLS, help="what steers: depth; canny edges; scribble: dark parts as "
        "white; mask: an object as white; ready: the video is a control itself")  # fmt: skip
    add("--depth-model", metavar="NAME", help="folder or cached name of a depth model of transformers, for --control "
        "depth; the demo model's drawn objects need none")  # fmt: skip
    add("--mask", metavar="WHAT", help=f"for --control mask: {_MASK}")
    _add_finders(add)
    _add_the_rest(parser, "restyle")
    parser.set_defaults(grow=0, feather=0, no_composite=True)
    return parser


def build_tune_parser() -> argparse.ArgumentParser:
    """The options of training a model on one video."""
    parser = _Parser(
        prog="genlong tune",
        description="Train low-rank weights for a model on the windows of one video, as Gen-L-Video's one-shot tuning "
        "does. genlong --tuned FILE and, with Wan, ComfyUI's LoRA loader read what it writes. Run the same line again "
        "after an interrupt, and it goes on where it was; with more --steps it goes on from the end.",
        allow_abbrev=False,
    )
    add = parser.add_argument_group("video").add_argument
    add("--video", type=Path, required=True, metavar="FILE", help="the video to train on")
    add("--prompt", required=True, metavar="TEXT", help="what it shows")
    _add_clip(add)
    add = parser.add_argument_group("training").add_argument
    add("--steps", type=int, default=200, help="steps of the optimiser (default: %(default)s)")
    add("--window", type=int, metavar="N", help="frames that are seen together (default from the model: demo 61, Wan "
        "81, others 16; at most the video)")  # fmt: skip
    add(
        "--stride",
        type=int,
        metavar="N",
        help="frames between the starts of two windows (default: a quarter of a window)",
    )
    add("--batch", type=int, default=1, metavar="N", help="windows in a step, one after the other (default: "
        "%(default)s)")  # fmt: skip
    add("--learning-rate", type=float, default=1e-4, metavar="RATE", help="it stays the same (default: %(default)s)")
    add("--rank", type=int, default=16, metavar="N", help="of the low-rank weights (default: %(default)s)")
    add("--layers", choices=LAYERS, default="attention", help="queries, keys, values and the way out of all "
        "attention, with the feed-forward layers or without; of that of the video to itself, of that to the text; "
        "or the queries of both (default: %(default)s)")  # fmt: skip
    add("--identifiers", choices=IDENTIFIERS, default="none", help="weights by which the model knows which part of "
        "the video a window is: a pair for each window, or one pair that changes along the video (default: "
        "%(default)s)")  # fmt: skip
    add("--text-drop", type=float, default=0.1, metavar="SHARE", help="how often a window is seen without its prompt "
        "(default: %(default)s)")  # fmt: skip
    add("--clip-drop", type=float, metavar="SHARE", help="how often it is seen without its identifier (default: 0.4)")
    add("--keep", type=float, default=0.0, metavar="WEIGHT", help="how much it counts that other prompts go on giving "
        "what they gave (default: %(default)s, not at all)")  # fmt: skip
    add("--keep-prompts", metavar="TEXT", help="these prompts: 'a cat | a dog'")
    add("--ema-decay", type=float, default=0.98, metavar="DECAY", help="of the average of the weights, which is what "
        "is kept: 0.98 averages about 50 steps, 0 keeps the last (default: %(default)s)")  # fmt: skip
    add("--recompute", action="store_true", help="less memory: blocks are computed twice")
    add("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    add = parser.add_argument_group("model and files").add_argument
    _add_model(add, "Wan, TextToVideoSD or AnimateDiff, with one denoiser", ("float32", "bfloat16"))
    add("--output", type=Path, metavar="FILE", help="file of the weights, .safetensors; beside it lies the state of "
        "the run, .state.safetensors (default: tuned/ and the name of the video: the file that this line has begun "
        "with as many steps or fewer, or the next that is free)")  # fmt: skip
    return parser


#: Words that the command line may begin with, and their options.
COMMANDS = {"edit": build_edit_parser, "restyle": build_restyle_parser, "tune": build_tune_parser}


def _add_source(parser: argparse.ArgumentParser) -> Callable[..., Any]:
    """What edits have in common about the video; returns what adds more."""
    add = parser.add_argument_group("video").add_argument
    add("--video", type=Path, required=True, metavar="FILE", help="the video to change; its sound is kept")
    add("--prompts", "--prompt", metavar="TEXT", required=True, help=f"what all of the video shows, a {_PROMPTS}")
    add("--negative", metavar="TEXT", default="", help="what to avoid, over the whole video")
    _add_clip(add)
    add("--strength", type=float, default=1.0, help="how much control and mask count; 0 is not at all (default: "
        "%(default)s)")  # fmt: skip
    _add_transitions(add)
    return parser.add_argument_group("what changes").add_argument


def _add_clip(add: Callable[..., Any]) -> None:
    add("--length", help="only the first frames (161) or seconds (10s) (default: all)")
    add("--fps", type=float, help="frames per second to take of the video (default: its own)")
    add("--width", type=int, help="pixels that the model works with; of other proportions, the video's middle "
        "(default: as many as suit the model, in the video's proportions; demo 64)")  # fmt: skip
    add("--height", type=int, help="the same")


def _add_finders(add: Callable[..., Any]) -> None:
    add("--detector", metavar="NAME", help="folder or cached name of a Grounding DINO of transformers")
    add("--segmenter", metavar="NAME", help="folder or cached name of a SAM 2 or SAM of transformers; "
        "SAM 2 needs torchvision")  # fmt: skip


def _add_the_rest(parser: argparse.ArgumentParser, command: str) -> None:
    _add_windows(parser, loop=command == "restyle")
    _add_sampling(parser)
    _add_files(parser, "Wan VACE")
    parser.set_defaults(
        command=command, streaming=False, chunk=None, chunk_overlap=None, blend=None, drift_correction=None, run=None,
        start=None, **dict.fromkeys(OWN),
    )  # fmt: skip


def _add_transitions(add: Callable[..., Any]) -> None:
    add("--transition", choices=TRANSITIONS, default="linear", help="how prompts change (default: %(default)s)")
    add("--transition-length", default="8", metavar="LENGTH", help="frames or seconds (default: %(default)s)")
    add("--common-text", metavar="TEXT", default="", help="stands in front of every prompt, with a comma between them")
    add("--beyond-end", choices=BEYOND_END, default="error", help="prompts that start behind the end of the video: an "
        "error, or dropped, which is said (default: %(default)s)")  # fmt: skip


def _add_windows(parser: argparse.ArgumentParser, loop: bool) -> None:
    add = parser.add_argument_group("windows").add_argument
    add("--window", type=int, help="frames denoised together (default from the model: demo 61, Wan 81, others 16)")
    add("--overlap", type=int, help="frames that neighbours share (default from the model: demo 8, Wan 12, "
        "TextToVideoSD 8, AnimateDiff 4)")  # fmt: skip
    add("--schedule", choices=SCHEDULES, help="shifted: windows move at every step, by bit reversal, golden ratio or "
        "chance; trimmed: the first and last one no longer than they need to be; static: they stay; uniform: of "
        "stride 1, 2, 4 ... at once; batched: isolated "
        "(default: shifted_trimmed)")  # fmt: skip
    add("--merge", choices=MERGES, default="pyramid", help="weights inside a window (default: %(default)s)")
    add("--stride", type=int, default=1, metavar="N", help="spacing of the latent frames in a window "
        "(default: %(default)s)")  # fmt: skip
    add("--stride-until", type=float, default=1.0, metavar="SHARE", help="go back to stride 1 after this share of the "
        "steps (default: %(default)s, never)")  # fmt: skip
    add("--causal-anchor", action="store_true", help="show the model every window behind the latent frame before it, "
        "so that none begins with what a causal VAE makes of the first frame")  # fmt: skip
    if loop:
        add("--closed-loop", action="store_true", help="the end of the video flows into its beginning; the length is "
            "rounded to whole latent frames")  # fmt: skip
    add("--prompt-blending", choices=PROMPT_BLENDINGS, default="auto", help="what a window sees that touches two "
        "prompts; auto: attention with a model that can have it, else predictions (default: %(default)s)")  # fmt: skip
    add("--windows-per-forward", type=int, default=0, metavar="N", help="windows that share a forward pass; less needs "
        "less memory (default: 0, which is 4)")  # fmt: skip
    add("--isolated", action="store_true", help="baseline: clips side by side that know nothing of each other; the "
        "last one is moved left to end with the video, and adds what is new in it")  # fmt: skip


def _add_sampling(parser: argparse.ArgumentParser) -> None:
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


def _add_files(parser: argparse.ArgumentParser, kinds: str) -> None:
    add = parser.add_argument_group("model and files").add_argument
    _add_model(add, kinds)
    add("--tuned", type=Path, metavar="FILE", help="what genlong tune has trained for this model")
    add("--tuned-strength", type=float, metavar="WEIGHT", help="how much it counts; 0 is not at all (default: 1)")
    add("--tuned-identifiers", choices=LENGTHS, help="which part of the tuned video a window is like, where that "
        "has clip identifiers and another length: at the same share of it, or counted from its beginning again and "
        "again; off: without them (default: stretched)")  # fmt: skip
    add("--output", type=Path, metavar="FILE", help="video file, .mp4 (default: the next free output/genlong_N.mp4)")
    add("--upscale", type=int, metavar="N", help=f"enlarge so many times by repeating pixels (default: to "
        f"{SHORTEST_SIDE} pixels or more)")  # fmt: skip
    add("--no-plan", action="store_true", help="write no image of the windows beside the video")


def _add_model(
    add: Callable[..., Any], kinds: str, dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
) -> None:
    add("--model", type=Path, default=MODEL_DIR, metavar="FOLDER", help=f"diffusers pipeline folder: {kinds} "
        "(default: the demo model)")  # fmt: skip
    add("--device", help="torch device (default: cuda if there is one, else cpu)")
    add("--dtype", choices=dtypes, help="default: float32 on the CPU, else bfloat16")
