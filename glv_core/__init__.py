"""Long video from short diffusion models: the core, which knows no host, and in ``hosts`` those that run it."""

import re
from pathlib import Path


def _version() -> str:
    """The version in the ``pyproject.toml`` beside this package; without one, that of the installed distribution."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text("utf-8"), re.MULTILINE) if project.is_file() else None
    if found is not None:
        return found[1]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("genlong-video")
    except PackageNotFoundError:
        return "unknown"


__version__ = _version()
