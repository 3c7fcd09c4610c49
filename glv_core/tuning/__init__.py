"""One-shot tuning (Gen-L-Video, arXiv 2305.18264): what is trained on which windows of one video, the loop that does
it, and the files of it; no model.
"""

from .draws import Draw, Drop, draws_of_step, window_starts
from .identifiers import KINDS, ClipIdentifiers, Place, Places
from .loop import TuningLoop
from .options import OPTIMIZER, TuningOptions
from .state import State, StateError, read_progress, read_state, write_state
from .tuned_file import NotTunedError, Tuned, read_tuned, read_tuned_header, write_tuned

__all__ = [
    "KINDS",
    "OPTIMIZER",
    "ClipIdentifiers",
    "Draw",
    "Drop",
    "NotTunedError",
    "Place",
    "Places",
    "State",
    "StateError",
    "Tuned",
    "TuningLoop",
    "TuningOptions",
    "draws_of_step",
    "read_progress",
    "read_state",
    "read_tuned",
    "read_tuned_header",
    "window_starts",
    "write_state",
    "write_tuned",
]
