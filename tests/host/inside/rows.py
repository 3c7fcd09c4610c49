"""The truth table: families and conditionings, and what windows make of each. Runs inside ComfyUI."""

from __future__ import annotations

import traceback

import rows_image
import rows_more
import rows_wan
from rows_judge import SAMPLERS, Row, judge

ROWS: list[Row] = [*rows_wan.ROWS, *rows_more.ROWS, *rows_image.ROWS]
BY_NAME = {row.name: row for row in ROWS}


def names() -> list[str]:
    """The rows' names."""
    return [row.name for row in ROWS]


def verdict(name: str, sampler: str) -> dict[str, str]:
    """The verdict of a row for ``ours`` or ``cores``, with a row that cannot be made as ``broken``."""
    try:
        found = judge(BY_NAME[name], SAMPLERS[sampler])
    except Exception:
        return {"kind": "broken", "why": traceback.format_exc()}
    return {"kind": found.kind, "why": found.why}
