"""StreamingT2V's own parts (arXiv 2403.14773): what it adds to a text-to-video UNet, and the files of its weights."""

from .apm import TokenMixer, TokenResampler, clip_pixels, grey_anchor
from .cam import ConditionEncoder, CrossAttentionMerger
from .checkpoint import Checkpoint, convert, load_checkpoint, split_weights
from .guidance import guided
from .shapes import expected_shapes
from .sizes import Sizes

__all__ = [
    "Checkpoint",
    "ConditionEncoder",
    "CrossAttentionMerger",
    "Sizes",
    "TokenMixer",
    "TokenResampler",
    "clip_pixels",
    "convert",
    "expected_shapes",
    "grey_anchor",
    "guided",
    "load_checkpoint",
    "split_weights",
]
