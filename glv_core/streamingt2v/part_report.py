"""What a file of weights lacks, has too much, or has in another shape, part by part and in words."""

from __future__ import annotations

from collections.abc import Mapping

from .sizes import Shape


def problems_of(title: str, given: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    """What is wrong with the names and shapes of a part, a line for each kind of mistake; ``title``: of the part."""
    found = {
        "lacks": [name for name in wanted if name not in given],
        "has the unknown": [name for name in given if name not in wanted],
        "has in another shape": [
            f"{name} ({_text(given[name])}, not {_text(shape)})"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ],
    }
    return [f"{title} {problem} {_some(names)}" for problem, names in found.items() if names]


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
