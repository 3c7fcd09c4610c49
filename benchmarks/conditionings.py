"""What windows make of families and conditionings: this pack's windows, and ComfyUI core's beside them.

``python benchmarks/conditionings.py`` needs a ComfyUI (``COMFYUI_PATH``, or ``~/comfy/ComfyUI``) and prints a Markdown
table. Every row is a tiny model with random weights and conditionings that the host's own nodes make for 11 latent
frames. A spy before the network compares every input of every window of 5 latent frames with what the network sees of
the same latent frames in a stock run over the whole: *right* if all are the same; *refused* if the pack says before the
first forward pass that it cannot do it; *wrong*, with the names of the inputs, if a window is handed something whole or
of other frames; *crash* for any other error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from comfyui_hosts import comfyui_worker, find_host

KINDS = ("right", "refused", "wrong", "crash")
COLUMNS = {"ours": "this pack", "cores": "core's context windows"}


def cell(verdict: dict[str, str]) -> str:
    """A verdict in a few words."""
    if verdict["kind"] == "wrong":
        return f"**wrong**: {', '.join(part.partition(':')[0] for part in verdict['why'].split('; '))}"
    return verdict["kind"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="only rows whose names contain one of these")
    parser.add_argument("--why", action="store_true", help="say below the table why not everything is right")
    arguments = parser.parse_args()
    comfyui = find_host()
    if comfyui is None:
        print("No ComfyUI found. Set COMFYUI_PATH.", file=sys.stderr)
        return 2
    totals, reasons = {sampler: Counter() for sampler in COLUMNS}, []
    with tempfile.TemporaryDirectory() as folder, comfyui_worker(Path(folder)) as call:
        print(f"In ComfyUI {comfyui.version}.\n\n| | {' | '.join(COLUMNS.values())} |\n| --- | --- | --- |")
        for name in call("rows", "names"):
            if not any(part in name for part in arguments.only):
                continue
            verdicts = {sampler: call("rows", "verdict", name=name, sampler=sampler) for sampler in COLUMNS}
            print(f"| {name} | {' | '.join(map(cell, verdicts.values()))} |", flush=True)
            for sampler, verdict in verdicts.items():
                totals[sampler][verdict["kind"]] += 1
                if verdict["why"]:
                    reasons.append(f"{name}, {COLUMNS[sampler]}: {verdict['kind']}: {verdict['why']}")
    print()
    for sampler, column in COLUMNS.items():
        kinds = [*KINDS, *sorted(set(totals[sampler]) - set(KINDS))]
        print(f"{column}: {', '.join(f'{totals[sampler][kind]} {kind}' for kind in kinds)}")
    if arguments.why:
        print("", *reasons, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
