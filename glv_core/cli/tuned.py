"""What the command line is asked to use of a tuning, checked before the model is loaded."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, option

if TYPE_CHECKING:
    from ..hosts.diffusers.folder import ModelFolder
    from ..hosts.diffusers.identified import Identified

STRONGEST = 10.0


@dataclass(frozen=True)
class TunedJob:
    """A file of ``genlong tune`` or Tune on Video, and how much it counts.

    ``identifiers``: one of ``tuning.identifiers.LENGTHS``.
    """

    path: Path
    strength: float
    identifiers: str

    def load(self, pipeline: Any) -> Identified | None:
        """Put it on a pipeline; its clip identifiers, or None."""
        from ..hosts.diffusers.identified import load_tuned

        with option("--tuned", self.path):
            return load_tuned(pipeline, self.path, self.strength, self.identifiers)


def tuned_job(arguments: argparse.Namespace, folder: ModelFolder) -> TunedJob | None:
    """What was asked; None without ``--tuned``."""
    path, identifiers, strength = arguments.tuned, arguments.tuned_identifiers, arguments.tuned_strength
    if path is None:
        for name in ("tuned_strength", "tuned_identifiers"):
            if getattr(arguments, name) is not None:
                raise UserError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: only with --tuned.")
        return None
    check_peft(f"--tuned {path}")
    from ..hosts.diffusers.identified import check_tuned

    if arguments.streaming and folder.streaming is not None:
        raise UserError(f"--tuned {path}: not together with StreamingT2V's weights, which change the model's layers.")
    with option("--tuned", path):
        if not path.is_file():
            raise ValueError("there is no such file. Give one that genlong tune has written.")
        identified = check_tuned(folder, path)
    if identifiers is not None and not identified:
        raise UserError(f"--tuned-identifiers {identifiers}: {path.name} has no clip identifiers; leave it out.")
    strength = 1.0 if strength is None else strength
    if not abs(strength) <= STRONGEST:
        raise UserError(f"--tuned-strength {strength}: use a number from -{STRONGEST:g} to {STRONGEST:g}.")
    return TunedJob(path, strength, identifiers or "stretched")


def check_peft(what: str) -> None:
    """Check that peft is there, which puts low-rank weights on a model.

    Raises:
        UserError: it is not.
    """
    if find_spec("peft") is None:
        raise UserError(f"{what}: this needs peft. Install what the command line needs: pip install "
                        "genlong-video[standalone]")  # fmt: skip
