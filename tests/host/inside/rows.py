"""The truth table: families and conditionings, and what windows make of each. Runs inside ComfyUI.

Rows are in ``rows_wan``, ``rows_wan_driven``, ``rows_more`` and ``rows_image``, made of ``rows_parts``. ``rows_spy``
keeps what a network is handed, ``rows_judge`` judges it.
Networks are ComfyUI's own, made small, but for a stand-in that takes any input where that cannot be: Mochi (its sizes
are fixed), LTX-2, SeedVR2, and where a ControlNet is judged by what it says to the network.

Not here: MiniMax H3, whose one condition holds the layout of the whole latent as an object; CogVideoX 1.5 (VOID), which
takes latent frames in pairs.
"""

from __future__ import annotations

import traceback

import rows_image
import rows_more
import rows_wan
import rows_wan_driven
from rows_judge import SAMPLERS, judge
from rows_spy import Row

ROWS: list[Row] = [*rows_wan.ROWS, *rows_wan_driven.ROWS, *rows_more.ROWS, *rows_image.ROWS]
BY_NAME = {row.name: row for row in ROWS}


def names() -> list[str]:
    """The rows' names."""
    return [row.name for row in ROWS]


def verdict(name: str, sampler: str) -> dict[str, str]:
    """The verdict of a row for ``ours``, ``folded`` or ``cores``; a row that cannot be made is ``broken``."""
    try:
        found = judge(BY_NAME[name], SAMPLERS[sampler])
    except Exception:
        return {"kind": "broken", "why": traceback.format_exc()}
    return {"kind": found.kind, "why": found.why}
