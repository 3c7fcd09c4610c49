"""The benchmark of speed and memory on a card, with tiny models on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_hosts import find_host

from benchmarks.gpu_memory import FLAG, HEAD, SHAPES, jobs, line

ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_row_is_measured_for_every_model():
    planned = list(jobs((81, 321, 1001), True))
    for shape in SHAPES:
        mine = [(dynamic, row["core"], row.get("more", {}).get("windows_per_forward"), frames)
                for dynamic, which, row, frames in planned if which is shape]  # fmt: skip
        assert len(mine) == len(set(mine))
        assert {each[3] for each in mine if each[:3] == (False, False, 0)} == {81, 321, 1001}
        assert {each[3] for each in mine if each[:3] == (True, False, 0)} == {81, 321, 1001}
        assert {each[3] for each in mine if each[1]} == {321, 1001}
        assert {each[2] for each in mine if each[3] == 321 and not each[0]} == {0, 1, 2, 4, None}
    assert not any(dynamic for dynamic, *_ in jobs((81, 321), False))


def test_a_row_says_seconds_a_step_and_frames_a_second():
    made = {"seconds": 6.0, "spent": 5.0, "forwards": 12, "peak": 3 * 2**29}
    assert line(True, SHAPES[0], SHAPES[0].ours(2), 240, 3, made) == (
        "| Wan 1.3B | 240 | this pack | 2 | on | 12 | 2.00 | 1.200 | 6.00 | 1.50 GiB |"
    )
    assert "| core | 1 | off |" in line(False, SHAPES[1], SHAPES[1].core(), 240, 3, made)


@pytest.mark.skipif(find_host() is None, reason="needs a ComfyUI")
def test_it_runs_with_tiny_models():
    made = subprocess.run(
        [sys.executable, "benchmarks/gpu_memory.py", "--tiny", "--frames", "81", "153", "--steps", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    rows = [row.strip("|").split("|") for row in made.stdout.splitlines()]
    assert [cell.strip() for cell in rows[0]] == list(HEAD)
    cells = [[cell.strip() for cell in row] for row in rows[2:]]
    assert len(cells) == len(list(jobs((81, 153), False))) == 12
    assert all(len(row) == len(HEAD) and float(row[7]) >= 1 and float(row[8]) > 0 for row in cells), made.stdout
    for name in ("Wan 1.3B", "LTX-2, 4 layers"):
        of = {(row[1], row[2], row[3]): int(row[5]) for row in cells if row[0] == name}
        assert of["153", "this pack", "1"] > of["153", "this pack", "2"] >= of["81", "this pack", "automatic"] > 0
        assert of["153", "core", "1"] > of["153", "this pack", "2"]
    assert FLAG not in made.stdout
